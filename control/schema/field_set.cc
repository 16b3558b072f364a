#include "control/schema/field_set.h"

#include <fmt/format.h>

#include "control/schema/json_text.h"

namespace fairlead::schema {

namespace {

constexpr std::string_view kSelf = ".";

Status bad_fields(std::string_view element, std::string_view reason) {
  return Status::error(StatusCode::kInvalid, "read", "fieldsV1",
                       fmt::format("{}: {}", element.substr(0, 64), reason));
}

// "k:{"name":"a"}" to `[name="a"]`.
std::string spelled(std::string_view element) {
  const std::string_view rest = element.substr(2);
  switch (element.front()) {
    case 'f':
      return fmt::format(".{}", rest);
    case 'v':
      return fmt::format("[={}]", rest);
    case 'i':
      return fmt::format("[{}]", rest);
    default:
      break;
  }
  const Result<Document> keys = parse_json(rest);
  if (!keys.ok()) return fmt::format("[{}]", rest);
  std::string text;
  for (const Member& key : keys->root.members()) {
    text += (text.empty() ? "" : ",") + std::string(key.key) + "=" + to_json(key.value);
  }
  return "[" + text + "]";
}

}  // namespace

Result<FieldSet> FieldSet::from_value(const Value& fields, size_t depth) {
  FieldSet set;
  if (!fields.is_object()) return bad_fields(to_json(fields), "is not an object");
  if (depth == 0) return bad_fields("", "nested too deep");
  for (const Member& each : fields.members()) {
    if (each.key == kSelf) {
      set.member = true;
      continue;
    }
    const bool known = each.key.size() >= 2 && each.key[1] == ':' &&
                       std::string_view("fkvi").find(each.key[0]) != std::string_view::npos;
    if (!known) return bad_fields(each.key, "is no path element");
    FieldSet child;
    ASSIGN_OR_RETURN(child, from_value(each.value, depth - 1));
    // A node without anything is a member.
    if (each.value.empty()) child.member = true;
    set.children[std::string(each.key)] = std::move(child);
  }
  return set;
}

Value FieldSet::to_value(Arena& arena) const {
  Value value = Value::object();
  if (member && !children.empty()) value.append(arena, kSelf, Value::object());
  for (const auto& [element, child] : children) {
    value.append(arena, arena.copy(element), child.to_value(arena));
  }
  return value;
}

const FieldSet* FieldSet::find(std::string_view element) const {
  const auto found = children.find(element);
  return found == children.end() ? nullptr : &found->second;
}

void FieldSet::add(const FieldSet& other) {
  member = member || other.member;
  for (const auto& [element, child] : other.children) children[element].add(child);
}

void FieldSet::remove(const FieldSet& other) {
  if (other.member) member = false;
  for (const auto& [element, child] : other.children) {
    const auto found = children.find(element);
    if (found != children.end()) found->second.remove(child);
  }
  prune();
}

FieldSet FieldSet::intersect(const FieldSet& other) const {
  FieldSet both;
  both.member = member && other.member;
  for (const auto& [element, child] : children) {
    const FieldSet* there = other.find(element);
    if (!there) continue;
    FieldSet shared = child.intersect(*there);
    if (!shared.empty()) both.children.emplace(element, std::move(shared));
  }
  return both;
}

bool FieldSet::prune() {
  for (auto child = children.begin(); child != children.end();) {
    child = child->second.prune() ? children.erase(child) : std::next(child);
  }
  return empty();
}

std::vector<std::string> FieldSet::paths(size_t limit) const {
  std::vector<std::string> found;
  collect({}, limit, &found);
  return found;
}

void FieldSet::collect(const std::string& prefix, size_t limit,
                       std::vector<std::string>* paths) const {
  if (member && paths->size() < limit && !prefix.empty()) paths->push_back(prefix);
  for (const auto& [element, child] : children) {
    if (paths->size() >= limit) return;
    child.collect(prefix + spelled(element), limit, paths);
  }
}

std::string field_element(std::string_view name) {
  return std::string("f:").append(name);
}

std::string value_element(const Value& value) {
  return "v:" + to_json(value);
}

}  // namespace fairlead::schema
