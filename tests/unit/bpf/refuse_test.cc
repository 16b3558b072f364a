// What a sender hears when nobody is there to answer, or the way is too narrow; byte by byte.
#include <algorithm>
#include <array>

#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::icmp;
using harness::kHopByHop;
using harness::Packet;
using harness::PacketBuilder;
using harness::sctp;
using harness::tcp;
using harness::udp;

constexpr size_t kQuotedBytes = 128;

// Whatever the datapath says itself: a packet of its own, sent back to the station it came from.
PacketBuilder own_answer(PacketBuilder answer) {
  return answer.ethernet(2, 1).id(0).ttl(64);
}
PacketBuilder reset_from(std::string_view from, std::string_view to, std::string_view flags,
                         uint32_t sequence, uint32_t acknowledged) {
  return own_answer(tcp(from, to).flags(flags).sequence(sequence, acknowledged).window(0));
}
PacketBuilder error_from(std::string_view from, std::string_view to, uint8_t type, uint8_t code,
                         const Packet& about) {
  return own_answer(icmp(from, to, type, code).tos(0xc0).quote(about, kQuotedBytes));
}

class Refuse : public PacketTest {
 protected:
  void SetUp() override {
    PacketTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}, uint8_t{132}}) {
      serve({.at = "10.96.0.1:80", .protocol = protocol});
      serve({.at = "[fd96::1]:80", .protocol = protocol});
    }
  }

  void expect_refused(const Packet& packet, const Packet& answer) {
    const Outcome outcome = run(packet);
    EXPECT_EQ(outcome.verdict, kRedirect) << packet << "\n" << outcome.describe();
    EXPECT_EQ(harness::difference(outcome.packet, answer), "") << packet;
    EXPECT_EQ(outcome.counted, (std::map<std::string, uint64_t>{{"rejected", 1}}));
  }
};

TEST_F(Refuse, OpeningAConnection) {
  expect_refused(tcp("10.1.0.5:4000", "10.96.0.1:80").flags("S"),
                 reset_from("10.96.0.1:80", "10.1.0.5:4000", "RA", 0, 1001));
  expect_refused(tcp("[fd01::5]:4000", "[fd96::1]:80").flags("S"),
                 reset_from("[fd96::1]:80", "[fd01::5]:4000", "RA", 0, 1001));
}

// The reset takes the number that the segment acknowledges, and acknowledges nothing.
TEST_F(Refuse, SegmentsThatAcknowledge) {
  expect_refused(
      tcp("10.1.0.5:4000", "10.96.0.1:80").flags("AP").sequence(7, 0x80000001).payload("lost"),
      reset_from("10.96.0.1:80", "10.1.0.5:4000", "R", 0x80000001, 0));
  expect_refused(tcp("[fd01::5]:4000", "[fd96::1]:80").flags("SA").sequence(7, 9),
                 reset_from("[fd96::1]:80", "[fd01::5]:4000", "R", 9, 0));
}

// Otherwise it acknowledges all of the segment: data, SYN and FIN; headers of any size are not
// data.
TEST_F(Refuse, SegmentsThatDoNot) {
  expect_refused(tcp("10.1.0.5:4000", "10.96.0.1:80").flags("F").payload("abc"),
                 reset_from("10.96.0.1:80", "10.1.0.5:4000", "RA", 0, 1004));
  expect_refused(
      tcp("10.1.0.5:4000", "10.96.0.1:80").flags("S").sequence(0xffffffff).payload("abc"),
      reset_from("10.96.0.1:80", "10.1.0.5:4000", "RA", 0, 3));
  const auto odd = tcp("10.1.0.5:4000", "10.96.0.1:80").flags("").options({1, 1, 1, 1, 1});
  expect_refused(PacketBuilder(odd).tcp_options({2, 4, 5, 180, 1}).payload("abcde"),
                 reset_from("10.96.0.1:80", "10.1.0.5:4000", "RA", 0, 1005));
  expect_refused(
      tcp("[fd01::5]:4000", "[fd96::1]:80").flags("").extension(kHopByHop, 24).payload("ab"),
      reset_from("[fd96::1]:80", "[fd01::5]:4000", "RA", 0, 1002));
}

TEST_F(Refuse, NeverAReset) {
  expect_drop(tcp("10.1.0.5:4000", "10.96.0.1:80").flags("R"), "stray_reset");
  expect_drop(tcp("[fd01::5]:4000", "[fd96::1]:80").flags("RA"), "stray_reset");
  expect_drop(tcp("10.1.0.5:4000", "10.96.0.1:81").flags("RA"), "stray_reset");
}

TEST_F(Refuse, Datagrams) {
  for (const size_t size : {0, 1, 3, 99, 100, 101, 1400}) {
    const Packet sent = udp("10.1.0.5:4000", "10.96.0.1:80").payload_size(size);
    expect_refused(sent, error_from("10.96.0.1", "10.1.0.5", 3, 3, sent));
    const Packet sent6 = udp("[fd01::5]:4000", "[fd96::1]:80").payload_size(size);
    expect_refused(sent6, error_from("fd96::1", "fd01::5", 1, 4, sent6));
  }
}

TEST_F(Refuse, DatagramsWithMoreHeaders) {
  const Packet sent =
      udp("10.1.0.5:4000", "10.96.0.1:80").options(harness::Bytes(40, 1)).payload("?");
  expect_refused(sent, error_from("10.96.0.1", "10.1.0.5", 3, 3, sent));
  const Packet sent6 = udp("[fd01::5]:4000", "[fd96::1]:80").extension(kHopByHop, 16).payload("?");
  expect_refused(sent6, error_from("fd96::1", "fd01::5", 1, 4, sent6));
}

