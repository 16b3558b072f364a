// Packets that are nobody's business pass as they came.
#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::icmp;
using harness::sctp;
using harness::tcp;
using harness::udp;

class Pass : public PacketTest {
 protected:
  void SetUp() override {
    PacketTest::SetUp();
    if (!IsSkipped() && !HasFatalFailure()) {
      serve({.at = "10.96.0.1:80", .endpoints = {"10.1.0.2:8080"}});
      serve({.at = "[fd96::1]:80", .endpoints = {"[fd01::2]:8080"}});
    }
  }
};

TEST_F(Pass, OtherAddresses) {
  expect_pass(tcp("10.1.0.5:4000", "10.96.0.2:80").flags("S"));
  expect_pass(tcp("[fd01::5]:4000", "[fd96::2]:80").flags("S"));
  expect_pass(udp("192.0.2.7:4000", "192.168.7.1:80"));
  EXPECT_TRUE(datapath().flows().empty());
}

TEST_F(Pass, OtherProtocols) {
  expect_pass(icmp("10.1.0.5", "10.96.0.9", 8, 0).payload("ping"));
  expect_pass(icmp("fd01::5", "fd96::9", 128, 0).payload("ping"));
  expect_pass(harness::ip("10.1.0.5", "10.96.0.9", 47).payload("GRE"));
  expect_pass(tcp("10.1.0.5:4000", "10.96.0.1:80").ether_type(0x0806));
}

// Answers and others that no slot of ours knows.
TEST_F(Pass, AnswersOfForeignFlows) {
  expect_pass(tcp("10.1.0.2:8080", "10.1.0.5:4000").flags("SA"));
  expect_pass(udp("[fd01::2]:8080", "[fd01::5]:4000"));
}

}  // namespace
}  // namespace fairlead::bpf::testing
