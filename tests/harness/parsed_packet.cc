#include "tests/harness/parsed_packet.h"

#include <algorithm>

namespace fairlead::harness {
namespace {

using Span = std::span<const uint8_t>;

constexpr size_t kIpv6Header = 40;

uint16_t get16(Span bytes, size_t offset) {
  return static_cast<uint16_t>(bytes[offset] << 8 | bytes[offset + 1]);
}
uint32_t get32(Span bytes, size_t offset) {
  return static_cast<uint32_t>(get16(bytes, offset)) << 16 | get16(bytes, offset + 2);
}
dataplane::Address v6(Span bytes, size_t offset) {
  std::array<uint8_t, 16> address;
  std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(offset), 16, address.begin());
  return dataplane::Address::v6(address);
}

class Reader {
 public:
  // `quoted`: the bytes stand inside an ICMP error, which may cut them short.
  Reader(Span bytes, bool quoted) : bytes_(bytes), quoted_(quoted) {}

  ParsedPacket read(size_t network) {
    if (bytes_.size() <= network) {
      out_.problem = "no IP header";
    } else if (bytes_[network] >> 4 == 4) {
      ipv4(network);
    } else if (bytes_[network] >> 4 == 6) {
      ipv6(network);
    } else {
      out_.problem = "IP version " + std::to_string(bytes_[network] >> 4);
    }
    return std::move(out_);
  }

 private:
  bool has(size_t offset, size_t size, const char* what) {
    if (offset + size <= bytes_.size()) return true;
    out_.problem = std::string("ends inside ") + what;
    return false;
  }

  void ipv4(size_t network) {
    if (!has(network, 20, "the IPv4 header")) return;
    const size_t header = (bytes_[network] & 15U) * 4U;
    out_.tos = bytes_[network + 1];
    out_.id = get16(bytes_, network + 4);
    const uint16_t fragment = get16(bytes_, network + 6);
    out_.dont_fragment = (fragment & 0x4000) != 0;
    out_.more_fragments = (fragment & 0x2000) != 0;
    out_.fragment_offset = static_cast<uint16_t>((fragment & 0x1fff) * 8);
    out_.fragmented = (fragment & 0x3fff) != 0;
    out_.ttl = bytes_[network + 8];
    out_.protocol = bytes_[network + 9];
    out_.source.address = dataplane::Address::v4(get32(bytes_, network + 12));
    out_.destination.address = dataplane::Address::v4(get32(bytes_, network + 16));
    if (header < 20) {
      out_.problem = "IHL " + std::to_string(header / 4);
      return;
    }
    if (!has(network, header, "the IPv4 options")) return;
    out_.options = header - 20;
    out_.ip_checksum_fits = internet_checksum(bytes_.subspan(network, header)) == 0;
    const size_t length = get16(bytes_, network + 2);
    if (length < header) {
      out_.problem = "IP length " + std::to_string(length);
      return;
    }
    transport(network + header, network + length);
  }

  void ipv6(size_t network) {
    if (!has(network, kIpv6Header, "the IPv6 header")) return;
    out_.dont_fragment = true;
    out_.tos = static_cast<uint8_t>(get16(bytes_, network) >> 4);
    out_.ttl = bytes_[network + 7];
    out_.source.address = v6(bytes_, network + 8);
    out_.destination.address = v6(bytes_, network + 24);
    const size_t end = network + kIpv6Header + get16(bytes_, network + 4);
    size_t offset = network + kIpv6Header;
    uint8_t next = bytes_[network + 6];
    while (next == kHopByHop || next == kRouting || next == kFragment || next == kAuthentication ||
           next == kDestinationOptions) {
      out_.protocol = next;
      if (!has(offset, 8, "an extension header")) return;
      size_t size = (bytes_[offset + 1] + 1U) * 8U;
      if (next == kAuthentication) size = (bytes_[offset + 1] + 2U) * 4U;
      if (next == kFragment) {
        size = 8;
        const uint16_t field = get16(bytes_, offset + 2);
        out_.fragmented = true;
        out_.fragment_offset = field & 0xfff8;
        out_.more_fragments = (field & 1) != 0;
        out_.id = get32(bytes_, offset + 4);
      }
      if (!has(offset, size, "an extension header")) return;
      next = bytes_[offset];
      offset += size;
      out_.options += size;
      if (out_.fragment_offset != 0) break;
    }
    out_.protocol = next;
    transport(offset, end);
  }

