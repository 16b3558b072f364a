// Leaving the node to another mode without a lost packet.
//
// Threads: any.
#pragma once

#include <string>

#include "base/status.h"

namespace fairlead::bpf {

// Tells programs that are attached to begin no connection any more: they go on with flows that they
// know and pass everything else to the network stack. False when nothing is pinned.
Result<bool> release_pins(const std::string& pin_path);

}  // namespace fairlead::bpf
