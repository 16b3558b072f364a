#include "tests/harness/packet.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "tests/harness/parsed_packet.h"

namespace fairlead::harness {
namespace {

constexpr uint8_t kTcp = 6;
constexpr uint8_t kUdp = 17;
constexpr uint8_t kSctp = 132;
constexpr uint8_t kIcmp4 = 1;
constexpr uint8_t kIcmp6 = 58;

void put8(Bytes& out, uint8_t value) {
  out.push_back(value);
}
void put16(Bytes& out, uint16_t value) {
  put8(out, static_cast<uint8_t>(value >> 8));
  put8(out, static_cast<uint8_t>(value));
}
void put32(Bytes& out, uint32_t value) {
  put16(out, static_cast<uint16_t>(value >> 16));
  put16(out, static_cast<uint16_t>(value));
}
void put(Bytes& out, std::span<const uint8_t> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}
void set16(Bytes& out, size_t offset, uint16_t value) {
  out[offset] = static_cast<uint8_t>(value >> 8);
  out[offset + 1] = static_cast<uint8_t>(value);
}

[[noreturn]] void mistake(std::string_view text) {
  std::fprintf(stderr, "not an address: %.*s\n", static_cast<int>(text.size()), text.data());
  std::abort();
}

uint32_t sum_of(std::span<const uint8_t> bytes, uint32_t start) {
  uint64_t sum = start;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<uint32_t>(bytes[i] << 8) | (i + 1 < bytes.size() ? bytes[i + 1] : 0U);
  }
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint32_t>(sum);
}

Bytes padded(Bytes bytes, uint8_t filler) {
  while (bytes.size() % 4 != 0) bytes.push_back(filler);
  return bytes;
}

}  // namespace

uint16_t internet_checksum(std::span<const uint8_t> bytes, uint32_t start) {
  return static_cast<uint16_t>(~sum_of(bytes, start));
}

uint32_t pseudo_header_sum(const dataplane::Address& source, const dataplane::Address& destination,
                           uint8_t protocol, uint32_t length) {
  Bytes header;
  put(header, source.bytes());
  put(header, destination.bytes());
  put32(header, length);
  put32(header, protocol);
  return sum_of(header, 0);
}

uint32_t crc32c(std::span<const uint8_t> bytes) {
  uint32_t crc = ~0U;
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0U);
  }
  return ~crc;
}

dataplane::Address address_of(std::string_view text) {
  const auto address = dataplane::Address::parse(text);
  if (!address) mistake(text);
  return *address;
}

dataplane::SocketAddress socket_address_of(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) mistake(text);
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const long port = std::strtol(std::string(text.substr(colon + 1)).c_str(), nullptr, 10);
  return {address_of(host), static_cast<uint16_t>(port)};
}

std::span<const uint8_t> Packet::from_network() const {
  return std::span<const uint8_t>(bytes_).subspan(std::min(kEthernetHeader, bytes_.size()));
}

Packet Packet::truncated(size_t size) const {
  return Packet(Bytes(bytes_.begin(),
                      bytes_.begin() + static_cast<ptrdiff_t>(std::min(size, bytes_.size()))));
}

std::string Packet::describe() const {
  return parse(*this).describe();
}

std::string difference(const Packet& got, const Packet& wanted) {
  if (got == wanted) return "";
  const auto [g, w] = std::mismatch(got.bytes().begin(), got.bytes().end(), wanted.bytes().begin(),
                                    wanted.bytes().end());
  const auto text = [](const Packet& packet, auto at) {
    char byte[8] = "end";
    if (at != packet.bytes().end()) std::snprintf(byte, sizeof(byte), "%02x", *at);
    return std::string(byte);
  };
  return "got    " + got.describe() + "\nwanted " + wanted.describe() + "\nbyte " +
         std::to_string(g - got.bytes().begin()) + ": " + text(got, g) + ", wanted " +
         text(wanted, w);
}

std::ostream& operator<<(std::ostream& out, const Packet& packet) {
  return out << packet.describe();
}

PacketBuilder::PacketBuilder(const dataplane::SocketAddress& source,
                             const dataplane::SocketAddress& destination, uint8_t protocol)
    : source_(source), destination_(destination), protocol_(protocol) {}

