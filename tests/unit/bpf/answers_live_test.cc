// What real sockets make of refusals and ICMP errors: the programs at tc on a node between a client
// and an endpoint. A local sender leaves its checksums to the device, which no packet that is
// handed to a program byte by byte can show.
#include <bpf/libbpf.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fd.h"
#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::Namespace;

// client (192.0.2.2, fd20::2) -- live0 node live1 -- endpoint (198.51.100.2, fd21::2)
class AnswersLive : public PacketTest {
 protected:
  void SetUp() override {
    PacketTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    client_ = host("client", "live0", "192.0.2.", "fd20::");
    endpoint_ = host("endpoint", "live1", "198.51.100.", "fd21::");
    for (const auto& [at, to] : {std::pair{"10.96.0.1:80", "198.51.100.2:8080"},
                                 std::pair{"[fd96::1]:80", "[fd21::2]:8080"}}) {
      serve({.at = at, .protocol = 17, .endpoints = {to}});
    }
    for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
      serve({.at = "10.96.0.9:80", .protocol = protocol});
      serve({.at = "[fd96::9]:80", .protocol = protocol});
    }
  }
  void TearDown() override {
    for (const auto& [made, device] : {std::pair{&client_, "live0"}, {&endpoint_, "live1"}}) {
      if (*made == nullptr) continue;
      EXPECT_TRUE(datapath().netns().ip(std::string("link delete ") + device));
    }
  }

  static void expect_done(const Status& status) { EXPECT_TRUE(status) << status.message(); }
  // A machine behind `device` of the node, where the programs are attached.
  std::unique_ptr<Namespace> host(const std::string& name, const std::string& device,
                                  const std::string& v4, const std::string& v6) {
    auto made = Namespace::create(name);
    EXPECT_TRUE(made) << made.status().message();
    Namespace& node = datapath().netns();
    expect_done(connect(node, device, **made, "eth0"));
    expect_done(node.ip("address add " + v4 + "1/24 dev " + device + "\naddress add " + v6 +
                        "1/64 dev " + device + " nodad"));
    expect_done((*made)->ip("address add " + v4 + "2/24 dev eth0\naddress add " + v6 +
                            "2/64 dev eth0 nodad\nroute add default via " + v4 +
                            "1\nroute add ::/0 via " + v6 + "1"));
    const uint32_t index = node.run([&] { return finish_checksums(device); });
    attach(static_cast<int>(index), BPF_TC_INGRESS, Program::kIngress);
    attach(static_cast<int>(index), BPF_TC_EGRESS, Program::kEgress);
    datapath().put(
        Map::kDevices, index,
        fl_device{
            .source_v4 = wire(v4 + "1"), .source_v6 = wire(v6 + "1"), .flags = 0, .mtu = 1500});
    return std::move(*made);
  }
  // Lets the device finish no checksum: what is left unfinished in an answer goes wrong for all to
  // see.
  static uint32_t finish_checksums(const std::string& device) {
    ethtool_value off = {.cmd = ETHTOOL_STXCSUM, .data = 0};
    ifreq request = {};
    device.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(&off);
    const Fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::ioctl(any.get(), SIOCETHTOOL, &request), 0) << std::strerror(errno);
    return ::if_nametoindex(device.c_str());
  }
  void attach(int device, bpf_tc_attach_point point, Program program) {
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = device, .attach_point = point);
    const int created = ::bpf_tc_hook_create(&hook);
    EXPECT_TRUE(created == 0 || created == -EEXIST) << created;
    LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = datapath().object().fd(program));
    EXPECT_EQ(::bpf_tc_attach(&hook, &options), 0);
  }

  std::unique_ptr<Namespace> client_, endpoint_;
};

