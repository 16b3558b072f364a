// The desired state: every service's entries, and the difference that a backend must render.
//
// Entries are replaced service by service; what did not change is not in the delta. Two services
// may claim the same virtual address (an externalIP is anybody's to write down): the older service
// keeps it, ties go to the smaller name, on every node alike; the other is served on its remaining
// addresses and its loss is reported.
//
// Threads: one owner (the sync thread). Entries may be read anywhere.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

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

  // Replaces all entries of `service` by `entries` (none: the service goes). Other services change
  // too when a virtual address passes to or from them.
  void replace(const ObjectName& service, std::vector<ForwardingEntry> entries);

  // Everything that changed and is not acknowledged yet, in its newest state, ordered by key.
  // `generation` and `node` are left for the caller.
  Delta pending() const;
  bool has_pending() const;
  // The backend has rendered `delta` but for `refused`; what changed since stays pending.
  void acknowledge(const Delta& delta, const std::vector<EntryKey>& refused);
  // Makes every entry pending again: the next delta is complete.
  void forget_acknowledged();

  EntryPointer find(const EntryKey& key) const;  // null when there is none
  std::vector<EntryPointer> find_service(const ObjectName& service) const;
  size_t size() const;  // entries
  size_t services() const;
  std::vector<EntryPointer> entries() const;  // each entry once, in no order
  // The conflicts that stand now, in order of the loser's key.
  std::vector<FrontendConflict> conflicts() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What turns `from` into `to`.
Delta diff(const ForwardingTable& from, const ForwardingTable& to);

}  // namespace fairlead::dataplane
