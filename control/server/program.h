// `fairlead server`: its parts brought up in order, and down again.
//
// Threads: the main one; waits for SIGTERM or SIGINT.
#pragma once

#include "base/status.h"
#include "control/server/options.h"

namespace fairlead::server {

// Returns when the server has ended: ok after a signal, an error when it could not begin.
Status run_server(const Options& options);

}  // namespace fairlead::server
