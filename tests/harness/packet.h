// Packets byte by byte: building them whole or broken on purpose, and comparing them.
//
//   Packet syn = tcp("192.0.2.7:40000", "10.96.0.1:80").flags("S").ttl(3);
//   Packet answer = icmp("10.1.0.2", "192.0.2.7", 3, 1).quote(syn, 28);
//
// Everything that is not said is what a well-behaved sender writes: lengths and checksums fit.
// What is said wins, so that a packet can lie about itself. Reading is in parsed_packet.h.
//
// Addresses are parsed as text; a mistake in one ends the process, since it is a mistake in a test.
//
// Threads: values.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/address.h"

namespace fairlead::harness {

using Bytes = std::vector<uint8_t>;

inline constexpr size_t kEthernetHeader = 14;

// A frame, Ethernet header first.
class Packet {
 public:
  Packet() = default;
  explicit Packet(Bytes bytes) : bytes_(std::move(bytes)) {}

  const Bytes& bytes() const { return bytes_; }
  Bytes& bytes() { return bytes_; }
  size_t size() const { return bytes_.size(); }
  std::span<const uint8_t> from_network() const;  // without the Ethernet header

  Packet truncated(size_t size) const;
  // One line: addresses, ports, flags, sizes, and which checksums are wrong.
  std::string describe() const;

  friend bool operator==(const Packet&, const Packet&) = default;

 private:
  Bytes bytes_;
};

// Empty when both are equal; otherwise both descriptions and where the first difference is.
std::string difference(const Packet& got, const Packet& wanted);
std::ostream& operator<<(std::ostream& out, const Packet& packet);  // describe(): what gtest prints

dataplane::Address address_of(std::string_view text);               // "10.0.0.1", "fd00::1"
dataplane::SocketAddress socket_address_of(std::string_view text);  // with ":80"; "[fd00::1]:80"

inline constexpr uint8_t kHopByHop = 0;
inline constexpr uint8_t kIpip = 4;
inline constexpr uint8_t kRouting = 43;
inline constexpr uint8_t kFragment = 44;
inline constexpr uint8_t kAuthentication = 51;
inline constexpr uint8_t kDestinationOptions = 60;

class PacketBuilder {
 public:
  // `protocol` is an IANA number: 6, 17, 132, 1, 58 get their headers; any other one is payload.
  PacketBuilder(const dataplane::SocketAddress& source, const dataplane::SocketAddress& destination,
                uint8_t protocol);

  Packet build() const;
  operator Packet() const { return build(); }  // NOLINT: a builder stands for its packet

  // Ethernet. Last bytes of 02:00:00:00:00:xx.
  PacketBuilder& ethernet(uint8_t source, uint8_t destination);
  PacketBuilder& ether_type(uint16_t type);

  // IP.
  PacketBuilder& ttl(uint8_t value);  // or hop limit
  PacketBuilder& tos(uint8_t value);  // or traffic class
  PacketBuilder& id(uint32_t value);  // of the datagram; IPv6 writes it into a fragment header only
  PacketBuilder& may_fragment();      // IPv4 without DF
  // This fragment alone: bytes [first, first + count) of what follows the IP header (in IPv6: of
  // what follows the extension headers added so far). `first` is a multiple of 8.
  PacketBuilder& fragment(size_t first, size_t count);
  PacketBuilder& options(const Bytes& bytes);  // IPv4: padded to words with end-of-options
  // IPv6: one more extension header, `size` bytes long, filled with padding.
  PacketBuilder& extension(uint8_t type, size_t size = 8);
  PacketBuilder& ipip(std::string_view source, std::string_view destination);  // an outer IPv4

  // Lies.
  PacketBuilder& version(uint8_t value);
  PacketBuilder& ihl(uint8_t words);
  PacketBuilder& ip_length(uint16_t value);  // IPv4 total length, IPv6 payload length
  PacketBuilder& bad_ip_checksum();
  PacketBuilder& bad_checksum();  // of the transport
  // The device is to finish it: the pseudo header's sum alone (TCP, UDP), zero (SCTP).
  PacketBuilder& unfinished_checksum();
  PacketBuilder& udp_length(uint16_t value);
  PacketBuilder& tcp_data_offset(uint8_t words);

