// Fragments: the later ones follow the first, which alone has the ports.
#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::Packet;
using harness::PacketBuilder;
using harness::udp;

class Fragments : public PacketTest {
 protected:
  void SetUp() override {
    PacketTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    serve({.at = "10.96.0.1:80", .protocol = 17, .endpoints = {"10.1.0.2:8080"}});
    serve({.at = "[fd96::1]:80", .protocol = 17, .endpoints = {"[fd01::2]:8080"}});
  }

  // The first fragment of `whole` and a later one; both must become those of `rewritten`.
  void expect_both(PacketBuilder whole, PacketBuilder rewritten) {
    whole.payload_size(100);
    rewritten.payload_size(100);
    expect_forward(whole.fragment(0, 48), rewritten.fragment(0, 48));
    const Outcome later = run(whole.fragment(48, 60));
    EXPECT_EQ(later.verdict, kRedirect) << later.describe();
    EXPECT_EQ(harness::difference(later.packet, rewritten.fragment(48, 60)), "");
    EXPECT_EQ(counted(later, "fragments_tracked"), 1U);
  }
};

TEST_F(Fragments, FollowTheFirst) {
  expect_both(udp("10.1.0.5:4000", "10.96.0.1:80").may_fragment(),
              udp("10.1.0.5:4000", "10.1.0.2:8080").may_fragment().ttl(63));
  expect_both(udp("[fd01::5]:5000", "[fd96::1]:80"),
              udp("[fd01::5]:5000", "[fd01::2]:8080").ttl(63));
}

TEST_F(Fragments, FollowTheFirstBack) {
  after(udp("10.1.0.5:4000", "10.96.0.1:80"));
  expect_both(udp("10.1.0.2:8080", "10.1.0.5:4000").may_fragment(),
              udp("10.96.0.1:80", "10.1.0.5:4000").may_fragment().ttl(63));
  after(udp("[fd01::5]:5000", "[fd96::1]:80"));
  expect_both(udp("[fd01::2]:8080", "[fd01::5]:5000"),
              udp("[fd96::1]:80", "[fd01::5]:5000").ttl(63));
}

// A part of a packet does not suffice to mend SCTP's checksum, which its ports are in.
TEST_F(Fragments, OfSctpWhosePortsChangeAreNotServed) {
  const auto whole = [](std::string_view from, std::string_view to) {
    return harness::sctp(from, to).payload_size(100).may_fragment();
  };
  for (const bool v4 : {true, false}) {
    const std::string client = v4 ? "10.1.0.5:400" : "[fd01::5]:500";  // each port once
    const std::string service = v4 ? "10.96.0.1:" : "[fd96::1]:";
    const std::string endpoint = v4 ? "10.1.0.2:8080" : "[fd01::2]:8080";
    for (const std::string port : {"80", "8080"}) {
      serve({.at = service + port, .protocol = 132, .endpoints = {endpoint}});
    }
    expect_drop(whole(client + "1", service + "80").fragment(0, 48), "unserved_protocol");
    expect_drop(whole(client + "1", service + "80").id(2).fragment(48, 60),
                "fragment_without_first");
    expect_both(whole(client + "2", service + "8080"), whole(client + "2", endpoint).ttl(63));
  }
}

// Identification, addresses and protocol together name the datagram.
TEST_F(Fragments, OfAnotherDatagramDoNot) {
  auto whole = udp("10.1.0.5:4000", "10.96.0.1:80").may_fragment().payload_size(100);
  run(PacketBuilder(whole).fragment(0, 48));
  expect_drop(PacketBuilder(whole).id(7).fragment(48, 60), "fragment_without_first");
  auto other = udp("10.1.0.6:4000", "10.96.0.1:80").may_fragment().payload_size(100);
  expect_drop(other.fragment(48, 60), "fragment_without_first");
}

TEST_F(Fragments, WithoutTheirFirstAreDroppedWhereOnlyWeServe) {
  claim_services("10.97.0.0/16");
  for (const auto& to : {"10.96.0.1:80", "10.97.0.1:80", "[fd96::1]:80"}) {
    expect_drop(
        udp(to[0] == '[' ? "[fd01::5]:1" : "10.1.0.5:1", to).payload_size(99).fragment(48, 40),
        "fragment_without_first");
  }
  for (const auto& to : {"192.168.7.1:80", "10.1.0.2:80", "[fd01::2]:80"}) {
    expect_pass(
        udp(to[0] == '[' ? "[fd01::5]:1" : "10.1.0.5:1", to).payload_size(99).fragment(48, 40));
  }
}

// What is nobody's of ours leaves no record, and its fragments are left alone.
TEST_F(Fragments, OfOthersPass) {
  auto whole = udp("10.1.0.5:4000", "10.1.0.9:80").may_fragment().payload_size(100);
  expect_pass(PacketBuilder(whole).fragment(0, 48));
  expect_pass(PacketBuilder(whole).fragment(48, 60));
  EXPECT_TRUE((datapath().all<fl_fragment_key, fl_fragment>(Map::kFragments).empty()));
}

}  // namespace
}  // namespace fairlead::bpf::testing
