// IP addresses, prefixes, transport protocols: the values that every table is made of.
//
// Small and trivially copyable; an Address is 17 bytes with no padding, so that 250,000 endpoints
// stay small. IPv4-mapped IPv6 addresses (RFC 4291, 2.5.5.2) are IPv4 addresses here, as in
// Kubernetes.
//
// Threads: values.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace fairlead::dataplane {

enum class Family : uint8_t { kIPv4 = 4, kIPv6 = 6 };
std::string_view to_string(Family family);  // "IPv4", "IPv6": the API's and the metrics' spelling

enum class Protocol : uint8_t { kTcp = 6, kUdp = 17, kSctp = 132 };  // IANA numbers
std::string_view to_string(Protocol protocol);                       // "TCP", "UDP", "SCTP"
std::optional<Protocol> parse_protocol(std::string_view text);       // exact upper case, as the API

class Address {
 public:
  // The unspecified IPv4 address.
  Address() = default;
  static Address v4(uint32_t host_order);
  static Address v6(const std::array<uint8_t, 16>& network_order);
  // By their number: 4 bytes or 16, in network order. nullopt for any other.
  static std::optional<Address> from_bytes(std::span<const uint8_t> network_order);

  // Dotted quad (leading zeros are refused: their reading differs between tools) or RFC 4291 text.
  // No zone, no prefix, no surrounding space.
  static std::optional<Address> parse(std::string_view text);

  Family family() const { return family_; }
  bool is_v4() const { return family_ == Family::kIPv4; }
  // 4 or 16 bytes in network order.
  std::span<const uint8_t> bytes() const { return {bytes_.data(), is_v4() ? 4U : 16U}; }
  uint32_t v4_host_order() const;  // precondition: is_v4()

  bool is_unspecified() const;
  bool is_loopback() const;
  bool is_multicast() const;
  bool is_link_local() const;

  std::string to_string() const;  // RFC 5952 for IPv6

  friend auto operator<=>(const Address&, const Address&) = default;

 private:
  Family family_ = Family::kIPv4;
  std::array<uint8_t, 16> bytes_{};  // IPv4 uses the first four; the rest stay zero
};
static_assert(sizeof(Address) == 17);

// A CIDR block. Host bits are cleared on construction.
class Prefix {
 public:
  Prefix() = default;
  // Precondition: length is at most 32 or 128, as the family has it.
  Prefix(const Address& address, uint8_t length);
  static std::optional<Prefix> parse(std::string_view text);  // "10.0.0.0/8"
  static Prefix host(const Address& address);                 // /32 or /128

  const Address& base() const { return base_; }
  uint8_t length() const { return length_; }
  Family family() const { return base_.family(); }
  bool contains(const Address& address) const;
  std::string to_string() const;

  friend auto operator<=>(const Prefix&, const Prefix&) = default;

 private:
  Address base_;
  uint8_t length_ = 0;
};

// The bits of `address` after `length` set to zero.
Address masked(const Address& address, uint8_t length);

struct SocketAddress {
  Address address;
  uint16_t port = 0;

  std::string to_string() const;  // "10.0.0.1:80", "[fd00::1]:80"
  friend auto operator<=>(const SocketAddress&, const SocketAddress&) = default;
};

// A well-mixed hash of bytes (wyhash-style multiply-fold), the same on every run and every node:
// tables that several nodes must agree on are built from it.
uint64_t stable_hash(std::span<const uint8_t> bytes, uint64_t seed = 0);
uint64_t stable_hash(std::string_view text, uint64_t seed = 0);
uint64_t stable_hash(const SocketAddress& address, uint64_t seed = 0);

}  // namespace fairlead::dataplane
