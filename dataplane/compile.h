// Kubernetes service semantics, decided once.
//
// compile() is pure: the same service, endpoints and view give the same entries, with no clock, no
// I/O and no logging. It works service by service, so the sync loop compiles only what changed. The
// rules are those of kube-proxy 1.30 and later; each is named where it is decided, and
// docs/semantics.md lists them with the places where Fairlead differs.
//
// Threads: pure functions.
#pragma once

#include <span>
#include <vector>

#include "dataplane/forwarding.h"
#include "dataplane/model.h"

namespace fairlead::dataplane {

// One entry for each (port, family in view.families) for which the service has any address or node
// port. `groups` are the service's endpoint groups, in any order; a port without a group has no
// endpoints.
std::vector<ForwardingEntry> compile(const Service& service, std::span<const EndpointGroup> groups,
                                     const CompileView& view);

// The answer of a service's healthCheckNodePort: how many distinct local ready addresses it has, in
// the family that has more, since a dual-stack pod has one in each. Terminating endpoints never
// count (KEP-1669).
size_t count_local_ready_addresses(std::span<const EndpointGroup> groups);

}  // namespace fairlead::dataplane
