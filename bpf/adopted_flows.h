// Flows that another mode began and programs go on with: what connection tracking has translated is
// entered into the programs' maps. carried_flows.h is the way out.
//
// Threads: the owner of the tables.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "bpf/conntrack_entries.h"
#include "bpf/tables.h"

namespace fairlead::bpf {

class Object;

// Called while programs stand aside: they translate the flows that they have and begin none. The
// entries of connection tracking stay, which therefore gives the ports of these flows to nobody
// else.
//
// Left to it: what begins or ends on the node itself, for those packets meet it before or behind
// the programs; what it masquerades with a port that the node's sockets use, whom nobody else would
// keep from taking the same one; connections of which one side has closed; and those to endpoints
// that no service has.
struct AdoptedFlows {
  size_t adopted = 0;
  size_t left = 0;  // of services
};
Result<AdoptedFlows> adopt_flows(const Object& object, const Tables& tables);

// Whether connection tracking has to translate a TCP connection to a service still.
Result<bool> connections_are_left(const Object& object, const Tables& tables);

}  // namespace fairlead::bpf
