#include "control/apiserver/snapshots.h"

#include <algorithm>
#include <utility>

namespace fairlead::apiserver {

Snapshots::Shared Snapshots::share(const std::string& range, std::vector<store::EntryPtr> entries) {
  Shared known;
  {
    MutexLock lock(mutex_);
    if (const auto found = last_.find(range); found != last_.end()) known = found->second.lock();
  }
  // An entry never changes: the same pointers are the same state.
  if (known && *known == entries) return known;
  entries.shrink_to_fit();
  auto made = std::make_shared<const std::vector<store::EntryPtr>>(std::move(entries));
  MutexLock lock(mutex_);
  last_[range] = made;
  if (last_.size() >= sweep_at_) {
    std::erase_if(last_, [](const auto& each) { return each.second.expired(); });
    sweep_at_ = std::max<size_t>(64, 2 * last_.size());
  }
  return made;
}

}  // namespace fairlead::apiserver
