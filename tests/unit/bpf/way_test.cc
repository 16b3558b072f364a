// Where a rewritten packet goes: routes, hop limits, sizes, the node's own packets.
#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::tcp;
using harness::udp;

class Way : public PacketTest {
 protected:
  void serve_both(std::string_view v4, std::string_view v6, Routes routes = {"-", "-", "m"}) {
    for (const uint8_t protocol : {6, 17}) {
      serve({.at = "10.96.0.1:80", .protocol = protocol, .endpoints = {v4}, .routes = routes});
      serve({.at = "[fd96::1]:80", .protocol = protocol, .endpoints = {v6}, .routes = routes});
    }
  }
};

TEST_F(Way, HopLimits) {
  serve_both("10.1.0.2:8080", "[fd01::2]:8080");
  expect_forward(tcp("10.1.0.5:1", "10.96.0.1:80").ttl(2),
                 tcp("10.1.0.5:1", "10.1.0.2:8080").ttl(1));
  expect_forward(tcp("[fd01::5]:2", "[fd96::1]:80").ttl(2),
                 tcp("[fd01::5]:2", "[fd01::2]:8080").ttl(1));
  expect_forward(tcp("10.1.0.5:3", "10.96.0.1:80").ttl(255),
                 tcp("10.1.0.5:3", "10.1.0.2:8080").ttl(254));
  for (const uint8_t last : {0, 1}) {
    expect_drop(tcp("10.1.0.5:1", "10.96.0.1:80").ttl(last), "hop_limit");
    expect_drop(tcp("[fd01::5]:2", "[fd96::1]:80").ttl(last), "hop_limit");
    expect_drop(tcp("10.1.0.2:8080", "10.1.0.5:1").ttl(last), "hop_limit");
  }
}

TEST_F(Way, NoRoute) {
  serve_both("10.4.0.2:8080", "[fd04::2]:8080");
  expect_drop(tcp("10.1.0.5:1", "10.96.0.1:80"), "no_route");
  expect_drop(tcp("[fd01::5]:2", "[fd96::1]:80"), "no_route");
}

TEST_F(Way, NoRouteBack) {
  serve_both("10.1.0.2:8080", "[fd01::2]:8080", {"-", "-", "-"});
  run(tcp("10.4.0.5:1", "10.96.0.1:80"));
  expect_drop(tcp("10.1.0.2:8080", "10.4.0.5:1"), "no_route");
}

// A node that does not forward leaves it to its stack to say so. (A client that no other case has:
// routes are remembered for a moment.)
TEST_F(Way, ForwardingIsOff) {
  serve_both("10.1.0.2:8080", "[fd01::2]:8080");
  for (const char* value : {"0", "1"}) {
    ASSERT_TRUE(datapath().netns().sysctl("net.ipv4.ip_forward", value));
    const auto packet = tcp("10.1.0.77:1", "10.96.0.1:80");
    if (*value == '0') expect_deliver(packet, tcp("10.1.0.77:1", "10.1.0.2:8080"));
    if (*value == '1') expect_forward(packet, tcp("10.1.0.77:1", "10.1.0.2:8080").ttl(63));
  }
}

// The stack takes nothing from outside that bears an address of the node.
TEST_F(Way, WhatBearsTheNodesAddressIsNotLeftToTheStack) {
  serve_both("10.1.0.2:8080", "[fd01::2]:8080");
  for (const char* key : {"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"}) {
    ASSERT_TRUE(datapath().netns().sysctl(key, "0"));
  }
  expect_drop(tcp("198.51.100.77:1", "10.96.0.1:80").flags("S"), "no_route");
  expect_drop(udp("[2001:db8::77]:2", "[fd96::1]:80"), "no_route");
  for (const char* key : {"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"}) {
    ASSERT_TRUE(datapath().netns().sysctl(key, "1"));
  }
}

TEST_F(Way, FramesForOthersAreNotOurs) {
  serve_both("10.1.0.2:8080", "[fd01::2]:8080");
  expect_pass(tcp("10.1.0.5:1", "10.96.0.1:80").ethernet(1, 9));
}

// ---- Sizes ----

TEST_F(Way, TooBigForTheWayOut) {
  serve_both("10.3.0.2:8080", "[fd03::2]:8080");
  expect_too_big(udp("10.1.0.5:1", "10.96.0.1:80").payload_size(1280 - 27), 1280);
  expect_too_big(udp("[fd01::5]:2", "[fd96::1]:80").payload_size(1280 - 47), 1280);
  expect_forward(udp("10.1.0.5:1", "10.96.0.1:80").payload_size(1280 - 28),
                 udp("10.1.0.5:1", "10.3.0.2:8080").payload_size(1280 - 28).ttl(63));
  expect_forward(udp("[fd01::5]:2", "[fd96::1]:80").payload_size(1280 - 48),
                 udp("[fd01::5]:2", "[fd03::2]:8080").payload_size(1280 - 48).ttl(63));
}