  // Transport.
  PacketBuilder& source_port(uint16_t port);
  PacketBuilder& flags(std::string_view letters);  // of "FSRPAUEC"
  PacketBuilder& sequence(uint32_t sequence, uint32_t acknowledged = 0);
  PacketBuilder& window(uint16_t size);
  PacketBuilder& tcp_options(const Bytes& bytes);  // padded to words with no-operation
  PacketBuilder& zero_checksum();                  // UDP without one
  PacketBuilder& chunk(uint8_t type);              // SCTP's first chunk; 1 INIT by default
  PacketBuilder& rest(uint32_t value);  // ICMP's word behind the checksum: MTU, identifier
  // ICMP: `packet` from its IP header on, at most `bytes` of it.
  PacketBuilder& quote(const Packet& packet, size_t bytes = 1 << 16);
  PacketBuilder& payload(std::string_view text);
  PacketBuilder& payload_size(size_t size);  // that many letters

 private:
  friend PacketBuilder icmp(std::string_view, std::string_view, uint8_t, uint8_t);
  struct Extension {
    uint8_t type;
    size_t size;
  };
  struct Slice {
    size_t first, count;
    size_t extensions;  // that stand before the fragment header
  };

  Bytes transport() const;
  Bytes tcp_segment() const;
  Bytes udp_datagram() const;
  Bytes sctp_packet() const;
  Bytes icmp_message() const;
  Bytes ipv4(Bytes body) const;
  Bytes ipv6(Bytes body) const;
  Bytes in_outer_ip(Bytes inner) const;
  void put_transport_checksum(Bytes& segment, size_t offset) const;

  dataplane::SocketAddress source_, destination_;
  uint8_t protocol_;
  uint8_t source_mac_ = 1, destination_mac_ = 2;
  std::optional<uint16_t> ether_type_;
  uint8_t ttl_ = 64, tos_ = 0;
  uint32_t id_ = 0x1234;
  bool dont_fragment_ = true;
  std::optional<Slice> slice_;
  Bytes options_;
  std::vector<Extension> extensions_;
  std::optional<std::array<dataplane::Address, 2>> outer_;
  std::optional<uint8_t> version_, ihl_, data_offset_;
  std::optional<uint16_t> ip_length_, udp_length_;
  bool bad_ip_checksum_ = false, bad_checksum_ = false, unfinished_checksum_ = false,
       zero_checksum_ = false;
  uint8_t tcp_flags_ = 0x10;
  uint32_t sequence_ = 1000, acknowledged_ = 0;
  uint16_t window_ = 0x2000;
  Bytes tcp_options_;
  uint8_t chunk_ = 1;
  uint8_t icmp_type_ = 0, icmp_code_ = 0;
  uint32_t rest_ = 0;
  Bytes payload_;
};

// Both ends as "10.0.0.1:80" or "[fd00::1]:80"; icmp's without ports. ICMP of the family of its
// addresses. TCP carries ACK unless flags() says otherwise.
PacketBuilder tcp(std::string_view source, std::string_view destination);
PacketBuilder udp(std::string_view source, std::string_view destination);
PacketBuilder sctp(std::string_view source, std::string_view destination);
PacketBuilder icmp(std::string_view source, std::string_view destination, uint8_t type,
                   uint8_t code);

// Any other protocol, with payload alone behind the IP header.
PacketBuilder ip(std::string_view source, std::string_view destination, uint8_t protocol);

// RFC 1071, folded and complemented, in host order. `start` is a sum carried in.
uint16_t internet_checksum(std::span<const uint8_t> bytes, uint32_t start = 0);
uint32_t pseudo_header_sum(const dataplane::Address& source, const dataplane::Address& destination,
                           uint8_t protocol, uint32_t length);
uint32_t crc32c(std::span<const uint8_t> bytes);  // RFC 9260, appendix A

}  // namespace fairlead::harness
