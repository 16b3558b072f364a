// Unusual packets, and packets that cannot be: options, extension headers, fragments, lies about
// lengths, ends at every byte. Whatever arrives, nothing but a whole packet is rewritten, and what
// was wrong with its checksums stays wrong.
#include <random>

#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::Bytes;
using harness::Packet;
using harness::PacketBuilder;
using harness::ParsedPacket;
using harness::sctp;
using harness::tcp;
using harness::udp;

class Unusual : public PacketTest {
 protected:
  void SetUp() override {
    PacketTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    for (const uint8_t protocol : {6, 17, 132}) {
      serve({.at = "10.96.0.1:80", .protocol = protocol, .endpoints = {"10.1.0.2:8080"}});
      serve({.at = "[fd96::1]:80", .protocol = protocol, .endpoints = {"[fd01::2]:8080"}});
    }
  }

  // `change` is applied to what arrives and to what is expected.
  template <typename Change>
  void expect_forwarded_with(Change change) {
    int port = 4000;
    for (const uint8_t protocol : {6, 17, 132}) {
      const auto packet = [&](std::string_view to) {
        PacketBuilder builder(harness::socket_address_of("10.1.0.5:" + std::to_string(port)),
                              harness::socket_address_of(to), protocol);
        builder.payload("four");
        change(builder);
        return builder;
      };
      expect_forward(packet("10.96.0.1:80"), packet("10.1.0.2:8080").ttl(63));
      ++port;
    }
  }
  template <typename Change>
  void expect_forwarded_with_v6(Change change) {
    int port = 5000;
    for (const uint8_t protocol : {6, 17, 132}) {
      const auto packet = [&](std::string_view to) {
        PacketBuilder builder(harness::socket_address_of("[fd01::5]:" + std::to_string(port)),
                              harness::socket_address_of(to), protocol);
        builder.payload("four");
        change(builder);
        return builder;
      };
      expect_forward(packet("[fd96::1]:80"), packet("[fd01::2]:8080").ttl(63));
      ++port;
    }
  }
};

TEST_F(Unusual, OptionsOfEveryLength) {
  for (size_t size = 0; size <= 40; size += 4) {
    expect_forwarded_with([size](PacketBuilder& builder) { builder.options(Bytes(size, 1)); });
  }
}

TEST_F(Unusual, HeadersKeepWhatIsNotOurs) {
  expect_forwarded_with([](PacketBuilder& builder) { builder.tos(0xb9).id(7).may_fragment(); });
  expect_forwarded_with_v6([](PacketBuilder& builder) { builder.tos(0xb9); });
  const Bytes options = {2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7};
  expect_forward(
      tcp("10.1.0.5:1", "10.96.0.1:80").flags("SEC").sequence(7, 9).tcp_options(options),
      tcp("10.1.0.5:1", "10.1.0.2:8080").flags("SEC").sequence(7, 9).tcp_options(options).ttl(63));
}

TEST_F(Unusual, ExtensionHeaders) {
  using harness::kDestinationOptions, harness::kHopByHop, harness::kRouting;
  expect_forwarded_with_v6([](PacketBuilder& builder) { builder.extension(kHopByHop); });
  expect_forwarded_with_v6([](PacketBuilder& builder) {
    builder.extension(kHopByHop, 16).extension(kRouting, 24).extension(kDestinationOptions, 8);
  });
  expect_forwarded_with_v6([](PacketBuilder& builder) {
    for (int i = 0; i < 4; ++i) builder.extension(kDestinationOptions, 64);
  });
  // A fragment header on a whole packet (RFC 6946).
  expect_forwarded_with_v6([](PacketBuilder& builder) { builder.fragment(0, 1 << 15); });
}

TEST_F(Unusual, MoreExtensionHeadersThanAnybodyNeeds) {
  PacketBuilder builder = udp("[fd01::5]:4000", "[fd96::1]:80");
  for (int i = 0; i < 12; ++i) builder.extension(harness::kDestinationOptions);
  expect_drop(builder, "bad_header");
}

