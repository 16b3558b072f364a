// The packet builder against vectors from elsewhere, and the reader against the builder.
#include "tests/harness/packet.h"

#include <gtest/gtest.h>

#include "tests/harness/parsed_packet.h"

namespace fairlead::harness {
namespace {

TEST(Packet, ChecksumsMatchPublishedVectors) {
  const Bytes rfc1071 = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(internet_checksum(rfc1071), 0x220d);
  const Bytes header = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                        0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
  EXPECT_EQ(internet_checksum(header), 0);
  const std::string digits = "123456789";
  EXPECT_EQ(crc32c(Bytes(digits.begin(), digits.end())), 0xe3069283U);
}

TEST(Packet, IsWrittenByteByByte) {
  const Packet packet = udp("192.168.0.1:1", "192.168.0.199:2").id(0).payload_size(87).build();
  const Bytes start(packet.bytes().begin() + 14, packet.bytes().begin() + 34);
  EXPECT_EQ(start, (Bytes{0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                          0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7}));
  EXPECT_EQ(packet.size(), 14U + 0x73U);
}

void expect_text(const Packet& packet, std::string_view text) {
  EXPECT_EQ(packet.describe(), text);
}

TEST(Packet, ReadsBackWhatWasBuilt) {
  expect_text(tcp("10.9.0.5:40000", "10.96.0.1:80").flags("S"),
              "10.9.0.5:40000 > 10.96.0.1:80 TCP S ttl 64 data 0");
  expect_text(tcp("[fd00::5]:40000", "[fd00::1]:80").flags("SA").tcp_options({2, 4, 5, 180}),
              "[fd00::5]:40000 > [fd00::1]:80 TCP SA ttl 64 data 0");
  expect_text(udp("10.9.0.5:1", "10.96.0.1:53").ttl(3).options({1, 1, 1}).payload("hello"),
              "10.9.0.5:1 > 10.96.0.1:53 UDP ttl 3 options 4 data 5");
  expect_text(udp("[fd00::5]:1", "[fd00::1]:2").extension(kHopByHop).extension(kAuthentication, 24),
              "[fd00::5]:1 > [fd00::1]:2 UDP ttl 64 options 32 data 0");
  expect_text(sctp("10.9.0.5:1", "10.96.0.1:2").payload("abc"),
              "10.9.0.5:1 > 10.96.0.1:2 SCTP ttl 64 data 8");
  expect_text(udp("10.9.0.5:1", "10.96.0.1:2").ipip("10.0.0.1", "10.0.0.2"),
              "10.0.0.1 > 10.0.0.2 IPIP ttl 64 data 28 { 10.9.0.5:1 > 10.96.0.1:2 UDP ttl 64 data "
              "0 }");
}

TEST(Packet, ReadsWhatAnErrorQuotes) {
  const Packet sent = udp("10.9.0.5:1", "10.1.0.2:53").payload_size(100);
  expect_text(icmp("10.1.0.2", "10.9.0.5", 3, 3).quote(sent, 28),
              "10.1.0.2 > 10.9.0.5 ICMP 3/3 rest 0 ttl 64 data 28 { 10.9.0.5:1 > 10.1.0.2:53 UDP "
              "ttl 64 data 0 }");
  const Packet sent6 = tcp("[fd00::5]:1", "[fd00::1]:2");
  expect_text(icmp("fd00::1", "fd00::5", 2, 0).rest(1280).quote(sent6, 48),
              "fd00::1 > fd00::5 ICMPv6 2/0 rest 1280 ttl 64 data 48 { [fd00::5]:1 > [fd00::1]:2 "
              "TCP  ttl 64 data 0 }");
}

TEST(Packet, FragmentsAddUpToTheWhole) {
  for (const bool v4 : {true, false}) {
    auto builder = v4 ? udp("10.9.0.5:1", "10.96.0.1:2") : udp("[fd00::5]:1", "[fd00::1]:2");
    builder.payload_size(100);
    const Packet whole = builder.build();
    Bytes body;
    for (size_t first = 0; first < 108; first += 40) {
      const Packet part = builder.fragment(first, 40).build();
      const ParsedPacket fields = parse(part);
      EXPECT_EQ(fields.fragment_offset, first);
      EXPECT_EQ(fields.more_fragments, first < 80) << part;
      body.insert(body.end(), part.bytes().begin() + static_cast<ptrdiff_t>(fields.transport),
                  part.bytes().end());
    }
    EXPECT_TRUE(std::equal(body.begin(), body.end(), whole.bytes().end() - 108));
  }
}

TEST(Packet, SeesWhatIsWrong) {
  const auto wrong = [](const PacketBuilder& builder) { return !parse(builder).checksums_fit(); };
  EXPECT_TRUE(wrong(tcp("10.9.0.5:1", "10.96.0.1:2").bad_checksum()));
  EXPECT_TRUE(wrong(udp("[fd00::5]:1", "[fd00::1]:2").bad_checksum()));
  EXPECT_TRUE(wrong(sctp("[fd00::5]:1", "[fd00::1]:2").bad_checksum()));
  EXPECT_TRUE(wrong(icmp("10.9.0.5", "10.96.0.1", 8, 0).bad_checksum()));
  EXPECT_TRUE(wrong(tcp("10.9.0.5:1", "10.96.0.1:2").bad_ip_checksum()));
  EXPECT_FALSE(wrong(udp("10.9.0.5:1", "10.96.0.1:2").zero_checksum()));
  EXPECT_FALSE(wrong(icmp("fd00::1", "fd00::5", 128, 0).payload("ping")));

  const Packet good = tcp("10.9.0.5:1", "10.96.0.1:2");
  EXPECT_EQ(parse(good).problem, "");
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_NE(parse(good.truncated(size)).problem, "") << size;
  }
  EXPECT_EQ(difference(good, good), "");
  const std::string text = difference(tcp("10.9.0.5:1", "10.96.0.1:3"), good);
  EXPECT_NE(text.find("byte 37: 03, wanted 02"), std::string::npos) << text;
}

}  // namespace
}  // namespace fairlead::harness
