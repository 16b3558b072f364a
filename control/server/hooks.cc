#include "control/server/hooks.h"

namespace fairlead::server {

Result<std::unique_ptr<apiserver::Registry>> open_hooked_registry(store::Store& store,
                                                                  apiserver::WorkerPool& pool,
                                                                  const HookOptions&) {
  return apiserver::open_registry(store, pool, apiserver::Hooks());
}

}  // namespace fairlead::server
