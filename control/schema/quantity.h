// Resource quantities ("500m", "1Gi", "1e3") as the API defines them: parsing, canonical spelling,
// comparison.
//
// A quantity is an integer of nano units; more precise input is rounded up, and what is larger than
// 2^63-1 whole units is cut down to it, as the API does.
//
// Threads: values.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fairlead::schema {

class Quantity {
 public:
  enum class Format : uint8_t { kDecimal, kBinary, kExponent };

  Quantity() = default;
  // nullopt when malformed. `text` may also be a number as JSON has it.
  static std::optional<Quantity> parse(std::string_view text);
  static Quantity of(int64_t whole, Format format = Format::kDecimal);

  // The canonical spelling: no fraction, the largest suffix that needs none.
  std::string to_string() const;
  // Rounded up.
  int64_t whole() const;
  int64_t milli() const;
  bool negative() const { return nanos_ < 0; }

  std::strong_ordering operator<=>(const Quantity& other) const {
    return nanos_ < other.nanos_   ? std::strong_ordering::less
           : nanos_ > other.nanos_ ? std::strong_ordering::greater
                                   : std::strong_ordering::equal;
  }
  bool operator==(const Quantity& other) const { return nanos_ == other.nanos_; }
  Quantity operator+(const Quantity& other) const;

 private:
  __extension__ typedef __int128 Wide;

  Wide nanos_ = 0;
  Format format_ = Format::kDecimal;
};

}  // namespace fairlead::schema
