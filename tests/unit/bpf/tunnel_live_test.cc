// Devices without an Ethernet header, as tunnels have (WireGuard, IP in IP, tun), on either side of
// the node: whole packets go in by one and come out by the other, through the kernel.
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fd.h"
#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::Bytes;
using harness::Packet;
using harness::ParsedPacket;
using harness::tcp;
using harness::udp;

// One end is the node's device, with the programs at tc; the other is this process.
class Tunnel {
 public:
  explicit Tunnel(const std::string& name) : fd_(::open("/dev/net/tun", O_RDWR | O_CLOEXEC)) {
    ifreq request = {};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    EXPECT_EQ(::ioctl(fd_.get(), TUNSETIFF, &request), 0) << std::strerror(errno);
    index_ = ::if_nametoindex(name.c_str());
  }
  uint32_t index() const { return index_; }

  void send(const Packet& packet) {
    const auto bytes = packet.from_network();
    EXPECT_EQ(::write(fd_.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  // The next packet of `protocol`, under an Ethernet header of its own; empty when none comes. (The
  // kernel has things of its own to say.)
  Packet receive(uint8_t protocol) {
    pollfd ready = {fd_.get(), POLLIN, 0};
    while (::poll(&ready, 1, 2000) == 1) {
      Bytes bytes(2048);
      const ssize_t size = ::read(fd_.get(), bytes.data() + harness::kEthernetHeader,
                                  bytes.size() - harness::kEthernetHeader);
      if (size <= 0) break;
      bytes.resize(harness::kEthernetHeader + static_cast<size_t>(size));
      const bool v4 = bytes[harness::kEthernetHeader] >> 4 == 4;
      bytes[12] = v4 ? 0x08 : 0x86;
      bytes[13] = v4 ? 0x00 : 0xdd;
      Packet packet(std::move(bytes));
      if (harness::parse(packet).protocol == protocol) return packet;
    }
    return {};
  }

 private:
  Fd fd_;
  uint32_t index_ = 0;
};

// client (203.0.113.5, fd22::5) -- tun-c node tun-e -- endpoint (10.9.0.2, fd23::2)
class TunnelLive : public PacketTest {
 protected:
  void SetUp() override {
    PacketTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (::access("/dev/net/tun", R_OK | W_OK) != 0) {
      GTEST_SKIP() << "no /dev/net/tun: the kernel's module tun";
    }
    clients_ = std::make_unique<Tunnel>("tun-c");
    endpoints_ = std::make_unique<Tunnel>("tun-e");
    ASSERT_TRUE(datapath().netns().ip(R"(link set tun-c up
link set tun-e up
route add 203.0.113.0/24 dev tun-c
route add fd22::/64 dev tun-c
route add 10.9.0.0/24 dev tun-e
route add fd23::/64 dev tun-e)"));
    for (const Tunnel* each : {clients_.get(), endpoints_.get()}) {
      attach(each->index(), BPF_TC_INGRESS, Program::kIngress);
      attach(each->index(), BPF_TC_EGRESS, Program::kEgress);
      datapath().put(Map::kDevices, each->index(),
                     fl_device{.source_v4 = wire("192.168.7.1"),
                               .source_v6 = wire("fd07::1"),
                               .flags = 0,
                               .mtu = 1500});
    }
    for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
      for (const auto& [at, service, to] :
           {std::tuple{"0.0.0.0:30080", "10.96.0.1:80", "10.9.0.2:8080"},
            std::tuple{"[::]:30080", "[fd96::1]:80", "[fd23::2]:8080"}}) {
        serve({.at = at,
               .protocol = protocol,
               .kind = FL_KIND_NODE_PORT,
               .endpoints = {to},
               .routes = {"m", "m", "m"}});
        serve({.at = service, .protocol = protocol, .endpoints = {to}, .routes = {"-", "-", "-"}});
      }
    }
  }
  void attach(uint32_t device, bpf_tc_attach_point point, Program program) {
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(device), .attach_point = point);
    const int created = ::bpf_tc_hook_create(&hook);
    EXPECT_TRUE(created == 0 || created == -EEXIST) << created;
    LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = datapath().object().fd(program));
    EXPECT_EQ(::bpf_tc_attach(&hook, &options), 0);
  }
  static harness::PacketBuilder packet(uint8_t protocol, std::string_view from,
                                       std::string_view to) {
    return harness::PacketBuilder(harness::socket_address_of(from), harness::socket_address_of(to),
                                  protocol)
        .payload("some words");
  }
  // There and back; `seen`: whom the endpoint sees, its port unread when it is masqueraded.
  void expect_conversation(uint8_t protocol, const std::string& client, const std::string& asked,
                           const std::string& endpoint, const std::string& seen) {
    SCOPED_TRACE(std::to_string(protocol) + " to " + asked);
    clients_->send(packet(protocol, client, asked).flags("S"));
    const Packet there = endpoints_->receive(protocol);
    ASSERT_NE(there.size(), 0U);
    ParsedPacket parsed = harness::parse(there);
    EXPECT_EQ(parsed.source.address, harness::address_of(seen));
    EXPECT_EQ(parsed.destination, harness::socket_address_of(endpoint));
    EXPECT_TRUE(parsed.checksums_fit()) << parsed.describe();
    endpoints_->send(answer_to(parsed).flags("SA"));
    const Packet back = clients_->receive(protocol);
    ASSERT_NE(back.size(), 0U);
    parsed = harness::parse(back);
    EXPECT_EQ(parsed.source, harness::socket_address_of(asked));
    EXPECT_EQ(parsed.destination, harness::socket_address_of(client));
    EXPECT_TRUE(parsed.checksums_fit()) << parsed.describe();
  }

  std::unique_ptr<Tunnel> clients_, endpoints_;
};

TEST_F(TunnelLive, ANodePortByTunnelsThereAndBack) {
  for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
    expect_conversation(protocol, "203.0.113.5:4000", "192.168.7.1:30080", "10.9.0.2:8080",
                        "192.168.7.1");
    expect_conversation(protocol, "[fd22::5]:4000", "[fd07::1]:30080", "[fd23::2]:8080", "fd07::1");
  }
}

TEST_F(TunnelLive, AServiceByTunnelsThereAndBack) {
  for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
    expect_conversation(protocol, "203.0.113.5:4001", "10.96.0.1:80", "10.9.0.2:8080",
                        "203.0.113.5");
    expect_conversation(protocol, "[fd22::5]:4001", "[fd96::1]:80", "[fd23::2]:8080", "fd22::5");
  }
}

// The node's own packet, which routing sends to one tunnel, belongs into the other.
TEST_F(TunnelLive, TheNodesOwnPacketThatIsRoutedIntoATunnel) {
  ASSERT_TRUE(datapath().netns().ip("route add 10.96.0.0/16 dev tun-c src 192.168.7.1"));
  datapath().netns().run([&] {
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(80);
    to.sin_addr.s_addr = htonl(10U << 24 | 96U << 16 | 1);
    EXPECT_EQ(::sendto(socket.get(), "?", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 1);
  });
  const Packet there = endpoints_->receive(17);
  ASSERT_NE(there.size(), 0U);
  const ParsedPacket parsed = harness::parse(there);
  EXPECT_EQ(parsed.source.address, harness::address_of("192.168.7.1"));
  EXPECT_EQ(parsed.destination, harness::socket_address_of("10.9.0.2:8080"));
}

}  // namespace
}  // namespace fairlead::bpf::testing
