// Leases and the keys that hang on them, with time passed in.
//
// A deadline is moved by grant and keep_alive alone; what expired() names stays in the table until
// it is removed, so that a removal which cannot be written now is tried again.
//
// Threads: owned by one.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/store/store.h"

namespace fairlead::store {

class LeaseTable {
 public:
  using Time = std::chrono::steady_clock::time_point;

  bool contains(LeaseId id) const { return leases_.contains(id); }
  void grant(LeaseId id, std::chrono::seconds ttl, Time now);
  // The granted time to live; empty when there is no such lease.
  std::optional<std::chrono::seconds> keep_alive(LeaseId id, Time now);
  // Its keys, in order; the lease is gone.
  std::vector<std::string> remove(LeaseId id);

  // The key's change from one entry (null: none) to the next. A lease that is gone is passed over.
  void follow(const EntryPtr& previous, const EntryPtr& entry);

  std::optional<Time> next_deadline() const;
  std::vector<LeaseId> expired(Time now) const;

 private:
  struct Held {
    std::chrono::seconds ttl{0};
    Time deadline;
    std::set<std::string, std::less<>> keys;
  };

  std::unordered_map<LeaseId, Held> leases_;
  std::set<std::pair<Time, LeaseId>> deadlines_;
};

}  // namespace fairlead::store
