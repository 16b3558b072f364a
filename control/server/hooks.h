// The registry with everything that this server asks on the way of a write.
//
// Threads: one caller.
#pragma once

#include <memory>

#include "control/apiserver/registry_open.h"
#include "control/apiserver/service_reserver.h"

namespace fairlead::server {

// Admission: the life of namespaces. Reservations: addresses and ports of services.
// The store and the pool must outlive it.
std::unique_ptr<apiserver::Registry> open_hooked_registry(store::Store& store,
                                                          apiserver::WorkerPool& pool,
                                                          const apiserver::ServiceRanges& ranges);

}  // namespace fairlead::server