// Frames are padded to 60 bytes; what lies behind the packet is nobody's.
TEST_F(Unusual, PaddingBehindThePacket) {
  Packet packet = udp("10.1.0.5:4000", "10.96.0.1:80");
  Packet wanted = udp("10.1.0.5:4000", "10.1.0.2:8080").ttl(63);
  for (Packet* each : {&packet, &wanted}) each->bytes().resize(60, 0x5a);
  expect_forward(packet, wanted);
  Packet packet6 = tcp("[fd01::5]:4001", "[fd96::1]:80");
  Packet wanted6 = tcp("[fd01::5]:4001", "[fd01::2]:8080").ttl(63);
  for (Packet* each : {&packet6, &wanted6}) each->bytes().resize(100, 0x5a);
  expect_forward(packet6, wanted6);
}

TEST_F(Unusual, DatagramsWithoutAChecksum) {
  expect_forward(udp("10.1.0.5:4000", "10.96.0.1:80").zero_checksum().payload("x"),
                 udp("10.1.0.5:4000", "10.1.0.2:8080").zero_checksum().payload("x").ttl(63));
  expect_forward(udp("10.1.0.2:8080", "10.1.0.5:4000").zero_checksum().payload("x"),
                 udp("10.96.0.1:80", "10.1.0.5:4000").zero_checksum().payload("x").ttl(63));
}

// A sum of zero is written as all ones: zero would mean that there is none.
TEST_F(Unusual, ChecksumsThatComeOutAsZero) {
  for (const bool v4 : {true, false}) {
    const std::string from = v4 ? "10.1.0.5:4000" : "[fd01::5]:4001";
    const std::string to = v4 ? "10.96.0.1:80" : "[fd96::1]:80";
    const std::string endpoint = v4 ? "10.1.0.2:8080" : "[fd01::2]:8080";
    const size_t checksum = v4 ? 40 : 60;
    int found = 0;
    for (uint32_t word = 0; word < 0x10000 && found < 2; ++word) {
      const std::string payload = {static_cast<char>(word >> 8), static_cast<char>(word)};
      const Packet packet = udp(from, to).payload(payload);
      const Packet wanted = udp(from, endpoint).payload(payload).ttl(63);
      const auto all_ones = [checksum](const Packet& each) {
        return each.bytes()[checksum] == 0xff && each.bytes()[checksum + 1] == 0xff;
      };
      if (!all_ones(packet) && !all_ones(wanted)) continue;
      expect_forward(packet, wanted);
      ++found;
    }
    EXPECT_EQ(found, 2);
  }
}

TEST_F(Unusual, WrongChecksumsStayWrong) {
  const auto leaves = [this](const Packet& packet) {
    const Outcome outcome = run(packet);
    EXPECT_EQ(outcome.verdict, kRedirect) << packet;
    return harness::parse(outcome.packet);
  };
  const ParsedPacket transport = leaves(tcp("10.1.0.5:1", "10.96.0.1:80").bad_checksum());
  EXPECT_EQ(transport.checksum_fits, false);
  EXPECT_EQ(transport.ip_checksum_fits, true);
  EXPECT_EQ(leaves(udp("[fd01::5]:1", "[fd96::1]:80").bad_checksum()).checksum_fits, false);
  EXPECT_EQ(leaves(sctp("10.1.0.5:2", "10.96.0.1:80").bad_checksum()).checksum_fits, false);
}

// Nobody has looked at an IPv4 header's checksum yet, neither at tc nor at the driver: a wrong one
// is not made right, so that whoever routes the packet next drops it. Of a first packet, of a later
// one by the way that is remembered, of an answer, and with options.
TEST_F(Unusual, WrongHeaderChecksumsStayWrong) {
  serve({.at = "10.96.0.2:80", .endpoints = {"10.2.0.2:8080"}, .maybe_here = false});
  const auto expect_wrong = [this](const Packet& packet, std::string_view verdict) {
    const Outcome outcome = run(packet);
    EXPECT_EQ(outcome.verdict, verdict) << outcome.describe();
    const ParsedPacket left = harness::parse(outcome.packet);
    EXPECT_NE(left.source, harness::parse(packet).source);
    EXPECT_EQ(left.ip_checksum_fits, false) << outcome.describe();
    EXPECT_EQ(left.checksum_fits, true) << outcome.describe();
    return left;
  };
  for (const Program program : {Program::kIngress, Program::kXdp}) {
    via(program);
    const std::string_view sent = program == Program::kXdp ? kTransmit : kRedirect;
    const std::string client = program == Program::kXdp ? "198.51.100.7:1" : "198.51.100.8:1";
    const auto bad = tcp(client, "10.96.0.2:80").bad_ip_checksum();
    const ParsedPacket first = expect_wrong(PacketBuilder(bad).flags("S"), sent);
    expect_wrong(answer_to(first).flags("SA").bad_ip_checksum(), sent);
    for (int i = 0; i < 3; ++i) expect_wrong(bad, sent);
    expect_wrong(PacketBuilder(bad).options({1, 1, 1, 0}), sent);
  }
}

