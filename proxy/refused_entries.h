// The entries that the backend has refused: kept out of deltas until their time has come or they
// have changed, so that neither new changes wait for them nor every delta pays for trying them.
//
// Threads: one owner (the sync thread).
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <vector>

#include "base/status.h"
#include "dataplane/backend.h"

namespace fairlead::proxy {

class RefusedEntries {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Takes those that wait out of `pending`; a complete delta keeps all, and so does one at or after
  // retry_at().
  void hold_back(dataplane::Delta& pending, Time now);
  // What became of that delta. New refusals wait until `retry` unless others wait already. Returns
  // all that stand.
  std::vector<dataplane::Refusal> note(const dataplane::Delta& delta, const dataplane::Ack& ack,
                                       Time retry);
  // Nothing waits any more: the next delta has all.
  void release() { retry_at_.reset(); }
  const std::optional<Time>& retry_at() const { return retry_at_; }  // nullopt: none waits

 private:
  struct Held {
    dataplane::EntryPointer entry;  // null: it was a removal
    Status reason;
  };
  std::map<dataplane::EntryKey, Held> held_;
  std::optional<Time> retry_at_;
};

}  // namespace fairlead::proxy
