// Every option there is, once: its flag, its field of KubeProxyConfiguration, its type, where its
// value goes, what it is for, and why it has no effect if it has none. Parsing flags, decoding the
// file, the help text, the written file and /configz all walk this table.
//
// Threads: the table is constant; the rest are values.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proxy/config/settings.h"

namespace fairlead::proxy {

enum class Group : uint8_t {
  kGeneral,
  kApiServer,
  kNode,
  kTraffic,
  kLocalTraffic,
  kIptables,
  kNftables,
  kIpvs,
  kEbpf,
  kConntrack,
  kLogging,
  kFairlead,
  kIgnored,  // accepted because kube-proxy accepts or accepted it
};
std::string_view title(Group group);

enum class Type : uint8_t { kBool, kInteger, kNumber, kDuration, kString, kList, kGates };
std::string_view value_name(Type type);  // "duration", for help and errors

// In the order of Type.
using Value = std::variant<bool, int32_t, double, std::chrono::nanoseconds, std::string,
                           std::vector<std::string>, std::map<std::string, bool>>;

// Where an option's value lives; monostate: nowhere, it is ignored.
template <typename T>
using Accessor = T& (*)(Settings&);
using Place = std::variant<std::monostate, Accessor<bool>, Accessor<int32_t>,
                           Accessor<std::chrono::nanoseconds>, Accessor<std::string>,
                           Accessor<std::vector<std::string>>>;

using Traits = uint16_t;
inline constexpr Traits kPlain = 0;
inline constexpr Traits kZeroIsUnset =
    1;                                   // a zero in the file means the default, as with kube-proxy
inline constexpr Traits kBeatsFile = 2;  // the flag counts beside --config
inline constexpr Traits kDeprecated = 4;    // the flag is reported when it is used
inline constexpr Traits kOptionalText = 8;  // the flag may stand without its value: "true"
inline constexpr Traits kIpvsOnly = 16;     // without effect when another mode is asked for
inline constexpr Traits kIptablesOnly = 32;
inline constexpr Traits kNftablesOnly = 64;
inline constexpr Traits kLoose = 128;  // ignored, and of whatever shape in the file
inline constexpr Traits kEbpfOnly = 256;

struct Option {
  std::string_view flag;   // without dashes; empty: only in the file
  std::string_view field;  // "iptables.masqueradeBit"; empty: only a flag
  Group group;
  Type type;
  Place place;
  Traits traits;
  // What it does; for an option without effect and one that is deprecated: why, or what to use
  // instead, as a clause behind "has no effect: " and "is deprecated: ".
  std::string_view text;

  bool has_effect() const { return !std::holds_alternative<std::monostate>(place); }
  bool is(Traits trait) const { return (traits & trait) != 0; }
};

std::span<const Option> options();
const Option* find_flag(std::string_view flag);
const Option* find_field(std::string_view field);
// Whether fields begin with `field` and a dot, such as "iptables".
bool is_block(std::string_view field);

Value read(const Option& option, const Settings& settings);         // precondition: has_effect()
void store(const Option& option, Value value, Settings& settings);  // nothing, for an ignored one
bool is_zero(const Value& value);
std::string to_text(const Value& value);  // as a flag's value
// From a flag's value; when it is bad, nullopt and the reason as a clause behind "name: ".
std::optional<Value> parse_value(Type type, std::string_view text, std::string& reason);

// Values from one source, and under which name the operator gave each.
struct Layer {
  Settings settings;
  std::map<const Option*, std::string> names;  // "--cluster-cidr", "/etc/proxy.conf: clusterCIDR"

  void set(const Option& option, Value value, std::string name);
  // Both take a flag without dashes or a field.
  bool gave(std::string_view flag_or_field) const;
  std::string name(std::string_view flag_or_field) const;  // for an option nobody gave: its flag
};

}  // namespace fairlead::proxy
