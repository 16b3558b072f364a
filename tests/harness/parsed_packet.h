// A packet's fields, read from its bytes alone, and whether its checksums fit.
//
// Never trusts a length: what cannot be read stays at its default and `problem` says why.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tests/harness/packet.h"

namespace fairlead::harness {

inline constexpr std::string_view kTcpFlagLetters = "FSRPAUEC";  // bit 0 first

struct ParsedPacket {
  std::string problem;  // empty: read to the end

  uint16_t ether_type = 0;
  dataplane::SocketAddress source, destination;  // port 0 where there is none
  uint8_t protocol = 0;                          // behind extension headers
  uint8_t ttl = 0, tos = 0;
  uint32_t id = 0;
  bool dont_fragment = false, more_fragments = false;
  uint16_t fragment_offset = 0;  // in bytes
  bool fragmented = false;       // has a fragment header, or offset or MF in IPv4
  size_t options = 0;            // bytes of IPv4 options or IPv6 extension headers
  size_t transport = 0;          // offset in the frame; 0: not reached
  size_t payload = 0;            // offset of the transport's payload
  size_t payload_size = 0;

  uint8_t tcp_flags = 0;
  uint8_t icmp_type = 0, icmp_code = 0;
  uint32_t rest = 0;                          // of ICMP
  std::shared_ptr<const ParsedPacket> inner;  // quoted by an ICMP error, or inside IPIP

  // Empty: cannot be told (fragments, truncated quotes, UDP without a checksum).
  std::optional<bool> ip_checksum_fits, checksum_fits;

  bool is_v4() const { return source.address.is_v4(); }
  bool is_icmp_error() const;
  bool checksums_fit() const;  // those that can be told; an inner packet's too
  std::string flags() const;   // "SA"
  std::string describe() const;
};

ParsedPacket parse(const Packet& packet);

}  // namespace fairlead::harness