PacketBuilder tcp(std::string_view source, std::string_view destination) {
  return {socket_address_of(source), socket_address_of(destination), kTcp};
}
PacketBuilder udp(std::string_view source, std::string_view destination) {
  return {socket_address_of(source), socket_address_of(destination), kUdp};
}
PacketBuilder sctp(std::string_view source, std::string_view destination) {
  return {socket_address_of(source), socket_address_of(destination), kSctp};
}
PacketBuilder ip(std::string_view source, std::string_view destination, uint8_t protocol) {
  return {{address_of(source), 0}, {address_of(destination), 0}, protocol};
}
PacketBuilder icmp(std::string_view source, std::string_view destination, uint8_t type,
                   uint8_t code) {
  const dataplane::Address from = address_of(source);
  PacketBuilder builder({from, 0}, {address_of(destination), 0}, from.is_v4() ? kIcmp4 : kIcmp6);
  builder.icmp_type_ = type;
  builder.icmp_code_ = code;
  return builder;
}

// ---- What is said ----

PacketBuilder& PacketBuilder::ethernet(uint8_t source, uint8_t destination) {
  source_mac_ = source;
  destination_mac_ = destination;
  return *this;
}
PacketBuilder& PacketBuilder::ether_type(uint16_t type) {
  ether_type_ = type;
  return *this;
}
PacketBuilder& PacketBuilder::ttl(uint8_t value) {
  ttl_ = value;
  return *this;
}
PacketBuilder& PacketBuilder::tos(uint8_t value) {
  tos_ = value;
  return *this;
}
PacketBuilder& PacketBuilder::id(uint32_t value) {
  id_ = value;
  return *this;
}
PacketBuilder& PacketBuilder::may_fragment() {
  dont_fragment_ = false;
  return *this;
}
PacketBuilder& PacketBuilder::fragment(size_t first, size_t count) {
  slice_ = Slice{first, count, extensions_.size()};
  dont_fragment_ = false;
  return *this;
}
PacketBuilder& PacketBuilder::options(const Bytes& bytes) {
  options_ = padded(bytes, 0);
  return *this;
}
PacketBuilder& PacketBuilder::extension(uint8_t type, size_t size) {
  extensions_.push_back({type, size});
  return *this;
}
PacketBuilder& PacketBuilder::ipip(std::string_view source, std::string_view destination) {
  outer_ = {address_of(source), address_of(destination)};
  return *this;
}
PacketBuilder& PacketBuilder::version(uint8_t value) {
  version_ = value;
  return *this;
}
PacketBuilder& PacketBuilder::ihl(uint8_t words) {
  ihl_ = words;
  return *this;
}
PacketBuilder& PacketBuilder::ip_length(uint16_t value) {
  ip_length_ = value;
  return *this;
}
PacketBuilder& PacketBuilder::bad_ip_checksum() {
  bad_ip_checksum_ = true;
  return *this;
}
PacketBuilder& PacketBuilder::bad_checksum() {
  bad_checksum_ = true;
  return *this;
}
PacketBuilder& PacketBuilder::unfinished_checksum() {
  unfinished_checksum_ = true;
  return *this;
}
PacketBuilder& PacketBuilder::udp_length(uint16_t value) {
  udp_length_ = value;
  return *this;
}
PacketBuilder& PacketBuilder::tcp_data_offset(uint8_t words) {
  data_offset_ = words;
  return *this;
}
PacketBuilder& PacketBuilder::source_port(uint16_t port) {
  source_.port = port;
  return *this;
}
PacketBuilder& PacketBuilder::flags(std::string_view letters) {
  tcp_flags_ = 0;
  for (const char letter : letters) {
    const size_t bit = kTcpFlagLetters.find(letter);
    if (bit != std::string_view::npos) tcp_flags_ |= static_cast<uint8_t>(1U << bit);
  }
  return *this;
}
PacketBuilder& PacketBuilder::sequence(uint32_t sequence, uint32_t acknowledged) {
  sequence_ = sequence;
  acknowledged_ = acknowledged;
  return *this;
}
PacketBuilder& PacketBuilder::window(uint16_t size) {
  window_ = size;
  return *this;
}
PacketBuilder& PacketBuilder::tcp_options(const Bytes& bytes) {
  tcp_options_ = padded(bytes, 1);
  return *this;
}
PacketBuilder& PacketBuilder::zero_checksum() {
  zero_checksum_ = true;
  return *this;
}
PacketBuilder& PacketBuilder::chunk(uint8_t type) {
  chunk_ = type;
  return *this;
}
PacketBuilder& PacketBuilder::rest(uint32_t value) {
  rest_ = value;
  return *this;
}
PacketBuilder& PacketBuilder::quote(const Packet& packet, size_t bytes) {
  const std::span<const uint8_t> inner = packet.from_network();
  payload_.assign(inner.begin(),
                  inner.begin() + static_cast<ptrdiff_t>(std::min(bytes, inner.size())));
  return *this;
}
PacketBuilder& PacketBuilder::payload(std::string_view text) {
  payload_.assign(text.begin(), text.end());
  return *this;
}
PacketBuilder& PacketBuilder::payload_size(size_t size) {
  payload_.resize(size);
  for (size_t i = 0; i < size; ++i) payload_[i] = static_cast<uint8_t>('a' + i % 26);
  return *this;
}

