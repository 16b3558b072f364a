// Which watches a key concerns, found without asking all of them: ten thousand idle watches cost a
// change a few look-ups, one for each length that a watched prefix has.
//
// Threads: owned by the View, under its lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "control/store/store.h"

namespace fairlead::store {

// A watch's place in the history. `cursor` numbers events as the View does; it only means something
// while `pending`, that is until a take() has left nothing: an idle watch cannot fall behind.
struct Watcher {
  std::string key;
  bool prefix = true;
  Revision start = 0;
  uint64_t cursor = 0;
  bool pending = true;
  Status ended;
  std::shared_ptr<const std::function<void()>> ready;
  size_t slot = 0;  // in the registry's group

  bool concerns(std::string_view changed) const {
    return prefix ? changed.starts_with(key) : changed == key;
  }
};

class WatchRegistry {
 public:
  void add(Watcher* watcher);
  void remove(Watcher* watcher);

  template <typename Visit>
  void for_each(std::string_view key, Visit&& visit) const {
    if (const auto found = exact_.find(key); found != exact_.end()) {
      for (Watcher* watcher : found->second) visit(*watcher);
    }
    for (const auto& [length, groups] : prefix_lengths_) {
      if (length > key.size()) break;
      const auto found = by_prefix_.find(key.substr(0, length));
      if (found == by_prefix_.end()) continue;
      for (Watcher* watcher : found->second) visit(*watcher);
    }
  }

  template <typename Visit>
  void for_all(Visit&& visit) const {
    for (const Groups* groups : {&exact_, &by_prefix_}) {
      for (const auto& [key, group] : *groups) {
        for (Watcher* watcher : group) visit(*watcher);
      }
    }
  }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view key) const { return std::hash<std::string_view>()(key); }
  };
  using Groups = std::unordered_map<std::string, std::vector<Watcher*>, Hash, std::equal_to<>>;

  Groups exact_;
  Groups by_prefix_;
  std::map<size_t, size_t> prefix_lengths_;  // how many different prefixes have this length
};

}  // namespace fairlead::store
