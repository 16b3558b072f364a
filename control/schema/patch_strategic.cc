#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "control/schema/json_text.h"
#include "control/schema/patch.h"

namespace fairlead::schema {

namespace {

constexpr std::string_view kDirective = "$patch";
constexpr std::string_view kRetainKeys = "$retainKeys";
constexpr std::string_view kElementOrder = "$setElementOrder/";
constexpr std::string_view kDeletePrimitives = "$deleteFromPrimitiveList/";
constexpr std::string_view kStrategicPatch = "apply strategic merge patch";

Status refuse(std::string_view object, std::string_view reason) {
  return Status::error(StatusCode::kInvalid, kStrategicPatch, object, reason);
}

// Elements by what identifies them: themselves, or the value of their merge key.
std::string identity(const Value& item, std::string_view key) {
  return to_json(key.empty() ? item : item.get(key));
}

class StrategicPatch {
 public:
  explicit StrategicPatch(Arena& arena) : arena_(arena) {}

  // `type` null: a map, whose values have `element`; both null: nothing is known of it.
  Status object(Value& target, const Value& patch, const Type* type, const Shape* element);

 private:
  Status member(Value& target, const Member& change, const Value& patch, const Type* type,
                const Shape* element);
  Status list(Value& target, const Value& patch, const Field& field);
  Status elements(Value& target, const Value& patch, const Field& field);
  void primitives(Value& target, const Value& patch);
  void delete_primitives(Value& target, const Value& doomed);
  void order(Value& list, const Value& wanted, const Value& before, std::string_view key);
  void retain_keys(Value& target, const Value& patch);
  // What a value is that was not there before: without its directives and nulls.
  Value plain(const Value& patch);

