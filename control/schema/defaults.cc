#include "control/schema/defaults.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/schema/default_rules.h"
#include "control/schema/walk.h"

namespace fairlead::schema {

namespace {

// "path=value", "path!=value", "path" (there) and "!path" (not there).
bool holds(std::string_view condition, const Value& value) {
  if (condition.empty()) return true;
  const size_t equals = condition.find('=');
  if (equals == std::string_view::npos) {
    const bool absent = condition.starts_with('!');
    return value.at(condition.substr(absent ? 1 : 0)).is_null() == absent;
  }
  const bool differs = condition[equals - 1] == '!';
  const std::string_view found = value.at(condition.substr(0, equals - differs)).as_string();
  return (found == condition.substr(equals + 1)) != differs;
}

Value literal(std::string_view text) {
  if (text == "true" || text == "false") return Value::boolean(text == "true");
  if (text == "{}") return Value::object();
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) return Value::integer(number);
  return Value::string(text);
}

void apply_row(const DefaultRow& row, Value& value, Arena& arena) {
  if (!holds(row.condition, value)) return;
  const size_t dot = row.path.rfind('.');
  const std::string_view parent = dot == std::string_view::npos ? "" : row.path.substr(0, dot);
  const std::string_view name = dot == std::string_view::npos ? row.path : row.path.substr(dot + 1);
  if (const Value* found = value.at(parent).find(name)) {
    // A zero integer-or-string is what Go has for an absent one.
    if (!(row.zero_too && found->is_zero())) return;
  }
  Value& owner = value.ensure(arena, parent);
  owner.set(arena, name, literal(row.value));
  owner.sort_members();
}

struct TypeRules {
  std::vector<const DefaultRow*> rows;
  std::vector<DefaultHook> hooks;
};

using RuleIndex = std::unordered_map<const Type*, TypeRules>;

const RuleIndex& rule_index() {
  static const RuleIndex kIndex = [] {
    RuleIndex index;
    for (const DefaultRow& row : default_rows()) index[find_type(row.type)].rows.push_back(&row);
    for (const DefaultHookRow& row : default_hooks()) {
      index[find_type(row.type)].hooks.push_back(row.hook);
    }
    return index;
  }();
  return kIndex;
}

}  // namespace

void apply_defaults(Document& document, const Type& type) {
  const RuleIndex& index = rule_index();
  const auto visit = [&](Value& value, const Type& of, const FieldPath&) {
    const auto found = index.find(&of);
    if (found != index.end()) {
      for (const DefaultRow* row : found->second.rows) apply_row(*row, value, document.arena);
      for (const DefaultHook hook : found->second.hooks) hook(value, document.arena);
    }
    value.sort_members();  // a row of an outer struct may have added to it
  };
  walk_structs(document.root, *type.shape, StructVisitor(visit));
}

}  // namespace fairlead::schema
