// Server-side apply and who owns which field: metadata.managedFields.
//
// Every write has a manager. An apply owns what its configuration says, takes away what it said
// before and nobody else owns, and is refused where it would change what another manager owns,
// unless it is forced. Any other write owns what it changed.
//
// Threads: pure functions; the caller says what time it is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "control/schema/types.h"
#include "control/schema/value.h"

namespace fairlead::schema {

struct FieldManager {
  std::string_view name;         // at most 128 characters
  std::string_view api_version;  // of the request: "apps/v1"
  std::string_view subresource;  // empty: none
  int64_t now = 0;               // seconds since 1970
  // What this endpoint does not store and its manager cannot own ("status", or "spec" and
  // "metadata" of the status subresource).
  std::vector<std::string_view> ignored;
};

struct ApplyConflict {
  std::string manager;
  std::string api_version;
  std::vector<std::string> fields;  // ".spec.replicas"
};

// Applies a configuration to an object: `live` becomes the merged object, with its managedFields.
// For an object that does not exist yet, `live` is an empty one that conforms to the type.
// Preconditions: `live` conforms; `config` does as Conform::kPartial.
// With conflicts and without `force`, they are returned and `live` is unchanged.
Result<std::vector<ApplyConflict>> apply_configuration(Document& live, const Value& config,
                                                       const Type& type,
                                                       const FieldManager& manager, bool force);

// Records in `object`'s managedFields what a create, update or patch by `manager` changed since
// `before` (an empty object that conforms, for a create). managedFields in `object` that cannot be
// read are replaced by those of `before`; a list of one empty entry there resets them.
void track_update(Document& object, const Value& before, const Type& type,
                  const FieldManager& manager);

// "Apply failed with 1 conflict: conflict with \"x\" using apps/v1: .spec.replicas"
std::string conflict_message(const std::vector<ApplyConflict>& conflicts);

}  // namespace fairlead::schema
