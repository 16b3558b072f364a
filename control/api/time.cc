#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "control/api/decode.h"

namespace fairlead::api {

namespace {

constexpr int64_t kMicrosPerSecond = 1000000;

// Takes fixed-width fields off the front of a text.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  // Exactly `digits` digits that make a number in [low, high].
  bool number(size_t digits, int low, int high, int* value) {
    if (rest_.size() < digits) return false;
    int result = 0;
    for (size_t i = 0; i < digits; ++i) {
      if (!digit(rest_[i])) return false;
      result = result * 10 + (rest_[i] - '0');
    }
    rest_.remove_prefix(digits);
    *value = result;
    return result >= low && result <= high;
  }

  bool any_of(std::string_view choices, char* taken = nullptr) {
    if (rest_.empty() || choices.find(rest_.front()) == std::string_view::npos) return false;
    if (taken) *taken = rest_.front();
    rest_.remove_prefix(1);
    return true;
  }

  // ".123" or nothing; digits beyond the microsecond are dropped.
  bool fraction(int64_t* micros) {
    *micros = 0;
    if (!any_of(".")) return true;
    if (rest_.empty() || !digit(rest_.front())) return false;
    for (int64_t scale = kMicrosPerSecond / 10; !rest_.empty() && digit(rest_.front());
         scale /= 10) {
      *micros += scale * (rest_.front() - '0');
      rest_.remove_prefix(1);
    }
    return true;
  }

  bool done() const { return rest_.empty(); }

 private:
  static bool digit(char c) { return c >= '0' && c <= '9'; }

  std::string_view rest_;
};

bool read_offset(Scanner& scanner, int64_t* seconds) {
  char sign = 0;
  int hours = 0;
  int minutes = 0;
  *seconds = 0;
  if (scanner.any_of("Zz")) return true;
  if (!scanner.any_of("+-", &sign) || !scanner.number(2, 0, 23, &hours) || !scanner.any_of(":") ||
      !scanner.number(2, 0, 59, &minutes)) {
    return false;
  }
  *seconds = (hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
  return true;
}

}  // namespace

std::optional<int64_t> parse_rfc3339_micros(std::string_view text) {
  Scanner scanner(text);
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  int64_t micros = 0, offset = 0;
  const bool well_formed = scanner.number(4, 0, 9999, &year) && scanner.any_of("-") &&
                           scanner.number(2, 1, 12, &month) && scanner.any_of("-") &&
                           scanner.number(2, 1, 31, &day) && scanner.any_of("Tt") &&
                           scanner.number(2, 0, 23, &hour) && scanner.any_of(":") &&
                           scanner.number(2, 0, 59, &minute) && scanner.any_of(":") &&
                           scanner.number(2, 0, 59, &second) && scanner.fraction(&micros) &&
                           read_offset(scanner, &offset) && scanner.done();
  if (!well_formed) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return std::nullopt;
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const int64_t seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset;
  return seconds * kMicrosPerSecond + micros;
}

std::optional<int64_t> parse_rfc3339_seconds(std::string_view text) {
  const std::optional<int64_t> micros = parse_rfc3339_micros(text);
  if (!micros) return std::nullopt;
  // Rounded down, also before 1970.
  return *micros / kMicrosPerSecond - (*micros % kMicrosPerSecond < 0 ? 1 : 0);
}

std::string format_rfc3339_micros(int64_t micros_since_epoch) {
  const std::chrono::sys_time<std::chrono::microseconds> time{
      std::chrono::microseconds(micros_since_epoch)};
  const auto midnight = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(midnight);
  const std::chrono::hh_mm_ss clock(time - midnight);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                     clock.subseconds().count());
}

}  // namespace fairlead::api
