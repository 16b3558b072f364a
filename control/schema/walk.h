// Visiting every struct of an object, outermost first, with its type: what rows that are keyed by
// types are applied through.
//
// Threads: pure functions.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "control/schema/types.h"
#include "control/schema/value.h"

namespace fairlead::schema {

// Where a value stands, as messages spell it: "spec.containers[0].name". Becomes text only then, so
// that a path costs nothing while all is well. A child refers to its parent, which must outlive it:
// path.child("a").child("b") does not compile.
struct FieldPath {
  const FieldPath* parent = nullptr;
  std::string_view name;  // without data: an element
  size_t index = 0;
  bool map_key = false;  // "[name]"

  std::string to_string() const;
  FieldPath child(std::string_view field) const& { return {this, field, 0, false}; }
  FieldPath element(size_t at) const& { return {this, {}, at, false}; }
  FieldPath key(std::string_view name_of_key) const& { return {this, name_of_key, 0, true}; }
  FieldPath child(std::string_view) const&& = delete;
  FieldPath element(size_t) const&& = delete;
  FieldPath key(std::string_view) const&& = delete;
};

using StructVisitor = std::function<void(Value& value, const Type& type, const FieldPath& path)>;
using ConstStructVisitor =
    std::function<void(const Value& value, const Type& type, const FieldPath& path)>;

// `visit` may change the value; what it adds is visited too.
void walk_structs(Value& value, const Shape& shape, const StructVisitor& visit);
void walk_structs(const Value& value, const Shape& shape, const ConstStructVisitor& visit);

}  // namespace fairlead::schema
