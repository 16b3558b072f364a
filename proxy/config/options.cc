#include "proxy/config/options.h"

#include <fmt/core.h>

#include <algorithm>

#include "proxy/config/text.h"

namespace fairlead::proxy {
namespace {

std::optional<Value> parse_gates(std::string_view text, std::string& reason) {
  std::map<std::string, bool> gates;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view item = trim(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (item.empty()) continue;
    const size_t equals = item.find('=');
    if (equals == std::string_view::npos || trim(item.substr(0, equals)).empty()) {
      reason = fmt::format("\"{}\" is not of the form gate=true", item);
      return std::nullopt;
    }
    const std::string_view word = trim(item.substr(equals + 1));
    const std::optional<bool> on = parse_bool(word);
    if (!on) {
      reason = fmt::format("gate {}: \"{}\" is neither true nor false",
                           trim(item.substr(0, equals)), word);
      return std::nullopt;
    }
    gates[std::string(trim(item.substr(0, equals)))] = *on;
  }
  return Value(std::move(gates));
}

}  // namespace

std::string_view title(Group group) {
  switch (group) {
    case Group::kGeneral:
      return "General";
    case Group::kApiServer:
      return "API server";
    case Group::kNode:
      return "Node, process and servers";
    case Group::kTraffic:
      return "Traffic";
    case Group::kLocalTraffic:
      return "Detection of local traffic";
    case Group::kIptables:
      return "iptables and common synchronisation";
    case Group::kNftables:
      return "nftables";
    case Group::kIpvs:
      return "IPVS";
    case Group::kEbpf:
      return "eBPF";
    case Group::kConntrack:
      return "Connection tracking";
    case Group::kLogging:
      return "Logging";
    case Group::kFairlead:
      return "Fairlead's own";
    case Group::kIgnored:
      return "Accepted without effect";
  }
  return "";
}

std::string_view value_name(Type type) {
  switch (type) {
    case Type::kBool:
      return "bool";
    case Type::kInteger:
      return "int";
    case Type::kNumber:
      return "number";
    case Type::kDuration:
      return "duration";
    case Type::kString:
      return "string";
    case Type::kList:
      return "list";
    case Type::kGates:
      return "name=bool,...";
  }
  return "";
}

const Option* find_flag(std::string_view flag) {
  for (const Option& option : options()) {
    if (!flag.empty() && option.flag == flag) return &option;
  }
  return nullptr;
}

const Option* find_field(std::string_view field) {
  for (const Option& option : options()) {
    if (!field.empty() && option.field == field) return &option;
  }
  return nullptr;
}

bool is_block(std::string_view field) {
  return std::any_of(options().begin(), options().end(), [&](const Option& option) {
    return option.field.size() > field.size() && option.field.substr(0, field.size()) == field &&
           option.field[field.size()] == '.';
  });
}

Value read(const Option& option, const Settings& settings) {
  return std::visit(
      [&](const auto& place) -> Value {
        if constexpr (std::is_same_v<std::decay_t<decltype(place)>, std::monostate>) {
          return Value();
        } else {
          // Accessors serve reading and writing; this one only reads.
          return place(const_cast<Settings&>(settings));
        }
      },
      option.place);
}

void store(const Option& option, Value value, Settings& settings) {
  std::visit(
      [&](const auto& place) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(place)>, std::monostate>) {
          auto& target = place(settings);
          target = std::move(std::get<std::decay_t<decltype(target)>>(value));
        }
      },
      option.place);
}

bool is_zero(const Value& value) {
  return std::visit(
      [](const auto& v) {
        if constexpr (requires { v.empty(); }) {
          return v.empty();
        } else {
          return v == std::decay_t<decltype(v)>{};
        }
      },
      value);
}

std::string to_text(const Value& value) {
  struct Printer {
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(int32_t v) const { return fmt::format("{}", v); }
    std::string operator()(double v) const { return fmt::format("{}", v); }
    std::string operator()(std::chrono::nanoseconds v) const { return format_duration(v); }
    std::string operator()(const std::string& v) const { return v; }
    std::string operator()(const std::vector<std::string>& v) const {
      std::string text;
      for (const std::string& item : v) text += (text.empty() ? "" : ",") + item;
      return text;
    }
    std::string operator()(const std::map<std::string, bool>& v) const {
      std::string text;
      for (const auto& [gate, on] : v) {
        text += (text.empty() ? "" : ",") + gate + (on ? "=true" : "=false");
      }
      return text;
    }
  };
  return std::visit(Printer{}, value);
}

std::optional<Value> parse_value(Type type, std::string_view text, std::string& reason) {
  switch (type) {
    case Type::kBool:
      if (const auto value = parse_bool(text)) return Value(*value);
      reason = fmt::format("\"{}\" is neither true nor false", text);
      return std::nullopt;
    case Type::kInteger: {
      const auto value = parse_integer(text);
      if (value && *value >= INT32_MIN && *value <= INT32_MAX) {
        return Value(static_cast<int32_t>(*value));
      }
      reason = fmt::format("\"{}\" is not a whole number of 32 bits", text);
      return std::nullopt;
    }
    case Type::kNumber:
      if (const auto value = parse_number(text)) return Value(*value);
      reason = fmt::format("\"{}\" is not a number", text);
      return std::nullopt;
    case Type::kDuration:
      if (const auto value = parse_duration(text)) return Value(*value);
      reason = fmt::format("\"{}\" is not a duration such as 30s, 1h30m or 500ms", text);
      return std::nullopt;
    case Type::kString:
      return Value(std::string(text));
    case Type::kList:
      if (auto value = parse_list(text)) return Value(std::move(*value));
      reason = fmt::format("\"{}\" is not a list separated by commas", text);
      return std::nullopt;
    case Type::kGates:
      return parse_gates(text, reason);
  }
  return std::nullopt;
}

void Layer::set(const Option& option, Value value, std::string name) {
  store(option, std::move(value), settings);
  names[&option] = std::move(name);
}

namespace {

const Option* find_either(std::string_view flag_or_field) {
  const Option* option = find_field(flag_or_field);
  return option != nullptr ? option : find_flag(flag_or_field);
}

}  // namespace

bool Layer::gave(std::string_view flag_or_field) const {
  return names.count(find_either(flag_or_field)) != 0;
}

std::string Layer::name(std::string_view flag_or_field) const {
  const Option* option = find_either(flag_or_field);
  if (option == nullptr) return std::string(flag_or_field);
  if (const auto given = names.find(option); given != names.end()) return given->second;
  return option->flag.empty() ? std::string(option->field) : "--" + std::string(option->flag);
}

}  // namespace fairlead::proxy