  void transport(size_t offset, size_t end) {
    out_.transport = offset;
    if (end > bytes_.size()) {
      if (!quoted_) {
        out_.problem = "IP length beyond the packet's end";
        return;
      }
      truncated_ = true;
    }
    if (out_.fragment_offset != 0) {
      out_.payload = offset;
      out_.payload_size = std::min(end, bytes_.size()) - std::min(offset, bytes_.size());
      return;
    }
    end = std::min(end, bytes_.size());
    if (offset > end) {
      out_.problem = "extension headers beyond the IP length";
      return;
    }
    body(offset, end);
  }

  void body(size_t offset, size_t end) {
    size_t header = 0;
    switch (out_.protocol) {
      case 6:
        if (!ports(offset, end)) return;
        if (!needs(offset, end, 20)) return;
        out_.tcp_flags = bytes_[offset + 13];
        header = (bytes_[offset + 12] >> 4) * 4U;
        if (header < 20 || offset + header > end) {
          out_.problem = "TCP data offset " + std::to_string(header / 4);
          return;
        }
        judge_checksum(offset, end);
        break;
      case 17:
        if (!ports(offset, end)) return;
        if (!needs(offset, end, 8)) return;
        header = 8;
        if (!udp_length(offset, end)) return;
        if (get16(bytes_, offset + 6) != 0) judge_checksum(offset, end);
        break;
      case 132:
        if (!ports(offset, end)) return;
        if (!needs(offset, end, 12)) return;
        header = 12;
        judge_crc(offset, end);
        break;
      case 1:
      case 58:
        if (!needs(offset, end, 8)) return;
        header = 8;
        out_.icmp_type = bytes_[offset];
        out_.icmp_code = bytes_[offset + 1];
        out_.rest = get32(bytes_, offset + 4);
        judge_checksum(offset, end);
        if (out_.is_icmp_error()) quoted(offset + 8, end, true);
        break;
      case kIpip:
      case 41:
        quoted(offset, end, quoted_);
        break;
    }
    out_.payload = offset + header;
    out_.payload_size = end - offset - header;
  }

  // A quote may hold the ports alone.
  bool ports(size_t offset, size_t end) {
    if (!needs(offset, end, 4)) return false;
    out_.source.port = get16(bytes_, offset);
    out_.destination.port = get16(bytes_, offset + 2);
    return true;
  }

  bool needs(size_t offset, size_t end, size_t size) {
    if (offset + size <= end) return true;
    if (!truncated_ || offset + 4 > end) out_.problem = "ends inside the transport header";
    return false;
  }

  // A datagram may be shorter than what IP carries: then that is where it ends. 0: to IP's end.
  bool udp_length(size_t offset, size_t& end) {
    const size_t length = get16(bytes_, offset + 4);
    if (truncated_ || out_.fragmented || length == 0) return true;
    if (length < 8 || length > end - offset) {
      out_.problem = "UDP length " + std::to_string(length);
      return false;
    }
    end = offset + length;
    return true;
  }

  void quoted(size_t offset, size_t end, bool cut) {
    out_.inner = std::make_shared<ParsedPacket>(Reader(bytes_.first(end), cut).read(offset));
  }

  void judge_checksum(size_t offset, size_t end) {
    if (out_.fragmented || truncated_) return;
    const uint32_t start =
        out_.protocol == 1 ? 0
                           : pseudo_header_sum(out_.source.address, out_.destination.address,
                                               out_.protocol, static_cast<uint32_t>(end - offset));
    out_.checksum_fits = internet_checksum(bytes_.subspan(offset, end - offset), start) == 0;
  }

