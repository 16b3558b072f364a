// ICMP errors about flows, from either side: the one who sent the packet must recognise it. Every
// expected packet is whole, so the quoted packet's checksums are held to as well.
#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::icmp;
using harness::Packet;
using harness::PacketBuilder;
using harness::tcp;
using harness::udp;

constexpr size_t kAllOfIt = 1 << 16;

// Who talks to whom, and who reports. A router stands on either side.
struct ErrorScene {
  std::string_view client, address, endpoint;  // with their ports
  std::string_view router;
  bool masquerade;
};
constexpr ErrorScene kErrorScenes[] = {
    {"192.168.7.5:4000", "10.96.0.1:80", "10.1.0.2:8080", "192.168.7.9", false},
    {"192.168.7.5:4000", "10.96.0.1:80", "10.2.0.2:8080", "192.168.7.9", true},
    {"[fd07::5]:4000", "[fd96::1]:80", "[fd01::2]:8080", "fd07::9", false},
    {"[fd07::5]:4000", "[fd96::1]:80", "[fd02::2]:8080", "fd07::9", true},
};

PacketBuilder packet_between(uint8_t protocol, std::string_view from, std::string_view to) {
  return {harness::socket_address_of(from), harness::socket_address_of(to), protocol};
}
std::string host_of(std::string_view end) {
  return harness::socket_address_of(end).address.to_string();
}
std::string host_of(const dataplane::SocketAddress& end) {
  return end.address.to_string();
}

class IcmpErrors : public PacketTest {
 protected:
  void begin(const ErrorScene& scene, uint8_t protocol) {
    datapath().reset();
    serve({.at = scene.address,
           .protocol = protocol,
           .endpoints = {scene.endpoint},
           .routes = {"-", "-", scene.masquerade ? "m" : "-"}});
    sent_ =
        packet_between(protocol, scene.client, scene.address).payload("the words of the client");
    const Outcome outcome = run(sent_);
    ASSERT_EQ(outcome.verdict, kRedirect) << outcome.describe();
    forwarded_ = outcome.packet;
    seen_ = harness::parse(forwarded_);
    EXPECT_EQ(host_of(seen_.source) != host_of(scene.client), scene.masquerade);
  }
  void answer() {
    answered_ = PacketTest::answer_to(seen_).payload("the words of the endpoint");
    const Outcome outcome = run(answered_);
    ASSERT_EQ(outcome.verdict, kRedirect) << outcome.describe();
    returned_ = outcome.packet;
  }
  // `known`: the packet as its sender knows it, with the hop limit that the failed one had.
  static Packet one_hop_later(const Packet& known) {
    Packet out = known;
    const bool v4 = out.bytes()[14] >> 4 == 4;
    --out.bytes()[v4 ? 22 : 21];
    if (v4) {
      out.bytes()[24] = out.bytes()[25] = 0;
      const uint16_t sum = harness::internet_checksum(std::span(out.bytes()).subspan(14, 20));
      out.bytes()[24] = static_cast<uint8_t>(sum >> 8);
      out.bytes()[25] = static_cast<uint8_t>(sum);
    }
    return out;
  }
  void expect_told(const PacketBuilder& error, const PacketBuilder& retold) {
    const Outcome outcome = run(error);
    EXPECT_EQ(outcome.verdict, kRedirect) << error.build() << "\n" << outcome.describe();
    EXPECT_EQ(harness::difference(outcome.packet, retold), "") << outcome.describe();
    EXPECT_EQ(outcome.counted, (std::map<std::string, uint64_t>{{"icmp_errors_translated", 1}}));
  }

  Packet sent_, forwarded_, answered_, returned_;
  harness::ParsedPacket seen_;  // forwarded_
};

struct ErrorKind {
  uint8_t type, code;
  uint32_t rest;
};
std::vector<ErrorKind> error_kinds(bool v4) {
  if (v4) return {{3, 1, 0}, {3, 3, 0}, {3, 4, 1400}, {11, 0, 0}, {12, 0, 0x14000000}};
  return {{1, 4, 0}, {2, 0, 1400}, {3, 0, 0}, {4, 0, 6}};
}

TEST_F(IcmpErrors, AboutWhatAClientSentReachTheClient) {
  for (const ErrorScene& scene : kErrorScenes) {
    for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
      begin(scene, protocol);
      const Packet known = one_hop_later(sent_);
      for (const ErrorKind& kind : error_kinds(seen_.is_v4())) {
        // By the endpoint: the client knows it as the virtual address. By a router, which is
        // itself.
        const std::string endpoint = host_of(scene.endpoint), source = host_of(seen_.source);
        expect_told(icmp(endpoint, source, kind.type, kind.code).rest(kind.rest).quote(forwarded_),
                    icmp(host_of(scene.address), host_of(scene.client), kind.type, kind.code)
                        .rest(kind.rest)
                        .quote(known)
                        .ttl(63));
        expect_told(
            icmp(scene.router, source, kind.type, kind.code).rest(kind.rest).quote(forwarded_),
            icmp(scene.router, host_of(scene.client), kind.type, kind.code)
                .rest(kind.rest)
                .quote(known)
                .ttl(63));
      }
    }
  }
}

