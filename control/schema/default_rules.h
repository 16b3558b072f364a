// The rows behind apply_defaults().
//
// Threads: constants.
#pragma once

#include <span>
#include <string_view>

#include "control/schema/value.h"

namespace fairlead::schema {

struct DefaultRow {
  std::string_view type;
  std::string_view path;       // in a value of that type
  std::string_view value;      // a number, true, false, {} or a string
  std::string_view condition;  // "path=value", "path!=value", "path", "!path"; empty: always
  bool zero_too = false;       // zero counts as absent
};

using DefaultHook = void (*)(Value& value, Arena& arena);

struct DefaultHookRow {
  std::string_view type;
  DefaultHook hook;
};

std::span<const DefaultRow> default_rows();
std::span<const DefaultHookRow> default_hooks();

}  // namespace fairlead::schema
