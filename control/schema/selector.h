// Label and field selectors: the query parameters of list and watch, and the selectors in objects.
//
// Labels: "a=b", "a==b", "a!=b", "a in (b,c)", "a notin (b,c)", "a", "!a", "a>1", "a<1", joined by
// commas. Fields: "=", "==" and "!=", of fields that the resource has selectable.
//
// Threads: immutable once parsed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "control/schema/resources.h"
#include "control/schema/value.h"

namespace fairlead::schema {

struct Requirement {
  enum class Op { kIn, kNotIn, kExists, kAbsent, kGreater, kLess };

  std::string key;
  Op op = Op::kExists;
  std::vector<std::string> values;  // sorted
};

class LabelSelector {
 public:
  static Result<LabelSelector> parse(std::string_view text);
  // A meta.v1.LabelSelector; null selects nothing, an empty one everything.
  static Result<LabelSelector> from_object(const Value& selector);
  // A plain map, as Services have it.
  static LabelSelector from_map(const Value& labels);

  bool matches(const Value& labels) const;
  bool empty() const { return requirements_.empty() && !nothing_; }
  const std::vector<Requirement>& requirements() const { return requirements_; }
  // The query parameter that parses to this.
  std::string to_string() const;

 private:
  std::vector<Requirement> requirements_;
  bool nothing_ = false;
};

class FieldSelector {
 public:
  // A field that the resource does not have selectable is an error in the API's words.
  static Result<FieldSelector> parse(std::string_view text, const Resource& resource);

  bool matches(const Value& object) const;
  bool empty() const { return terms_.empty(); }
  // The value that metadata.name must have; empty when it may be any.
  std::string_view name() const;

 private:
  struct Term {
    std::string path;
    std::string value;
    bool equal = true;
  };
  std::vector<Term> terms_;
};

}  // namespace fairlead::schema
