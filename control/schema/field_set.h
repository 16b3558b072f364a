// Sets of fields: who owns what in an object, as metadata.managedFields records it (fieldsV1).
//
// A path element is spelled as in fieldsV1: "f:name" a field or map key, "k:{...}" a list element
// by its keys, "v:..." an element of a set by its value. A node is a member of the set, has members
// below it, or both.
//
// Threads: values.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/status.h"
#include "control/schema/value.h"

namespace fairlead::schema {

class FieldSet {
 public:
  bool member = false;
  std::map<std::string, FieldSet, std::less<>> children;

  // fieldsV1 as a document: at most `depth` levels, elements well spelled.
  static Result<FieldSet> from_value(const Value& fields, size_t depth = 128);
  Value to_value(Arena& arena) const;

  bool empty() const { return !member && children.empty(); }
  const FieldSet* find(std::string_view element) const;

  void add(const FieldSet& other);
  void remove(const FieldSet& other);
  FieldSet intersect(const FieldSet& other) const;
  bool operator==(const FieldSet& other) const = default;

  // ".spec.containers[name=\"a\"].image", one line a member, in order; at most `limit`.
  std::vector<std::string> paths(size_t limit) const;

 private:
  void collect(const std::string& prefix, size_t limit, std::vector<std::string>* paths) const;
  bool prune();  // drops empty children; true when nothing is left
};

// "f:spec"
std::string field_element(std::string_view name);
// "v:..."
std::string value_element(const Value& value);

}  // namespace fairlead::schema