TEST_F(Way, TooBigForTheWayBack) {
  serve_both("10.1.0.2:8080", "[fd01::2]:8080", {"-", "-", "-"});
  run(udp("10.3.0.5:1", "10.96.0.1:80"));
  run(udp("[fd03::5]:2", "[fd96::1]:80"));
  expect_too_big(udp("10.1.0.2:8080", "10.3.0.5:1").payload_size(1400), 1280);
  expect_too_big(udp("[fd01::2]:8080", "[fd03::5]:2").payload_size(1400), 1280);
}

// Who may be fragmented is: by the stack.
TEST_F(Way, TooBigButMayBeFragmented) {
  serve_both("10.3.0.2:8080", "[fd03::2]:8080");
  expect_deliver(udp("10.1.0.5:1", "10.96.0.1:80").payload_size(1400).may_fragment(),
                 udp("10.1.0.5:1", "10.3.0.2:8080").payload_size(1400).may_fragment());
}

// Many segments in one buffer: each fits or does not.
TEST_F(Way, SegmentsAreMeasuredOneByOne) {
  serve_both("10.3.0.2:8080", "[fd03::2]:8080");
  const auto burst = [](std::string_view to) { return tcp("10.1.0.5:1", to).payload_size(3000); };
  via(Program::kIngress, {.segment_size = 1240});
  expect_forward(burst("10.96.0.1:80"), burst("10.3.0.2:8080").ttl(63));
  via(Program::kIngress, {.segment_size = 1241});
  EXPECT_EQ(counted(run(burst("10.96.0.1:80")), "too_big_sent"), 1U);
}

// SCTP's segments differ, each as long as its association may send.
TEST_F(Way, SegmentsOfSctpFit) {
  serve({.at = "10.96.0.4:80", .protocol = 132, .endpoints = {"10.3.0.2:8080"}});
  via(Program::kIngress, {.segment_size = 0xffff});
  expect_forward(harness::sctp("10.1.0.5:1", "10.96.0.4:80").payload_size(3000),
                 harness::sctp("10.1.0.5:1", "10.3.0.2:8080").payload_size(3000).ttl(63));
}

// ---- The node itself ----

class NodesOwn : public Way {
 protected:
  void SetUp() override {
    Way::SetUp();
    if (!IsSkipped() && !HasFatalFailure()) via(Program::kEgress, {.made_here = true});
  }
};

TEST_F(NodesOwn, PacketsReachTheEndpointWithTheirHopLimit) {
  serve_both("10.1.0.2:8080", "[fd01::2]:8080");
  expect_forward(tcp("192.168.7.1:5000", "10.96.0.1:80"), tcp("192.168.7.1:5000", "10.1.0.2:8080"));
  expect_forward(udp("[fd07::1]:5001", "[fd96::1]:80"), udp("[fd07::1]:5001", "[fd01::2]:8080"));
  via(Program::kIngress, {.device = "pod0"});
  expect_deliver(tcp("10.1.0.2:8080", "192.168.7.1:5000"), tcp("10.96.0.1:80", "192.168.7.1:5000"));
  expect_deliver(udp("[fd01::2]:8080", "[fd07::1]:5001"), udp("[fd96::1]:80", "[fd07::1]:5001"));
}

TEST_F(NodesOwn, EndpointsOnTheNodeAreReachedThroughLoopback) {
  serve_both("192.168.7.1:8080", "[fd07::1]:8080");
  expect_forward(tcp("10.1.0.1:5000", "10.96.0.1:80"), tcp("10.1.0.1:5000", "192.168.7.1:8080"));
}

TEST_F(NodesOwn, OtherPacketsPass) {
  serve_both("10.1.0.2:8080", "[fd01::2]:8080");
  expect_pass(tcp("192.168.7.1:5000", "192.0.2.1:80"));
  expect_pass(udp("[fd07::1]:5000", "[2001:db8::1]:80"));
}

// What came in by a device was looked at there.
TEST_F(NodesOwn, ForwardedPacketsPass) {
  serve_both("10.1.0.2:8080", "[fd01::2]:8080");
  via(Program::kEgress);
  expect_pass(tcp("192.168.7.1:5000", "10.96.0.1:80"));
  expect_pass(tcp("198.51.100.7:5000", "10.96.0.1:80"));
}

TEST_F(NodesOwn, Refused) {
  serve({.at = "10.96.0.1:80"});
  expect_refusal(tcp("192.168.7.1:5000", "10.96.0.1:80").flags("S"));
  expect_refusal(tcp("192.168.7.1:5000", "10.96.0.1:81").flags("S"));
  claim_services("10.96.0.0/12");
  expect_drop(tcp("192.168.7.1:5000", "10.96.0.2:80").flags("S"), "no_such_service");
}

}  // namespace
}  // namespace fairlead::bpf::testing
