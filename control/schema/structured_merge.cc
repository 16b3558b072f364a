#include "control/schema/structured_merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "control/schema/json_text.h"

namespace fairlead::schema {

namespace {

enum class Way { kAtomic, kStruct, kMap, kListMap, kListSet };

// How a value merges: its shape, and the field that holds it.
struct Rule {
  const Shape* shape = nullptr;
  const Field* field = nullptr;  // null for elements and the root

  Way way() const {
    if (!shape) return Way::kAtomic;
    const Merge merge = field ? field->merge : Merge::kDefault;
    if (merge == Merge::kAtomic) return Way::kAtomic;
    switch (shape->kind) {
      case Kind::kStruct:
        return shape->type->atomic && merge != Merge::kGranular ? Way::kAtomic : Way::kStruct;
      case Kind::kMap:
        return Way::kMap;
      case Kind::kList:
        return merge == Merge::kMap   ? Way::kListMap
               : merge == Merge::kSet ? Way::kListSet
                                      : Way::kAtomic;
      default:
        return Way::kAtomic;
    }
  }
  Rule of_member(std::string_view name) const {
    if (shape->kind == Kind::kMap) return {shape->element, nullptr};
    const Field* found = shape->type->find(name);
    return found ? Rule{found->shape, found} : Rule{};
  }
  Rule of_element() const { return {shape->element, nullptr}; }
};

// "k:{"containerPort":80,"protocol":"TCP"}"; empty when the element has none of its keys.
std::string element_key(const Value& item, const Field& field) {
  if (field.merge == Merge::kSet) return value_element(item);
  const Type& type = *field.shape->element->type;
  std::vector<std::string_view> keys(field.list_keys().begin(), field.list_keys().end());
  std::sort(keys.begin(), keys.end());
  std::string text = "k:{";
  bool any = false;
  for (const std::string_view key : keys) {
    const Value* found = item.find(key);
    const std::string_view fallback = type.find(key)->default_value;
    if (!found && fallback.empty()) continue;
    if (any) text += ',';
    append_json_string(key, &text);
    text += ':';
    text += found ? to_json(*found) : to_json(Value::string(fallback));
    any = true;
  }
  return any ? text + "}" : std::string();
}

using Elements = std::unordered_map<std::string, const Value*>;

bool is_empty_container(const Value& value) {
  return (value.is_object() || value.is_array()) && value.empty();
}

Status describe(const Value& value, const Rule& rule, FieldSet* set) {
  switch (rule.way()) {
    case Way::kStruct:
    case Way::kMap:
      if (!value.is_object()) break;
      for (const Member& member : value.members()) {
        const Rule inner = rule.of_member(member.key);
        FieldSet& child = set->children[field_element(member.key)];
        RETURN_IF_ERROR(describe(member.value, inner, &child));
        if (rule.way() == Way::kMap || is_empty_container(member.value)) child.member = true;
      }
      return {};
    case Way::kListMap:
    case Way::kListSet:
      if (!value.is_array()) break;
      for (const Value& item : value.items()) {
        const std::string key = element_key(item, *rule.field);
        if (key.empty()) {
          return Status::error(StatusCode::kInvalid, "apply", rule.field->name,
                               fmt::format("associative list with keys has an element that omits "
                                           "all key fields {}",
                                           to_json(item).substr(0, 100)));
        }
        FieldSet& child = set->children[key];
        if (child.member) {
          return Status::error(StatusCode::kInvalid, "apply", rule.field->name,
                               fmt::format("duplicate entries for key {}", key.substr(2)));
        }
        RETURN_IF_ERROR(describe(item, rule.of_element(), &child));
        child.member = true;
      }
      return {};
    case Way::kAtomic:
      break;
  }
  set->member = true;
  return {};
}

enum class Side { kAdded, kRemoved };

// Everything below a value that only one side has, and the value itself.
void take_all(const Value& value, const Rule& rule, FieldSet* set) {
  FieldSet all;
  // Elements without keys cannot be told apart: the list counts as a whole.
  if (!describe(value, rule, &all)) all = FieldSet();
  all.member = true;
  set->add(all);
}

class Comparison {
 public:
  // The nodes of the three sets that stand for the value.
  void run(const Value& before, const Value& after, const Rule& rule, FieldSet* added,
           FieldSet* removed, FieldSet* modified);

