// A table as text that does not depend on the numbers that it uses, so that two can be compared.
//
// Threads: as KernelState.
#pragma once

#include <string>
#include <vector>

#include "nftables/kernel_state.h"

namespace fairlead::nftables {

// A line for each element, and for each that leads to an endpoint set, the set's class and its
// endpoints. Of the elements inside sets only how many there are: none may be left over.
std::vector<std::string> describe_elements(KernelState& kernel, dataplane::Family family);

}  // namespace fairlead::nftables
