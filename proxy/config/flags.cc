#include "proxy/config/flags.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <functional>

#include "proxy/config/text.h"

namespace fairlead::proxy {
namespace {

constexpr int kHelpColumn = 40;
constexpr size_t kHelpWidth = 60;

bool may_stand_alone(const Option& option) {
  return option.type == Type::kBool || option.is(kOptionalText);
}

// The dashed names that CLI11 is to know `option` by.
std::string dashed(const Option& option) {
  const std::string name = "--" + std::string(option.flag);
  if (option.flag == "v") return "-v," + name;
  if (option.flag == "help") return "-h," + name;
  return name;
}

std::string without_underscores(std::string_view name) {
  std::string result(name);
  std::replace(result.begin(), result.end(), '_', '-');
  return result;
}

std::string nearest_flag(std::string_view wanted) {
  constexpr size_t kFar = 3;
  std::string_view best;
  size_t best_distance = kFar + 1;
  for (const Option& option : options()) {
    if (option.flag.empty()) continue;
    const size_t distance = edit_distance(option.flag, wanted);
    if (distance < best_distance && distance < wanted.size()) {
      best_distance = distance;
      best = option.flag;
    }
  }
  return std::string(best);
}

std::string unknown_flag(std::string_view argument) {
  const std::string_view flag = argument.substr(0, argument.find('='));
  std::string_view bare = flag;
  while (!bare.empty() && bare.front() == '-') bare.remove_prefix(1);
  const std::string suggestion = nearest_flag(without_underscores(bare));
  if (suggestion.empty()) return fmt::format("unknown flag {}", flag);
  return fmt::format("unknown flag {}; did you mean --{}?", flag, suggestion);
}

// The command line with every known flag as two arguments, its canonical name and its value: the
// library has its own ideas of empty values, of values that begin with a dash and of boolean flags.
struct Canonical {
  std::vector<std::string> arguments;
  std::map<const Option*, std::string> spelling;  // the last one used
  std::vector<std::string> errors;
};

Canonical canonical(const std::vector<std::string>& given) {
  Canonical result;
  for (size_t i = 0; i < given.size(); ++i) {
    const std::string& argument = given[i];
    if (argument == "--") {
      result.arguments.insert(result.arguments.end(), given.begin() + static_cast<ptrdiff_t>(i + 1),
                              given.end());
      break;
    }
    std::string_view name;
    std::optional<std::string> value;
    if (argument.size() > 2 && argument.compare(0, 2, "--") == 0) {
      const size_t equals = argument.find('=');
      name = std::string_view(argument).substr(0, equals);
      if (equals != std::string::npos) value = argument.substr(equals + 1);
    } else if (argument.compare(0, 2, "-v") == 0) {
      name = std::string_view(argument).substr(0, 2);
      if (argument.size() > 2) value = argument.substr(argument[2] == '=' ? 3 : 2);
    } else if (argument == "-h") {
      name = argument;
    }
    const size_t dashes = std::min(name.find_first_not_of('-'), name.size());
    const std::string flag = argument == "-h" ? "help" : without_underscores(name.substr(dashes));
    const Option* option = find_flag(flag);
    if (option == nullptr) {
      result.arguments.push_back(argument);
      continue;
    }
    result.spelling[option] = std::string(name);
    if (!value && may_stand_alone(*option)) value = "true";
    if (!value) {
      if (i + 1 == given.size()) {
        result.errors.push_back(fmt::format("{}: the value is missing", name));
        continue;
      }
      value = given[++i];
    }
    result.arguments.push_back("--" + flag);
    result.arguments.push_back(std::move(*value));
  }
  return result;
}

// The library indents what follows a line feed.
std::string wrapped(std::string_view text) {
  std::string result;
  while (text.size() > kHelpWidth) {
    size_t space = text.rfind(' ', kHelpWidth);
    if (space == std::string_view::npos) space = text.find(' ');
    if (space == std::string_view::npos) break;
    result.append(text.substr(0, space)).append("\n");
    text.remove_prefix(space + 1);
  }
  return result.append(text);
}

std::string description(const Option& option) {
  std::string text(option.text);
  if (!option.has_effect()) return "Has no effect: " + text + ".";
  if (option.is(kDeprecated)) return "Deprecated: " + text + ".";
  if (option.is(kBeatsFile) && !option.field.empty()) text += " Counts beside --config.";
  const Value value = read(option, Settings());
  if (!is_zero(value)) text += " [" + to_text(value) + "]";
  return text;
}

// Later values of a list or of gates add to the earlier ones; any other type takes the last.
void merge(Value& into, Value later) {
  if (auto* list = std::get_if<std::vector<std::string>>(&into)) {
    auto& more = std::get<std::vector<std::string>>(later);
    list->insert(list->end(), more.begin(), more.end());
  } else if (auto* gates = std::get_if<std::map<std::string, bool>>(&into)) {
    for (auto& [gate, on] : std::get<std::map<std::string, bool>>(later)) (*gates)[gate] = on;
  } else {
    into = std::move(later);
  }
}

using OnValues = std::function<void(const Option&, const std::vector<std::string>&)>;

void declare_options(CLI::App& app, const OnValues& on_values) {
  app.set_help_flag();
  app.allow_extras();
  app.get_formatter()->column_width(kHelpColumn);
  for (const Option& option : options()) {
    if (option.flag.empty()) continue;
    const auto on_results = [&option, on_values](const CLI::results_t& values) {
      on_values(option, values);
      return true;
    };
    app.add_option(dashed(option), on_results, wrapped(description(option)))
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->type_name(may_stand_alone(option) ? "" : std::string(value_name(option.type)))
        ->group(std::string(title(option.group)));
  }
}

}  // namespace

ParsedFlags parse_flags(const std::vector<std::string>& arguments) {
  ParsedFlags result;
  Canonical command = canonical(arguments);
  result.errors = command.errors;
  try {
    CLI::App app;
    declare_options(app, [&](const Option& option, const std::vector<std::string>& values) {
      const std::string& name = command.spelling[&option];
      std::optional<Value> merged;
      for (const std::string& text : values) {
        std::string reason;
        std::optional<Value> value = parse_value(option.type, text, reason);
        if (!value) {
          result.errors.push_back(name + ": " + reason);
        } else if (merged) {
          merge(*merged, std::move(*value));
        } else {
          merged = std::move(value);
        }
      }
      if (merged) result.layer.set(option, std::move(*merged), name);
    });
    // The library takes its arguments last one first.
    std::reverse(command.arguments.begin(), command.arguments.end());
    app.parse(command.arguments);
    const std::vector<std::string> rest = app.remaining();
    bool unknown = false;
    for (const std::string& argument : rest) {
      if (argument.size() < 2 || argument.front() != '-') continue;
      result.errors.push_back(unknown_flag(argument));
      unknown = true;
    }
    // What stands behind an unknown flag may be its value: no use in complaining twice.
    if (!rest.empty() && !unknown) {
      result.errors.push_back(
          fmt::format("\"{}\": there are flags only, no other arguments", rest.front()));
    }
  } catch (const CLI::Error& error) {
    result.errors.push_back(fmt::format("command line: {}", error.what()));
  }
  return result;
}

std::string help_text() {
  try {
    CLI::App app(
        "The service dataplane of a Kubernetes node. Takes kube-proxy's flags and configuration "
        "file.",
        "fairlead-proxy");
    declare_options(app, [](const Option&, const std::vector<std::string>&) {});
    return app.help();
  } catch (const CLI::Error& error) {
    return fmt::format("no help: {}\n", error.what());
  }
}

}  // namespace fairlead::proxy
