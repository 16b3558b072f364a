// What keeps the network stack translating connections that another mode began. The kernel takes
// itself out of packets' way when nobody asks for it any more: connection tracking with the last
// rule that translates (or looks at a connection's state), translation with the last base chain of
// type nat, each by family. So we have a chain without rules, and a rule that no packet gets to.
//
// Threads: any, one at a time; they speak to the network namespace of the calling thread.
#pragma once

#include "base/status.h"

namespace fairlead::bpf {

// Table fairlead-ebpf of both families, as far as the kernel has them: an error when it has
// neither. Once more does no harm.
Status keep_nat_hooks();
// Ok where there is none.
Status drop_nat_hooks();

}  // namespace fairlead::bpf
