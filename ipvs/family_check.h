// Does everything that the mode needs work in one IP family? Each has its own kernel modules and
// its own tools.
//
// Threads: the backend's.
#pragma once

#include "base/status.h"
#include "dataplane/address.h"
#include "iptables/tool.h"
#include "ipvs/sets.h"
#include "ipvs/virtual_servers.h"

namespace fairlead::ipvs {

// Leaves nothing behind. kUnavailable: cannot be said now. Any other error: no, and how to get what
// is missing.
Status check_family(VirtualServers& servers, Sets& sets, iptables::Tool& tool,
                    dataplane::Family family);

}  // namespace fairlead::ipvs