 private:
  void members(const Value& before, const Value& after, const Rule& rule, FieldSet* added,
               FieldSet* removed, FieldSet* modified);
  void elements(const Value& before, const Value& after, const Rule& rule, FieldSet* added,
                FieldSet* removed, FieldSet* modified);
  // Descends into what both have, keeping only what turns out to differ.
  void both(const std::string& element, const Value& before, const Value& after, const Rule& rule,
            FieldSet* added, FieldSet* removed, FieldSet* modified);
};

void Comparison::both(const std::string& element, const Value& before, const Value& after,
                      const Rule& rule, FieldSet* added, FieldSet* removed, FieldSet* modified) {
  FieldSet sets[3];
  run(before, after, rule, &sets[0], &sets[1], &sets[2]);
  FieldSet* into[] = {added, removed, modified};
  for (size_t i = 0; i < 3; ++i) {
    if (!sets[i].empty()) into[i]->children[element].add(sets[i]);
  }
}

void Comparison::members(const Value& before, const Value& after, const Rule& rule, FieldSet* added,
                         FieldSet* removed, FieldSet* modified) {
  const MemberIndex old_members(before);
  const MemberIndex new_members(after);
  const auto one_sided = [&](const Member& member, FieldSet* set) {
    const Rule inner = rule.of_member(member.key);
    FieldSet& child = set->children[field_element(member.key)];
    take_all(member.value, inner, &child);
    // A list that Go always writes was there before, as null: only its elements are new.
    const Way way = inner.way();
    const bool list = way == Way::kListMap || way == Way::kListSet;
    if (list && inner.field && !inner.field->is(kOmitEmpty) && !child.children.empty()) {
      child.member = false;
    }
  };
  for (const Member& member : after.members()) {
    const Member* old = old_members.find(member.key);
    if (!old) {
      one_sided(member, added);
    } else {
      both(field_element(member.key), old->value, member.value, rule.of_member(member.key), added,
           removed, modified);
    }
  }
  for (const Member& member : before.members()) {
    if (!new_members.find(member.key)) one_sided(member, removed);
  }
}

void Comparison::elements(const Value& before, const Value& after, const Rule& rule,
                          FieldSet* added, FieldSet* removed, FieldSet* modified) {
  Elements old_items;
  for (const Value& item : before.items()) {
    old_items.emplace(element_key(item, *rule.field), &item);
  }
  Elements new_items;
  for (const Value& item : after.items()) {
    const std::string key = element_key(item, *rule.field);
    if (!new_items.emplace(key, &item).second || key.empty()) continue;
    const auto old = old_items.find(key);
    if (old == old_items.end()) {
      take_all(item, rule.of_element(), &added->children[key]);
    } else {
      both(key, *old->second, item, rule.of_element(), added, removed, modified);
    }
  }
  for (const auto& [key, item] : old_items) {
    if (!key.empty() && new_items.count(key) == 0) {
      take_all(*item, rule.of_element(), &removed->children[key]);
    }
  }
}

void Comparison::run(const Value& before, const Value& after, const Rule& rule, FieldSet* added,
                     FieldSet* removed, FieldSet* modified) {
  const Way way = rule.way();
  const bool objects = before.is_object() && after.is_object();
  const bool lists = before.is_array() && after.is_array();
  if ((way == Way::kStruct || way == Way::kMap) && objects) {
    members(before, after, rule, added, removed, modified);
  } else if ((way == Way::kListMap || way == Way::kListSet) && lists) {
    elements(before, after, rule, added, removed, modified);
  } else if (!(before == after)) {
    modified->member = true;
  }
}

class Merger {
 public:
  explicit Merger(Arena& arena) : arena_(arena) {}

  Value merge(const Value& live, const Value& applied, const Rule& rule) {
    const Way way = rule.way();
    if ((way == Way::kStruct || way == Way::kMap) && live.is_object() && applied.is_object()) {
      return members(live, applied, rule);
    }
    const bool list = way == Way::kListMap || way == Way::kListSet;
    if (list && live.is_array() && applied.is_array()) return elements(live, applied, rule);
    return applied.clone(arena_);
  }

 private:
  Value members(const Value& live, const Value& applied, const Rule& rule) {
    const MemberIndex in_applied(applied);
    const MemberIndex in_live(live);
    Value made = Value::object();
    for (const Member& member : live.members()) {
      const Member* ours = in_applied.find(member.key);
      made.append(arena_, arena_.copy(member.key),
                  ours ? merge(member.value, ours->value, rule.of_member(member.key))
                       : member.value.clone(arena_));
    }
    for (const Member& member : applied.members()) {
      if (in_live.find(member.key)) continue;
      made.append(arena_, arena_.copy(member.key), member.value.clone(arena_));
    }
    made.sort_members();
    return made;
  }

