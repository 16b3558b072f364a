// Direct server return, packet by packet: what a node sends into a tunnel, and what it takes out of
// one.
#include <set>

#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::Packet;
using harness::PacketBuilder;
using harness::tcp;
using harness::udp;

// `inner` in a tunnel as the sending node writes it.
PacketBuilder tunnel(std::string_view from, std::string_view to, const Packet& inner) {
  const auto bytes = inner.from_network();
  PacketBuilder outer = harness::ip(from, to, from.find(':') == from.npos ? harness::kIpip : 41);
  return outer.id(0).payload({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

class Dsr : public PacketTest {
 protected:
  void SetUp() override {
    PacketTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    configure([](fl_config& config) { config.dsr = FL_DSR_IPIP; });
  }
  static PacketBuilder packet(uint8_t protocol, std::string_view from, std::string_view to) {
    return PacketBuilder(harness::socket_address_of(from), harness::socket_address_of(to), protocol)
        .payload("some words");
  }
};

// ---- Sending ----

constexpr std::string_view kLoadBalancer = "192.0.2.80:80", kLoadBalancer6 = "[2001:db8:80::1]:80";
constexpr std::string_view kOutside = "198.51.100.7:4000", kOutside6 = "[2001:db8::7]:5000";

class DsrSend : public Dsr {
 protected:
  Served elsewhere(std::string_view at, std::string_view endpoint, uint8_t protocol = 6,
                   fl_kind kind = FL_KIND_LOAD_BALANCER) {
    return serve({.at = at,
                  .protocol = protocol,
                  .kind = kind,
                  .endpoints = {endpoint},
                  .maybe_here = false});
  }
};

TEST_F(DsrSend, TheWholePacketInATunnel) {
  for (const uint8_t protocol : {6, 17, 132}) {
    elsewhere(kLoadBalancer, "10.2.0.2:8080", protocol);
    elsewhere(kLoadBalancer6, "[fd02::2]:8080", protocol);
    for (const Program program : {Program::kIngress, Program::kXdp}) {
      via(program);
      datapath().forget_flows();
      const int there = program == Program::kXdp ? 1 : 0;  // the next station stands there already
      for (int again = 0; again < 3; ++again) {
        expect_forward(packet(protocol, kOutside, kLoadBalancer).tos(0xb9),
                       tunnel("192.168.7.1", "10.2.0.2",
                              packet(protocol, kOutside, kLoadBalancer).tos(0xb9).ttl(63))
                           .tos(0xb8)
                           .ethernet(1 + there, 2 + there));
        expect_forward(packet(protocol, kOutside6, kLoadBalancer6).tos(0xb9),
                       tunnel("fd07::1", "fd02::2",
                              packet(protocol, kOutside6, kLoadBalancer6).tos(0xb9).ttl(63))
                           .tos(0xb8)
                           .ethernet(1 + there, 2 + there));
      }
      EXPECT_EQ(datapath().flows().size(), 2U);
    }
  }
}

TEST_F(DsrSend, CountsWhatItDoes) {
  elsewhere(kLoadBalancer, "10.2.0.2:8080");
  const Outcome outcome = run(tcp(kOutside, kLoadBalancer).flags("S"));
  EXPECT_EQ(counted(outcome, "tunnelled"), 1U) << outcome.describe();
  EXPECT_EQ(counted(outcome, "forwarded"), 1U);
  EXPECT_EQ(counted(outcome, "flows_created"), 1U);
}

// The other end tells by it whose node port it is.
TEST_F(DsrSend, ANodePortsTunnelComesFromTheAddressThatTheClientWrote) {
  elsewhere("0.0.0.0:30080", "10.2.0.2:8080", 6, FL_KIND_NODE_PORT);
  elsewhere("[::]:30080", "[fd02::2]:8080", 6, FL_KIND_NODE_PORT);
  for (const char* own : {"192.168.7.99", "fd07::99"}) {
    datapath().put(Map::kNodeAddresses, wire(own), fl_node_address{FL_NODE_ADDRESS_NODE_PORTS});
  }
  for (const Program program : {Program::kIngress, Program::kXdp}) {
    via(program);
    const int there = program == Program::kXdp ? 1 : 0;
    for (int again = 0; again < 3; ++again) {
      expect_forward(tcp(kOutside, "192.168.7.99:30080"),
                     tunnel("192.168.7.99", "10.2.0.2", tcp(kOutside, "192.168.7.99:30080").ttl(63))
                         .ethernet(1 + there, 2 + there));
      expect_forward(tcp(kOutside6, "[fd07::99]:30080"),
                     tunnel("fd07::99", "fd02::2", tcp(kOutside6, "[fd07::99]:30080").ttl(63))
                         .ethernet(1 + there, 2 + there));
    }
  }
}

TEST_F(DsrSend, WithTheAddressOfTheWayOut) {
  elsewhere(kLoadBalancer, "10.3.0.2:8080");
  datapath().put(
      Map::kDevices, datapath().device("thin0"),
      fl_device{.source_v4 = wire("10.3.0.1"), .source_v6 = {}, .flags = 0, .mtu = 1280});
  expect_forward(tcp(kOutside, kLoadBalancer),
                 tunnel("10.3.0.1", "10.3.0.2", tcp(kOutside, kLoadBalancer).ttl(63)));
}

TEST_F(DsrSend, OnlyFromOutsideToExternalAddressesOfEndpointsElsewhere) {
  const auto is_ordinary = [&](const Packet& packet) {
    const Outcome outcome = run(packet);
    EXPECT_EQ(counted(outcome, "tunnelled"), 0U) << outcome.describe();
    EXPECT_EQ(counted(outcome, "forwarded"), 1U) << outcome.describe();
  };
  elsewhere(kLoadBalancer, "10.2.0.2:8080");
  is_ordinary(tcp("10.1.0.5:1", kLoadBalancer));     // a pod
  is_ordinary(tcp("192.168.7.1:1", kLoadBalancer));  // the node
  elsewhere("10.96.0.1:80", "10.2.0.2:8080", 6, FL_KIND_CLUSTER_IP);
  is_ordinary(tcp(kOutside, "10.96.0.1:80"));
  serve({.at = "192.0.2.81:80", .kind = FL_KIND_LOAD_BALANCER, .endpoints = {"10.2.0.2:8080"}});
  is_ordinary(tcp(kOutside, "192.0.2.81:80"));  // may be here
  elsewhere("192.0.2.82:80", "192.168.7.1:8080");
  is_ordinary(tcp(kOutside, "192.0.2.82:80"));  // is here
  elsewhere("192.0.2.83:80", "198.51.100.7:80");
  is_ordinary(tcp(kOutside, "192.0.2.83:80"));  // the client itself
  via(Program::kEgress, {.made_here = true});
  is_ordinary(tcp("198.51.100.8:1", kLoadBalancer));
  via(Program::kIngress);
  configure([](fl_config& config) { config.dsr = FL_DSR_OFF; });
  is_ordinary(tcp("198.51.100.9:1", kLoadBalancer));
}

TEST_F(DsrSend, RefusesAndDropsAsEver) {
  serve({.at = kLoadBalancer, .kind = FL_KIND_LOAD_BALANCER});
  expect_refusal(tcp(kOutside, kLoadBalancer).flags("S"));
  serve({.at = "192.0.2.81:80",
         .kind = FL_KIND_LOAD_BALANCER,
         .endpoints = {"10.2.0.2:80"},
         .source_ranges = {"203.0.113.0/24"},
         .maybe_here = false});
  expect_drop(tcp(kOutside, "192.0.2.81:80").flags("S"), "source_range");
  elsewhere("192.0.2.82:80", "10.2.0.2:80");
  expect_drop(tcp(kOutside, "192.0.2.82:80").flags("R"), "stray_reset");
  expect_drop(tcp(kOutside, "192.0.2.82:80").ttl(1), "hop_limit");
  elsewhere("192.0.2.83:80", "10.4.0.2:80");
  expect_drop(tcp(kOutside, "192.0.2.83:80"), "no_route");
}

TEST_F(DsrSend, TooBigWithItsOuterHeader) {
  elsewhere(kLoadBalancer, "10.2.0.2:8080", 17);
  elsewhere(kLoadBalancer6, "[fd02::2]:8080", 17);
  for (const Program program : {Program::kXdp, Program::kIngress}) {
    via(program);
    EXPECT_EQ(counted(run(udp(kOutside, kLoadBalancer).payload_size(1480 - 28)), "tunnelled"), 1U);
    EXPECT_EQ(counted(run(udp(kOutside6, kLoadBalancer6).payload_size(1460 - 48)), "tunnelled"),
              1U);
    if (program == Program::kXdp) {
      expect_pass(udp(kOutside, kLoadBalancer).payload_size(1480 - 27));
      expect_pass(udp(kOutside6, kLoadBalancer6).payload_size(1460 - 47));
    }
  }
  expect_too_big(udp(kOutside, kLoadBalancer).payload_size(1480 - 27), 1480);
  expect_too_big(udp(kOutside6, kLoadBalancer6).payload_size(1460 - 47), 1460);
  expect_too_big(udp(kOutside, kLoadBalancer).payload_size(1480 - 27).may_fragment(), 1480);
}

TEST_F(DsrSend, SegmentsAreMeasuredOneByOne) {
  elsewhere(kLoadBalancer, "10.2.0.2:8080");
  const auto burst = tcp(kOutside, kLoadBalancer).payload_size(3000);
  // A buffer that is handed in has segments of no known protocol, which take no outer header.
  via(Program::kIngress, {.segment_size = 1440});
  EXPECT_EQ(counted(run(burst), "drop_rewrite_failed"), 1U);
  via(Program::kIngress, {.segment_size = 1441});
  EXPECT_EQ(counted(run(burst), "too_big_sent"), 1U);
}

TEST_F(DsrSend, FragmentsFollowTheFirst) {
  elsewhere(kLoadBalancer, "10.2.0.2:8080", 17);
  elsewhere(kLoadBalancer6, "[fd02::2]:8080", 17);
  const auto expect_both = [&](PacketBuilder whole, std::string_view from, std::string_view to) {
    whole.payload_size(100);
    for (const size_t first : {0, 48}) {
      expect_forward(PacketBuilder(whole).fragment(first, 48),
                     tunnel(from, to, PacketBuilder(whole).fragment(first, 48).ttl(63)));
    }
  };
  expect_both(udp(kOutside, kLoadBalancer).may_fragment(), "192.168.7.1", "10.2.0.2");
  expect_both(udp(kOutside6, kLoadBalancer6), "fd07::1", "fd02::2");
}

TEST_F(DsrSend, HeadersKeepWhatIsNotOurs) {
  elsewhere(kLoadBalancer, "10.2.0.2:8080");
  elsewhere(kLoadBalancer6, "[fd02::2]:8080");
  const auto odd = [] {
    return tcp(kOutside, kLoadBalancer).options({1, 1, 1, 1}).id(7).may_fragment().bad_checksum();
  };
  expect_forward(odd(), tunnel("192.168.7.1", "10.2.0.2", odd().ttl(63)));
  const auto options = [] {
    return tcp(kOutside6, kLoadBalancer6).extension(harness::kHopByHop).bad_checksum();
  };
  expect_forward(options(), tunnel("fd07::1", "fd02::2", options().ttl(63)));
}

// ---- The flow of the sender ----

std::string outer_destination(const Outcome& outcome) {
  return harness::parse(outcome.packet).destination.address.to_string();
}

class DsrFlow : public DsrSend {
 protected:
  static constexpr int kFlows = 40;
  void serve_three(uint8_t protocol) {
    served_ = serve({.at = kLoadBalancer,
                     .protocol = protocol,
                     .kind = FL_KIND_LOAD_BALANCER,
                     .endpoints = {"10.2.0.2:8080", "10.2.0.3:8080", "10.2.0.4:8080"},
                     .maybe_here = false});
  }
  PacketBuilder of(uint8_t protocol, int flow) {
    return packet(protocol, "198.51.100.7:" + std::to_string(1000 + flow), kLoadBalancer);
  }
  std::vector<std::string> destinations(uint8_t protocol, const char* flags) {
    std::vector<std::string> all;
    for (int i = 0; i < kFlows; ++i) {
      all.push_back(outer_destination(run(of(protocol, i).flags(flags))));
    }
    return all;
  }
  Served served_;
};

TEST_F(DsrFlow, PinsItsEndpointWhenTheRingChanges) {
  for (const uint8_t protocol : {6, 17}) {
    serve_three(protocol);
    choose_among(served_, {served_.endpoints[0], served_.endpoints[1]});
    const auto before = destinations(protocol, "S");
    EXPECT_EQ(std::set(before.begin(), before.end()).size(), 2U);
    choose_among(served_, served_.endpoints);
    EXPECT_EQ(destinations(protocol, "A"), before);
    EXPECT_EQ(destinations(protocol, "A"), before);
    datapath().forget_flows();
    EXPECT_NE(destinations(protocol, "A"), before);
    datapath().forget_flows();
  }
}

// No answer comes by: that the client speaks again is all there is to see.
TEST_F(DsrFlow, IsEstablishedWhenTheClientSpeaksAgain) {
  serve_three(6);
  const auto established = [&](const char* flags) {
    run(of(6, 1).flags(flags));
    const auto flows = datapath().flows();
    EXPECT_EQ(flows.size(), 1U);
    if (flows.empty()) return false;
    EXPECT_EQ(flows[0].value.flags & FL_FLOW_DSR, FL_FLOW_DSR + 0U);
    return flows[0].established;
  };
  EXPECT_FALSE(established("S"));
  EXPECT_FALSE(established("S"));
  EXPECT_TRUE(established("A"));
  EXPECT_TRUE(established("A"));
  EXPECT_TRUE(established("FA"));
  EXPECT_FALSE(established("S"));  // a new connection by the same port
}

TEST_F(DsrFlow, DatagramsLeaveAnEndpointThatNoLongerServes) {
  serve_three(17);
  const std::string first = outer_destination(run(of(17, 1)));
  retire(served_, static_cast<size_t>(first.back() - '2'));
  EXPECT_NE(outer_destination(run(of(17, 1))), first);
  EXPECT_EQ(datapath().flows().size(), 1U);
}

TEST_F(DsrFlow, ConnectionsStayWithAnEndpointThatTerminates) {
  serve_three(6);
  const std::string first = outer_destination(run(of(6, 1).flags("S")));
  retire(served_, static_cast<size_t>(first.back() - '2'));
  EXPECT_EQ(outer_destination(run(of(6, 1).flags("A"))), first);
}

TEST_F(DsrFlow, WithoutRoomTheRingDecides) {
  serve_three(6);
  configure([](fl_config& config) { config.refuse_new_flows = 1; });
  const auto first = destinations(6, "S");
  EXPECT_EQ(destinations(6, "A"), first);
  EXPECT_TRUE(datapath().flows().empty());
}

TEST_F(DsrFlow, AffinityHolds) {
  serve({.at = kLoadBalancer,
         .kind = FL_KIND_LOAD_BALANCER,
         .endpoints = {"10.2.0.2:8080", "10.2.0.3:8080", "10.2.0.4:8080"},
         .affinity_seconds = 100,
         .maybe_here = false});
  const auto all = destinations(6, "S");
  EXPECT_EQ(std::set(all.begin(), all.end()).size(), 1U);
}

// ---- Receiving ----

class DsrReceive : public Dsr {
 protected:
  void SetUp() override {
    Dsr::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    for (const uint8_t protocol : {6, 17, 132}) {
      served_ = serve({.at = kLoadBalancer,
                       .protocol = protocol,
                       .kind = FL_KIND_LOAD_BALANCER,
                       .endpoints = {"10.1.0.2:8080", "10.1.0.3:8081", "10.1.0.4:8082"}});
      serve({.at = kLoadBalancer6,
             .protocol = protocol,
             .kind = FL_KIND_LOAD_BALANCER,
             .endpoints = {"[fd01::2]:8080", "[fd01::3]:8081", "[fd01::4]:8082"}});
    }
  }
  static PacketBuilder to_endpoint(const Packet& inner, std::string_view endpoint = "10.1.0.2") {
    return tunnel("192.168.7.3", endpoint, inner);
  }
  // Untouched, and nothing remains of it.
  void expect_closed(const Packet& packet) {
    expect_pass(packet);
    EXPECT_TRUE(datapath().flows().empty()) << packet;
  }
  Served served_;
};

TEST_F(DsrReceive, DeliversToTheTunnelsEndAndAnswersWithTheVirtualAddress) {
  for (const uint8_t protocol : {6, 17, 132}) {
    for (int host = 2; host < 5; ++host) {
      const std::string port = ":" + std::to_string(4000 + 10 * protocol + host);
      const std::string port6 = ":" + std::to_string(6000 + 10 * protocol + host);
      const std::string end = "10.1.0." + std::to_string(host),
                        end6 = "fd01::" + std::to_string(host);
      const std::string listens = ":" + std::to_string(8078 + host);
      for (int again = 0; again < 3; ++again) {
        const std::string client = "198.51.100.7" + port, client6 = "[2001:db8::7]" + port6;
        expect_forward(to_endpoint(packet(protocol, client, kLoadBalancer).tos(0xb9), end),
                       packet(protocol, client, end + listens).tos(0xb9).ttl(63));
        expect_forward(packet(protocol, end + listens, client),
                       packet(protocol, kLoadBalancer, client).ttl(63));
        expect_forward(tunnel("fd07::3", end6, packet(protocol, client6, kLoadBalancer6)),
                       packet(protocol, client6, "[" + end6 + "]" + listens).ttl(63));
        expect_forward(packet(protocol, "[" + end6 + "]" + listens, client6),
                       packet(protocol, kLoadBalancer6, client6).ttl(63));
      }
    }
  }
}

TEST_F(DsrReceive, CountsWhatItDoes) {
  const Outcome outcome = run(to_endpoint(tcp(kOutside, kLoadBalancer)));
  EXPECT_EQ(counted(outcome, "untunnelled"), 1U) << outcome.describe();
  EXPECT_EQ(counted(outcome, "forwarded"), 1U);
}

TEST_F(DsrReceive, AFlowIsAnOrdinaryOne) {
  run(to_endpoint(tcp(kOutside, kLoadBalancer).flags("S")));
  run(tcp("10.1.0.2:8080", kOutside).flags("SA"));
  run(to_endpoint(tcp(kOutside, kLoadBalancer)));
  const auto flows = datapath().flows();
  ASSERT_EQ(flows.size(), 1U);
  EXPECT_TRUE(flows[0].established);
  run(to_endpoint(tcp(kOutside, kLoadBalancer), "10.1.0.3"));  // the sender thinks otherwise now
  ASSERT_EQ(datapath().flows().size(), 1U);
  EXPECT_EQ(address(datapath().flows()[0].value.endpoint).to_string(), "10.1.0.3");
}

// A node port is another node's, whose address is in the tunnel's header.
TEST_F(DsrReceive, NodePorts) {
  for (const auto& [at, end] :
       {std::pair{"0.0.0.0:30080", "10.1.0.2:8080"}, std::pair{"[::]:30080", "[fd01::2]:8080"}}) {
    serve({.at = at, .kind = FL_KIND_NODE_PORT, .endpoints = {end}});
  }
  expect_forward(to_endpoint(tcp(kOutside, "192.168.7.3:30080")),
                 tcp(kOutside, "10.1.0.2:8080").ttl(63));
  expect_forward(tcp("10.1.0.2:8080", kOutside), tcp("192.168.7.3:30080", kOutside).ttl(63));
  expect_forward(tunnel("fd07::3", "fd01::2", tcp(kOutside6, "[fd07::3]:30080")),
                 tcp(kOutside6, "[fd01::2]:8080").ttl(63));
  expect_forward(tcp("[fd01::2]:8080", kOutside6), tcp("[fd07::3]:30080", kOutside6).ttl(63));
  // The same client's same port, at two nodes.
  const auto second = after(tunnel("192.168.7.4", "10.1.0.2", tcp(kOutside, "192.168.7.4:30080")));
  EXPECT_NE(second.source.port, 4000);
  expect_forward(answer_to(second), tcp("192.168.7.4:30080", kOutside).ttl(63));
  expect_forward(tcp("10.1.0.2:8080", kOutside), tcp("192.168.7.3:30080", kOutside).ttl(63));
  expect_pass(to_endpoint(tcp("198.51.100.8:1", "192.168.7.4:30080")));
}

TEST_F(DsrReceive, OpensNoOtherTunnels) {
  serve({.at = "10.96.0.1:80", .endpoints = {"10.1.0.2:8080"}});
  serve({.at = "192.0.2.81:80", .kind = FL_KIND_LOAD_BALANCER, .endpoints = {"10.1.0.5:8080"}});
  serve({.at = "192.0.2.82:80",
         .kind = FL_KIND_LOAD_BALANCER,
         .endpoints = {"10.1.0.2:8080"},
         .maybe_here = false});
  const Packet inner = tcp(kOutside, kLoadBalancer).build();
  expect_closed(to_endpoint(tcp(kOutside, "10.96.0.1:80")));
  expect_closed(to_endpoint(tcp(kOutside, "192.0.2.81:80")));  // another service's endpoint
  expect_closed(to_endpoint(tcp(kOutside, "192.0.2.82:80")));
  expect_closed(to_endpoint(tcp(kOutside, "192.0.2.80:81")));
  expect_closed(to_endpoint(udp(kOutside, "192.0.2.99:80")));
  expect_closed(to_endpoint(inner, "10.1.0.9"));
  expect_closed(tunnel("10.2.0.3", "10.1.0.2", inner));  // from a pod
  expect_closed(to_endpoint(inner).options({1, 1, 1, 1}));
  expect_closed(to_endpoint(inner).may_fragment().fragment(0, 24));
  expect_closed(to_endpoint(to_endpoint(inner)));
  expect_closed(to_endpoint(harness::icmp("198.51.100.7", "192.0.2.80", 8, 0)));
  via(Program::kXdp);
  expect_closed(to_endpoint(inner));
  via(Program::kEgress, {.made_here = true});
  expect_closed(to_endpoint(inner));
  via(Program::kIngress);
  configure([](fl_config& config) { config.dsr = FL_DSR_OFF; });
  expect_closed(to_endpoint(inner));
  configure([](fl_config& config) { config.dsr = FL_DSR_IPIP; });
  EXPECT_EQ(counted(run(to_endpoint(inner)), "untunnelled"), 1U);
}

TEST_F(DsrReceive, ADeviceOfPodsOpensNone) {
  fl_device out = {};
  datapath().get(Map::kDevices, datapath().device("out0"), out);
  out.flags |= FL_DEVICE_PODS;
  datapath().put(Map::kDevices, datapath().device("out0"), out);
  expect_closed(to_endpoint(tcp(kOutside, kLoadBalancer)));
}

TEST_F(DsrReceive, SourceRangesAndRoom) {
  serve({.at = "192.0.2.81:80",
         .kind = FL_KIND_LOAD_BALANCER,
         .endpoints = {"10.1.0.2:80"},
         .source_ranges = {"203.0.113.0/24"}});
  expect_drop(to_endpoint(tcp(kOutside, "192.0.2.81:80").flags("S")), "source_range");
  expect_forward(to_endpoint(tcp("203.0.113.7:1", "192.0.2.81:80").flags("S")),
                 tcp("203.0.113.7:1", "10.1.0.2:80").flags("S").ttl(63));
  expect_drop(to_endpoint(tcp(kOutside, kLoadBalancer).flags("R")), "stray_reset");
  expect_drop(to_endpoint(tcp(kOutside, kLoadBalancer).ttl(1)), "hop_limit");
  configure([](fl_config& config) { config.refuse_new_flows = 1; });
  expect_drop(to_endpoint(tcp("198.51.100.9:1", kLoadBalancer).flags("S")), "flows_full");
}

// Ends before its time, at every byte: of the frame, and of what the outer header says.
TEST_F(DsrReceive, BrokenOnesPass) {
  for (const bool v4 : {true, false}) {
    const Packet inner =
        v4 ? tcp(kOutside, kLoadBalancer).build() : tcp(kOutside6, kLoadBalancer6).build();
    const std::string_view from = v4 ? "192.168.7.3" : "fd07::3", to = v4 ? "10.1.0.2" : "fd01::2";
    const Packet whole = tunnel(from, to, inner).build();
    for (size_t size = harness::kEthernetHeader + (v4 ? 20 : 40); size < whole.size(); ++size) {
      expect_closed(whole.truncated(size));
    }
    for (size_t size = harness::kEthernetHeader; size < inner.size(); ++size) {
      expect_closed(tunnel(from, to, inner.truncated(size)));
    }
    Packet longer = inner;
    longer.bytes().push_back(0);
    expect_closed(tunnel(from, to, longer));
  }
  expect_closed(to_endpoint(tcp(kOutside, kLoadBalancer).version(6)));
  expect_closed(to_endpoint(tcp(kOutside, kLoadBalancer).ihl(4)));
  expect_closed(to_endpoint(tcp(kOutside, kLoadBalancer).ihl(15)));
  expect_closed(to_endpoint(tcp(kOutside, kLoadBalancer).tcp_data_offset(4)));
  expect_closed(to_endpoint(udp(kOutside, kLoadBalancer).udp_length(7)));
}

TEST_F(DsrReceive, FragmentsFollowTheFirst) {
  const auto whole = [](std::string_view from, std::string_view to) {
    return udp(from, to).may_fragment().payload_size(100);
  };
  expect_closed(to_endpoint(whole(kOutside, kLoadBalancer).fragment(48, 48)));
  for (const size_t first : {0, 48}) {
    expect_forward(to_endpoint(whole(kOutside, kLoadBalancer).fragment(first, 48)),
                   whole(kOutside, "10.1.0.2:8080").fragment(first, 48).ttl(63));
  }
}

// The sender knows best: it was told of the end a moment later, or its flow has lasted until now.
TEST_F(DsrReceive, AnEndpointThatHasJustLeft) {
  served_ = serve({.at = "192.0.2.81:80",
                   .kind = FL_KIND_LOAD_BALANCER,
                   .endpoints = {"10.1.0.2:8080", "10.1.0.3:8080"}});
  const auto from = [](int port) {
    return tcp("198.51.100.7:" + std::to_string(port), "192.0.2.81:80").flags("S");
  };
  run(to_endpoint(from(1)));
  retire(served_, 0);
  for (const int port : {1, 2}) {
    expect_forward(to_endpoint(from(port)),
                   tcp("198.51.100.7:" + std::to_string(port), "10.1.0.2:8080").flags("S").ttl(63));
  }
}

TEST_F(DsrReceive, AnEndpointOfTheNodeItself) {
  serve({.at = "192.0.2.81:80", .kind = FL_KIND_LOAD_BALANCER, .endpoints = {"192.168.7.1:8080"}});
  expect_deliver(to_endpoint(tcp(kOutside, "192.0.2.81:80"), "192.168.7.1"),
                 tcp(kOutside, "192.168.7.1:8080"));
  via(Program::kEgress, {.made_here = true});
  expect_deliver(tcp("192.168.7.1:8080", kOutside), tcp("192.0.2.81:80", kOutside));
}

}  // namespace
}  // namespace fairlead::bpf::testing
