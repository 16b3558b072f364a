// The desired state: every service's entries, and the difference that a backend must render.
//
// Entries are replaced service by service; what did not change is not in the delta. Two services may
// claim the same virtual address (an externalIP is anybody's to write down): the older service keeps it,
// ties go to the smaller name, on every node alike; the other is served on its remaining addresses and
// its loss is reported.
//
// Threads: one owner (the sync thread). Entries may be read anywhere.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "dataplane/forwarding.h"

namespace fairlead::dataplane {

struct Delta {
  uint64_t generation = 0;
  // True for the first delta of a run: `upserted` is the whole table and whatever else the backend
  // finds installed goes.
  bool complete = false;
  std::vector<EntryPointer> upserted;
  std::vector<EntryKey> removed;
  std::shared_ptr<const NodeRules> node;  // null: unchanged

  bool empty() const { return !complete && upserted.empty() && removed.empty() && !node; }
};

// A virtual address that a service asked for and another one holds.
struct FrontendConflict {
  EntryKey loser;
  EntryKey winner;
  Frontend frontend;

  friend bool operator==(const FrontendConflict&, const FrontendConflict&) = default;
};

class ForwardingTable {
 public:
  ForwardingTable();
  ~ForwardingTable();

  // Replaces all entries of `service` by `entries` (none: the service goes) and appends to `delta` what
  // this changes, for other services too when a virtual address passes to or from them. A key that
  // `delta` mentioned before is not mentioned twice: the newest state counts.
  void replace(const ObjectName& service, std::vector<ForwardingEntry> entries, Delta& delta);

  EntryPointer find(const EntryKey& key) const;  // null when there is none
  size_t size() const;                           // entries
  // Each entry once, in no order.
  std::vector<EntryPointer> entries() const;
  // The conflicts that stand now, in order of the loser's key.
  std::vector<FrontendConflict> conflicts() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What turns `from` into `to`.
Delta diff(const ForwardingTable& from, const ForwardingTable& to);

}  // namespace fairlead::dataplane
