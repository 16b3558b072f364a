// What the operator gave for the eBPF mode, in that mode's own terms.
//
// Threads: pure functions.
#pragma once

#include "bpf/options.h"
#include "proxy/config/config.h"

namespace fairlead::proxy {

// A connection tracking timeout of 0, which leaves the system's value elsewhere, is the mode's own
// default here: its flows are not in the system's table.
bpf::Options ebpf_options(const ProxyConfig& config);

}  // namespace fairlead::proxy