  void judge_crc(size_t offset, size_t end) {
    if (out_.fragmented || truncated_) return;
    Bytes copy(bytes_.begin() + static_cast<ptrdiff_t>(offset),
               bytes_.begin() + static_cast<ptrdiff_t>(end));
    std::fill_n(copy.begin() + 8, 4, static_cast<uint8_t>(0));
    const uint32_t crc = crc32c(copy);
    out_.checksum_fits = true;
    for (size_t i = 0; i < 4; ++i) {
      if (bytes_[offset + 8 + i] != static_cast<uint8_t>(crc >> 8 * i)) out_.checksum_fits = false;
    }
  }

  Span bytes_;
  bool quoted_;
  bool truncated_ = false;
  ParsedPacket out_;
};

std::string_view name_of(uint8_t protocol) {
  switch (protocol) {
    case 1:
      return "ICMP";
    case kIpip:
      return "IPIP";
    case 6:
      return "TCP";
    case 17:
      return "UDP";
    case 41:
      return "6in4";
    case 58:
      return "ICMPv6";
    case 132:
      return "SCTP";
    default:
      return "";
  }
}

}  // namespace

bool ParsedPacket::is_icmp_error() const {
  if (protocol == 1) {
    return icmp_type == 3 || icmp_type == 4 || icmp_type == 5 || icmp_type == 11 || icmp_type == 12;
  }
  return protocol == 58 && icmp_type < 128;
}

bool ParsedPacket::checksums_fit() const {
  return ip_checksum_fits.value_or(true) && checksum_fits.value_or(true) &&
         (!inner || inner->checksums_fit());
}

std::string ParsedPacket::flags() const {
  std::string letters;
  for (size_t bit = 0; bit < kTcpFlagLetters.size(); ++bit) {
    if (tcp_flags >> bit & 1) letters += kTcpFlagLetters[bit];
  }
  return letters;
}

std::string ParsedPacket::describe() const {
  std::string text;
  if (source.address != dataplane::Address() || destination.address != dataplane::Address()) {
    const bool ports = source.port != 0 || destination.port != 0;
    const auto end = [ports](const dataplane::SocketAddress& address) {
      return ports ? address.to_string() : address.address.to_string();
    };
    text = end(source) + " > " + end(destination) + " ";
  }
  text += name_of(protocol).empty() ? "protocol " + std::to_string(protocol)
                                    : std::string(name_of(protocol));
  if (protocol == 6) text += " " + flags();
  if (protocol == 1 || protocol == 58) {
    text += " " + std::to_string(icmp_type) + "/" + std::to_string(icmp_code) + " rest " +
            std::to_string(rest);
  }
  text += " ttl " + std::to_string(ttl);
  if (tos != 0) text += " tos " + std::to_string(tos);
  if (options != 0) text += " options " + std::to_string(options);
  if (fragmented) {
    text += " fragment " + std::to_string(fragment_offset) + (more_fragments ? "+" : "") + " id " +
            std::to_string(id);
  }
  text += " data " + std::to_string(payload_size);
  if (ip_checksum_fits == false) text += " BAD IP CHECKSUM";
  if (checksum_fits == false) text += " BAD CHECKSUM";
  if (!problem.empty()) text += " (" + problem + ")";
  if (inner) text += " { " + inner->describe() + " }";
  return text;
}

ParsedPacket parse(const Packet& packet) {
  const Span bytes = packet.bytes();
  if (bytes.size() < kEthernetHeader) {
    ParsedPacket out;
    out.problem = "no Ethernet header";
    return out;
  }
  const uint16_t type = get16(bytes, 12);
  if (type != 0x0800 && type != 0x86dd) {
    ParsedPacket out;
    out.ether_type = type;
    out.problem = "Ethernet type " + std::to_string(type);
    return out;
  }
  ParsedPacket out = Reader(bytes, false).read(kEthernetHeader);
  out.ether_type = type;
  return out;
}

}  // namespace fairlead::harness
