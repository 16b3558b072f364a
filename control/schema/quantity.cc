#include "control/schema/quantity.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

namespace fairlead::schema {

namespace {

__extension__ typedef __int128 Int128;

constexpr Int128 kNano = 1000000000;
constexpr Int128 kMost = Int128{std::numeric_limits<int64_t>::max()} * kNano;

struct Suffix {
  std::string_view text;
  int exponent;
};
constexpr std::array<Suffix, 10> kDecimalSuffixes = {{{"n", -9},
                                                      {"u", -6},
                                                      {"m", -3},
                                                      {"", 0},
                                                      {"k", 3},
                                                      {"M", 6},
                                                      {"G", 9},
                                                      {"T", 12},
                                                      {"P", 15},
                                                      {"E", 18}}};
constexpr std::array<Suffix, 7> kBinarySuffixes = {
    {{"", 0}, {"Ki", 10}, {"Mi", 20}, {"Gi", 30}, {"Ti", 40}, {"Pi", 50}, {"Ei", 60}}};

// An unsigned decimal that never overflows: it stops growing at kMost, and what is smaller than a
// nano unit is remembered as a remainder.
struct Magnitude {
  Int128 nanos = 0;
  bool remainder = false;

  void multiply(Int128 factor) { nanos = nanos > kMost / factor ? kMost : nanos * factor; }
  void divide_by_ten() {
    remainder = remainder || nanos % 10 != 0;
    nanos /= 10;
  }
};

std::string digits_of(Int128 value) {
  std::array<char, 48> text;
  size_t at = text.size();
  const bool negative = value < 0;
  do {
    const int last = static_cast<int>(value % 10);
    text[--at] = static_cast<char>('0' + (last < 0 ? -last : last));
    value /= 10;
  } while (value != 0);
  if (negative) text[--at] = '-';
  return std::string(text.data() + at, text.size() - at);
}

Int128 round_up(Int128 value, Int128 unit) {
  const Int128 quotient = value / unit;
  if (value % unit == 0) return quotient;
  return value > 0 ? quotient + 1 : quotient - 1;  // away from zero, as the API rounds
}

}  // namespace

std::optional<Quantity> Quantity::parse(std::string_view text) {
  bool negative = false;
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) {
    negative = text.front() == '-';
    text.remove_prefix(1);
  }
  const std::string_view number =
      text.substr(0, std::min(text.find_first_not_of("0123456789."), text.size()));
  std::string_view suffix = text.substr(number.size());
  const size_t dot = std::min(number.find('.'), number.size());
  const std::string_view whole = number.substr(0, dot);
  std::string_view fraction = number.substr(std::min(dot + 1, number.size()));
  if (whole.empty() && fraction.empty()) return std::nullopt;
  if (fraction.find('.') != std::string_view::npos) return std::nullopt;

  Quantity made;
  int ten = 0;  // 10^ten * 2^two is the unit
  int two = 0;
  const auto named = [&suffix](const Suffix& row) { return row.text == suffix; };
  const auto decimal = std::find_if(kDecimalSuffixes.begin(), kDecimalSuffixes.end(), named);
  const auto binary = std::find_if(kBinarySuffixes.begin() + 1, kBinarySuffixes.end(), named);
  if (decimal != kDecimalSuffixes.end()) {
    ten = decimal->exponent;
  } else if (binary != kBinarySuffixes.end()) {
    two = binary->exponent;
    made.format_ = Format::kBinary;
  } else if (suffix.front() == 'e' || suffix.front() == 'E') {
    suffix.remove_prefix(1);
    if (suffix.starts_with('+')) suffix.remove_prefix(1);
    const auto [end, error] = std::from_chars(suffix.data(), suffix.data() + suffix.size(), ten);
    if (error != std::errc() || end != suffix.data() + suffix.size()) return std::nullopt;
    made.format_ = Format::kExponent;
  } else {
    return std::nullopt;
  }

  // All digits as one integer of 10^-scale nano units.
  Magnitude magnitude;
  int shift = 9 + ten - static_cast<int>(std::min<size_t>(fraction.size(), 1000));
  bool saturated = false;
  bool any = false;
  for (const std::string_view part : {whole, fraction.substr(0, 1000)}) {
    for (const char c : part) {
      any = any || c != '0';
      if (saturated || magnitude.nanos > kMost) {
        // Far more digits than fit: the rest only scales.
        saturated = true;
        magnitude.remainder = magnitude.remainder || c != '0';
        ++shift;
        continue;
      }
      magnitude.nanos = magnitude.nanos * 10 + (c - '0');
    }
  }
  if (!any) {
    made.nanos_ = 0;
    return made;
  }
  for (; two > 0; --two) {
    if (magnitude.nanos <= kMost * 1024) {
      magnitude.nanos *= 2;
    } else {
      magnitude.divide_by_ten();
      ++shift;
      magnitude.nanos *= 2;
    }
  }
  for (; shift > 0 && magnitude.nanos < kMost; --shift) magnitude.multiply(10);
  for (; shift < 0 && magnitude.nanos > 0; ++shift) magnitude.divide_by_ten();
  if (magnitude.remainder || magnitude.nanos == 0) ++magnitude.nanos;
  made.nanos_ = std::min(magnitude.nanos, kMost);
  if (negative) made.nanos_ = -made.nanos_;
  return made;
}

Quantity Quantity::of(int64_t whole, Format format) {
  Quantity made;
  made.nanos_ = Int128{whole} * kNano;
  made.format_ = format;
  return made;
}

std::string Quantity::to_string() const {
  if (nanos_ == 0) return "0";
  const bool whole = nanos_ % kNano == 0;
  if (format_ == Format::kBinary && whole && (nanos_ <= -1024 * kNano || nanos_ >= 1024 * kNano)) {
    Int128 units = nanos_ / kNano;
    size_t suffix = 0;
    while (suffix + 1 < kBinarySuffixes.size() && units % 1024 == 0) {
      units /= 1024;
      ++suffix;
    }
    return digits_of(units).append(kBinarySuffixes[suffix].text);
  }
  Int128 units = nanos_;
  size_t suffix = 0;
  while (suffix + 1 < kDecimalSuffixes.size() && units % 1000 == 0) {
    units /= 1000;
    ++suffix;
  }
  if (format_ != Format::kExponent) return digits_of(units).append(kDecimalSuffixes[suffix].text);
  const int exponent = kDecimalSuffixes[suffix].exponent;
  return digits_of(units) + (exponent == 0 ? "" : "e" + std::to_string(exponent));
}

int64_t Quantity::whole() const {
  return static_cast<int64_t>(round_up(nanos_, kNano));
}

int64_t Quantity::milli() const {
  constexpr Int128 kLimit = std::numeric_limits<int64_t>::max();
  return static_cast<int64_t>(std::clamp<Int128>(round_up(nanos_, kNano / 1000), -kLimit, kLimit));
}

Quantity Quantity::operator+(const Quantity& other) const {
  Quantity sum = *this;
  if (nanos_ == 0) sum.format_ = other.format_;
  sum.nanos_ = std::clamp<Int128>(nanos_ + other.nanos_, -kMost, kMost);
  return sum;
}

}  // namespace fairlead::schema
