#include "control/schema/scalars.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <limits>

namespace fairlead::schema {

namespace {

struct Unit {
  std::string_view name;
  int64_t nanos;
};
constexpr std::array<Unit, 8> kUnits = {{{"ns", 1},
                                         {"us", 1000},
                                         {"\u00b5s", 1000},
                                         {"\u03bcs", 1000},
                                         {"ms", 1000000},
                                         {"s", 1000000000},
                                         {"m", 60000000000},
                                         {"h", 3600000000000}}};

std::string fraction(int64_t value, int64_t unit, std::string_view name) {
  std::string text = std::to_string(value / unit);
  if (const int64_t rest = value % unit; rest != 0) {
    std::string digits = std::to_string(unit + rest).substr(1);
    digits.erase(digits.find_last_not_of('0') + 1);
    text.append(".").append(digits);
  }
  return text.append(name);
}

}  // namespace

std::string format_time(int64_t seconds) {
  // The years that RFC 3339 can spell.
  seconds = std::clamp<int64_t>(seconds, -62167219200, 253402300799);
  const int64_t day = seconds >= 0 ? seconds / 86400 : (seconds - 86399) / 86400;
  const int64_t rest = seconds - day * 86400;
  const std::chrono::year_month_day date{
      std::chrono::sys_days(std::chrono::days(static_cast<int>(day)))};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     rest / 3600, rest / 60 % 60, rest % 60);
}

std::optional<int64_t> parse_duration(std::string_view text) {
  if (text.empty()) return std::nullopt;
  const bool negative = text.front() == '-';
  if (text.front() == '-' || text.front() == '+') text.remove_prefix(1);
  if (text == "0") return 0;
  if (text.empty()) return std::nullopt;
  double total = 0;
  int64_t exact = 0;
  while (!text.empty()) {
    const size_t length = std::min(text.find_first_not_of("0123456789."), text.size());
    const std::string_view number = text.substr(0, length);
    if (number.empty() || number == "." || number.size() > 40) return std::nullopt;
    text.remove_prefix(length);
    const Unit* unit = nullptr;
    for (const Unit& row : kUnits) {
      if (text.starts_with(row.name) && (!unit || row.name.size() > unit->name.size())) unit = &row;
    }
    if (!unit) return std::nullopt;
    text.remove_prefix(unit->name.size());
    double value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + length, value);
    if (error != std::errc() || end != number.data() + length) return std::nullopt;
    total += value * static_cast<double>(unit->nanos);
    if (total >= 9.2e18) return std::nullopt;
    int64_t whole = 0;
    const size_t dot = std::min(number.find('.'), number.size());
    std::from_chars(number.data(), number.data() + dot, whole);
    exact += whole * unit->nanos;
    int64_t scale = unit->nanos;
    for (size_t i = dot + 1; i < length && scale > 1; ++i) {
      scale /= 10;
      exact += scale * (number[i] - '0');
    }
  }
  return negative ? -exact : exact;
}

std::string format_duration(int64_t nanoseconds) {
  if (nanoseconds == 0) return "0s";
  // The lowest number has no positive counterpart.
  if (nanoseconds == std::numeric_limits<int64_t>::min()) ++nanoseconds;
  const std::string sign = nanoseconds < 0 ? "-" : "";
  const int64_t value = nanoseconds < 0 ? -nanoseconds : nanoseconds;
  if (value < 1000) return sign + fraction(value, 1, "ns");
  if (value < 1000000) return sign + fraction(value, 1000, "\u00b5s");
  if (value < 1000000000) return sign + fraction(value, 1000000, "ms");
  std::string text = sign;
  const int64_t hours = value / 3600000000000;
  const int64_t minutes = value / 60000000000 % 60;
  if (hours > 0) text += std::to_string(hours) + "h";
  if (hours > 0 || minutes > 0) text += std::to_string(minutes) + "m";
  return text + fraction(value % 60000000000, 1000000000, "s");
}

std::string human_duration(int64_t seconds) {
  // As k8s.io/apimachinery/pkg/util/duration rounds: the finer part only while it says something.
  if (seconds < -1) return "<invalid>";
  if (seconds < 0) return "0s";
  const auto two = [](int64_t major, std::string_view major_name, int64_t minor,
                      std::string_view minor_name) {
    return minor == 0 ? fmt::format("{}{}", major, major_name)
                      : fmt::format("{}{}{}{}", major, major_name, minor, minor_name);
  };
  const int64_t minutes = seconds / 60;
  const int64_t hours = seconds / 3600;
  const int64_t days = hours / 24;
  if (seconds < 120) return fmt::format("{}s", seconds);
  if (minutes < 10) return two(minutes, "m", seconds % 60, "s");
  if (minutes < 180) return fmt::format("{}m", minutes);
  if (hours < 8) return two(hours, "h", minutes % 60, "m");
  if (hours < 48) return fmt::format("{}h", hours);
  if (hours < 192) return two(days, "d", hours % 24, "h");
  if (days < 730) return fmt::format("{}d", days);
  if (days < 2920) return two(days / 365, "y", days % 365, "d");
  return fmt::format("{}y", days / 365);
}

}  // namespace fairlead::schema
