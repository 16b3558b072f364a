#include "dataplane/address.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstring>

namespace fairlead::dataplane {
namespace {

// One decimal octet without leading zeros; advances `text`.
std::optional<uint8_t> take_octet(std::string_view& text) {
  size_t length = 0;
  unsigned value = 0;
  while (length < text.size() && length < 4 && text[length] >= '0' && text[length] <= '9') {
    value = value * 10 + static_cast<unsigned>(text[length++] - '0');
  }
  if (length == 0 || length > 3 || value > 255 || (length > 1 && text[0] == '0')) {
    return std::nullopt;
  }
  text.remove_prefix(length);
  return static_cast<uint8_t>(value);
}

// A whole dotted quad into out[0..3].
bool parse_quad(std::string_view text, uint8_t* out) {
  for (int i = 0; i < 4; ++i) {
    if (i > 0) {
      if (text.empty() || text[0] != '.') return false;
      text.remove_prefix(1);
    }
    const std::optional<uint8_t> octet = take_octet(text);
    if (!octet) return false;
    out[i] = *octet;
  }
  return text.empty();
}

// RFC 4291, 2.2: eight groups of up to four hex digits, one "::" run, an optional trailing quad.
bool parse_v6(std::string_view text, std::array<uint8_t, 16>& out) {
  size_t filled = 0;
  std::optional<size_t> gap;  // where "::" stood, in bytes
  if (text.starts_with("::")) {
    gap = 0;
    text.remove_prefix(2);
  } else if (text.starts_with(':')) {
    return false;
  }
  while (!text.empty()) {
    const size_t group_end = std::min(text.find(':'), text.size());
    const std::string_view group = text.substr(0, group_end);
    if (group.find('.') != std::string_view::npos) {
      if (group_end != text.size() || filled > 12 || !parse_quad(group, out.data() + filled)) {
        return false;
      }
      filled += 4;
      break;
    }
    uint16_t value = 0;
    const auto [end, error] = std::from_chars(group.data(), group.data() + group.size(), value, 16);
    if (error != std::errc() || end != group.data() + group.size() || group.size() > 4 ||
        filled > 14) {
      return false;
    }
    out[filled++] = static_cast<uint8_t>(value >> 8);
    out[filled++] = static_cast<uint8_t>(value);
    text.remove_prefix(group_end);
    if (text.empty()) break;
    text.remove_prefix(1);
    if (text.starts_with(':')) {
      if (gap) return false;
      gap = filled;
      text.remove_prefix(1);
    } else if (text.empty()) {
      return false;  // a single trailing colon
    }
  }
  if (!gap) return filled == 16;
  if (filled == 16) return false;  // "::" must stand for at least one group
  const size_t tail = filled - *gap;
  std::memmove(out.data() + 16 - tail, out.data() + *gap, tail);
  std::memset(out.data() + *gap, 0, 16 - filled);
  return true;
}

constexpr std::array<uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

void append_decimal(std::string& out, unsigned value) {
  char digits[12];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
  out.append(digits, end);
}

uint64_t fold_multiply(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

std::string_view to_string(Family family) {
  return family == Family::kIPv4 ? "IPv4" : "IPv6";
}

std::string_view to_string(Protocol protocol) {
  switch (protocol) {
    case Protocol::kTcp:
      return "TCP";
    case Protocol::kUdp:
      return "UDP";
    case Protocol::kSctp:
      return "SCTP";
  }
  return "?";
}

std::optional<Protocol> parse_protocol(std::string_view text) {
  if (text == "TCP") return Protocol::kTcp;
  if (text == "UDP") return Protocol::kUdp;
  if (text == "SCTP") return Protocol::kSctp;
  return std::nullopt;
}

Address Address::v4(uint32_t host_order) {
  Address address;
  for (int i = 0; i < 4; ++i) {
    address.bytes_[static_cast<size_t>(i)] = static_cast<uint8_t>(host_order >> (24 - 8 * i));
  }
  return address;
}

Address Address::v6(const std::array<uint8_t, 16>& network_order) {
  Address address;
  if (std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), network_order.begin())) {
    std::copy(network_order.begin() + 12, network_order.end(), address.bytes_.begin());
    return address;
  }
  address.family_ = Family::kIPv6;
  address.bytes_ = network_order;
  return address;
}

std::optional<Address> Address::from_bytes(std::span<const uint8_t> network_order) {
  std::array<uint8_t, 16> bytes{};
  if (network_order.size() != 4 && network_order.size() != bytes.size()) return std::nullopt;
  std::copy(network_order.begin(), network_order.end(), bytes.begin());
  if (network_order.size() == bytes.size()) return v6(bytes);
  Address address;
  std::copy(network_order.begin(), network_order.end(), address.bytes_.begin());
  return address;
}

std::optional<Address> Address::parse(std::string_view text) {
  if (text.find(':') == std::string_view::npos) {
    Address address;
    if (!parse_quad(text, address.bytes_.data())) return std::nullopt;
    return address;
  }
  std::array<uint8_t, 16> bytes{};
  if (!parse_v6(text, bytes)) return std::nullopt;
  return v6(bytes);
}

uint32_t Address::v4_host_order() const {
  assert(is_v4());
  return static_cast<uint32_t>(bytes_[0]) << 24 | static_cast<uint32_t>(bytes_[1]) << 16 |
         static_cast<uint32_t>(bytes_[2]) << 8 | bytes_[3];
}

bool Address::is_unspecified() const {
  return std::all_of(bytes_.begin(), bytes_.end(), [](uint8_t byte) { return byte == 0; });
}

bool Address::is_loopback() const {
  if (is_v4()) return bytes_[0] == 127;
  return bytes_[15] == 1 &&
         std::all_of(bytes_.begin(), bytes_.end() - 1, [](uint8_t byte) { return byte == 0; });
}

bool Address::is_multicast() const {
  return is_v4() ? bytes_[0] >= 224 && bytes_[0] <= 239 : bytes_[0] == 0xff;
}

bool Address::is_link_local() const {
  return is_v4() ? bytes_[0] == 169 && bytes_[1] == 254
                 : bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

std::string Address::to_string() const {
  std::string text;
  if (is_v4()) {
    for (size_t i = 0; i < 4; ++i) {
      if (i > 0) text += '.';
      append_decimal(text, bytes_[i]);
    }
    return text;
  }
  // RFC 5952: the first longest run of two or more zero groups becomes "::".
  std::array<uint16_t, 8> groups;
  for (size_t i = 0; i < 8; ++i) {
    groups[i] = static_cast<uint16_t>(bytes_[2 * i] << 8 | bytes_[2 * i + 1]);
  }
  size_t run_start = 8;
  size_t run_length = 1;
  for (size_t i = 0; i < 8; ++i) {
    size_t length = 0;
    while (i + length < 8 && groups[i + length] == 0) ++length;
    if (length > run_length) {
      run_start = i;
      run_length = length;
    }
    i += length;
  }
  for (size_t i = 0; i < 8; ++i) {
    if (i == run_start) {
      text += "::";
      i += run_length - 1;
      continue;
    }
    if (!text.empty() && text.back() != ':') text += ':';
    char digits[5];
    const auto [end, error] = std::to_chars(digits, digits + sizeof digits, groups[i], 16);
    text.append(digits, end);
  }
  return text;
}

Prefix::Prefix(const Address& address, uint8_t length)
    : base_(masked(address, length)), length_(length) {
  assert(length <= (address.is_v4() ? 32 : 128));
}

std::optional<Prefix> Prefix::parse(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::optional<Address> address = Address::parse(text.substr(0, slash));
  const std::string_view digits = text.substr(slash + 1);
  uint8_t length = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (!address || error != std::errc() || end != digits.data() + digits.size() ||
      (digits.size() > 1 && digits[0] == '0') || length > (address->is_v4() ? 32 : 128)) {
    return std::nullopt;
  }
  return Prefix(*address, length);
}

Prefix Prefix::host(const Address& address) {
  return {address, address.is_v4() ? uint8_t{32} : uint8_t{128}};
}

bool Prefix::contains(const Address& address) const {
  return address.family() == family() && masked(address, length_) == base_;
}

std::string Prefix::to_string() const {
  std::string text = base_.to_string() + '/';
  append_decimal(text, length_);
  return text;
}

Address masked(const Address& address, uint8_t length) {
  std::array<uint8_t, 16> bytes{};
  const std::span<const uint8_t> source = address.bytes();
  for (size_t i = 0; i < source.size() && 8 * i < length; ++i) {
    const unsigned kept = std::min<unsigned>(8, length - 8 * static_cast<unsigned>(i));
    bytes[i] = static_cast<uint8_t>(source[i] & (0xff00U >> kept));
  }
  if (!address.is_v4()) return Address::v6(bytes);
  return Address::v4(static_cast<uint32_t>(bytes[0]) << 24 | static_cast<uint32_t>(bytes[1]) << 16 |
                     static_cast<uint32_t>(bytes[2]) << 8 | bytes[3]);
}

std::string SocketAddress::to_string() const {
  std::string text = address.is_v4() ? address.to_string() : '[' + address.to_string() + ']';
  text += ':';
  append_decimal(text, port);
  return text;
}

uint64_t stable_hash(std::span<const uint8_t> bytes, uint64_t seed) {
  constexpr uint64_t kSecret0 = 0xa0761d6478bd642fULL;
  constexpr uint64_t kSecret1 = 0xe7037ed1a0b428dbULL;
  // Not mixed with a secret yet: that is what the loop does, and twice would make a factor of zero.
  uint64_t state = seed;
  size_t offset = 0;
  while (offset < bytes.size()) {
    // Little-endian by construction, so that every machine agrees.
    uint64_t word = 0;
    const size_t count = std::min<size_t>(8, bytes.size() - offset);
    for (size_t i = 0; i < count; ++i) word |= static_cast<uint64_t>(bytes[offset + i]) << (8 * i);
    state = fold_multiply(word ^ kSecret1, state ^ kSecret0);
    offset += count;
  }
  return fold_multiply(state ^ bytes.size(), kSecret1);
}

uint64_t stable_hash(std::string_view text, uint64_t seed) {
  return stable_hash(
      std::span<const uint8_t>(reinterpret_cast<const uint8_t*>(text.data()), text.size()), seed);
}

uint64_t stable_hash(const SocketAddress& address, uint64_t seed) {
  std::array<uint8_t, 18> buffer{};
  const std::span<const uint8_t> bytes = address.address.bytes();
  std::copy(bytes.begin(), bytes.end(), buffer.begin());
  buffer[bytes.size()] = static_cast<uint8_t>(address.port >> 8);
  buffer[bytes.size() + 1] = static_cast<uint8_t>(address.port);
  return stable_hash(std::span<const uint8_t>(buffer.data(), bytes.size() + 2), seed);
}

}  // namespace fairlead::dataplane