// What a sender on this machine leaves to a device to finish, which takes the field for a part of
// what it sums up.
TEST_F(Unusual, UnfinishedChecksumsOfSctpStayZero) {
  for (const auto& [from, to, endpoint] :
       {std::tuple{"10.1.0.5:2", "10.96.0.1:80", "10.1.0.2:8080"},
        std::tuple{"[fd01::5]:3", "[fd96::1]:80", "[fd01::2]:8080"}}) {
    expect_forward(sctp(from, to).unfinished_checksum(),
                   sctp(from, endpoint).unfinished_checksum().ttl(63));
    expect_forward(sctp(endpoint, from).unfinished_checksum(),
                   sctp(to, from).unfinished_checksum().ttl(63));
  }
}

// ---- Fragments ----

class UnusualFragments : public Unusual {
 protected:
  // All fragments of a datagram, 80 bytes each but the first, which has `first`.
  void expect_fragments(const PacketBuilder& datagram, const PacketBuilder& rewritten, size_t first,
                        size_t size) {
    for (size_t at = 0; at < size; at = at == 0 ? first : at + 80) {
      PacketBuilder in = datagram, out = rewritten;
      const size_t count = at == 0 ? first : 80;
      expect_forward(in.fragment(at, count), out.fragment(at, count));
    }
  }
};

TEST_F(UnusualFragments, ReachTheEndpointAndTheClient) {
  const std::string text(300, 'x');
  expect_fragments(udp("10.1.0.5:4000", "10.96.0.1:80").payload(text).id(1),
                   udp("10.1.0.5:4000", "10.1.0.2:8080").payload(text).id(1).ttl(63), 160, 308);
  expect_fragments(udp("10.1.0.2:8080", "10.1.0.5:4000").payload(text).id(2),
                   udp("10.96.0.1:80", "10.1.0.5:4000").payload(text).id(2).ttl(63), 8, 308);
  expect_fragments(udp("[fd01::5]:4001", "[fd96::1]:80").payload(text).id(0x12345678),
                   udp("[fd01::5]:4001", "[fd01::2]:8080").payload(text).id(0x12345678).ttl(63), 8,
                   308);
  expect_fragments(udp("[fd01::2]:8080", "[fd01::5]:4001").payload(text).id(4),
                   udp("[fd96::1]:80", "[fd01::5]:4001").payload(text).id(4).ttl(63), 160, 308);
  expect_fragments(tcp("10.1.0.5:4002", "10.96.0.1:80").payload(text).id(5),
                   tcp("10.1.0.5:4002", "10.1.0.2:8080").payload(text).id(5).ttl(63), 40, 320);
}

TEST_F(UnusualFragments, AreTrackedByIdentificationAndProtocol) {
  const auto datagram = [](uint32_t id) {
    return udp("10.1.0.5:4000", "10.96.0.1:80").payload_size(200).id(id);
  };
  run(datagram(1).fragment(0, 80));
  expect_drop(datagram(2).fragment(80, 80), "fragment_without_first");
  expect_drop(tcp("10.1.0.5:4000", "10.96.0.1:80").payload_size(200).id(1).fragment(80, 80),
              "fragment_without_first");
  EXPECT_EQ(run(datagram(1).fragment(80, 80)).verdict, kRedirect);
}

TEST_F(UnusualFragments, WithoutAFirstOne) {
  claim_services("10.97.0.0/16");
  expect_drop(udp("10.1.0.5:1", "10.96.0.1:80").payload_size(200).fragment(80, 80),
              "fragment_without_first");
  expect_drop(udp("[fd01::5]:1", "[fd96::1]:80").payload_size(200).fragment(80, 80),
              "fragment_without_first");
  expect_drop(udp("10.1.0.5:1", "10.97.0.1:80").payload_size(200).fragment(80, 80),
              "fragment_without_first");
  expect_pass(udp("10.1.0.5:1", "192.0.2.1:80").payload_size(200).fragment(80, 80));
  expect_pass(udp("[fd01::5]:1", "[2001:db8::1]:80").payload_size(200).fragment(80, 80));
}

