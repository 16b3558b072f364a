// What the API refuses although it can be read: names, required fields, ranges, references between
// fields, and changes to what must not change.
//
// Checks are rows keyed by type where a row can say it, functions for the rest; objects of every
// kind get the checks of their metadata. Errors are in kube-apiserver's words, so that tools that
// look for them find them.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/schema/resources.h"
#include "control/schema/value.h"

namespace fairlead::schema {

struct FieldError {
  enum class Type {
    kRequired,
    kInvalid,
    kNotSupported,
    kDuplicate,
    kForbidden,
    kTooLong,
    kTooMany,
    kNotFound,
  };

  Type type;
  std::string field;    // "spec.containers[0].name"
  std::string message;  // "Invalid value: \"A\": a lowercase RFC 1123 label must ..."

  std::string to_string() const { return field + ": " + message; }
};

// The reason of a Status cause: "FieldValueInvalid", ...
std::string_view cause_reason(FieldError::Type type);

// Precondition: the object conforms to the resource's type and has its defaults, a name or a
// generateName, and the namespace of the request.
std::vector<FieldError> validate_create(const Value& object, const Resource& resource);
// The object that would replace `old`; a change of status alone is checked by the same rules.
// `subresource` is the one through which it is written: a few fields have one of their own.
std::vector<FieldError> validate_update(const Value& object, const Value& old,
                                        const Resource& resource,
                                        std::string_view subresource = {});

// `Pod "a" is invalid: spec.containers: Required value`; with more than one: `[..., ...]`.
std::string invalid_message(const Resource& resource, std::string_view name,
                            const std::vector<FieldError>& errors);

}  // namespace fairlead::schema
