#include "control/server/hooks.h"

#include "control/apiserver/namespace_lifecycle.h"

namespace fairlead::server {

std::unique_ptr<apiserver::Registry> open_hooked_registry(store::Store& store,
                                                          apiserver::WorkerPool& pool,
                                                          const apiserver::ServiceRanges& ranges) {
  apiserver::Hooks hooks;
  hooks.admission.push_back(std::make_unique<apiserver::NamespaceLifecycle>(store));
  hooks.reservers.push_back(std::make_unique<apiserver::ServiceReserver>(store, pool, ranges));
  return apiserver::open_registry(store, pool, std::move(hooks));
}

}  // namespace fairlead::server
