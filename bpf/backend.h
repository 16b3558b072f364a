// The eBPF mode: programs at sockets, tc and XDP over one set of pinned maps.
//
// docs/ebpf.md describes the programs, the maps and the life cycle.
#pragma once

#include <memory>

#include "base/status.h"
#include "bpf/options.h"
#include "dataplane/backend.h"

namespace fairlead::bpf {

// What the kernel and this process lack for the mode, each with how to get it; ok when nothing.
Status probe();

// A backend on the network namespace of the calling thread.
Result<std::unique_ptr<dataplane::Backend>> create_backend(Options options);

}  // namespace fairlead::bpf
