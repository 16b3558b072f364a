// The objects that every cluster has: the system's namespaces and the service `kubernetes` with the
// endpoints of this server.
//
// Threads: one caller; blocks.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "control/apiserver/registry.h"

namespace fairlead::server {

struct SystemObjects {
  std::string service_address;  // of the service `kubernetes`
  std::string server_address;   // where it leads; loopback: no endpoints are written
  uint16_t server_port = 6443;
};

// Creates what is missing and mends what differs. kUnavailable: the store does not answer yet.
Status ensure_system_objects(apiserver::Registry& registry, const SystemObjects& what);

}  // namespace fairlead::server
