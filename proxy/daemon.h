// The node daemon put together: from a checked configuration to a running proxy, phase by phase.
//
// Threads: run_daemon() uses the calling thread for signals and waits; it starts the API client,
// the sync loop, the HTTP servers and the conntrack reconciler on threads of their own.
#pragma once

#include "base/status.h"
#include "proxy/config/load.h"

namespace fairlead::proxy {

// Runs until SIGTERM or SIGINT (ok), or until something ends it (why). The rules stay.
Status run_daemon(const Loaded& loaded);

// --cleanup: removes what any mode of this build installed, and only that. An error names each mode
// of which something stays, or may: what this process has no privileges to look for.
Status clean_up(const Loaded& loaded);

// --init-only: the kernel settings that need privileges. An error says what the configured mode
// lacks on this node, as run_daemon() would, or which setting could not be written.
Status initialize_node(const Loaded& loaded);

}  // namespace fairlead::proxy
