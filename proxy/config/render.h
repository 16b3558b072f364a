// The configuration as text: what --write-config-to writes and what /configz answers.
//
// Both hold the options that have an effect here, in the shape of KubeProxyConfiguration, and our
// own under `fairlead`.
//
// Threads: pure functions.
#pragma once

#include <string>

#include "proxy/config/settings.h"

namespace fairlead::proxy {

std::string to_yaml(const Settings& settings);
// {"kubeproxy.config.k8s.io": {...}}
std::string to_configz(const Settings& settings);

}  // namespace fairlead::proxy
