// The same path at the driver: the plain case leaves by the device it came from, everything else
// goes on to tc as it came.
#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::PacketBuilder;
using harness::tcp;
using harness::udp;

class Xdp : public PacketTest {
 protected:
  void SetUp() override {
    PacketTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_GE(datapath().object().fd(Program::kXdp), 0) << "fl_xdp is not loaded";
    via(Program::kXdp);
    for (const uint8_t protocol : {6, 17, 132}) {
      serve({.at = "10.96.0.1:80",
             .protocol = protocol,
             .endpoints = {"10.2.0.2:8080"},
             .maybe_here = false});
      serve({.at = "[fd96::1]:80",
             .protocol = protocol,
             .endpoints = {"[fd02::2]:8080"},
             .maybe_here = false});
    }
  }
  static PacketBuilder packet(uint8_t protocol, std::string_view from, std::string_view to) {
    return PacketBuilder(harness::socket_address_of(from), harness::socket_address_of(to), protocol)
        .payload("some words");
  }
};

// Both ways, out of the device again: the neighbours' stations are 02 (the router to clients) and
// 03 (the other node).
TEST_F(Xdp, ThereAndBackAtTheDriver) {
  for (const bool v4 : {true, false}) {
    for (const uint8_t protocol : {6, 17, 132}) {
      const std::string client =
          (v4 ? "198.51.100.7:" : "[2001:db8::7]:") + std::to_string(4000 + protocol);
      const std::string service = v4 ? "10.96.0.1:80" : "[fd96::1]:80";
      const std::string endpoint = v4 ? "10.2.0.2:8080" : "[fd02::2]:8080";
      const Outcome outcome = run(packet(protocol, client, service));
      EXPECT_EQ(outcome.verdict, kTransmit) << outcome.describe();
      EXPECT_EQ(counted(outcome, "xdp_forwarded"), 1U);
      const uint16_t port = harness::parse(outcome.packet).source.port;
      const std::string seen = (v4 ? "192.168.7.1:" : "[fd07::1]:") + std::to_string(port);
      EXPECT_EQ(harness::difference(outcome.packet,
                                    packet(protocol, seen, endpoint).ttl(63).ethernet(2, 3)),
                "");
      expect_forward(packet(protocol, endpoint, seen),
                     packet(protocol, service, client).ttl(63).ethernet(2, 2));
      expect_forward(packet(protocol, client, service),
                     packet(protocol, seen, endpoint).ttl(63).ethernet(2, 3));
    }
  }
  EXPECT_EQ(datapath().flows().size(), 6U);
}

TEST_F(Xdp, LeavesTheRestToTc) {
  serve({.at = "10.96.0.2:80", .endpoints = {"10.1.0.2:8080"}});  // a pod of this node
  serve({.at = "10.96.0.3:80"});                                  // refused
  const auto client = [](std::string_view to) { return tcp("198.51.100.7:4000", to); };
  expect_pass(client("10.96.0.2:80"));
  expect_pass(client("10.96.0.3:80").flags("S"));
  expect_pass(client("10.96.0.1:81").flags("S"));
  expect_pass(client("192.0.2.1:80"));
  expect_pass(client("10.96.0.1:80").ttl(1));
  expect_pass(client("10.96.0.1:80").ether_type(0x8100));
  expect_pass(udp("198.51.100.7:1", "10.96.0.1:80").payload_size(200).fragment(0, 80));
  expect_pass(udp("198.51.100.7:1", "10.96.0.1:80").payload_size(200).fragment(80, 80));
  expect_pass(udp("[2001:db8::7]:1", "[fd96::1]:80").payload_size(200).fragment(0, 80));
  expect_pass(harness::icmp("10.2.0.2", "192.168.7.1", 3, 1).quote(client("10.96.0.1:80")));
  expect_pass(client("10.96.0.1:80").payload_size(1500));
  EXPECT_TRUE(datapath().flows().empty());
}

TEST_F(Xdp, DropsWhatTcWouldDrop) {
  configure([](fl_config& config) { config.refuse_new_flows = 1; });
  expect_drop(tcp("198.51.100.7:4000", "10.96.0.1:80").flags("S"), "flows_full");
  serve({.at = "192.0.2.80:80",
         .kind = FL_KIND_LOAD_BALANCER,
         .endpoints = {"10.2.0.2:80"},
         .source_ranges = {"203.0.113.0/24"},
         .maybe_here = false});
  expect_drop(tcp("198.51.100.7:4000", "192.0.2.80:80").flags("S"), "source_range");
}

TEST_F(Xdp, ChecksumsOfDatagrams) {
  const auto one = run(udp("198.51.100.7:1", "10.96.0.1:80").zero_checksum().payload("x"));
  EXPECT_EQ(one.verdict, kTransmit);
  EXPECT_EQ(harness::parse(one.packet).checksum_fits, std::nullopt) << one.describe();
  const auto two = run(udp("198.51.100.7:2", "10.96.0.1:80").bad_checksum().payload("x"));
  EXPECT_EQ(harness::parse(two.packet).checksum_fits, false) << two.describe();
}

// What a sender on this machine leaves to a device to finish: at tc the socket buffer tells.
TEST_F(Xdp, ChecksumsThatAreToBeFinishedAreForTc) {
  for (const auto& [from, to] : {std::pair{"198.51.100.7:3", "10.96.0.1:80"},
                                 std::pair{"[2001:db8::7]:3", "[fd96::1]:80"}}) {
    for (const uint8_t protocol : {6, 17, 132}) {
      expect_pass(packet(protocol, from, to).unfinished_checksum());
      EXPECT_EQ(run(packet(protocol, from, to)).verdict, kTransmit);
      expect_pass(packet(protocol, from, to).unfinished_checksum());
    }
  }
}

// One flow, both programs: what one began the other goes on with.
TEST_F(Xdp, SharesItsFlowsWithTc) {
  const auto there = tcp("198.51.100.7:4000", "10.96.0.1:80");
  const harness::ParsedPacket first = after(there);
  via(Program::kIngress);
  EXPECT_EQ(after(there).source, first.source);
  expect_forward(tcp("10.2.0.2:8080", first.source.to_string()),
                 tcp("10.96.0.1:80", "198.51.100.7:4000").ttl(63));
  EXPECT_EQ(datapath().flows().size(), 1U);
}

}  // namespace
}  // namespace fairlead::bpf::testing
