#include "control/controllers/objects.h"

#include <fmt/core.h>

#include <cassert>
#include <charconv>
#include <ctime>
#include <set>

#include "control/schema/scalars.h"

namespace fairlead::controllers {

namespace {

constexpr int64_t kMicro = 1'000'000;

bool digits_at(std::string_view text, size_t at, size_t count, int* value) {
  if (at + count > text.size()) return false;
  *value = 0;
  for (size_t i = at; i < at + count; ++i) {
    if (text[i] < '0' || text[i] > '9') return false;
    *value = *value * 10 + (text[i] - '0');
  }
  return true;
}

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

Value string_map(Arena& arena,
                 const std::vector<std::pair<std::string_view, std::string_view>>& pairs) {
  Value map = Value::object();
  for (const auto& [key, value] : pairs) map.set(arena, arena.copy(key), text(arena, value));
  return map;
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

std::optional<int64_t> parse_rfc3339(std::string_view text) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (!digits_at(text, 0, 4, &year) || !digits_at(text, 5, 2, &month) ||
      !digits_at(text, 8, 2, &day) || !digits_at(text, 11, 2, &hour) ||
      !digits_at(text, 14, 2, &minute) || !digits_at(text, 17, 2, &second)) {
    return std::nullopt;
  }
  if (text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':') {
    return std::nullopt;
  }
  if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60) {
    return std::nullopt;
  }
  std::string_view rest = text.substr(19);
  int64_t fraction = 0;
  if (!rest.empty() && rest[0] == '.') {
    rest.remove_prefix(1);
    int64_t unit = kMicro / 10;
    while (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') {
      fraction += (rest[0] - '0') * unit;
      unit /= 10;
      rest.remove_prefix(1);
    }
  }
  if (rest != "Z") return std::nullopt;
  std::tm parts{};
  parts.tm_year = year - 1900;
  parts.tm_mon = month - 1;
  parts.tm_mday = day;
  parts.tm_hour = hour;
  parts.tm_min = minute;
  parts.tm_sec = second;
  return int64_t{::timegm(&parts)} * kMicro + fraction;
}

std::optional<uint64_t> revision_number(std::string_view revision) {
  uint64_t number = 0;
  const char* end = revision.data() + revision.size();
  const auto [stop, error] = std::from_chars(revision.data(), end, number);
  if (error != std::errc() || stop != end || revision.empty()) return std::nullopt;
  return number;
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
