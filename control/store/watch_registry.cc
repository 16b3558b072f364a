#include "control/store/watch_registry.h"

namespace fairlead::store {

void WatchRegistry::add(Watcher* watcher) {
  Groups& groups = watcher->prefix ? by_prefix_ : exact_;
  const auto [group, is_new] = groups.try_emplace(watcher->key);
  if (is_new && watcher->prefix) ++prefix_lengths_[watcher->key.size()];
  watcher->slot = group->second.size();
  group->second.push_back(watcher);
}

void WatchRegistry::remove(Watcher* watcher) {
  Groups& groups = watcher->prefix ? by_prefix_ : exact_;
  const auto group = groups.find(watcher->key);
  std::vector<Watcher*>& members = group->second;
  members[watcher->slot] = members.back();
  members[watcher->slot]->slot = watcher->slot;
  members.pop_back();
  if (!members.empty()) return;
  groups.erase(group);
  if (!watcher->prefix) return;
  const auto length = prefix_lengths_.find(watcher->key.size());
  if (--length->second == 0) prefix_lengths_.erase(length);
}

}  // namespace fairlead::store
