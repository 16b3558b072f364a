// What a plain (unquoted) YAML scalar means: the YAML 1.1 rules as Kubernetes' tools apply them,
// where "on" and "y" are booleans, a leading zero means octal, and dates stay strings.
//
// Threads: pure function.
#pragma once

#include <string>
#include <string_view>

namespace fairlead::api {

enum class ScalarKind {
  kString,
  kNull,
  kBoolean,
  kNumber,
  kMerge,      // "<<"
  kNotInJson,  // .inf and .nan
};

struct PlainScalar {
  ScalarKind kind = ScalarKind::kString;
  std::string json;  // for null, booleans and numbers
};

PlainScalar resolve_plain_scalar(std::string_view text);

}  // namespace fairlead::api
