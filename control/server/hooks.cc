#include "control/server/hooks.h"

#include "control/apiserver/namespace_lifecycle.h"

namespace fairlead::server {

Result<std::unique_ptr<apiserver::Registry>> open_hooked_registry(store::Store& store,
                                                                  apiserver::WorkerPool& pool,
                                                                  const HookOptions&) {
  apiserver::Hooks hooks;
  hooks.admission.push_back(std::make_unique<apiserver::NamespaceLifecycle>(store));
  return apiserver::open_registry(store, pool, std::move(hooks));
}

}  // namespace fairlead::server
