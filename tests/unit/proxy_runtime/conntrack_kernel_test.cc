// The reconciler against real connection tracking: flows made by sending packets through netfilter
// in a network namespace of the test's own.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <set>

#include "base/fd.h"
#include "proxy/runtime/conntrack.h"
#include "tests/unit/proxy_runtime/netns.h"

namespace fairlead::proxy {
namespace {

using dataplane::Address;
using dataplane::Family;
using dataplane::Protocol;
using dataplane::SocketAddress;
using testing::UnorderedElementsAre;

SocketAddress socket_at(const std::string& address, uint16_t port) {
  return {Address::parse(address).value(), port};
}

void send_to(int type, int protocol, const SocketAddress& to, const void* data, size_t size) {
  sockaddr_storage name{};
  socklen_t length = 0;
  const bool raw = type == SOCK_RAW;
  if (to.address.is_v4()) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(name);
    v4.sin_family = AF_INET;
    v4.sin_port = raw ? 0 : htons(to.port);
    std::memcpy(&v4.sin_addr, to.address.bytes().data(), 4);
    length = sizeof v4;
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(name);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = raw ? 0 : htons(to.port);
    std::memcpy(&v6.sin6_addr, to.address.bytes().data(), 16);
    length = sizeof v6;
  }
  const Fd fd(::socket(name.ss_family, type | SOCK_CLOEXEC, protocol));
  ASSERT_TRUE(fd.valid());
  ASSERT_EQ(::sendto(fd.get(), data, size, 0, reinterpret_cast<const sockaddr*>(&name), length),
            static_cast<ssize_t>(size))
      << to.to_string() << ": " << std::strerror(errno);
}

void send_datagram(const SocketAddress& to) {
  send_to(SOCK_DGRAM, 0, to, "x", 1);
}

// An INIT chunk, by hand: the kernel here may have no SCTP sockets, but it tracks SCTP.
void send_sctp_init(const SocketAddress& to) {
  std::array<uint8_t, 32> packet{};
  const uint16_t source = htons(4000), destination = htons(to.port);
  std::memcpy(packet.data(), &source, 2);
  std::memcpy(packet.data() + 2, &destination, 2);
  const std::array<uint8_t, 20> init = {1, 0, 0, 20, 1, 2, 3, 4, 0, 1,
                                        0, 0, 0, 1,  0, 1, 0, 0, 0, 1};
  std::copy(init.begin(), init.end(), packet.begin() + 12);
  send_to(SOCK_RAW, IPPROTO_SCTP, to, packet.data(), packet.size());
}

// Where the flows of one family and protocol go now.
std::multiset<std::string> destinations(ConntrackTable& table, ConntrackFilter filter) {
  std::multiset<std::string> found;
  const Status status = table.list(filter, [&](const ConntrackFlow& flow) {
    found.insert(flow.original.destination.to_string());
    return true;
  });
  EXPECT_TRUE(status.ok()) << status.message();
  return found;
}

class ConntrackKernelTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_create_netns()) GTEST_SKIP() << "needs to create a network namespace";
    if (!shell("nft --version >/dev/null 2>&1")) GTEST_SKIP() << "needs nft";
  }

  // Runs `body` in a namespace where 10.96.0.10:53 and [fd00:96::a]:53 are translated to a pod.
  void in_node(const std::function<void(ConntrackTable&)>& body) {
    in_new_netns([&] {
      ASSERT_TRUE(
          shell("ip addr add 10.0.0.1/32 dev lo && ip addr add fd00:1::1/128 dev lo nodad && "
                "ip addr add 192.0.2.1/32 dev lo && ip route add 10.96.0.0/16 dev lo && "
                "ip -6 route add fd00:96::/64 dev lo"));
      ASSERT_TRUE(
          shell("nft 'table inet nat { chain output { type nat hook output priority -100;"
                " ip daddr 10.96.0.10 udp dport 53 dnat ip to 10.0.0.1:5353;"
                " ip daddr 10.96.0.10 sctp dport 36412 dnat ip to 10.0.0.1:36412;"
                " ip6 daddr fd00:96::a udp dport 53 dnat ip6 to [fd00:1::1]:5353; }; }'"));
      auto table = open_kernel_conntrack();
      ASSERT_TRUE(table.ok()) << table.status().message();
      body(**table);
    });
  }

  static std::vector<ConntrackPass> reconcile(ConntrackRequest request) {
    std::vector<ConntrackPass> passes;
    auto table = open_kernel_conntrack();
    EXPECT_TRUE(table.ok());
    auto reconciler = ConntrackReconciler::start(
        std::move(*table), {.answer_patience = {}}, [&passes](const ConntrackPass& pass) {
          EXPECT_TRUE(pass.status.ok()) << pass.status.message();
          passes.push_back(pass);
        });
    reconciler->post(std::move(request));
    reconciler->flush();
    return passes;
  }

  static ConntrackChange change(Protocol protocol, SocketAddress frontend,
                                std::vector<SocketAddress> targets) {
    return {{protocol, frontend},
            std::make_shared<const std::vector<SocketAddress>>(std::move(targets))};
  }

  const ConntrackFilter udp4_{Family::kIPv4, Protocol::kUdp, {}};
  const ConntrackFilter udp6_{Family::kIPv6, Protocol::kUdp, {}};
};

