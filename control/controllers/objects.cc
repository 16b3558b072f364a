#include "control/controllers/objects.h"

#include <fmt/core.h>

#include <cassert>
#include <charconv>
#include <set>

#include "control/schema/scalars.h"

namespace fairlead::controllers {

namespace {

constexpr int64_t kMicro = 1'000'000;

int64_t floor_seconds(int64_t unix_microseconds) {
  return unix_microseconds / kMicro - (unix_microseconds % kMicro < 0 ? 1 : 0);
}

}  // namespace

std::string_view name_of(const Value& object) {
  return object.get("metadata").get("name").as_string();
}
std::string_view space_of(const Value& object) {
  return object.get("metadata").get("namespace").as_string();
}
std::string_view uid_of(const Value& object) {
  return object.get("metadata").get("uid").as_string();
}
std::string_view revision_of(const Value& object) {
  return object.get("metadata").get("resourceVersion").as_string();
}
bool is_terminating(const Value& object) {
  return !object.get("metadata").get("deletionTimestamp").is_null();
}

bool has_finalizer(const Value& object, std::string_view name) {
  for (const Value& finalizer : object.get("metadata").get("finalizers").items()) {
    if (finalizer.as_string() == name) return true;
  }
  return false;
}

std::string key_of(std::string_view space, std::string_view name) {
  std::string key;
  key.reserve(space.size() + name.size() + 1);
  key.append(space).append("/").append(name);
  return key;
}

std::string key_of(const Value& object) {
  return key_of(space_of(object), name_of(object));
}

std::pair<std::string_view, std::string_view> split_key(std::string_view key) {
  const size_t slash = key.find('/');
  if (slash == std::string_view::npos) return {{}, key};
  return {key.substr(0, slash), key.substr(slash + 1)};
}

const Value* find_by(const Value& list, std::string_view field, std::string_view value) {
  for (const Value& item : list.items()) {
    if (item.get(field).as_string() == value) return &item;
  }
  return nullptr;
}

std::string_view condition_status(const Value& object, std::string_view type) {
  const Value* found = find_by(object.get("status").get("conditions"), "type", type);
  return found ? found->get("status").as_string() : std::string_view();
}

bool is_controlled_by(const Value& object, std::string_view uid) {
  for (const Value& owner : object.get("metadata").get("ownerReferences").items()) {
    if (owner.get("controller").as_bool()) return owner.get("uid").as_string() == uid;
  }
  return false;
}

Value text(Arena& arena, std::string_view value) {
  return Value::string(arena.copy(value));
}

void set_text(Arena& arena, Value& object, std::string_view key, std::string_view value) {
  if (!value.empty()) object.append(arena, key, text(arena, value));
}

Document new_object(const schema::Resource& resource, std::string_view space,
                    std::string_view name) {
  Document made;
  made.root = Value::object();
  made.root.append(made.arena, "apiVersion", text(made.arena, resource.api_version()));
  made.root.append(made.arena, "kind", Value::string(resource.kind));
  Value& metadata = made.root.append(made.arena, "metadata", Value::object());
  if (!name.empty()) metadata.append(made.arena, "name", text(made.arena, name));
  if (!space.empty()) metadata.append(made.arena, "namespace", text(made.arena, space));
  return made;
}

Document copy_of(const Value& object) {
  Document made;
  made.root = object.clone(made.arena);
  return made;
}

Value controller_reference(Arena& arena, const schema::Resource& resource, const Value& owner) {
  Value made = Value::object();
  made.append(arena, "apiVersion", text(arena, resource.api_version()));
  made.append(arena, "blockOwnerDeletion", Value::boolean(true));
  made.append(arena, "controller", Value::boolean(true));
  made.append(arena, "kind", Value::string(resource.kind));
  made.append(arena, "name", text(arena, name_of(owner)));
  made.append(arena, "uid", text(arena, uid_of(owner)));
  return made;
}

ObjectPtr share(Document document) {
  auto held = std::make_shared<const Document>(std::move(document));
  return ObjectPtr(held, &held->root);
}

std::string rfc3339(int64_t unix_microseconds) {
  return schema::format_time(floor_seconds(unix_microseconds));
}

std::string rfc3339_micro(int64_t unix_microseconds) {
  const int64_t seconds = floor_seconds(unix_microseconds);
  std::string made = schema::format_time(seconds);
  made.pop_back();  // the Z
  return fmt::format("{}.{:06}Z", made, unix_microseconds - seconds * kMicro);
}

std::optional<uint64_t> revision_number(std::string_view revision) {
  uint64_t number = 0;
  const char* end = revision.data() + revision.size();
  const auto [stop, error] = std::from_chars(revision.data(), end, number);
  if (error != std::errc() || stop != end || revision.empty()) return std::nullopt;
  return number;
}

bool is_older(std::string_view revision, std::string_view than) {
  const auto left = revision_number(revision);
  const auto right = revision_number(than);
  return left && right && *left < *right;
}

const schema::Resource& resource(std::string_view group, std::string_view version,
                                 std::string_view plural) {
  const schema::Resource* found = schema::find_resource(group, version, plural);
  assert(found != nullptr);
  return *found;
}

std::vector<const schema::Resource*> stored_resources() {
  constexpr uint16_t kNeeded = schema::kDelete | schema::kGet | schema::kList | schema::kWatch;
  std::vector<const schema::Resource*> found;
  std::set<std::string_view> seen;
  // Rows stand in order of preference, and no two kinds share a plural.
  for (const schema::Resource& row : schema::all_resources()) {
    if ((row.verbs & kNeeded) != kNeeded || !seen.insert(row.plural).second) continue;
    found.push_back(&row);
  }
  return found;
}

}  // namespace fairlead::controllers
