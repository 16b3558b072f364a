#include "proxy/config/load.h"

#include <fmt/core.h>

#include "proxy/config/file.h"
#include "proxy/config/flags.h"
#include "proxy/config/render.h"
#include "proxy/config/text.h"
#include "proxy/config/validate.h"

namespace fairlead::proxy {
namespace {

// Flags alone: those that are named after iptables speak for every mode, as there are none for
// nftables. With a file each mode has its own block.
void spread_iptables_flags(Layer& layer) {
  Settings& settings = layer.settings;
  const auto name_as = [&](std::string_view nftables, std::string_view iptables) {
    if (layer.gave(iptables)) layer.names[find_field(nftables)] = layer.name(iptables);
  };
  settings.nftables_masquerade = settings.iptables_masquerade;
  settings.nftables_sync = settings.iptables_sync;
  name_as("nftables.masqueradeBit", "iptables.masqueradeBit");
  name_as("nftables.masqueradeAll", "iptables.masqueradeAll");
  name_as("nftables.syncPeriod", "iptables.syncPeriod");
  name_as("nftables.minSyncPeriod", "iptables.minSyncPeriod");
}

// The flags that count beside --config go over the file's values; the others are named in a
// warning.
void lay_flags_over_file(const Layer& flags, Layer& file, std::vector<std::string>& warnings) {
  std::string losers;
  for (const auto& [option, name] : flags.names) {
    if (option->flag == "config") {
      file.set(*option, read(*option, flags.settings), name);
    } else if (option->flag == "hostname-override" && flags.settings.hostname_override.empty()) {
      continue;  // says nothing
    } else if (option->is(kBeatsFile)) {
      file.set(*option, option->has_effect() ? read(*option, flags.settings) : Value(), name);
    } else if (option->has_effect()) {
      losers += (losers.empty() ? "" : ", ") + name;
    } else {
      file.names[option] = name;
    }
  }
  if (!losers.empty()) {
    warnings.push_back(
        fmt::format("--config is given: these flags are ignored, set their fields in "
                    "{} instead: {}",
                    flags.settings.config, losers));
  }
}

// The mode that `option` needs when another one was asked for, otherwise nothing.
std::string_view needs_mode(const Option& option, ProxyMode mode) {
  if (mode == ProxyMode::kAuto) return "";
  if (option.is(kIpvsOnly) && mode != ProxyMode::kIpvs) return "ipvs";
  if (option.is(kIptablesOnly) && mode != ProxyMode::kIptables) return "iptables";
  if (option.is(kNftablesOnly) && mode != ProxyMode::kNftables) return "nftables";
  if (option.is(kEbpfOnly) && mode != ProxyMode::kEbpf) return "ebpf";
  return "";
}

void warn_without_effect(const Layer& layer, ProxyMode mode, std::vector<std::string>& warnings) {
  // In the table's order, so that the same input gives the same text.
  for (const Option& option : options()) {
    const auto given = layer.names.find(&option);
    if (given == layer.names.end()) continue;
    const std::string& name = given->second;
    if (!option.has_effect()) {
      warnings.push_back(fmt::format("{} has no effect: {}", name, option.text));
      continue;
    }
    if (option.is(kDeprecated)) {
      warnings.push_back(fmt::format("{} is deprecated: {}", name, option.text));
    }
    const std::string_view needed = needs_mode(option, mode);
    // A file that spells out the defaults of every block is no reason for a warning.
    if (!needed.empty() && read(option, layer.settings) != read(option, Settings())) {
      warnings.push_back(
          fmt::format("{} has no effect in mode {}: it is for {}", name, to_string(mode), needed));
    }
  }
}

Action action_of(const Settings& settings) {
  if (!settings.write_config_to.empty()) return Action::kWriteConfig;
  if (settings.cleanup) return Action::kCleanup;
  if (settings.init_only) return Action::kInitOnly;
  return Action::kRun;
}

void append(std::vector<std::string>& to, std::vector<std::string> from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

std::string joined(const std::vector<std::string>& texts) {
  std::string result;
  for (const std::string& text : texts) result += (result.empty() ? "" : "; ") + text;
  return result;
}

bool wants_version(const std::string& text) {
  return !text.empty() && parse_bool(text).value_or(true);
}

}  // namespace

Result<Loaded> load(const std::vector<std::string>& arguments) {
  Loaded loaded;
  ParsedFlags flags = parse_flags(arguments);
  const Settings& given = flags.layer.settings;
  if (given.help || wants_version(given.version)) {
    loaded.action = Action::kPrint;
    loaded.output = given.help ? help_text() : "fairlead-proxy " FAIRLEAD_VERSION "\n";
    return loaded;
  }
  std::vector<std::string> errors = std::move(flags.errors);

  Layer layer = flags.layer;
  if (given.config.empty()) {
    spread_iptables_flags(layer);
  } else {
    Result<std::string> text = read_config_file(given.config);
    if (!text) {
      errors.push_back(flags.layer.name("config") + ": " + text.status().message());
    } else {
      DecodedFile file = decode_config(*text, given.config);
      loaded.config_text = std::move(*text);
      append(loaded.warnings, std::move(file.warnings));
      append(errors, std::move(file.errors));
      layer = std::move(file.layer);
      lay_flags_over_file(flags.layer, layer, loaded.warnings);
    }
  }

  Validated validated = validate(layer);
  append(errors, std::move(validated.errors));
  if (!errors.empty()) {
    return Status::error(StatusCode::kInvalid, "read", "configuration", joined(errors));
  }
  warn_without_effect(layer, validated.config.mode, loaded.warnings);
  append(loaded.warnings, std::move(validated.warnings));
  loaded.config = std::move(validated.config);
  loaded.action = action_of(layer.settings);
  loaded.configz = to_configz(layer.settings);
  if (loaded.action == Action::kWriteConfig) {
    loaded.write_config_to = layer.settings.write_config_to;
    loaded.output = to_yaml(layer.settings);
  }
  return loaded;
}

}  // namespace fairlead::proxy
