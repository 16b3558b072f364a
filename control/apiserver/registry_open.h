// Makes the registry over a store.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "control/apiserver/hooks.h"
#include "control/apiserver/registry.h"
#include "control/apiserver/worker_pool.h"
#include "control/store/store.h"

namespace fairlead::apiserver {

using SecondsClock = std::function<int64_t()>;  // seconds since 1970

int64_t system_seconds();

// The store and the pool must outlive it. The hooks are complete: nothing is added here.
std::unique_ptr<Registry> open_registry(store::Store& store, WorkerPool& pool, Hooks hooks,
                                        SecondsClock clock = system_seconds);

}  // namespace fairlead::apiserver
