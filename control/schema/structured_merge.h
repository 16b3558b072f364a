// Merging, comparing and pruning objects by the rules of their types (structured merge and diff,
// KEP-555): maps and structs are merged, lists too where their elements have keys or are a set, all
// else is atomic.
//
// Threads: pure functions.
#pragma once

#include "base/status.h"
#include "control/schema/field_set.h"
#include "control/schema/types.h"
#include "control/schema/value.h"

namespace fairlead::schema {

// All that a configuration says. An element that repeats in a list with keys, or has none of its
// keys, is an error.
Result<FieldSet> fields_of(const Value& value, const Type& type);

struct Difference {
  FieldSet added;
  FieldSet removed;
  FieldSet modified;
};
// Elements that repeat in live objects are compared by their first.
Difference compare(const Value& before, const Value& after, const Type& type);

// `applied` over `live`: what both have is the applied one's, elements are ordered as applied, with
// those of the live object where they stood.
Value merge_applied(const Value& live, const Value& applied, const Type& type, Arena& arena);

// Takes the members of `doomed` out of the value, but for those that `kept` has.
void prune_fields(Value& value, const FieldSet& doomed, const FieldSet& kept, const Type& type);

}  // namespace fairlead::schema