  Value elements(const Value& live, const Value& applied, const Rule& rule) {
    const auto keys_of = [&rule](const Value& list) {
      std::vector<std::string> keys;
      for (const Value& item : list.items()) keys.push_back(element_key(item, *rule.field));
      return keys;
    };
    const std::vector<std::string> live_keys = keys_of(live);
    const std::vector<std::string> applied_keys = keys_of(applied);
    Elements live_items;
    for (size_t i = 0; i < live_keys.size(); ++i) {
      live_items.emplace(live_keys[i], &live.items()[i]);
    }
    std::unordered_map<std::string_view, bool> shared;  // whether it has been put out
    for (const std::string& key : applied_keys) shared.emplace(key, false);
    Value made = Value::array();
    size_t at = 0;  // in the live list
    const auto put_live = [&] {
      // Up to the next one that the applied list has and has not put out yet.
      for (; at < live_keys.size(); ++at) {
        const auto found = shared.find(live_keys[at]);
        if (found == shared.end()) {
          made.push(arena_, live.items()[at].clone(arena_));
        } else if (!found->second) {
          return;
        }
      }
    };
    for (size_t i = 0; i < applied_keys.size(); ++i) {
      put_live();
      const auto old = live_items.find(applied_keys[i]);
      const Value& item = applied.items()[i];
      made.push(arena_, old == live_items.end() ? item.clone(arena_)
                                                : merge(*old->second, item, rule.of_element()));
      shared[applied_keys[i]] = true;
    }
    put_live();
    return made;
  }

  Arena& arena_;
};

void prune_value(Value& value, const FieldSet& doomed, const FieldSet* kept, const Rule& rule);

// True when the whole value has to go.
bool goes(Value& value, const FieldSet& doomed, const FieldSet* kept, const Rule& rule) {
  if (doomed.member && (!kept || kept->empty())) return true;
  const bool was_empty = is_empty_container(value);
  prune_value(value, doomed, kept, rule);
  // What has lost everything goes too, unless somebody wants it to be there.
  return !was_empty && is_empty_container(value) && !(kept && kept->member);
}

void prune_value(Value& value, const FieldSet& doomed, const FieldSet* kept, const Rule& rule) {
  switch (rule.way()) {
    case Way::kStruct:
    case Way::kMap: {
      size_t left = 0;
      const std::span<Member> members = value.members();
      for (Member& member : members) {
        const std::string element = field_element(member.key);
        const FieldSet* gone = doomed.find(element);
        const FieldSet* stays = kept ? kept->find(element) : nullptr;
        if (gone && goes(member.value, *gone, stays, rule.of_member(member.key))) continue;
        members[left++] = member;
      }
      value.truncate(value.is_object() ? left : value.size());
      return;
    }
    case Way::kListMap:
    case Way::kListSet: {
      size_t left = 0;
      const std::span<Value> items = value.items();
      for (Value& item : items) {
        const std::string element = element_key(item, *rule.field);
        const FieldSet* gone = doomed.find(element);
        const FieldSet* stays = kept ? kept->find(element) : nullptr;
        if (gone && goes(item, *gone, stays, rule.of_element())) continue;
        items[left++] = item;
      }
      if (value.is_array()) value.truncate(left);
      return;
    }
    case Way::kAtomic:
      return;
  }
}

}  // namespace

Result<FieldSet> fields_of(const Value& value, const Type& type) {
  FieldSet set;
  RETURN_IF_ERROR(describe(value, Rule{type.shape, nullptr}, &set));
  return set;
}

Difference compare(const Value& before, const Value& after, const Type& type) {
  Difference difference;
  Comparison().run(before, after, Rule{type.shape, nullptr}, &difference.added, &difference.removed,
                   &difference.modified);
  return difference;
}

Value merge_applied(const Value& live, const Value& applied, const Type& type, Arena& arena) {
  return Merger(arena).merge(live, applied, Rule{type.shape, nullptr});
}

void prune_fields(Value& value, const FieldSet& doomed, const FieldSet& kept, const Type& type) {
  prune_value(value, doomed, &kept, Rule{type.shape, nullptr});
}

}  // namespace fairlead::schema
