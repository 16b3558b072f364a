#include "control/apiserver/address_range.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace fairlead::apiserver {

namespace {

constexpr unsigned kMostBits = 20;

std::optional<std::array<uint8_t, 16>> parse_address(std::string_view text, bool v6) {
  std::array<uint8_t, 16> bytes{};
  const std::string copy(text);
  if (inet_pton(v6 ? AF_INET6 : AF_INET, copy.c_str(), bytes.data()) != 1) return std::nullopt;
  return bytes;
}

std::string print_address(const std::array<uint8_t, 16>& bytes, bool v6) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(v6 ? AF_INET6 : AF_INET, bytes.data(), text, sizeof text);
  return text;
}

}  // namespace

bool is_v6(std::string_view address) {
  return address.find(':') != std::string_view::npos;
}

std::string canonical_address(std::string_view text) {
  const auto bytes = parse_address(text, is_v6(text));
  return bytes ? print_address(*bytes, is_v6(text)) : std::string();
}

Result<AddressRange> AddressRange::parse(std::string_view cidr) {
  const auto refuse = [cidr](std::string_view why) {
    return Status::error(StatusCode::kInvalid, "parse", cidr, why);
  };
  const size_t slash = cidr.find('/');
  if (slash == std::string_view::npos) return refuse("no prefix length");
  AddressRange range;
  range.v6_ = is_v6(cidr);
  const auto bytes = parse_address(cidr.substr(0, slash), range.v6_);
  unsigned prefix = 0;
  const std::string_view length = cidr.substr(slash + 1);
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), prefix);
  const unsigned width = range.v6_ ? 128 : 32;
  if (!bytes || error != std::errc() || end != length.data() + length.size() || prefix > width) {
    return refuse("no address range");
  }
  const unsigned bits = width - prefix;
  if (bits < 2) return refuse("a range for services has four addresses at least");
  if (!range.v6_ && bits > kMostBits) return refuse("a range for services is /12 at the widest");
  range.base_ = *bytes;
  for (unsigned bit = prefix; bit < width; ++bit) {
    range.base_[bit / 8] &= static_cast<uint8_t>(~(0x80u >> (bit % 8)));
  }
  range.size_ = (uint32_t{1} << std::min(bits, kMostBits)) - (range.v6_ ? 1 : 2);
  range.band_ = range.size_ < 16
                    ? 0
                    : std::min<uint32_t>(256, std::max<uint32_t>(16, (range.size_ + 2) / 16));
  range.text_ = print_address(range.base_, range.v6_) + std::string(cidr.substr(slash));
  return range;
}

std::string AddressRange::address(uint32_t index) const {
  std::array<uint8_t, 16> bytes = base_;
  uint32_t carry = index + 1;  // the network's own address is left out
  for (int i = (v6_ ? 16 : 4) - 1; i >= 0 && carry != 0; --i) {
    carry += bytes[static_cast<size_t>(i)];
    bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(carry);
    carry >>= 8;
  }
  return print_address(bytes, v6_);
}

std::optional<uint32_t> AddressRange::index_of(std::string_view address) const {
  if (is_v6(address) != v6_) return std::nullopt;
  const auto bytes = parse_address(address, v6_);
  if (!bytes) return std::nullopt;
  const size_t width = v6_ ? 16 : 4;
  uint64_t distance = 0;
  for (size_t i = 0; i < width; ++i) {
    const int difference = (*bytes)[i] - base_[i];
    // The high bytes of what is in the range are those of its first address.
    if (i + 4 < width && difference != 0) return std::nullopt;
    distance = distance * 256 + static_cast<uint64_t>(static_cast<int64_t>(difference));
  }
  const auto index = static_cast<int64_t>(distance) - 1;
  if (index < 0 || index >= static_cast<int64_t>(size_)) return std::nullopt;
  return static_cast<uint32_t>(index);
}

}  // namespace fairlead::apiserver
