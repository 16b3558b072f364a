// Flows of the programs that live on in the kernel's connection tracking when another mode takes
// over: it learns of each as if it had translated it itself. Until the programs are gone, that
// keeps it from giving a flow's port to a new connection; afterwards it translates the flow.
//
// Threads: any; one at a time for one pin path.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "bpf/conntrack_entries.h"
#include "bpf/layout.h"

namespace fairlead::bpf {

// Slot `number` of `fl_returns` as connection tracking has to know it; nullopt when there is
// nothing to go on: it is free, its connection closed, a question that was answered long ago
// (`newest`: the latest last_seen of all slots), or of a protocol whose state programs do not know.
// The time is that which the flow would have had from now on.
std::optional<TrackedFlow> tracked_flow(const fl_config& config, uint32_t number,
                                        const fl_return& slot, uint32_t newest);

// Tells connection tracking of the flows in one directory of pinned maps. Flows that end on the
// node itself are left alone: their packets meet connection tracking behind the programs, as
// another connection.
class FlowCarrier {
 public:
  // `maps`: the directory. kNotFound when no maps are there, kUnsupported when they are not of this
  // layout.
  static Result<FlowCarrier> open(const std::string& maps);
  ~FlowCarrier();
  FlowCarrier(FlowCarrier&&) noexcept;

  // While programs translate: entries last a few seconds, since nobody tells them when their
  // connection closes. Tells of what no earlier call has told of. `stale`: programs begin flows
  // still, so that what connection tracking knows of one is from before.
  Status tell(bool stale);
  // Before the programs go: what still lives gets the time that it would have had. The last call.
  Status hand_over();

  struct Counts {
    size_t flows = 0;
    size_t refused = 0;  // for want of room, in the way of a connection that the kernel knows, or
                         // since it takes none of their family
  };
  const Counts& counts() const { return counts_; }  // of all calls

 private:
  struct Pinned;
  explicit FlowCarrier(std::unique_ptr<Pinned> pinned);
  Result<std::vector<TrackedFlow>> live_flows();
  Status write(ConntrackEntries::Write how, std::span<const TrackedFlow> flows);

  std::unique_ptr<Pinned> pinned_;
  std::unordered_map<uint32_t, uint32_t> told_;  // claims by slot
  size_t held_ = 0;                              // entries that connection tracking has of them
  Counts counts_;
};

}  // namespace fairlead::bpf
