#include "control/schema/names.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "control/schema/resources.h"

namespace fairlead::schema {

namespace {

constexpr std::string_view kLabelMessage =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must "
    "start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for "
    "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
constexpr std::string_view kSubdomainMessage =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', "
    "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for "
    "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
constexpr std::string_view kLabel1035Message =
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', "
    "regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
constexpr std::string_view kWildcardMessage =
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which "
    "must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric "
    "character (e.g. '*.example.com', regex used for validation is "
    "'\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
constexpr std::string_view kQualifiedMessage =
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
constexpr std::string_view kLabelValueMessage =
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
    "'12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
constexpr std::string_view kConfigKeyMessage =
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name', "
    " "
    "or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
constexpr size_t kMaxLabel = 63;
constexpr size_t kMaxSubdomain = 253;

bool lower_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool alphanumeric(char c) {
  return lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

bool is_label(std::string_view text) {
  return !text.empty() && lower_or_digit(text.front()) && lower_or_digit(text.back()) &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return lower_or_digit(c) || c == '-'; });
}

bool is_subdomain(std::string_view text) {
  while (true) {
    const size_t dot = std::min(text.find('.'), text.size());
    if (!is_label(text.substr(0, dot))) return false;
    if (dot == text.size()) return true;
    text.remove_prefix(dot + 1);
  }
}

bool is_name(std::string_view text) {
  return !text.empty() && alphanumeric(text.front()) && alphanumeric(text.back()) &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

std::string too_long(size_t limit) {
  return fmt::format("must be no more than {} characters", limit);
}

bool parses(int family, std::string_view text) {
  std::array<unsigned char, 16> bytes;
  return text.find('\0') == std::string_view::npos &&
         inet_pton(family, std::string(text).c_str(), bytes.data()) == 1;
}

bool number_in(std::string_view text, int low, int high) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= low && value <= high;
}

struct CronField {
  int low;
  int high;
  std::string_view names;  // words, the first of which means `low`
};
constexpr std::array<CronField, 5> kCronFields = {
    {{0, 59, ""},
     {0, 23, ""},
     {1, 31, ""},
     {1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"},
     {0, 6, "sun mon tue wed thu fri sat"}}};

bool cron_value(std::string_view text, const CronField& field) {
  if (number_in(text, field.low, field.high)) return true;
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  const auto names = words(field.names);
  return std::find(names.begin(), names.end(), lower) != names.end();
}

// "*", "1-5", "*/2", "1,3-7/2"
bool cron_field(std::string_view text, const CronField& field) {
  while (true) {
    const size_t comma = std::min(text.find(','), text.size());
    std::string_view range = text.substr(0, comma);
    const size_t slash = range.find('/');
    if (slash != std::string_view::npos) {
      if (!number_in(range.substr(slash + 1), 1, 1000)) return false;
      range = range.substr(0, slash);
    }
    const size_t dash = range.find('-');
    const bool whole = range == "*" || range == "?";
    const bool valid =
        whole || (dash == std::string_view::npos ? cron_value(range, field)
                                                 : cron_value(range.substr(0, dash), field) &&
                                                       cron_value(range.substr(dash + 1), field));
    if (!valid) return false;
    if (comma == text.size()) return true;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace

std::string check_dns_label(std::string_view text) {
  if (text.size() > kMaxLabel) return too_long(kMaxLabel);
  return is_label(text) ? "" : std::string(kLabelMessage);
}

std::string check_dns_subdomain(std::string_view text) {
  if (text.size() > kMaxSubdomain) return too_long(kMaxSubdomain);
  return is_subdomain(text) ? "" : std::string(kSubdomainMessage);
}

std::string check_dns1035_label(std::string_view text) {
  if (text.size() > kMaxLabel) return too_long(kMaxLabel);
  const bool valid = is_label(text) && text.front() >= 'a';
  return valid ? "" : std::string(kLabel1035Message);
}

std::string check_wildcard_subdomain(std::string_view text) {
  if (text.size() > kMaxSubdomain) return too_long(kMaxSubdomain);
  const bool valid = text.starts_with("*.") && is_subdomain(text.substr(2));
  return valid ? "" : std::string(kWildcardMessage);
}

std::string check_path_segment(std::string_view text) {
  if (text == "." || text == "..") return fmt::format("may not be '{}'", text);
  for (const char c : {'/', '%'}) {
    if (text.find(c) != std::string_view::npos) return fmt::format("may not contain '{}'", c);
  }
  return {};
}

std::string check_qualified_name(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash != std::string_view::npos) {
    const std::string_view prefix = text.substr(0, slash);
    if (prefix.empty()) return "prefix part must be non-empty";
    if (const std::string wrong = check_dns_subdomain(prefix); !wrong.empty()) {
      return "prefix part " + wrong;
    }
    text.remove_prefix(slash + 1);
  }
  if (text.find('/') != std::string_view::npos) {
    return fmt::format(
        "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. "
        "'example.com/MyName')",
        kQualifiedMessage.substr(std::string_view("name part ").size()));
  }
  if (text.empty()) return "name part must be non-empty";
  if (text.size() > kMaxLabel) return "name part " + too_long(kMaxLabel);
  return is_name(text) ? "" : std::string(kQualifiedMessage);
}

std::string check_label_value(std::string_view text) {
  if (text.size() > kMaxLabel) return too_long(kMaxLabel);
  return text.empty() || is_name(text) ? "" : std::string(kLabelValueMessage);
}

std::string check_config_key(std::string_view text) {
  if (text.size() > kMaxSubdomain) return too_long(kMaxSubdomain);
  if (text == ".") return "must not be '.'";
  if (text == "..") return "must not be '..'";
  if (text.starts_with("..")) return "must not start with '..'";
  const bool valid = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return alphanumeric(c) || c == '-' || c == '_' || c == '.';
  });
  return valid ? "" : std::string(kConfigKeyMessage);
}

std::string check_port_name(std::string_view text) {
  if (text.size() > 15) return "must be no more than 15 characters";
  const auto allowed = [](char c) { return lower_or_digit(c) || c == '-'; };
  if (!std::all_of(text.begin(), text.end(), allowed)) {
    return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
  }
  if (std::none_of(text.begin(), text.end(), [](char c) { return c >= 'a' && c <= 'z'; })) {
    return "must contain at least one letter (a-z)";
  }
  if (text.find("--") != std::string_view::npos) return "must not contain consecutive hyphens";
  if (text.front() == '-' || text.back() == '-') return "must not begin or end with a hyphen";
  return {};
}

std::string check_port(int64_t port) {
  return port >= 1 && port <= 65535 ? "" : "must be between 1 and 65535, inclusive";
}

std::string check_ip(std::string_view text) {
  const bool valid = parses(AF_INET, text) || parses(AF_INET6, text);
  return valid ? "" : "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
}

std::string check_ipv4(std::string_view text) {
  return parses(AF_INET, text) ? "" : "must be a valid IPv4 address";
}

std::string check_ipv6(std::string_view text) {
  return parses(AF_INET6, text) ? "" : "must be a valid IPv6 address";
}

std::string check_cidr(std::string_view text) {
  const size_t slash = std::min(text.find('/'), text.size());
  const std::string_view address = text.substr(0, slash);
  const std::string_view length = text.substr(std::min(slash + 1, text.size()));
  const bool valid = (parses(AF_INET, address) && number_in(length, 0, 32)) ||
                     (parses(AF_INET6, address) && number_in(length, 0, 128));
  return valid ? "" : "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
}

std::string check_env_name(std::string_view text) {
  const bool valid = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > 0x20 && c < 0x7F && c != '=';
  });
  if (valid) return {};
  return "a valid environment variable name must consist only of printable ASCII characters other "
         "than '='";
}

std::string check_schedule(std::string_view text) {
  constexpr std::string_view kNames = "@yearly @annually @monthly @weekly @daily @midnight @hourly";
  if (text.starts_with("@every ")) return {};
  const auto named = words(kNames);
  if (std::find(named.begin(), named.end(), text) != named.end()) return {};
  const auto fields = words(text);
  if (fields.size() != kCronFields.size()) {
    return fmt::format("expected exactly 5 fields, found {}: [{}]", fields.size(), text);
  }
  for (size_t i = 0; i < fields.size(); ++i) {
    if (!cron_field(fields[i], kCronFields[i])) {
      return fmt::format("failed to parse field {}: {}", i + 1, fields[i]);
    }
  }
  return {};
}

}  // namespace fairlead::schema
