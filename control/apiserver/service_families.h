// Which families of addresses a service has: ipFamilyPolicy, ipFamilies and clusterIPs settled
// together. https://kubernetes.io/docs/concepts/services-networking/dual-stack/
//
// Threads: pure functions.
#pragma once

#include <string>
#include <vector>

#include "control/apiserver/hooks.h"
#include "control/apiserver/service_reserver.h"

namespace fairlead::apiserver {

// Writes ipFamilyPolicy and ipFamilies into `write.next`; the families, none for ExternalName.
Outcome<std::vector<std::string>> settle_families(Write& write, const ServiceRanges& ranges);

}  // namespace fairlead::apiserver
