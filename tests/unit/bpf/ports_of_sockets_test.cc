// Masquerading ports and the sockets of the node itself.
#include <sys/socket.h>

#include <cerrno>
#include <set>

#include "base/fd.h"
#include "tests/harness/socket_address.h"
#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::PacketBuilder;
using harness::ParsedPacket;

constexpr std::string_view kServiceV4 = "10.96.0.1:80";
constexpr std::string_view kServiceV6 = "[fd96::1]:80";

// What the node's own sockets hear or may hear from the endpoint at a port is not given out, and
// whatever else they do with it does not matter.
class PortsOfSockets : public PacketTest {
 protected:
  using Given = std::set<uint16_t>;
  const Given kBoth = {20000, 20001};
  const Given kOther = {20001};

  void SetUp() override {
    PacketTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    for (const uint8_t protocol : {6, 17}) {
      serve({.at = kServiceV4, .protocol = protocol, .endpoints = {"10.1.0.2:8080"}});
      serve({.at = kServiceV6, .protocol = protocol, .endpoints = {"[fd01::2]:8080"}});
    }
    configure([](fl_config& config) {
      config.snat_first = 20000;
      config.snat_last = 20001;
    });
  }

  // A socket at `own`: connected (TCP: about to be) with `peer`, or hearing whoever speaks to it.
  static Fd socket_at(uint8_t protocol, std::string_view own, std::string_view peer) {
    const auto end = harness::socket_address_of(own);
    const int type = protocol == 6 ? SOCK_STREAM : SOCK_DGRAM;
    const int family = end.address.family() == dataplane::Family::kIPv4 ? AF_INET : AF_INET6;
    Fd socket(::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto call = [&socket](auto what, std::string_view at) {
      const auto to = harness::socket_address_of(at);
      const auto raw = harness::kernel_address(to.address.to_string(), to.port);
      return what(socket.get(), raw.get(), raw.length);
    };
    EXPECT_EQ(call(::bind, own), 0) << own << ": " << errno;
    if (!peer.empty()) {
      EXPECT_TRUE(call(::connect, peer) == 0 || errno == EINPROGRESS) << peer << ": " << errno;
    } else if (protocol == 6) {
      EXPECT_EQ(::listen(socket.get(), 1), 0);
    }
    return socket;
  }

  // The ports that two new connections are given towards the one endpoint.
  Given given(uint8_t protocol, bool v4) {
    datapath().forget_flows();
    Given ports;
    for (const char* port : {"1", "2"}) {
      const std::string client = (v4 ? "198.51.100.7:" : "[2001:db8::7]:") + std::string(port);
      const PacketBuilder first(harness::socket_address_of(client),
                                harness::socket_address_of(v4 ? kServiceV4 : kServiceV6), protocol);
      const Outcome outcome = run(PacketBuilder(first).flags("S"));
      if (outcome.verdict == kDrop) {
        EXPECT_EQ(counted(outcome, "drop_ports_exhausted"), 1U) << outcome.describe();
        continue;
      }
      const ParsedPacket seen = harness::parse(outcome.packet);
      EXPECT_EQ(seen.source.address, harness::address_of(v4 ? "192.168.7.1" : "fd07::1"));
      ports.insert(seen.source.port);
    }
    return ports;
  }

  // With a socket of `protocol` at `own`, and without it again.
  void expect_given(uint8_t protocol, std::string_view own, std::string_view peer,
                    const Given& wanted_v4, const Given& wanted_v6) {
    {
      const Fd socket = socket_at(protocol, own, peer);
      EXPECT_EQ(given(protocol, true), wanted_v4) << int{protocol} << " " << own << " " << peer;
      EXPECT_EQ(given(protocol, false), wanted_v6) << int{protocol} << " " << own << " " << peer;
      EXPECT_EQ(given(protocol == 6 ? 17 : 6, true), kBoth) << "another protocol: " << own;
    }
    EXPECT_EQ(given(protocol, true), kBoth) << own;
    EXPECT_EQ(given(protocol, false), kBoth) << own;
  }
};

TEST_F(PortsOfSockets, ThatHearEverybodyAreLeftAlone) {
  for (const uint8_t protocol : {6, 17}) {
    expect_given(protocol, "0.0.0.0:20000", "", kOther, kBoth);
    expect_given(protocol, "192.168.7.1:20000", "", kOther, kBoth);
    expect_given(protocol, "[fd07::1]:20000", "", kBoth, kOther);
    expect_given(protocol, "[::]:20000", "", kOther, kOther);  // IPv4 as well
  }
}

TEST_F(PortsOfSockets, TowardsTheSameEndpointAreLeftAlone) {
  for (const uint8_t protocol : {6, 17}) {
    expect_given(protocol, "192.168.7.1:20000", "10.1.0.2:8080", kOther, kBoth);
    expect_given(protocol, "[fd07::1]:20000", "[fd01::2]:8080", kBoth, kOther);
  }
}

TEST_F(PortsOfSockets, AtAnotherAddressOrTowardsOthersAreGivenOut) {
  for (const uint8_t protocol : {6, 17}) {
    expect_given(protocol, "10.1.0.1:20000", "", kBoth, kBoth);
    expect_given(protocol, "[fd01::1]:20000", "", kBoth, kBoth);
    expect_given(protocol, "192.168.7.1:20000", "10.1.0.2:8081", kBoth, kBoth);
    expect_given(protocol, "[fd07::1]:20000", "[fd01::3]:8080", kBoth, kBoth);
  }
}

}  // namespace
}  // namespace fairlead::bpf::testing
