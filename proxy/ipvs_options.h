// The IPVS mode's options, from the configuration.
//
// Threads: pure functions.
#pragma once

#include "ipvs/options.h"
#include "proxy/config/config.h"

namespace fairlead::proxy {

ipvs::Options ipvs_options(const ProxyConfig& config);

}  // namespace fairlead::proxy