  Arena& arena_;
};

Value StrategicPatch::plain(const Value& patch) {
  if (patch.is_array()) {
    Value made = Value::array();
    for (const Value& item : patch.items()) {
      const std::string_view directive = item.get(kDirective).as_string();
      const bool bare = directive == "replace" && item.size() == 1;
      if (directive != "delete" && !bare) made.push(arena_, plain(item));
    }
    return made;
  }
  if (!patch.is_object()) return patch.clone(arena_);
  Value made = Value::object();
  if (patch.get(kDirective).as_string() == "delete") return made;
  for (const Member& each : patch.members()) {
    const bool directive = each.key == kDirective || each.key == kRetainKeys ||
                           each.key.starts_with(kElementOrder) ||
                           each.key.starts_with(kDeletePrimitives);
    if (directive || each.value.is_null()) continue;
    made.append(arena_, arena_.copy(each.key), plain(each.value));
  }
  return made;
}

void StrategicPatch::retain_keys(Value& target, const Value& patch) {
  const Value* keys = patch.find(kRetainKeys);
  if (!keys) return;
  std::unordered_set<std::string_view> retained;
  for (const Value& key : keys->items()) retained.insert(key.as_string());
  size_t kept = 0;
  const std::span<Member> members = target.members();
  for (const Member& each : members) {
    if (retained.count(each.key) > 0) members[kept++] = each;
  }
  target.truncate(kept);
}

Status StrategicPatch::object(Value& target, const Value& patch, const Type* type,
                              const Shape* element) {
  if (!target.is_object()) target = Value::object();
  if (const Value* directive = patch.find(kDirective)) {
    if (directive->as_string() == "replace") {
      target = Value::object();
      for (const Member& each : patch.members()) {
        if (each.key == kDirective || each.value.is_null()) continue;
        target.append(arena_, arena_.copy(each.key), plain(each.value));
      }
      return {};
    }
    if (directive->as_string() == "delete") {
      target = Value::object();
      return {};
    }
    if (directive->as_string() != "merge") {
      return refuse(kDirective, fmt::format("unknown directive {}", to_json(*directive)));
    }
  }
  retain_keys(target, patch);
  for (const Member& change : patch.members()) {
    RETURN_IF_ERROR(member(target, change, patch, type, element));
    if (arena_.full()) return refuse("body", "the result is too large in memory");
  }
  return {};
}

Status StrategicPatch::member(Value& target, const Member& change, const Value& patch,
                              const Type* type, const Shape* element) {
  if (change.key == kDirective || change.key == kRetainKeys) return {};
  const bool ordering = change.key.starts_with(kElementOrder);
  const bool deleting = change.key.starts_with(kDeletePrimitives);
  if (ordering || deleting) {
    const std::string_view name =
        change.key.substr((ordering ? kElementOrder : kDeletePrimitives).size());
    if (!change.value.is_array()) return refuse(change.key, "is not a list");
    Value* found = target.find(name);
    if (!found || !found->is_array()) return {};
    if (deleting) {
      delete_primitives(*found, change.value);
    } else if (!patch.find(name)) {
      // With a list of changes beside it, list() orders once they have been made.
      const Field* field = type ? type->find(name) : nullptr;
      const Value before = *found;
      order(*found, change.value, before, field ? field->patch_key : std::string_view());
    }
    return {};
  }
  if (change.value.is_null()) {
    target.erase(change.key);
    return {};
  }
  const Field* field = type ? type->find(change.key) : nullptr;
  const Shape* shape = field ? field->shape : element;
  Value* found = target.find(change.key);
  const bool mergeable_list = change.value.is_array() && field && field->is(kPatchMerge);
  if (!found && (change.value.is_object() || mergeable_list)) {
    // What is added goes the same way as what is changed, so that its directives are heeded.
    found = &target.append(arena_, arena_.copy(change.key),
                           change.value.is_object() ? Value::object() : Value::array());
  } else if (!found) {
    target.append(arena_, arena_.copy(change.key), change.value.clone(arena_));
    return {};
  }
  if (change.value.is_object() && !(field && field->is(kPatchReplace))) {
    const Type* inner = shape && shape->kind == Kind::kStruct ? shape->type : nullptr;
    const Shape* values = shape && shape->kind == Kind::kMap ? shape->element : nullptr;
    return object(*found, change.value, inner, values);
  }
  if (mergeable_list) {
    if (!found->is_array()) *found = Value::array();
    const Value before = found->clone(arena_);
    RETURN_IF_ERROR(list(*found, change.value, *field));
    const std::string order_key = std::string(kElementOrder).append(change.key);
    if (const Value* wanted = patch.find(order_key))
      order(*found, *wanted, before, field->patch_key);
    return {};
  }
  *found = plain(change.value);
  return {};
}

Status StrategicPatch::list(Value& target, const Value& patch, const Field& field) {
  if (!field.patch_key.empty()) return elements(target, patch, field);
  primitives(target, patch);
  return {};
}

void StrategicPatch::primitives(Value& target, const Value& patch) {
  std::unordered_set<std::string> present;
  for (const Value& item : target.items()) present.insert(to_json(item));
  for (const Value& item : patch.items()) {
    if (present.insert(to_json(item)).second) target.push(arena_, item.clone(arena_));
  }
}

void StrategicPatch::delete_primitives(Value& target, const Value& doomed) {
  std::unordered_set<std::string> gone;
  for (const Value& item : doomed.items()) gone.insert(to_json(item));
  size_t kept = 0;
  const std::span<Value> items = target.items();
  for (const Value& item : items) {
    if (gone.count(to_json(item)) == 0) items[kept++] = item;
  }
  target.truncate(kept);
}

Status StrategicPatch::elements(Value& target, const Value& patch, const Field& field) {
  const std::string_view key = field.patch_key;
  const Type* type = field.shape->element->type;
  for (const Value& item : patch.items()) {
    // One such element says that the list becomes what the others are.
    if (item.get(kDirective).as_string() != "replace") continue;
    target = Value::array();
    for (const Value& each : patch.items()) {
      if (!each.find(kDirective)) target.push(arena_, plain(each));
    }
    return {};
  }
  std::unordered_map<std::string, size_t> positions;
  for (size_t i = 0; i < target.size(); ++i) positions.emplace(identity(target.items()[i], key), i);
  std::vector<bool> erased(target.size());
  for (const Value& item : patch.items()) {
    if (!item.is_object()) return refuse(field.name, "an element of the list is not an object");
    if (!item.find(key)) {
      return refuse(field.name, fmt::format("map: {} does not contain declared merge key: {}",
                                            to_json(item).substr(0, 200), key));
    }
    const auto [found, added] = positions.emplace(identity(item, key), target.size());
    const bool remove = item.get(kDirective).as_string() == "delete";
    if (added) {
      target.push(arena_, Value::object());
      erased.push_back(remove);
      if (!remove) RETURN_IF_ERROR(object(target.items().back(), item, type, nullptr));
      continue;
    }
    if (remove) {
      erased[found->second] = true;
    } else {
      if (erased[found->second]) target.items()[found->second] = Value::object();
      erased[found->second] = false;
      RETURN_IF_ERROR(object(target.items()[found->second], item, type, nullptr));
    }
  }
  size_t kept = 0;
  const std::span<Value> items = target.items();
  for (size_t i = 0; i < items.size(); ++i) {
    if (!erased[i]) items[kept++] = items[i];
  }
  target.truncate(kept);
  return {};
}

// The elements that the patch orders come in its order; the others are put among them where they
// stood, as far as both orders allow.
void StrategicPatch::order(Value& list, const Value& wanted, const Value& before,
                           std::string_view key) {
  std::unordered_map<std::string, size_t> patch_order;
  for (const Value& item : wanted.items()) {
    patch_order.emplace(identity(item, key), patch_order.size());
  }
  std::unordered_map<std::string, size_t> server_order;
  for (const Value& item : before.items()) {
    server_order.emplace(identity(item, key), server_order.size());
  }
  struct Item {
    Value value;
    size_t patch = 0;
    size_t server = 0;
    bool known = false;  // to the server
  };
  std::vector<Item> ordered;
  std::vector<Item> others;
  for (const Value& value : list.items()) {
    const std::string id = identity(value, key);
    Item item{value};
    const auto at_server = server_order.find(id);
    item.known = at_server != server_order.end();
    item.server = item.known ? at_server->second : server_order.size();
    const auto in_patch = patch_order.find(id);
    if (in_patch == patch_order.end()) {
      others.push_back(item);
    } else {
      item.patch = in_patch->second;
      ordered.push_back(item);
    }
  }
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const Item& a, const Item& b) { return a.patch < b.patch; });
  std::stable_sort(others.begin(), others.end(),
                   [](const Item& a, const Item& b) { return a.server < b.server; });
  std::vector<Value> merged;
  auto other = others.begin();
  for (const Item& item : ordered) {
    while (other != others.end() && other->known && item.known && other->server < item.server) {
      merged.push_back((other++)->value);
    }
    merged.push_back(item.value);
  }
  for (; other != others.end(); ++other) merged.push_back(other->value);
  std::copy(merged.begin(), merged.end(), list.items().begin());
}

}  // namespace

Status apply_strategic_patch(Document& document, const Value& patch, const Type& type) {
  if (!patch.is_object()) return refuse("body", "the patch is not an object");
  return StrategicPatch(document.arena).object(document.root, patch, &type, nullptr);
}

}  // namespace fairlead::schema
