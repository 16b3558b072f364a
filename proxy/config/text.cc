#include "proxy/config/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace fairlead::proxy {
namespace {

using dataplane::Address;
using dataplane::SocketAddress;
using std::chrono::nanoseconds;

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

struct Unit {
  std::string_view name;
  uint64_t nanoseconds;
};
// Longer names before those that they begin with.
constexpr std::array<Unit, 8> kUnits = {{{"ns", 1},
                                         {"us", 1000},
                                         {"\xc2\xb5s", 1000},  // micro sign
                                         {"\xce\xbcs", 1000},  // Greek mu
                                         {"ms", 1000000},
                                         {"s", 1000000000},
                                         {"m", 60000000000},
                                         {"h", 3600000000000}}};

// One "12.5h" from the front of `text`.
std::optional<uint64_t> take_duration_term(std::string_view& text) {
  constexpr uint64_t kLimit = uint64_t{1} << 63;
  uint64_t whole = 0;
  size_t i = 0;
  for (; i < text.size() && is_digit(text[i]); ++i) {
    if (whole > (kLimit - 9) / 10) return std::nullopt;
    whole = whole * 10 + static_cast<uint64_t>(text[i] - '0');
  }
  const bool has_whole = i > 0;
  double fraction = 0;
  bool has_fraction = false;
  if (i < text.size() && text[i] == '.') {
    double scale = 0.1;
    for (++i; i < text.size() && is_digit(text[i]); ++i, scale /= 10) {
      fraction += scale * (text[i] - '0');
      has_fraction = true;
    }
  }
  if (!has_whole && !has_fraction) return std::nullopt;
  text.remove_prefix(i);
  const auto* unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& candidate) {
    return text.substr(0, candidate.name.size()) == candidate.name;
  });
  if (unit == kUnits.end()) return std::nullopt;
  text.remove_prefix(unit->name.size());
  if (whole > kLimit / unit->nanoseconds) return std::nullopt;
  const uint64_t total = whole * unit->nanoseconds;
  const auto part =
      static_cast<uint64_t>(std::llround(fraction * static_cast<double>(unit->nanoseconds)));
  if (total > kLimit - part) return std::nullopt;
  return total + part;
}

// `value` / `unit` with as many decimals as it takes.
std::string with_fraction(uint64_t value, uint64_t unit) {
  std::string text = fmt::format("{}", value / unit);
  uint64_t rest = value % unit;
  if (rest == 0) return text;
  text += '.';
  while (rest != 0) {
    unit /= 10;
    text += static_cast<char>('0' + rest / unit);
    rest %= unit;
  }
  return text;
}

std::optional<uint16_t> parse_port(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return port;
}

}  // namespace

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string lower_case(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::optional<nanoseconds> parse_duration(std::string_view text) {
  const bool negative = !text.empty() && text.front() == '-';
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  if (text == "0") return nanoseconds(0);
  if (text.empty()) return std::nullopt;
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  uint64_t total = 0;
  while (!text.empty()) {
    const std::optional<uint64_t> term = take_duration_term(text);
    if (!term || *term > kMost - total) return std::nullopt;
    total += *term;
  }
  const auto value = static_cast<int64_t>(total);
  return nanoseconds(negative ? -value : value);
}

std::string format_duration(nanoseconds duration) {
  if (duration.count() == 0) return "0s";
  std::string text = duration.count() < 0 ? "-" : "";
  const uint64_t value = duration.count() < 0
                             ? uint64_t{0} - static_cast<uint64_t>(duration.count())
                             : static_cast<uint64_t>(duration.count());
  if (value < 1000) return text + fmt::format("{}ns", value);
  if (value < 1000000) return text + with_fraction(value, 1000) + "\xc2\xb5s";
  if (value < 1000000000) return text + with_fraction(value, 1000000) + "ms";
  constexpr uint64_t kMinute = 60000000000;
  const uint64_t minutes = value / kMinute;
  if (minutes >= 60) text += fmt::format("{}h", minutes / 60);
  if (minutes > 0) text += fmt::format("{}m", minutes % 60);
  return text + with_fraction(value % kMinute, 1000000000) + "s";
}

std::optional<bool> parse_bool(std::string_view text) {
  for (std::string_view word : {"1", "t", "T", "true", "TRUE", "True"}) {
    if (text == word) return true;
  }
  for (std::string_view word : {"0", "f", "F", "false", "FALSE", "False"}) {
    if (text == word) return false;
  }
  return std::nullopt;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  const bool negative = !text.empty() && text.front() == '-';
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  int base = 10;
  if (text.size() > 1 && text.front() == '0') {
    const char mark = text[1] >= 'a' ? text[1] : static_cast<char>(text[1] | 0x20);
    base = mark == 'x' ? 16 : mark == 'b' ? 2 : 8;
    text.remove_prefix(mark == 'x' || mark == 'b' || mark == 'o' ? 2 : 1);
  }
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (value > kMost) return std::nullopt;
  return negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value);
}

std::optional<double> parse_number(std::string_view text) {
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (!std::isfinite(value)) return std::nullopt;
  return value;
}

std::optional<std::vector<std::string>> parse_list(std::string_view text) {
  std::vector<std::string> items;
  if (text.empty()) return items;
  for (size_t i = 0;; ++i) {
    std::string item;
    if (i < text.size() && text[i] == '"') {
      for (++i;; ++i) {
        if (i >= text.size()) return std::nullopt;
        if (text[i] != '"') {
          item += text[i];
        } else if (i + 1 < text.size() && text[i + 1] == '"') {
          item += text[i++];
        } else {
          break;
        }
      }
      ++i;
      if (i < text.size() && text[i] != ',') return std::nullopt;
    } else {
      for (; i < text.size() && text[i] != ','; ++i) {
        if (text[i] == '"') return std::nullopt;
        item += text[i];
      }
    }
    items.push_back(std::move(item));
    if (i >= text.size()) return items;
  }
}

std::optional<SocketAddress> parse_bind_address(std::string_view text, uint16_t default_port) {
  std::string_view host = text;
  uint16_t port = default_port;
  bool bracketed = false;
  if (!text.empty() && text.front() == '[') {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    bracketed = true;
    host = text.substr(1, close - 1);
    std::string_view rest = text.substr(close + 1);
    if (!rest.empty()) {
      if (rest.front() != ':') return std::nullopt;
      const std::optional<uint16_t> given = parse_port(rest.substr(1));
      if (!given) return std::nullopt;
      port = *given;
    }
  } else if (const size_t colon = text.find(':');
             colon != std::string_view::npos &&
             text.find(':', colon + 1) == std::string_view::npos) {
    const std::optional<uint16_t> given = parse_port(text.substr(colon + 1));
    if (!given) return std::nullopt;
    port = *given;
    host = text.substr(0, colon);
  }
  const std::optional<Address> address = Address::parse(host);
  if (!address || (bracketed && host.find(':') == std::string_view::npos)) return std::nullopt;
  return SocketAddress{*address, port};
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace fairlead::proxy