TEST_F(ConntrackKernelTest, DeletesExactlyTheStaleFlows) {
  in_node([&](ConntrackTable& table) {
    send_datagram(socket_at("10.96.0.10", 53));    // translated
    send_datagram(socket_at("10.96.0.11", 53));    // never translated
    send_datagram(socket_at("192.0.2.1", 30053));  // a node port without a rule
    send_datagram(socket_at("192.0.2.1", 7));      // not a service
    send_datagram(socket_at("fd00:96::a", 53));
    ASSERT_THAT(destinations(table, udp4_), UnorderedElementsAre("10.96.0.10:53", "10.96.0.11:53",
                                                                 "192.0.2.1:30053", "192.0.2.1:7"));
    ASSERT_THAT(destinations(table, udp6_), UnorderedElementsAre("[fd00:96::a]:53"));

    const auto kept = reconcile(
        {{change(Protocol::kUdp, socket_at("10.96.0.10", 53), {socket_at("10.0.0.1", 5353)}),
          change(Protocol::kUdp, socket_at("10.96.0.11", 53), {socket_at("10.0.0.1", 5353)}),
          change(Protocol::kUdp, {Address(), 30053}, {socket_at("10.0.0.1", 5353)}),
          change(Protocol::kUdp, socket_at("fd00:96::a", 53), {socket_at("fd00:1::1", 5353)})},
         {Address::parse("192.0.2.1").value()}});
    ASSERT_EQ(kept.size(), 2U);
    EXPECT_EQ(kept[0].deleted, 2U);
    EXPECT_EQ(kept[1].deleted, 0U);
    EXPECT_THAT(destinations(table, udp4_), UnorderedElementsAre("10.96.0.10:53", "192.0.2.1:7"));

    // The endpoint moves: the one request names one address, so the kernel filters by it.
    const auto moved = reconcile(
        {{change(Protocol::kUdp, socket_at("10.96.0.10", 53), {socket_at("10.0.0.9", 5353)})}, {}});
    EXPECT_EQ(moved.at(0).deleted, 1U);
    EXPECT_EQ(moved.at(0).scanned, 1U);
    EXPECT_THAT(destinations(table, udp4_), UnorderedElementsAre("192.0.2.1:7"));

    reconcile({{change(Protocol::kUdp, socket_at("fd00:96::a", 53), {})}, {}});
    EXPECT_TRUE(destinations(table, udp6_).empty());
  });
}

TEST_F(ConntrackKernelTest, TheKernelFiltersByProtocol) {
  in_node([&](ConntrackTable& table) {
    send_datagram(socket_at("10.96.0.10", 53));
    send_sctp_init(socket_at("10.96.0.10", 36412));
    const ConntrackFilter sctp{Family::kIPv4, Protocol::kSctp, {}};
    ASSERT_THAT(destinations(table, udp4_), UnorderedElementsAre("10.96.0.10:53"));
    ASSERT_THAT(destinations(table, sctp), UnorderedElementsAre("10.96.0.10:36412"));

    // Its endpoint serves: left alone. Gone: deleted.
    reconcile(
        {{change(Protocol::kSctp, socket_at("10.96.0.10", 36412), {socket_at("10.0.0.1", 36412)})},
         {}});
    EXPECT_THAT(destinations(table, sctp), UnorderedElementsAre("10.96.0.10:36412"));
    reconcile({{change(Protocol::kSctp, socket_at("10.96.0.10", 36412), {})}, {}});
    EXPECT_TRUE(destinations(table, sctp).empty());
    EXPECT_THAT(destinations(table, udp4_), UnorderedElementsAre("10.96.0.10:53"));
  });
}

TEST_F(ConntrackKernelTest, AFlowIsDeletedByItsIdentity) {
  in_node([&](ConntrackTable& table) {
    send_datagram(socket_at("10.96.0.11", 53));
    ConntrackFlow flow;
    ASSERT_TRUE(table
                    .list(udp4_,
                          [&](const ConntrackFlow& found) {
                            flow = found;
                            return true;
                          })
                    .ok());
    ConntrackFlow other = flow;
    other.id = flow.id ^ 1;
    EXPECT_EQ(table.remove(other).code(), StatusCode::kNotFound);
    EXPECT_TRUE(table.remove(flow).ok());
    EXPECT_EQ(table.remove(flow).code(), StatusCode::kNotFound);
  });
}

TEST_F(ConntrackKernelTest, AListMayBeGivenUp) {
  in_node([&](ConntrackTable& table) {
    for (uint16_t port = 1; port <= 2000; ++port) send_datagram(socket_at("10.96.0.11", port));
    size_t seen = 0;
    ASSERT_TRUE(table.list(udp4_, [&](const ConntrackFlow&) { return ++seen < 3; }).ok());
    EXPECT_EQ(seen, 3U);
    EXPECT_EQ(destinations(table, udp4_).size(), 2000U);
  });
}

}  // namespace
}  // namespace fairlead::proxy
