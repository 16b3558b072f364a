#include "proxy/config/file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <simdjson.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "base/fd.h"
#include "control/api/yaml.h"
#include "proxy/config/text.h"

namespace fairlead::proxy {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

// A value as it is shown in an error.
std::string shown(const element& value) {
  std::string text = simdjson::to_string(value);
  constexpr size_t kMost = 60;
  if (text.size() > kMost) {
    size_t end = kMost;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text = text.substr(0, end) + "...";
  }
  return text;
}

std::optional<Value> take_list(const element& value, std::string& reason) {
  simdjson::dom::array array;
  if (value.get(array) != simdjson::SUCCESS) {
    reason = fmt::format("expected a list of strings, found {}", shown(value));
    return std::nullopt;
  }
  std::vector<std::string> items;
  for (const element item : array) {
    std::string_view text;
    if (item.get(text) != simdjson::SUCCESS) {
      reason = fmt::format("item {}: expected a string, found {}", items.size(), shown(item));
      return std::nullopt;
    }
    items.emplace_back(text);
  }
  return Value(std::move(items));
}

std::optional<Value> take_gates(const element& value, std::string& reason) {
  simdjson::dom::object object;
  if (value.get(object) != simdjson::SUCCESS) {
    reason = fmt::format("expected a block of gate: true or false, found {}", shown(value));
    return std::nullopt;
  }
  std::map<std::string, bool> gates;
  for (const auto& [gate, state] : object) {
    bool on = false;
    if (state.get(on) != simdjson::SUCCESS) {
      reason = fmt::format("gate {}: expected true or false, found {}", gate, shown(state));
      return std::nullopt;
    }
    gates[std::string(gate)] = on;
  }
  return Value(std::move(gates));
}

// The typed value of a field, or the reason why it has none.
std::optional<Value> take(const Option& option, const element& value, std::string& reason) {
  switch (option.type) {
    case Type::kBool: {
      bool flag = false;
      if (value.get(flag) == simdjson::SUCCESS) return Value(flag);
      reason = fmt::format("expected true or false, found {}", shown(value));
      return std::nullopt;
    }
    case Type::kInteger: {
      int64_t number = 0;
      if (value.get(number) == simdjson::SUCCESS && number >= INT32_MIN && number <= INT32_MAX) {
        return Value(static_cast<int32_t>(number));
      }
      reason = fmt::format("expected a whole number of 32 bits, found {}", shown(value));
      return std::nullopt;
    }
    case Type::kNumber: {
      double number = 0;
      if (value.get(number) == simdjson::SUCCESS) return Value(number);
      reason = fmt::format("expected a number, found {}", shown(value));
      return std::nullopt;
    }
    case Type::kDuration: {
      std::string_view text;
      if (value.get(text) == simdjson::SUCCESS) return parse_value(Type::kDuration, text, reason);
      reason = fmt::format("expected a duration such as \"30s\", found {}", shown(value));
      return std::nullopt;
    }
    case Type::kString: {
      std::string_view text;
      if (value.get(text) == simdjson::SUCCESS) return Value(std::string(text));
      reason = fmt::format("expected a string, found {}", shown(value));
      return std::nullopt;
    }
    case Type::kList:
      return take_list(value, reason);
    case Type::kGates:
      return take_gates(value, reason);
  }
  return std::nullopt;
}

// Whether an ignored field of any shape says nothing: null, "", "0", 0, [] or {}.
bool says_nothing(const element& value) {
  const std::string text = simdjson::minify(value);
  return text == "null" || text == "\"\"" || text == "\"0\"" || text == "0" || text == "[]" ||
         text == "{}" || text == "false" || text == "\"0s\"";
}

class Walker {
 public:
  Walker(const std::string& path, DecodedFile& result) : path_(path), result_(result) {}

  void walk(const simdjson::dom::object& object, const std::string& block) {
    std::set<std::string_view> seen;
    for (const auto& [key, value] : object) {
      const std::string field = block.empty() ? std::string(key) : block + "." + std::string(key);
      if (!seen.insert(key).second) warn(field, "is given twice; the last one counts");
      if (block.empty() && (key == "apiVersion" || key == "kind")) continue;
      visit(field, value);
    }
  }

