#include "proxy/refused_entries.h"

#include <algorithm>
#include <utility>

namespace fairlead::proxy {

using dataplane::EntryKey;
using dataplane::EntryPointer;

void RefusedEntries::hold_back(dataplane::Delta& pending, Time now) {
  const bool all = pending.complete || !retry_at_ || now >= *retry_at_;
  std::map<EntryKey, Held> still_held;
  if (all) {
    retry_at_.reset();
  } else {
    std::erase_if(pending.upserted, [&](const EntryPointer& entry) {
      const auto found = held_.find(entry->key);
      const bool unchanged = found != held_.end() && found->second.entry == entry;
      if (unchanged) still_held.insert(*found);
      return unchanged;
    });
  }
  held_ = std::move(still_held);
}

std::vector<dataplane::Refusal> RefusedEntries::note(const dataplane::Delta& delta,
                                                     const dataplane::Ack& ack, Time retry) {
  for (const dataplane::Refusal& refusal : ack.refused) {
    const auto entry =
        std::lower_bound(delta.upserted.begin(), delta.upserted.end(), refusal.key,
                         [](const EntryPointer& a, const EntryKey& key) { return a->key < key; });
    const bool found = entry != delta.upserted.end() && (*entry)->key == refusal.key;
    held_.insert_or_assign(refusal.key, Held{found ? *entry : nullptr, refusal.reason});
  }
  if (held_.empty()) {
    retry_at_.reset();
  } else if (!retry_at_) {
    retry_at_ = retry;
  }
  std::vector<dataplane::Refusal> standing;
  for (const auto& [key, held] : held_) standing.push_back({key, held.reason});
  return standing;
}

}  // namespace fairlead::proxy
