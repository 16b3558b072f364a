// Maglev consistent hashing (Eisenbud et al., NSDI 2016, section 3.4).
//
// Every slot of the table names one endpoint. Shares differ by at most one slot between endpoints
// of equal weight, and taking one endpoint away moves few slots that did not belong to it. All
// nodes that know the same endpoints build the same table.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/forwarding.h"

namespace fairlead::dataplane {

// The smallest prime of the built-in list that is at least 100 times `endpoints`, which keeps the
// paper's bound on imbalance (1 %); the largest of the list when none is.
uint32_t maglev_table_size(size_t endpoints);

// A table of `size` slots, each an index into `targets`. `targets` must be sorted and without
// duplicates (as in EndpointChoice), `size` prime and at least targets.size(). Empty in, empty out.
std::vector<uint32_t> maglev_table(std::span<const Target> targets, uint32_t size);

}  // namespace fairlead::dataplane