TEST_F(Refuse, Sctp) {
  const Packet sent = sctp("10.1.0.5:4000", "10.96.0.1:80").payload_size(30);
  expect_refused(sent, error_from("10.96.0.1", "10.1.0.5", 3, 3, sent));
  const Packet sent6 = sctp("[fd01::5]:4000", "[fd96::1]:80").payload_size(30);
  expect_refused(sent6, error_from("fd96::1", "fd01::5", 1, 4, sent6));
}

// A port of a cluster IP that nobody serves.
TEST_F(Refuse, OtherPortsOfAServedAddress) {
  expect_refused(tcp("10.1.0.5:4000", "10.96.0.1:81").flags("S"),
                 reset_from("10.96.0.1:81", "10.1.0.5:4000", "RA", 0, 1001));
}

TEST_F(Refuse, WhatTheNodeItselfSends) {
  via(Program::kEgress, {.made_here = true});
  expect_refused(tcp("192.168.7.1:4000", "10.96.0.1:80").flags("S"),
                 reset_from("10.96.0.1:80", "192.168.7.1:4000", "RA", 0, 1001));
  const Packet sent = udp("[fd07::1]:4000", "[fd96::1]:80").payload("?");
  expect_refused(sent, error_from("fd96::1", "fd07::1", 1, 4, sent));
}

TEST_F(Refuse, SeveralSegmentsInOne) {
  via(Program::kIngress, {.device = "pod0", .segment_size = 1000});
  expect_refused(tcp("10.1.0.5:4000", "10.96.0.1:80").flags("A").sequence(5, 6).payload_size(3000),
                 reset_from("10.96.0.1:80", "10.1.0.5:4000", "R", 6, 0));
}

TEST_F(Refuse, WhoIsNoSingleHostHearsNothing) {
  for (const auto& source : {"0.0.0.0:4000", "224.0.0.9:4000", "255.255.255.255:4000"}) {
    expect_drop(udp(source, "10.96.0.1:80"), "no_endpoints");
  }
  expect_drop(udp("[::]:4000", "[fd96::1]:80"), "no_endpoints");
  expect_drop(udp("[ff02::9]:4000", "[fd96::1]:80"), "no_endpoints");
}

TEST_F(Refuse, GroupsAreNotAnsweredFor) {
  for (const auto& group : {"224.0.0.9:80", "[ff05::9]:80"}) {
    serve({.at = group, .protocol = 17});
    expect_drop(udp(group[0] == '[' ? "[fd01::5]:1" : "10.1.0.5:1", group), "no_endpoints");
  }
  Packet to_all = udp("10.1.0.5:4000", "10.96.0.1:80").payload("?");
  std::fill_n(to_all.bytes().begin(), 6, uint8_t{0xff});
  expect_drop(to_all, "no_endpoints");
}

class TooBig : public PacketTest {
 protected:
  void SetUp() override {
    PacketTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
      serve({.at = "10.96.0.1:80", .protocol = protocol, .endpoints = {"10.3.0.2:8080"}});
      serve({.at = "[fd96::1]:80", .protocol = protocol, .endpoints = {"[fd03::2]:8080"}});
    }
  }

  void expect_too_big(const Packet& packet, const Packet& answer) {
    const Outcome outcome = run(packet);
    EXPECT_EQ(outcome.verdict, kRedirect) << packet << "\n" << outcome.describe();
    EXPECT_EQ(harness::difference(outcome.packet, answer), "") << packet;
    EXPECT_EQ(counted(outcome, "too_big_sent"), 1U) << outcome.describe();
  }
};

// The sender hears the way's MTU, about the packet as it sent it.
TEST_F(TooBig, TowardsTheEndpoint) {
  const Packet sent = udp("10.1.0.5:4000", "10.96.0.1:80").payload_size(1253);
  expect_too_big(sent, error_from("10.96.0.1", "10.1.0.5", 3, 4, sent).rest(1280));
  const Packet sent6 = tcp("[fd01::5]:4000", "[fd96::1]:80").flags("S").payload_size(1221);
  expect_too_big(sent6, error_from("fd96::1", "fd01::5", 2, 0, sent6).rest(1280));
}

// Those who cannot be told, as in Refuse: lost, and counted.
TEST_F(TooBig, FromOrToMoreThanASingleHost) {
  for (const auto& source : {"0.0.0.0:4000", "224.0.0.9:4000", "255.255.255.255:4000"}) {
    expect_drop(udp(source, "10.96.0.1:80").payload_size(1253), "too_big");
  }
  expect_drop(udp("[ff02::9]:4000", "[fd96::1]:80").payload_size(1233), "too_big");
  Packet to_all = udp("10.1.0.5:4000", "10.96.0.1:80").payload_size(1253);
  std::fill_n(to_all.bytes().begin(), 6, uint8_t{0xff});
  expect_drop(to_all, "too_big");
}

TEST_F(TooBig, NotWhatJustFits) {
  expect_forward(udp("10.1.0.5:4000", "10.96.0.1:80").payload_size(1252),
                 udp("10.1.0.5:4000", "10.3.0.2:8080").payload_size(1252).ttl(63));
  expect_forward(udp("[fd01::5]:4000", "[fd96::1]:80").payload_size(1232),
                 udp("[fd01::5]:4000", "[fd03::2]:8080").payload_size(1232).ttl(63));
}

}  // namespace
}  // namespace fairlead::bpf::testing