// ---- What becomes of it ----

void PacketBuilder::put_transport_checksum(Bytes& segment, size_t offset) const {
  const uint32_t start = protocol_ == kIcmp4
                             ? 0
                             : pseudo_header_sum(source_.address, destination_.address, protocol_,
                                                 static_cast<uint32_t>(segment.size()));
  uint16_t sum = internet_checksum(segment, start);
  if (protocol_ == kUdp && sum == 0) sum = 0xffff;
  if (bad_checksum_) sum ^= 0x0101;
  if (unfinished_checksum_) sum = static_cast<uint16_t>(~internet_checksum({}, start));
  set16(segment, offset, sum);
}

Bytes PacketBuilder::tcp_segment() const {
  Bytes out;
  put16(out, source_.port);
  put16(out, destination_.port);
  put32(out, sequence_);
  put32(out, acknowledged_);
  const size_t words = 5 + tcp_options_.size() / 4;
  put8(out, static_cast<uint8_t>(data_offset_.value_or(static_cast<uint8_t>(words)) << 4));
  put8(out, tcp_flags_);
  put16(out, window_);
  put32(out, 0);
  put(out, tcp_options_);
  put(out, payload_);
  put_transport_checksum(out, 16);
  return out;
}

Bytes PacketBuilder::udp_datagram() const {
  Bytes out;
  put16(out, source_.port);
  put16(out, destination_.port);
  put16(out, udp_length_.value_or(static_cast<uint16_t>(8 + payload_.size())));
  put16(out, 0);
  put(out, payload_);
  if (!zero_checksum_) put_transport_checksum(out, 6);
  return out;
}

Bytes PacketBuilder::sctp_packet() const {
  Bytes out;
  put16(out, source_.port);
  put16(out, destination_.port);
  put32(out, 0x01020304);  // verification tag
  put32(out, 0);
  put8(out, chunk_);
  put8(out, 0);
  put16(out, static_cast<uint16_t>(4 + payload_.size()));
  put(out, padded(payload_, 0));
  if (unfinished_checksum_) return out;
  const uint32_t crc = crc32c(out) ^ (bad_checksum_ ? 0x01010101U : 0U);
  for (size_t i = 0; i < 4; ++i) out[8 + i] = static_cast<uint8_t>(crc >> 8 * i);
  return out;
}

Bytes PacketBuilder::icmp_message() const {
  Bytes out;
  put8(out, icmp_type_);
  put8(out, icmp_code_);
  put16(out, 0);
  put32(out, rest_);
  put(out, payload_);
  put_transport_checksum(out, 2);
  return out;
}

Bytes PacketBuilder::transport() const {
  switch (protocol_) {
    case kTcp:
      return tcp_segment();
    case kUdp:
      return udp_datagram();
    case kSctp:
      return sctp_packet();
    case kIcmp4:
    case kIcmp6:
      return icmp_message();
    default:
      return payload_;
  }
}