struct SocketName {
  sockaddr_storage storage = {};
  socklen_t size = 0;
  explicit SocketName(std::string_view text) {
    const dataplane::SocketAddress end = harness::socket_address_of(text);
    const auto bytes = end.address.bytes();
    if (end.address.is_v4()) {
      auto* name = reinterpret_cast<sockaddr_in*>(&storage);
      name->sin_family = AF_INET;
      name->sin_port = htons(end.port);
      std::memcpy(&name->sin_addr, bytes.data(), 4);
      size = sizeof(*name);
    } else {
      auto* name = reinterpret_cast<sockaddr_in6*>(&storage);
      name->sin6_family = AF_INET6;
      name->sin6_port = htons(end.port);
      std::memcpy(&name->sin6_addr, bytes.data(), 16);
      size = sizeof(*name);
    }
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  bool is_v4() const { return storage.ss_family == AF_INET; }
};

Fd connected(int type, std::string_view to, int* error) {
  const SocketName name(to);
  Fd socket(::socket(name.storage.ss_family, type | SOCK_CLOEXEC, 0));
  const timeval patience = {5, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  *error = ::connect(socket.get(), name.get(), name.size) == 0 ? 0 : errno;
  return socket;
}
// The errors that somebody in `place` gets, from connect() and from a datagram's answer.
std::string tcp_error(Namespace& place, std::string_view to) {
  int error = 0;
  place.run([&] { connected(SOCK_STREAM, to, &error); });
  return std::strerror(error);
}
std::string udp_error(Namespace& place, std::string_view to, size_t size) {
  int error = 0;
  place.run([&] {
    const Fd socket = connected(SOCK_DGRAM, to, &error);
    const std::string text(size, 'x');
    if (::send(socket.get(), text.data(), text.size(), 0) < 0) error = errno;
    char answer[8];
    if (error == 0 && ::recv(socket.get(), answer, sizeof(answer), 0) < 0) error = errno;
  });
  return std::strerror(error);
}
// What the kernel takes the way's MTU for after a datagram of `size` that must not be fragmented.
int learned_mtu(const Fd& socket, bool v4, size_t size) {
  const int never = v4 ? IP_PMTUDISC_DO : IPV6_PMTUDISC_DO;
  ::setsockopt(socket.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6,
               v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, &never, sizeof(never));
  const std::string text(size, 'x');
  EXPECT_EQ(::send(socket.get(), text.data(), text.size(), 0), static_cast<ssize_t>(size));
  for (int left = 500; left > 0; --left) {
    int mtu = 0;
    socklen_t length = sizeof(mtu);
    ::getsockopt(socket.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu,
                 &length);
    if (mtu != 1500 || left == 1) return mtu;
    ::usleep(10'000);
  }
  return 0;
}

const std::string kRefused = std::strerror(ECONNREFUSED);

TEST_F(AnswersLive, RefusesAClient) {
  for (const std::string_view to : {"10.96.0.9:80", "[fd96::9]:80"}) {
    EXPECT_EQ(tcp_error(*client_, to), kRefused);
    for (const size_t size : {0, 1, 1400}) EXPECT_EQ(udp_error(*client_, to, size), kRefused);
  }
}

TEST_F(AnswersLive, RefusesTheNode) {
  Namespace& node = datapath().netns();
  ASSERT_TRUE(node.ip("route add 10.96.0.0/16 via 192.0.2.2\nroute add fd96::/64 via fd20::2"));
  for (const std::string_view to : {"10.96.0.9:80", "[fd96::9]:80"}) {
    EXPECT_EQ(tcp_error(node, to), kRefused);
    EXPECT_EQ(udp_error(node, to, 100), kRefused);
  }
}

// Nobody listens at the endpoint: its kernel says so to the masqueraded source.
TEST_F(AnswersLive, AnEndpointsErrorReachesTheClient) {
  const uint64_t before = datapath().counters()["icmp_errors_translated"];
  for (const std::string_view to : {"10.96.0.1:80", "[fd96::1]:80"}) {
    EXPECT_EQ(udp_error(*client_, to, 100), kRefused);
  }
  EXPECT_EQ(datapath().counters()["icmp_errors_translated"] - before, 2U);
}

TEST_F(AnswersLive, TheClientLearnsTheWaysMtu) {
  ASSERT_TRUE(datapath().netns().ip("link set live1 mtu 1300"));
  for (const std::string_view to : {"10.96.0.1:80", "[fd96::1]:80"}) {
    client_->run([&] {
      int error = 0;
      const Fd socket = connected(SOCK_DGRAM, to, &error);
      EXPECT_EQ(learned_mtu(socket, to[0] != '[', 1400), 1300);
    });
  }
}

}  // namespace
}  // namespace fairlead::bpf::testing
