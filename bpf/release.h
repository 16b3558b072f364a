// Leaving the node to another mode without a lost packet.
//
// Threads: any.
#pragma once

#include <string>

#include "base/status.h"

namespace fairlead::bpf {

// Tells programs that are attached to begin no connection any more: they go on with flows that they
// know and pass everything else to the network stack. False when nothing is pinned. Connection
// tracking learns of those flows, so that no new connection gets the port of one. Precondition: the
// rules of the other mode stand.
Result<bool> release_pins(const std::string& pin_path);

// Call before the programs are detached for good: connection tracking goes on with their flows.
void hand_over_flows(const std::string& pin_path);

}  // namespace fairlead::bpf
