// The steps of a write that need nothing but the objects.
//
// Threads: pure functions.
#pragma once

#include <string_view>

#include "control/apiserver/registry_impl.h"

namespace fairlead::apiserver {

// Name, uid, times and what the kind's row adds.
Outcome<Done0> prepare_create(WriteRequest& request, schema::Document& next, int64_t now);
// What an update cannot change stays as it was; resourceVersion and uid are compared.
Outcome<Done0> prepare_update(WriteRequest& request, schema::Document& next,
                              const schema::Value& old);
// Managed fields and validation. `old` is null for creations.
Outcome<Done0> track_and_check(WriteRequest& request, schema::Document& next,
                               const schema::Value* old, int64_t now);
// The last thing that held a removed object up is gone.
bool is_finished(const schema::Value& next, const schema::Value& old);
// The answer for a write that is not read back from the store.
ObjectPtr presented(const WriteRequest& request, const schema::Document& next,
                    store::Revision revision);

// A PUT's body, whatever its subresource shows, as the whole object in the storage version.
void fit_into(const WriteRequest& request, schema::Document& next, const schema::Value& old);
// Checks a patch once for all attempts.
Outcome<Done0> take_patch(WriteRequest& request, PatchType type, schema::Document& patch);
// What the patch makes of `old` (null: nothing is there), in the storage version.
Outcome<schema::Document> patched(WriteRequest& request, PatchType type,
                                  const schema::Document& patch, bool force,
                                  const schema::Value* old, int64_t now);

}  // namespace fairlead::apiserver