TEST_F(IcmpErrors, AboutWhatAnEndpointSentReachTheEndpoint) {
  for (const ErrorScene& scene : kErrorScenes) {
    for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
      begin(scene, protocol);
      answer();
      const Packet known = one_hop_later(answered_);
      for (const ErrorKind& kind : error_kinds(seen_.is_v4())) {
        for (const std::string& reporter : {std::string(scene.router), host_of(scene.client)}) {
          expect_told(icmp(reporter, host_of(scene.address), kind.type, kind.code)
                          .rest(kind.rest)
                          .quote(returned_),
                      icmp(scene.masquerade ? host_of(seen_.source) : reporter,
                           host_of(scene.endpoint), kind.type, kind.code)
                          .rest(kind.rest)
                          .quote(known)
                          .ttl(63));
        }
      }
    }
  }
}

// Routers of old quote no more than eight bytes behind the IP header; a checksum that is cut off is
// not there to be mended, one that is there is.
TEST_F(IcmpErrors, ShortQuotes) {
  for (const ErrorScene& scene : kErrorScenes) {
    for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
      begin(scene, protocol);
      const size_t header = seen_.is_v4() ? 20 : 40;
      const uint8_t type = seen_.is_v4() ? 3 : 1;
      for (const size_t more : {8, 9, 16, 18, 20, 27}) {
        expect_told(icmp(host_of(scene.endpoint), host_of(seen_.source), type, 3)
                        .quote(forwarded_, header + more),
                    icmp(host_of(scene.address), host_of(scene.client), type, 3)
                        .quote(one_hop_later(sent_), header + more)
                        .ttl(63));
      }
    }
  }
}

// SCTP's checksum covers the ports, and the whole packet however little of it is quoted.
TEST_F(IcmpErrors, AboutSctp) {
  for (const ErrorScene* scene : {&kErrorScenes[0], &kErrorScenes[2]}) {
    begin(*scene, 132);
    const uint8_t type = seen_.is_v4() ? 3 : 1;
    const size_t header = seen_.is_v4() ? 20 : 40;
    for (const size_t quoted : {header + 8, header + 12, header + 27, kAllOfIt}) {
      expect_told(
          icmp(host_of(scene->endpoint), host_of(scene->client), type, 2).quote(forwarded_, quoted),
          icmp(host_of(scene->address), host_of(scene->client), type, 2)
              .quote(one_hop_later(sent_), quoted)
              .ttl(63));
    }
  }
}

TEST_F(IcmpErrors, DatagramsWithoutAChecksumStayWithout) {
  const ErrorScene& scene = kErrorScenes[1];
  begin(scene, 17);
  const auto sent = udp(scene.client, scene.address).zero_checksum().payload("?");
  const Packet forwarded = run(sent).packet;
  expect_told(icmp(host_of(scene.endpoint), host_of(seen_.source), 3, 3).quote(forwarded),
              icmp(host_of(scene.address), host_of(scene.client), 3, 3)
                  .quote(PacketBuilder(sent).ttl(63))
                  .ttl(63));
}

// A sum of zero is written as its other form: zero would say that there is none.
TEST_F(IcmpErrors, AChecksumThatComesOutAsZero) {
  const ErrorScene& scene = kErrorScenes[1];
  begin(scene, 17);
  Packet sent;
  for (unsigned fill = 0; fill < 0x10000; ++fill) {
    const std::string text = {static_cast<char>(fill >> 8), static_cast<char>(fill)};
    sent = udp(scene.client, scene.address).payload(text);
    if (sent.bytes()[40] == 0xff && sent.bytes()[41] == 0xff) break;
  }
  ASSERT_EQ(sent.bytes()[40], 0xff);
  const Packet forwarded = run(sent).packet;
  expect_told(
      icmp(host_of(scene.endpoint), host_of(seen_.source), 3, 3).quote(forwarded),
      icmp(host_of(scene.address), host_of(scene.client), 3, 3).quote(one_hop_later(sent)).ttl(63));
}

TEST_F(IcmpErrors, OptionsInEitherHeader) {
  const ErrorScene& scene = kErrorScenes[1];
  begin(scene, 17);
  const auto sent = udp(scene.client, scene.address).options({1, 1, 1, 1, 1, 1, 1, 1}).payload("?");
  const Packet forwarded = run(sent).packet;
  expect_told(icmp(host_of(scene.endpoint), host_of(seen_.source), 3, 3)
                  .options({1, 1, 1})
                  .quote(forwarded),
              icmp(host_of(scene.address), host_of(scene.client), 3, 3)
                  .options({1, 1, 1})
                  .quote(PacketBuilder(sent).ttl(63))
                  .ttl(63));
}

