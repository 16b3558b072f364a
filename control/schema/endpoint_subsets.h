// The subsets of Endpoints in one form for all that say the same, as kube-apiserver and its
// controllers repack them (RepackSubsets of k8s.io/kubernetes/pkg/api/v1/endpoints): each port goes
// to the set of addresses that offer it, ports with the same set share a subset, everything is
// sorted.
//
// Threads: pure functions.
#pragma once

#include "control/schema/value.h"

namespace fairlead::schema {

// `subsets` conforms to a list of core.v1.EndpointSubset. An address that is given twice for a
// port, ready and not, is not ready. Addresses are told apart by IP and by the uid of what they
// stand for.
Value repack_subsets(Arena& arena, const Value& subsets);

}  // namespace fairlead::schema
