// The one interface between Fairlead and a datapath: nftables, iptables, IPVS, eBPF, DPDK.
//
// A backend renders entries; it decides nothing. What it must promise:
//  - Rules outlive the process. start() adopts what an earlier run left; destruction removes
//  nothing;
//    only remove_all() does, and only what Fairlead owns.
//  - The cost of apply() follows the delta, never the table.
//  - A failed apply() loses nothing: the backend keeps (or can rebuild) what it had, and the caller
//    applies the same or a newer delta again. A delta is all or nothing for every single entry.
//  - One bad entry does not hold up the others: what the datapath refuses is named in Ack::refused.
//
// Threads: one writer thread calls everything.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "dataplane/table.h"

namespace fairlead::dataplane {

struct Refusal {
  EntryKey key;
  Status reason;
};

struct Ack {
  uint64_t generation = 0;
  std::vector<Refusal> refused;  // entries that stay as they were, to be tried again
  uint64_t operations = 0;       // kernel objects added or deleted: the cost of this delta
};

struct AuditReport {
  uint64_t checked = 0;   // kernel objects compared
  uint64_t repaired = 0;  // of them missing, wrong or foreign, and put right
  // True when the datapath lost so much that the caller must send a complete delta.
  bool needs_complete = false;
};

// A figure that the datapath keeps, exported as fairlead_backend_<name>. A name of kube-proxy's
// ("kubeproxy_...") is exported as it is, with one value for each label of that family.
struct Counter {
  std::string name;
  std::string help;
  double value = 0;
  bool monotonic = true;
  std::vector<std::string> labels = {};  // values, in the family's order
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;  // the --proxy-mode word

  // Have the kernel and the tools here what entries of `family` take? Asked before start(), and
  // leaves no rule. kUnavailable: that cannot be said now. Any other error: no; it says what is
  // missing and how to get it.
  virtual Status can_serve(Family /*family*/) { return {}; }

  // Installs the static part for `rules` and reads what an earlier run left. Traffic that the
  // earlier rules serve keeps flowing. Call once, first.
  virtual Status start(const NodeRules& rules) = 0;

  // Brings the datapath to the delta's generation.
  virtual Result<Ack> apply(const Delta& delta) = 0;

  // True when somebody else may have touched our rules since the last audit(), which is then due.
  // Cheap; called every few seconds.
  virtual bool disturbed() = 0;
  // A descriptor that is readable when disturbed() should be called at once, for what cannot wait
  // for the next call: a device that came, say. -1: there is none (yet).
  virtual int wake_fd() const { return -1; }

  // Compares what is installed with what was acknowledged and repairs the difference.
  virtual Result<AuditReport> audit() = 0;

  virtual std::vector<Counter> counters() = 0;

  // Another mode has taken over: begins no connection any more, whatever an earlier run in this
  // mode left, and may do away with what those that have begun do not need. After how long to ask
  // again, because connections would end with remove_all(); zero when nothing depends on this mode.
  virtual Result<std::chrono::seconds> release() { return std::chrono::seconds(0); }
  // Removes everything that Fairlead ever installs in this mode, from this run or an earlier one.
  virtual Status remove_all() = 0;
};

}  // namespace fairlead::dataplane
