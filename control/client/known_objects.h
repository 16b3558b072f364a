// Which objects a reflector has delivered, and in which version: what a re-list is compared with.
//
// Compact: one allocation an object (its two names, twelve bytes) and a pointer in a flat set;
// 50,000 objects take about 4 MB. A version is opaque; only equality counts, so 64 bits of it are
// kept (its value when it is a number, else a hash).
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace fairlead::client {

class KnownObjects {
 public:
  KnownObjects();
  ~KnownObjects();
  KnownObjects(const KnownObjects&) = delete;
  KnownObjects& operator=(const KnownObjects&) = delete;

  // Notes that the object exists in this version and was seen in the current round. True when that
  // is news: it was unknown or had another version.
  bool upsert(std::string_view name_space, std::string_view name, std::string_view version);
  // True when it was known.
  bool erase(std::string_view name_space, std::string_view name);

  // A round is one list, whole or broken off: sweep() forgets every object not seen since
  // begin_round().
  void begin_round() { ++round_; }
  // `gone` is called for each of them, after all have been forgotten.
  void sweep(
      const std::function<void(const std::string& name_space, const std::string& name)>& gone);
  // The versions mean nothing any more: every object of the next round is news.
  void distrust_versions();

  size_t size() const;

 private:
  struct Set;
  std::unique_ptr<Set> set_;
  uint32_t round_ = 0;
};

}  // namespace fairlead::client