 private:
  void visit(const std::string& field, const element& value) {
    if (const Option* option = find_field(field)) return set(*option, value);
    simdjson::dom::object inner;
    if (!is_block(field)) {
      warn(field, "unknown field, ignored");
    } else if (value.get(inner) == simdjson::SUCCESS) {
      walk(inner, field);
    } else if (value.type() != element_type::NULL_VALUE) {
      fail(field, fmt::format("expected a block, found {}", shown(value)));
    }
  }

  void set(const Option& option, const element& value) {
    if (value.type() == element_type::NULL_VALUE) return;
    const std::string name = fmt::format("{}: {}", path_, option.field);
    if (option.is(kLoose)) {
      if (!says_nothing(value)) result_.layer.names[&option] = name;
      return;
    }
    std::string reason;
    std::optional<Value> taken = take(option, value, reason);
    if (!taken) return fail(std::string(option.field), reason);
    if (is_zero(*taken) && (option.is(kZeroIsUnset) || !option.has_effect())) return;
    result_.layer.set(option, std::move(*taken), name);
  }

  void warn(const std::string& field, std::string_view text) {
    result_.warnings.push_back(fmt::format("{}: {}: {}", path_, field, text));
  }
  void fail(const std::string& field, std::string_view reason) {
    result_.errors.push_back(fmt::format("{}: {}: {}", path_, field, reason));
  }

  const std::string& path_;
  DecodedFile& result_;
};

// The object must say what it is: the wrong file, given by mistake, is better refused than obeyed.
std::string wrong_kind(const simdjson::dom::object& object) {
  const auto check = [&](const char* field, std::string_view expected) -> std::string {
    element value;
    if (object[field].get(value) != simdjson::SUCCESS) {
      return fmt::format("{}: missing, expected {}", field, expected);
    }
    std::string_view text;
    if (value.get(text) == simdjson::SUCCESS && text == expected) return "";
    return fmt::format("{}: expected {}, found {}", field, expected, shown(value));
  };
  std::string problem = check("apiVersion", kConfigApiVersion);
  return problem.empty() ? check("kind", kConfigKind) : problem;
}

}  // namespace

DecodedFile decode_config(std::string_view text, const std::string& path) {
  DecodedFile result;
  try {
    simdjson::dom::parser parser;
    element root;
    // JSON first: it is nearly YAML, but not quite, and this is the exact reader.
    std::string json(text);
    if (trim(text).substr(0, 1) != "{" || parser.parse(json).get(root) != simdjson::SUCCESS) {
      Result<std::string> converted = api::yaml_to_json(text, path, api::DuplicateKeys::kKeep);
      if (!converted) {
        result.errors.push_back(converted.status().message());
        return result;
      }
      json = std::move(*converted);
      if (const auto error = parser.parse(json).get(root); error != simdjson::SUCCESS) {
        result.errors.push_back(fmt::format("{}: {}", path, simdjson::error_message(error)));
        return result;
      }
    }
    simdjson::dom::object object;
    if (root.get(object) != simdjson::SUCCESS) {
      result.errors.push_back(
          fmt::format("{}: expected a {}, found {}", path, kConfigKind, shown(root)));
      return result;
    }
    if (const std::string problem = wrong_kind(object); !problem.empty()) {
      result.errors.push_back(path + ": " + problem);
      return result;
    }
    Walker(path, result).walk(object, "");
  } catch (const simdjson::simdjson_error& error) {
    result.errors.push_back(fmt::format("{}: {}", path, error.what()));
  }
  return result;
}

Result<std::string> read_config_file(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return Status::from_errno(errno, "open", path);
  std::string text(kMaxConfigFileBytes + 1, '\0');
  size_t length = 0;
  while (length < text.size()) {
    const ssize_t count = ::read(file.get(), text.data() + length, text.size() - length);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Status::from_errno(errno, "read", path);
    if (count == 0) break;
    length += static_cast<size_t>(count);
  }
  if (length > kMaxConfigFileBytes) {
    return Status::error(StatusCode::kInvalid, "read", path, "it is larger than 1 MiB");
  }
  text.resize(length);
  return text;
}

Status write_config_file(const std::string& path, std::string_view text) {
  constexpr mode_t kMode = 0666;  // less the umask
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kMode));
  if (!file.valid()) return Status::from_errno(errno, "create", path);
  while (!text.empty()) {
    const ssize_t count = ::write(file.get(), text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Status::from_errno(errno, "write", path);
    text.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

}  // namespace fairlead::proxy
