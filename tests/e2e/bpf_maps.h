// The eBPF mode's pinned maps and links, for scenarios that damage them or count by them.
//
// Threads: the test's thread.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "bpf/layout.h"

namespace fairlead::e2e {

// Everything pinned below the mode's directory of this kind ("maps", "links"), as paths.
std::vector<std::string> pins(const std::string& kind);

class PinnedMap {
 public:
  explicit PinnedMap(const std::string& name);  // "fl_frontends"

  template <typename Key>
  std::vector<Key> keys() const {
    std::vector<Key> all;
    Key key;
    const void* previous = nullptr;
    while (next_key(previous, &key)) {
      all.push_back(key);
      previous = &all.back();
    }
    return all;
  }
  // Zeros when there is none.
  template <typename Value, typename Key>
  Value get(const Key& key) const {
    Value value{};
    look_up(&key, &value);
    return value;
  }
  template <typename Key, typename Value>
  void put(const Key& key, const Value& value) {
    update(&key, &value);
  }
  template <typename Key>
  void remove(const Key& key) {
    erase(&key);
  }

 private:
  bool next_key(const void* previous, void* next) const;
  bool look_up(const void* key, void* value) const;
  void update(const void* key, const void* value);
  void erase(const void* key);

  Fd fd_;
};

// What the programs have counted so far, on all CPUs.
uint64_t counted(fl_counter counter);

// Detaches the program by hand, as anybody with the right to may.
void detach_link(const std::string& path);

// The address as maps hold it: "10.96.0.1" is ::ffff:10.96.0.1.
fl_addr map_address(const std::string& address);

}  // namespace fairlead::e2e
