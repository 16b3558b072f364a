#include "control/schema/walk.h"

namespace fairlead::schema {

namespace {

template <typename Node, typename Visitor>
void visit_all(Node& value, const Shape& shape, const Visitor& visit, const FieldPath& path) {
  switch (shape.kind) {
    case Kind::kStruct: {
      if (!value.is_object()) return;
      visit(value, *shape.type, path);
      for (auto& member : value.members()) {
        const Field* field = shape.type->find(member.key);
        if (field) visit_all(member.value, *field->shape, visit, path.child(member.key));
      }
      return;
    }
    case Kind::kList:
    case Kind::kWrappedList: {
      const Kind inner = shape.element->kind;
      if (inner != Kind::kStruct && inner != Kind::kList && inner != Kind::kMap) return;
      size_t index = 0;
      for (auto& item : value.items()) {
        visit_all(item, *shape.element, visit, path.element(index++));
      }
      return;
    }
    case Kind::kMap: {
      if (shape.element->kind != Kind::kStruct) return;
      for (auto& member : value.members()) {
        visit_all(member.value, *shape.element, visit, path.key(member.key));
      }
      return;
    }
    default:
      return;
  }
}

}  // namespace

std::string FieldPath::to_string() const {
  std::string text = parent ? parent->to_string() : std::string();
  if (!name.data() && !parent) return text;
  if (!name.data()) return text.append("[").append(std::to_string(index)).append("]");
  if (map_key) return text.append("[").append(name).append("]");
  if (!text.empty()) text.push_back('.');
  return text.append(name);
}

void walk_structs(Value& value, const Shape& shape, const StructVisitor& visit) {
  visit_all(value, shape, visit, FieldPath());
}

void walk_structs(const Value& value, const Shape& shape, const ConstStructVisitor& visit) {
  visit_all(value, shape, visit, FieldPath());
}

}  // namespace fairlead::schema
