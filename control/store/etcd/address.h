// The address of an etcd cluster: etcd://host:port,host:port/prefix
//
// Threads: free functions without shared state.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::store {

struct EtcdAddress {
  std::vector<std::string> endpoints;  // "host:port", "[address]:port"; at least one
  std::string prefix;                  // begins with "/" and does not end with it, or is empty
};

// kInvalid names the part that is wrong.
Result<EtcdAddress> parse_etcd_address(std::string_view text);

}  // namespace fairlead::store
