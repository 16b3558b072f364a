// From what the operator wrote to what it means: Settings to ProxyConfig, with every mistake.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <vector>

#include "proxy/config/config.h"
#include "proxy/config/options.h"

namespace fairlead::proxy {

struct Validated {
  ProxyConfig config;  // meaningful without errors only
  std::vector<std::string> warnings;
  std::vector<std::string> errors;
};

// `layer` is flags and file together. Writes what is in effect back into its settings (addresses
// with their defaults, names trimmed), so that they can be shown.
Validated validate(Layer& layer);

}  // namespace fairlead::proxy
