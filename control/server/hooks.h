// The registry with everything that this server asks on the way of a write.
//
// Threads: one caller.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "control/apiserver/registry_open.h"

namespace fairlead::server {

struct HookOptions {
  std::string service_range;
  std::string node_ports;
};

Result<std::unique_ptr<apiserver::Registry>> open_hooked_registry(store::Store& store,
                                                                  apiserver::WorkerPool& pool,
                                                                  const HookOptions& options);

}  // namespace fairlead::server