// The node's own kernel has no one listening at an endpoint that is an address of the node.
TEST_F(IcmpErrors, OfTheNodeItself) {
  serve({.at = "10.96.0.1:80", .protocol = 17, .endpoints = {"192.168.7.1:8080"}});
  const auto sent = udp("192.168.7.5:4000", "10.96.0.1:80").payload("?");
  const Packet delivered = run(sent).packet;
  via(Program::kEgress, {.made_here = true});
  expect_deliver(icmp("192.168.7.1", "192.168.7.5", 3, 3).quote(delivered),
                 icmp("10.96.0.1", "192.168.7.5", 3, 3).quote(sent));
}

// A flow's client may be the node; then the error goes up to its socket.
TEST_F(IcmpErrors, ToTheNodeItself) {
  serve({.at = "10.96.0.1:80", .protocol = 17, .endpoints = {"10.2.0.2:8080"}});
  via(Program::kEgress, {.made_here = true});
  const auto sent = udp("192.168.7.1:4000", "10.96.0.1:80").payload("?");
  const Packet forwarded = run(sent).packet;
  via(Program::kIngress);
  expect_deliver(icmp("10.2.0.2", "192.168.7.1", 3, 3).quote(forwarded),
                 icmp("10.96.0.1", "192.168.7.1", 3, 3).quote(sent));
}

TEST_F(IcmpErrors, EndWithTheirHopLimit) {
  const ErrorScene& scene = kErrorScenes[1];
  begin(scene, 6);
  expect_drop(icmp(host_of(scene.endpoint), host_of(seen_.source), 3, 1).quote(forwarded_).ttl(1),
              "hop_limit");
}

TEST_F(IcmpErrors, AboutOthersPass) {
  begin(kErrorScenes[1], 17);
  const auto about = [](const Packet& packet, size_t bytes = kAllOfIt) {
    return icmp("10.2.0.2", "192.168.7.1", 3, 3).quote(packet, bytes);
  };
  const std::string source = seen_.source.to_string();
  expect_pass(about(udp("192.168.7.1:1", "10.2.0.2:8080")));
  expect_pass(about(tcp(source, "10.2.0.2:8080")));
  expect_pass(about(udp(source, "10.2.0.2:8081")));
  expect_pass(about(udp(source, "10.2.0.3:8080")));
  expect_pass(about(udp("10.96.0.1:80", "192.168.7.5:4001")));  // no such flow
  expect_pass(about(icmp("192.168.7.1", "10.2.0.2", 8, 0).payload("ping")));
  // Not an error, although it looks like one inside.
  expect_pass(icmp("10.2.0.2", "192.168.7.1", 8, 0).quote(forwarded_));
}

TEST_F(IcmpErrors, AboutWhatCannotBeReadPass) {
  begin(kErrorScenes[1], 17);
  const auto about = [](const Packet& packet, size_t bytes = kAllOfIt) {
    return icmp("10.2.0.2", "192.168.7.1", 3, 3).quote(packet, bytes);
  };
  for (const size_t bytes : {0, 1, 19, 20, 27}) expect_pass(about(forwarded_, bytes));
  const std::string source = seen_.source.to_string();
  const auto same = udp(source, "10.2.0.2:8080").payload_size(64);
  expect_pass(about(PacketBuilder(same).version(6)));
  expect_pass(about(PacketBuilder(same).ihl(4)));
  expect_pass(about(PacketBuilder(same).ihl(15), 60));
  // A later fragment, even with the flow's ports where the first one has them.
  const uint16_t port = seen_.source.port;
  const std::string ports = {static_cast<char>(port >> 8), static_cast<char>(port), 0x1f,
                             static_cast<char>(0x90)};
  expect_pass(about(PacketBuilder(same).payload(ports + "and more").fragment(8, 12)));
  // The bytes are in the frame, but behind the end of the packet.
  expect_pass(about(forwarded_).ip_length(20 + 8 + 27));

  begin(kErrorScenes[3], 17);
  const auto same6 = udp(seen_.source.to_string(), "[fd02::2]:8080");
  const auto about6 = [](const Packet& packet) {
    return icmp("fd02::2", "fd07::1", 1, 4).quote(packet);
  };
  expect_pass(about6(PacketBuilder(same6).extension(harness::kDestinationOptions)));
  expect_pass(about6(PacketBuilder(same6).version(4)));
  expect_pass(about6(same6.build().truncated(14 + 47)));
}

}  // namespace
}  // namespace fairlead::bpf::testing