// A first fragment so short that it lacks its transport header.
TEST_F(UnusualFragments, TooShort) {
  expect_drop(tcp("10.1.0.5:1", "10.96.0.1:80").payload_size(200).fragment(0, 8), "bad_header");
  expect_drop(tcp("[fd01::5]:1", "[fd96::1]:80").payload_size(200).fragment(0, 16), "bad_header");
}

// ---- What cannot be ----

class Broken : public Unusual {
 protected:
  static std::vector<Packet> every_kind() {
    std::vector<Packet> out;
    for (const auto& [from, to, endpoint] : std::vector<std::array<std::string, 3>>{
             {"10.1.0.5", "10.96.0.1", "10.1.0.2"}, {"fd01::5", "fd96::1", "fd01::2"}}) {
      const bool v4 = from.find(':') == std::string::npos;
      const auto end = [v4](const std::string& host, int port) {
        return (v4 ? host : "[" + host + "]") + ":" + std::to_string(port);
      };
      int port = 7000;
      for (const uint8_t protocol : {6, 17, 132}) {
        for (int shape = 0; shape < 4; ++shape) {
          PacketBuilder builder(harness::socket_address_of(end(from, ++port)),
                                harness::socket_address_of(end(to, 80)), protocol);
          builder.payload_size(40);
          if (shape == 1)
            v4 ? builder.options(Bytes(40, 1)) : builder.extension(0, 16).extension(60);
          if (shape == 2) builder.fragment(0, 32);
          if (shape == 3) builder.fragment(32, 24);
          out.push_back(builder);
        }
      }
      const Packet sent = udp(end(from, 7000), end(endpoint, 8080)).payload_size(20);
      out.push_back(harness::icmp(endpoint, from, v4 ? 3 : 1, v4 ? 3 : 4).quote(sent));
      out.push_back(harness::icmp(from, to, v4 ? 8 : 128, 0).payload("ping"));
    }
    return out;
  }

  // Whatever the packet is, this holds for what becomes of it.
  void expect_sane(const Packet& packet) {
    const Outcome outcome = run(packet);
    const ParsedPacket before = harness::parse(packet), after = harness::parse(outcome.packet);
    if (outcome.verdict == kPass) {
      EXPECT_EQ(harness::difference(outcome.packet, packet), "");
    } else if (outcome.verdict == kRedirect) {
      if (counted(outcome, "rejected") != 0) {
        EXPECT_EQ(after.problem, "") << packet << "\n" << outcome.describe();
        EXPECT_TRUE(after.checksum_fits.value_or(false)) << packet << "\n" << outcome.describe();
        return;
      }
      EXPECT_EQ(before.problem, "") << packet << "\n" << outcome.describe();
      EXPECT_EQ(after.problem, "") << packet << "\n" << outcome.describe();
      EXPECT_EQ(outcome.packet.size(), packet.size());
      EXPECT_EQ(after.ip_checksum_fits, before.ip_checksum_fits) << packet;
      EXPECT_EQ(after.checksum_fits, before.checksum_fits) << packet << "\n" << outcome.describe();
      const bool ours = outcome.counted.contains("forwarded") ||
                        outcome.counted.contains("returned") ||
                        outcome.counted.contains("icmp_errors_translated");
      EXPECT_TRUE(ours) << packet << "\n" << outcome.describe();
    } else {
      EXPECT_TRUE(outcome.verdict == kDrop || outcome.verdict.starts_with("not run"))
          << packet << "\n"
          << outcome.describe();
    }
  }
};

TEST_F(Broken, EveryKindEndsAtEveryByte) {
  for (const Program program : {Program::kIngress, Program::kEgress, Program::kXdp}) {
    if (datapath().object().fd(program) < 0) continue;
    via(program, {.made_here = program == Program::kEgress});
    for (const Packet& packet : every_kind()) {
      // The kernel hands no shorter ones to tc programs.
      size_t size = program == Program::kXdp ? 14 : harness::parse(packet).is_v4() ? 34 : 54;
      for (; size < packet.size(); ++size) {
        const Outcome outcome = run(packet.truncated(size));
        if (outcome.verdict == kPass) {
          EXPECT_EQ(harness::difference(outcome.packet, packet.truncated(size)), "");
          continue;
        }
        EXPECT_EQ(outcome.verdict, kDrop) << size << " of " << packet;
        EXPECT_TRUE(outcome.counted.contains("drop_truncated") ||
                    outcome.counted.contains("drop_bad_header") ||
                    outcome.counted.contains("drop_fragment_without_first"))
            << outcome.describe();
      }
    }
  }
  EXPECT_TRUE(datapath().flows().empty());
}

