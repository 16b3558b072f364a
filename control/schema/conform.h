// Makes an untyped document an object of its type: the check that every body passes, and the one
// form in which objects are stored and compared.
//
// Wrong types are errors, in the words of kube-apiserver. Unknown and duplicate fields are dropped
// and complained about; fieldValidation decides what becomes of the complaints. What conforms has
// sorted keys, no nulls, no empty optional values, no empty lists, canonical quantities and times,
// and a value wherever Go's struct has one that cannot be absent.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "control/schema/types.h"
#include "control/schema/value.h"

namespace fairlead::schema {

enum class FieldValidation { kIgnore, kWarn, kStrict };

// "Ignore", "Warn", "Strict", or "" for the default, which is Warn.
Result<FieldValidation> parse_field_validation(std::string_view text);

enum class Conform {
  kObject,   // all of the above
  kPartial,  // a patch or an applied configuration: only what is written, zero values included
};

// Complaints: `unknown field "spec.foo"`, `duplicate field "spec.replicas"`; their number is
// bounded. Null: nobody asks.
Status conform(Document& document, const Shape& shape, Conform mode,
               std::vector<std::string>* complaints);

// `strict decoding error: unknown field "a", unknown field "b"`
std::string strict_error(const std::vector<std::string>& complaints);

// The same order and absence of duplicates and nulls for a value without a type.
void sort_deep(Value& value);

}  // namespace fairlead::schema
