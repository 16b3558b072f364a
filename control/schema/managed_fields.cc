#include "control/schema/managed_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "control/schema/field_set.h"
#include "control/schema/scalars.h"
#include "control/schema/structured_merge.h"

namespace fairlead::schema {

namespace {

constexpr size_t kMaxManagerName = 128;
constexpr size_t kMaxUpdaters = 10;       // what is older is put together
constexpr size_t kMaxConflictPaths = 64;  // of one manager
constexpr std::string_view kAncient = "ancient-changes";
constexpr std::string_view kApplyOperation = "Apply";
constexpr std::string_view kUpdateOperation = "Update";

struct Entry {
  std::string manager;
  std::string operation;
  std::string api_version;
  std::string subresource;
  std::string time;
  FieldSet fields;

  bool is(const FieldManager& other, std::string_view of_operation) const {
    return manager == other.name && operation == of_operation && subresource == other.subresource &&
           (of_operation == kApplyOperation || api_version == other.api_version);
  }
};

Result<std::vector<Entry>> read_entries(const Value& managed) {
  std::vector<Entry> entries;
  for (const Value& value : managed.items()) {
    Entry entry;
    entry.manager = value.get("manager").as_string();
    entry.operation = value.get("operation").as_string();
    entry.api_version = value.get("apiVersion").as_string();
    entry.subresource = value.get("subresource").as_string();
    entry.time = value.get("time").as_string();
    if (entry.operation != kApplyOperation && entry.operation != kUpdateOperation) {
      return Status::error(StatusCode::kInvalid, "read", "managedFields", "unknown operation");
    }
    if (const Value* fields = value.find("fieldsV1")) {
      ASSIGN_OR_RETURN(entry.fields, FieldSet::from_value(*fields));
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

void write_entries(Document& object, std::vector<Entry> entries) {
  std::erase_if(entries, [](const Entry& entry) { return entry.fields.empty(); });
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.operation, a.time, a.manager, a.api_version) <
           std::tie(b.operation, b.time, b.manager, b.api_version);
  });
  Arena& arena = object.arena;
  Value list = Value::array();
  const auto text = [&arena](std::string_view of) { return Value::string(arena.copy(of)); };
  for (const Entry& entry : entries) {
    Value value = Value::object();
    value.append(arena, "apiVersion", text(entry.api_version));
    value.append(arena, "fieldsType", Value::string("FieldsV1"));
    value.append(arena, "fieldsV1", entry.fields.to_value(arena));
    value.append(arena, "manager", text(entry.manager));
    value.append(arena, "operation", text(entry.operation));
    if (!entry.subresource.empty()) value.append(arena, "subresource", text(entry.subresource));
    if (!entry.time.empty()) value.append(arena, "time", text(entry.time));
    value.sort_members();
    list.push(arena, value);
  }
  Value& metadata = object.root.ensure(arena, "metadata");
  metadata.erase("managedFields");
  if (!list.empty()) metadata.append(arena, "managedFields", list);
  metadata.sort_members();
}

// What belongs to the server, and to no manager.
void strip(FieldSet& set, const FieldManager& manager) {
  set.member = false;
  for (const std::string_view field : {"apiVersion", "kind"}) {
    set.children.erase(field_element(field));
  }
  for (const std::string_view field : manager.ignored) set.children.erase(field_element(field));
  const auto found = set.children.find(field_element("metadata"));
  if (found == set.children.end()) return;
  FieldSet& metadata = found->second;
  metadata.member = false;
  for (const std::string_view field :
       {"name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation",
        "managedFields", "resourceVersion"}) {
    metadata.children.erase(field_element(field));
  }
  if (metadata.empty()) set.children.erase(found);
}

FieldSet changed_fields(const Difference& difference) {
  FieldSet changed = difference.added;
  changed.add(difference.modified);
  return changed;
}

// Takes from every other manager what was changed or removed; says whose it was.
std::vector<ApplyConflict> take_from_others(std::vector<Entry>& entries, const Entry& self,
                                            const FieldSet& changed, const FieldSet& removed) {
  std::vector<ApplyConflict> conflicts;
  for (Entry& entry : entries) {
    if (&entry == &self) continue;
    const FieldSet shared = entry.fields.intersect(changed);
    if (!shared.empty()) {
      conflicts.push_back({entry.manager, entry.api_version, shared.paths(kMaxConflictPaths)});
      entry.fields.remove(shared);
    }
    entry.fields.remove(removed);
  }
  return conflicts;
}

Entry& entry_of(std::vector<Entry>& entries, const FieldManager& manager,
                std::string_view operation) {
  for (Entry& entry : entries) {
    if (entry.is(manager, operation)) return entry;
  }
  Entry made;
  made.manager = manager.name.substr(0, kMaxManagerName);
  made.operation = operation;
  made.api_version = manager.api_version;
  made.subresource = manager.subresource;
  entries.push_back(std::move(made));
  return entries.back();
}

void cap_updaters(std::vector<Entry>& entries) {
  std::erase_if(entries, [](const Entry& entry) { return entry.fields.empty(); });
  std::vector<Entry*> updaters;
  for (Entry& entry : entries) {
    if (entry.operation == kUpdateOperation) updaters.push_back(&entry);
  }
  if (updaters.size() <= kMaxUpdaters) return;
  std::stable_sort(updaters.begin(), updaters.end(),
                   [](const Entry* a, const Entry* b) { return a->time < b->time; });
  // The oldest ones become one; those of other versions stay apart.
  Entry* ancient = updaters.front();
  const size_t surplus = updaters.size() - kMaxUpdaters + 1;
  for (size_t i = 1; i < surplus; ++i) {
    if (updaters[i]->api_version != ancient->api_version) continue;
    ancient->fields.add(updaters[i]->fields);
    ancient->time = std::max(ancient->time, updaters[i]->time);
    updaters[i]->fields = FieldSet();
  }
  ancient->manager = kAncient;
  ancient->subresource.clear();
}

}  // namespace

Result<std::vector<ApplyConflict>> apply_configuration(Document& live, const Value& config,
                                                       const Type& type,
                                                       const FieldManager& manager, bool force) {
  if (!config.at("metadata.managedFields").is_null()) {
    return Status::error(StatusCode::kInvalid, "apply", "metadata.managedFields", "must be nil");
  }
  std::vector<Entry> entries;
  ASSIGN_OR_RETURN(entries, read_entries(live.root.at("metadata.managedFields")));
  FieldSet wanted;
  ASSIGN_OR_RETURN(wanted, fields_of(config, type));
  strip(wanted, manager);

  Document merged;
  merged.root = merge_applied(live.root, config, type, merged.arena);
  if (merged.arena.full()) {
    return Status::error(StatusCode::kExhausted, "apply", "body", "too large in memory");
  }
  Entry& self = entry_of(entries, manager, kApplyOperation);
  const FieldSet before = self.fields;
  // What was said before, is not said now, and nobody else says.
  FieldSet kept = wanted;
  for (const Entry& entry : entries) {
    if (&entry != &self) kept.add(entry.fields);
  }
  FieldSet doomed = before;
  doomed.remove(wanted);
  if (!doomed.empty()) prune_fields(merged.root, doomed, kept, type);

  Difference difference = compare(live.root, merged.root, type);
  FieldSet changed = changed_fields(difference);
  strip(changed, manager);
  strip(difference.removed, manager);
  std::vector<ApplyConflict> conflicts =
      take_from_others(entries, self, changed, difference.removed);
  if (!conflicts.empty() && !force) return conflicts;

  const bool same = changed.empty() && difference.removed.empty() && before == wanted;
  self.fields = std::move(wanted);
  self.api_version = manager.api_version;
  if (!same || self.time.empty()) self.time = format_time(manager.now);
  live = std::move(merged);
  cap_updaters(entries);
  write_entries(live, std::move(entries));
  return std::vector<ApplyConflict>();
}

void track_update(Document& object, const Value& before, const Type& type,
                  const FieldManager& manager) {
  const Value& given = object.root.at("metadata.managedFields");
  const Value& old = before.at("metadata.managedFields");
  // A client may take its entries away or rewrite them; what cannot be read is not believed.
  Result<std::vector<Entry>> entries = read_entries(given.is_null() ? old : given);
  const bool reset = given.is_array() && given.size() == 1 && given.items()[0].empty();
  if (!entries.ok()) entries = read_entries(old);
  if (!entries.ok() || reset) entries = std::vector<Entry>();

  Difference difference = compare(before, object.root, type);
  FieldSet changed = changed_fields(difference);
  strip(changed, manager);
  strip(difference.removed, manager);
  Entry& self = entry_of(*entries, manager, kUpdateOperation);
  take_from_others(*entries, self, changed, difference.removed);
  const FieldSet owned = self.fields;
  self.fields.add(changed);
  self.fields.remove(difference.removed);
  if (!(changed.empty() && self.fields == owned)) self.time = format_time(manager.now);
  cap_updaters(*entries);
  write_entries(object, std::move(*entries));
}

std::string conflict_message(const std::vector<ApplyConflict>& conflicts) {
  size_t count = 0;
  for (const ApplyConflict& conflict : conflicts) count += conflict.fields.size();
  const auto with = [](const ApplyConflict& conflict) {
    return fmt::format("with \"{}\" using {}", conflict.manager, conflict.api_version);
  };
  if (count == 1) {
    return fmt::format("Apply failed with 1 conflict: conflict {}: {}", with(conflicts[0]),
                       conflicts[0].fields[0]);
  }
  std::string text = fmt::format("Apply failed with {} conflicts:", count);
  for (const ApplyConflict& conflict : conflicts) {
    if (conflict.fields.size() == 1) {
      text += fmt::format(" conflict {}: {}", with(conflict), conflict.fields[0]);
    } else {
      text += fmt::format(" conflicts {}:", with(conflict));
      for (const std::string& field : conflict.fields) text += "\n- " + field;
    }
    if (&conflict != &conflicts.back()) text += '\n';
  }
  return text;
}

}  // namespace fairlead::schema