// As before, but the IP header knows where the packet ends: a short packet, not a cut one.
TEST_F(Broken, EveryKindIsShortByEveryByte) {
  for (const Packet& packet : every_kind()) {
    const bool v4 = harness::parse(packet).is_v4();
    for (size_t size = v4 ? 34 : 54; size < packet.size(); ++size) {
      Packet shorter = packet.truncated(size);
      const size_t length = v4 ? size - 14 : size - 54;
      shorter.bytes()[v4 ? 16 : 18] = static_cast<uint8_t>(length >> 8);
      shorter.bytes()[v4 ? 17 : 19] = static_cast<uint8_t>(length);
      expect_sane(shorter);
    }
  }
}

TEST_F(Broken, Lengths) {
  const auto tcp4 = [] { return tcp("10.1.0.5:1", "10.96.0.1:80").payload_size(20); };
  const auto udp4 = [] { return udp("10.1.0.5:1", "10.96.0.1:80").payload_size(20); };
  const auto udp6 = [] { return udp("[fd01::5]:1", "[fd96::1]:80").payload_size(20); };
  for (uint8_t words = 0; words < 5; ++words) expect_drop(tcp4().ihl(words), "bad_header");
  for (uint8_t words = 0; words < 5; ++words)
    expect_drop(tcp4().tcp_data_offset(words), "bad_header");
  expect_drop(tcp4().tcp_data_offset(15), "bad_header");
  expect_drop(tcp4().ip_length(19), "bad_header");
  expect_drop(tcp4().ip_length(39), "bad_header");
  expect_drop(tcp4().ip_length(61), "truncated");
  expect_drop(tcp4().ip_length(0xffff), "truncated");
  expect_drop(udp4().ip_length(27), "bad_header");
  expect_drop(udp4().udp_length(7), "bad_header");
  expect_drop(udp4().udp_length(29), "bad_header");
  expect_drop(udp6().udp_length(29), "bad_header");
  expect_drop(udp6().ip_length(29), "truncated");
  expect_drop(udp6().ip_length(7), "bad_header");
  expect_drop(sctp("10.1.0.5:1", "10.96.0.1:80").ip_length(31), "bad_header");
  EXPECT_TRUE(datapath().flows().empty());
}

TEST_F(Broken, AtOtherAddressesIsNotOurs) {
  expect_pass(tcp("10.1.0.5:1", "192.0.2.1:80").ihl(3));
  expect_pass(udp("[fd01::5]:1", "[2001:db8::1]:80").udp_length(3));
  expect_pass(tcp("10.1.0.5:1", "192.0.2.1:80").build().truncated(40));
}

TEST_F(Broken, Versions) {
  const auto one = tcp("10.1.0.5:1", "10.96.0.1:80").version(5).build();
  EXPECT_NE(run(one).verdict, kRedirect);
  EXPECT_NE(run(tcp("[fd01::5]:1", "[fd96::1]:80").version(4)).verdict, kRedirect);
  EXPECT_NE(run(tcp("10.1.0.5:1", "10.96.0.1:80").ether_type(0x86dd)).verdict, kRedirect);
  EXPECT_NE(run(tcp("[fd01::5]:1", "[fd96::1]:80").ether_type(0x0800)).verdict, kRedirect);
}

// Random bytes of good packets replaced. The seed is fixed: a failure stays.
TEST_F(Broken, RandomBytes) {
  const std::vector<Packet> kinds = every_kind();
  std::mt19937 random(20260101);
  for (int i = 0; i < 20000 && !HasFailure(); ++i) {
    Packet packet = kinds[random() % kinds.size()];
    const int changes = 1 + static_cast<int>(random() % 3);
    for (int change = 0; change < changes; ++change) {
      const size_t at =
          harness::kEthernetHeader + random() % (packet.size() - harness::kEthernetHeader);
      packet.bytes()[at] = static_cast<uint8_t>(random() % 3 == 0 ? random() % 8 : random());
    }
    expect_sane(packet);
  }
}

}  // namespace
}  // namespace fairlead::bpf::testing
