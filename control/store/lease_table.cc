#include "control/store/lease_table.h"

namespace fairlead::store {

void LeaseTable::grant(LeaseId id, std::chrono::seconds ttl, Time now) {
  Held& lease = leases_[id];
  lease.ttl = ttl;
  lease.deadline = now + ttl;
  deadlines_.emplace(lease.deadline, id);
}

std::optional<std::chrono::seconds> LeaseTable::keep_alive(LeaseId id, Time now) {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return std::nullopt;
  deadlines_.erase({found->second.deadline, id});
  found->second.deadline = now + found->second.ttl;
  deadlines_.emplace(found->second.deadline, id);
  return found->second.ttl;
}

std::vector<std::string> LeaseTable::remove(LeaseId id) {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return {};
  std::vector<std::string> keys(found->second.keys.begin(), found->second.keys.end());
  deadlines_.erase({found->second.deadline, id});
  leases_.erase(found);
  return keys;
}

void LeaseTable::follow(const EntryPtr& previous, const EntryPtr& entry) {
  const LeaseId before = previous ? previous->lease : 0;
  const LeaseId after = entry ? entry->lease : 0;
  if (before == after) return;
  if (const auto found = leases_.find(before); found != leases_.end()) {
    found->second.keys.erase(previous->key);
  }
  if (const auto found = leases_.find(after); found != leases_.end()) {
    found->second.keys.insert(entry->key);
  }
}

std::optional<LeaseTable::Time> LeaseTable::next_deadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

std::vector<LeaseId> LeaseTable::expired(Time now) const {
  std::vector<LeaseId> ids;
  for (const auto& [deadline, id] : deadlines_) {
    if (deadline > now) break;
    ids.push_back(id);
  }
  return ids;
}

}  // namespace fairlead::store
