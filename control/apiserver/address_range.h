// The addresses that services may have: one CIDR of one family.
//
// The first part of a range is for addresses that users choose, the rest for those that the server
// picks (KEP-3070). The network's own address and, in IPv4, the broadcast address are nobody's.
//
// Threads: values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fairlead::apiserver {

class AddressRange {
 public:
  // Of IPv6, whatever is longer than /108 is used to its first 2^20 addresses.
  static Result<AddressRange> parse(std::string_view cidr);

  bool v6() const { return v6_; }
  std::string_view family() const { return v6_ ? "IPv6" : "IPv4"; }
  const std::string& text() const { return text_; }
  uint32_t size() const { return size_; }     // addresses that can be given out
  uint32_t band() const { return band_; }     // how many of them, from the first, are static
  std::string address(uint32_t index) const;  // precondition: index < size()
  // Empty when the text is no address or not in the range.
  std::optional<uint32_t> index_of(std::string_view address) const;

 private:
  std::string text_;
  bool v6_ = false;
  std::array<uint8_t, 16> base_{};  // the network's address
  uint32_t size_ = 0;
  uint32_t band_ = 0;
};

// As the API compares addresses; empty when it is none.
std::string canonical_address(std::string_view text);
bool is_v6(std::string_view address);

}  // namespace fairlead::apiserver