Bytes PacketBuilder::ipv4(Bytes body) const {
  uint16_t fragment_field = dont_fragment_ ? 0x4000 : 0;
  if (slice_) {
    const size_t first = std::min(slice_->first, body.size());
    const size_t end = std::min(first + slice_->count, body.size());
    fragment_field = static_cast<uint16_t>(first / 8 | (end < body.size() ? 0x2000U : 0U));
    body = Bytes(body.begin() + static_cast<ptrdiff_t>(first),
                 body.begin() + static_cast<ptrdiff_t>(end));
  }
  const size_t words = 5 + options_.size() / 4;
  Bytes out;
  put8(out, static_cast<uint8_t>(version_.value_or(4) << 4 |
                                 ihl_.value_or(static_cast<uint8_t>(words))));
  put8(out, tos_);
  put16(out, ip_length_.value_or(static_cast<uint16_t>(words * 4 + body.size())));
  put16(out, static_cast<uint16_t>(id_));
  put16(out, fragment_field);
  put8(out, ttl_);
  put8(out, protocol_);
  put16(out, 0);
  put(out, source_.address.bytes());
  put(out, destination_.address.bytes());
  put(out, options_);
  set16(out, 10, static_cast<uint16_t>(internet_checksum(out) ^ (bad_ip_checksum_ ? 0x0101 : 0)));
  put(out, body);
  return out;
}

Bytes PacketBuilder::ipv6(Bytes body) const {
  // From the innermost outwards: each header names the one behind it.
  uint8_t next = protocol_;
  const auto wrap = [&](size_t from, size_t to) {
    for (size_t i = to; i > from; --i) {
      const Extension& extension = extensions_[i - 1];
      Bytes header;
      put8(header, next);
      const bool authentication = extension.type == kAuthentication;
      put8(header,
           static_cast<uint8_t>(authentication ? extension.size / 4 - 2 : extension.size / 8 - 1));
      if (extension.size > 2 && !authentication && extension.type != kRouting) {
        put8(header, 1);  // PadN over all the rest
        put8(header, static_cast<uint8_t>(extension.size - 4));
      }
      header.resize(extension.size);
      body.insert(body.begin(), header.begin(), header.end());
      next = extension.type;
    }
  };
  const size_t before = slice_ ? slice_->extensions : 0;
  wrap(before, extensions_.size());
  if (slice_) {
    const size_t first = std::min(slice_->first, body.size());
    const size_t end = std::min(first + slice_->count, body.size());
    Bytes part;
    put8(part, next);
    put8(part, 0);
    put16(part, static_cast<uint16_t>(first | (end < body.size() ? 1U : 0U)));
    put32(part, id_);
    put(part, std::span<const uint8_t>(body).subspan(first, end - first));
    body = std::move(part);
    next = kFragment;
    wrap(0, before);
  }
  Bytes out;
  put32(out, static_cast<uint32_t>(version_.value_or(6)) << 28 | static_cast<uint32_t>(tos_) << 20);
  put16(out, ip_length_.value_or(static_cast<uint16_t>(body.size())));
  put8(out, next);
  put8(out, ttl_);
  put(out, source_.address.bytes());
  put(out, destination_.address.bytes());
  put(out, body);
  return out;
}

Bytes PacketBuilder::in_outer_ip(Bytes inner) const {
  const bool v4 = source_.address.is_v4();
  PacketBuilder outer({(*outer_)[0], 0}, {(*outer_)[1], 0}, v4 ? kIpip : 41);
  return outer.ipv4(std::move(inner));
}

Packet PacketBuilder::build() const {
  const bool v4 = source_.address.is_v4();
  Bytes ip = v4 ? ipv4(transport()) : ipv6(transport());
  if (outer_) ip = in_outer_ip(std::move(ip));
  Bytes out = {2, 0, 0, 0, 0, destination_mac_, 2, 0, 0, 0, 0, source_mac_};
  put16(out, ether_type_.value_or(v4 || outer_ ? 0x0800 : 0x86dd));
  put(out, ip);
  return Packet(std::move(out));
}

}  // namespace fairlead::harness
