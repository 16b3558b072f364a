#include "control/api/yaml_scalar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>

#include "control/api/json_writer.h"

namespace fairlead::api {

namespace {

template <size_t N>
bool one_of(std::string_view text, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

constexpr std::array<std::string_view, 4> kNull = {"~", "null", "Null", "NULL"};
constexpr std::array<std::string_view, 11> kTrue = {"y",    "Y",    "yes", "Yes", "YES", "true",
                                                    "True", "TRUE", "on",  "On",  "ON"};
constexpr std::array<std::string_view, 11> kFalse = {"n",     "N",     "no",  "No",  "NO", "false",
                                                     "False", "FALSE", "off", "Off", "OFF"};
constexpr std::array<std::string_view, 12> kNotFinite = {".inf",  ".Inf",  ".INF",  "+.inf",
                                                         "+.Inf", "+.INF", "-.inf", "-.Inf",
                                                         "-.INF", ".nan",  ".NaN",  ".NAN"};

bool digit(char c) {
  return c >= '0' && c <= '9';
}

size_t count_digits(std::string_view text) {
  size_t count = 0;
  while (count < text.size() && digit(text[count])) ++count;
  return count;
}

// Takes 0x, 0b, 0o or a plain leading 0 off the front and says the base.
int take_base(std::string_view& digits) {
  if (digits.size() < 2 || digits[0] != '0') return 10;
  switch (digits[1]) {
    case 'x':
    case 'X':
      digits.remove_prefix(2);
      return 16;
    case 'b':
    case 'B':
      digits.remove_prefix(2);
      return 2;
    case 'o':
    case 'O':
      digits.remove_prefix(2);
      return 8;
    default:
      digits.remove_prefix(1);
      return 8;
  }
}

std::optional<std::string> integer_json(std::string_view text) {
  const bool negative = text.front() == '-';
  if (text.front() == '-' || text.front() == '+') text.remove_prefix(1);
  const int base = take_base(text);
  uint64_t magnitude = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), magnitude, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  constexpr uint64_t kLowest = uint64_t{1} << 63;
  if (negative && magnitude > kLowest) return std::nullopt;
  return (negative && magnitude != 0 ? "-" : "") + std::to_string(magnitude);
}

// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?
bool looks_like_float(std::string_view text) {
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  const size_t whole = count_digits(text);
  text.remove_prefix(whole);
  size_t fraction = 0;
  if (!text.empty() && text.front() == '.') {
    text.remove_prefix(1);
    fraction = count_digits(text);
    text.remove_prefix(fraction);
  }
  if (whole == 0 && fraction == 0) return false;
  if (text.empty()) return true;
  if (text.front() != 'e' && text.front() != 'E') return false;
  text.remove_prefix(1);
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  return !text.empty() && count_digits(text) == text.size();
}

std::optional<std::string> float_json(std::string_view text) {
  if (!looks_like_float(text)) return std::nullopt;
  if (text.front() == '+') text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  JsonWriter json;
  json.number(value);
  return json.take();
}

}  // namespace

PlainScalar resolve_plain_scalar(std::string_view text) {
  if (text.empty() || one_of(text, kNull)) return {ScalarKind::kNull, "null"};
  if (text == "<<") return {ScalarKind::kMerge, {}};
  if (one_of(text, kTrue)) return {ScalarKind::kBoolean, "true"};
  if (one_of(text, kFalse)) return {ScalarKind::kBoolean, "false"};
  if (one_of(text, kNotFinite)) return {ScalarKind::kNotInJson, {}};
  if (!digit(text.front()) && text.front() != '-' && text.front() != '+' && text.front() != '.') {
    return {};
  }
  // A number longer than this is no number that anybody meant.
  constexpr size_t kMaxNumber = 512;
  if (text.size() > kMaxNumber) return {};
  std::string digits(text);
  std::erase(digits, '_');
  if (digits.empty()) return {};
  if (auto json = integer_json(digits)) return {ScalarKind::kNumber, std::move(*json)};
  if (auto json = float_json(digits)) return {ScalarKind::kNumber, std::move(*json)};
  return {};
}

}  // namespace fairlead::api
