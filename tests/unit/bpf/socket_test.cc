// The socket programs, by what applications see.
#include <fcntl.h>

#include <cerrno>
#include <set>

#include "tests/unit/bpf/socket_world.h"

namespace fairlead::bpf::testing {
namespace {

// A kind of socket, and the addresses that it speaks to.
struct Shape {
  const char* name;
  int family;
  const char* virtual_prefix;   // completed by a number
  const char* endpoint_prefix;  // the same
};
constexpr Shape kShapes[] = {{"IPv4", AF_INET, "10.96.0.", "127.93.0."},
                             {"IPv6", AF_INET6, "fd00:96::", "fd00:e::"},
                             {"Mapped", AF_INET6, "10.96.0.", "127.93.0."}};

class SocketTest : public SocketWorld, public ::testing::WithParamInterface<Shape> {
 protected:
  static Spot vip(int number) { return {GetParam().virtual_prefix + std::to_string(number), 80}; }
  static Spot end(int number) {
    return {GetParam().endpoint_prefix + std::to_string(number), 8080};
  }
  static Spot other_port(Spot spot) { return {spot.host, static_cast<uint16_t>(spot.port + 1)}; }
  static Fd tcp() { return open(GetParam().family, SOCK_STREAM); }
  static Fd udp() { return open(GetParam().family, SOCK_DGRAM); }
  static bool v4() { return GetParam().endpoint_prefix[0] == '1'; }

  // vip(1), TCP and UDP, with these endpoints.
  void serve_first(std::vector<Spot> endpoints, uint8_t flags = 0,
                   std::vector<uint8_t> routes = {0, 0, 0}) {
    put({.entry = 1, .protocol = IPPROTO_TCP, .endpoints = endpoints});
    put({.entry = 2, .protocol = IPPROTO_UDP, .endpoints = endpoints});
    put(vip(1), 1, IPPROTO_TCP, flags, routes);
    put(vip(1), 2, IPPROTO_UDP, flags, routes);
  }
};

INSTANTIATE_TEST_SUITE_P(Shapes, SocketTest, ::testing::ValuesIn(kShapes),
                         [](const auto& shape) { return shape.param.name; });

TEST_P(SocketTest, TcpConnectsAndShowsWhatWasWritten) {
  serve_first({end(1)});
  const Fd server = serve(end(1), SOCK_STREAM);
  const Fd client = tcp();
  EXPECT_EQ(connect(client, vip(1)), 0);
  EXPECT_TRUE(knocked(server));
  EXPECT_EQ(peer(client), text(vip(1)));
  EXPECT_EQ(counted(FL_COUNT_sockets_translated), 1);
}

TEST_P(SocketTest, ConnectedUdpShowsWhatWasWritten) {
  serve_first({end(1)});
  const Fd server = serve(end(1), SOCK_DGRAM);
  const Fd client = udp();
  EXPECT_EQ(connect(client, vip(1)), 0);
  EXPECT_EQ(peer(client), text(vip(1)));
  EXPECT_EQ(::send(client.get(), "?", 1, 0), 1);
  EXPECT_EQ(exchange(server, client), text(vip(1)));
}

TEST_P(SocketTest, WhatIsNobodysIsLeftAlone) {
  serve_first({end(1)});
  EXPECT_EQ(connect(tcp(), vip(2)), ENETUNREACH);
  EXPECT_EQ(connect(udp(), vip(2)), ENETUNREACH);
  EXPECT_EQ(send(udp(), vip(2)), ENETUNREACH);
  EXPECT_EQ(send(udp(), other_port(vip(1))), ENETUNREACH);
  EXPECT_EQ(counted(FL_COUNT_sockets_translated) + counted(FL_COUNT_sockets_refused), 0);
}

TEST_P(SocketTest, DirectConnectionsShowTheirPeer) {
  serve_first({end(1)});
  const Fd server = serve(end(1), SOCK_STREAM);
  const Fd client = tcp();
  EXPECT_EQ(connect(client, end(1)), 0);
  EXPECT_EQ(peer(client), text(end(1)));
}

TEST_P(SocketTest, UnservedPortsOfClusterAddressesAreRefused) {
  serve_first({end(1)});
  put_cluster_address(vip(1).host);
  EXPECT_EQ(connect(tcp(), other_port(vip(1))), ECONNREFUSED);
  EXPECT_EQ(connect(udp(), other_port(vip(1))), ECONNREFUSED);
  EXPECT_EQ(send(udp(), other_port(vip(1))), ECONNREFUSED);
  EXPECT_EQ(counted(FL_COUNT_sockets_refused), 3);
}

// Another mode translates what begins; what has begun is still shown as it was.
TEST_P(SocketTest, StandingAsideItBeginsNothingAndRefusesNothing) {
  serve_first({end(1)});
  put_cluster_address(vip(1).host);
  const Fd server = serve(end(1), SOCK_DGRAM);
  const Fd asked = udp();
  EXPECT_EQ(send(asked, vip(1)), 0);
  const Fd connected = udp();
  EXPECT_EQ(connect(connected, vip(1)), 0);
  config().handover = FL_HANDOVER_ASIDE;
  put_config();
  EXPECT_EQ(exchange(server, asked), text(vip(1)));
  EXPECT_EQ(peer(connected), text(vip(1)));
  EXPECT_EQ(send(udp(), vip(1)), ENETUNREACH);
  EXPECT_EQ(connect(tcp(), vip(1)), ENETUNREACH);
  EXPECT_EQ(connect(udp(), other_port(vip(1))), ENETUNREACH);
  EXPECT_EQ(counted(FL_COUNT_sockets_refused), 0);
}

TEST_P(SocketTest, ComingItBeginsWhatBegins) {
  serve_first({end(1)});
  config().handover = FL_HANDOVER_COMING;
  put_config();
  const Fd server = serve(end(1), SOCK_STREAM);
  const Fd client = tcp();
  EXPECT_EQ(connect(client, vip(1)), 0);
  EXPECT_EQ(peer(client), text(vip(1)));
}

TEST_P(SocketTest, WithoutEndpointsItIsRefused) {
  serve_first({});
  EXPECT_EQ(connect(tcp(), vip(1)), ECONNREFUSED);
  EXPECT_EQ(connect(udp(), vip(1)), ECONNREFUSED);
  EXPECT_EQ(send(udp(), vip(1)), ECONNREFUSED);
}

TEST_P(SocketTest, WithoutEndpointsAndToBeSilentItIsLeftAlone) {
  put({.entry = 3, .endpoints = {}, .when_empty = FL_EMPTY_DROP});
  put(vip(3), 3, IPPROTO_TCP);
  put(vip(3), 3, IPPROTO_UDP);
  EXPECT_EQ(connect(tcp(), vip(3)), ENETUNREACH);
  EXPECT_EQ(send(udp(), vip(3)), ENETUNREACH);
}

TEST_P(SocketTest, RefusedUdpKeepsItsOldPeer) {
  serve_first({end(1)});
  put({.entry = 3, .protocol = IPPROTO_UDP, .endpoints = {}});
  put(vip(3), 3, IPPROTO_UDP);
  const Fd client = udp();
  EXPECT_EQ(connect(client, vip(1)), 0);
  EXPECT_EQ(connect(client, vip(3)), ECONNREFUSED);
  EXPECT_EQ(peer(client), text(vip(1)));
}

TEST_P(SocketTest, UdpConnectedAgainForgetsTheOldPeer) {
  serve_first({end(1)});
  const Fd server = serve(end(1), SOCK_DGRAM);
  const Fd client = udp();
  EXPECT_EQ(connect(client, vip(1)), 0);
  EXPECT_EQ(connect(client, end(1)), 0);
  EXPECT_EQ(peer(client), text(end(1)));
  EXPECT_EQ(::send(client.get(), "?", 1, 0), 1);
  EXPECT_EQ(exchange(server, client), text(end(1)));
}

TEST_P(SocketTest, UdpDisconnectedForgetsTheOldPeer) {
  serve_first({end(1)});
  const Fd server = serve(end(1), SOCK_DGRAM);
  const Fd client = udp();
  EXPECT_EQ(connect(client, vip(1)), 0);
  EXPECT_EQ(disconnect(client), 0);
  EXPECT_EQ(send(client, end(1)), 0);
  EXPECT_EQ(exchange(server, client), text(end(1)));
}

TEST_P(SocketTest, TcpDisconnectedForgetsTheOldPeer) {
  serve_first({end(1)});
  const Fd server = serve(end(1), SOCK_STREAM);
  const Fd client = tcp();
  EXPECT_EQ(connect(client, vip(1)), 0);
  EXPECT_EQ(disconnect(client), 0);
  EXPECT_EQ(connect(client, end(1)), 0);
  EXPECT_EQ(peer(client), text(end(1)));
}

TEST_P(SocketTest, NinthVirtualAddressTakesTheFirstOnesPlace) {
  std::vector<Fd> servers;
  const Fd client = udp();
  for (int i = 1; i <= FL_DATAGRAM_PEERS + 1; ++i) {
    const auto entry = static_cast<uint32_t>(i);
    put({.entry = entry, .protocol = IPPROTO_UDP, .endpoints = {end(i)}});
    put(vip(i), entry, IPPROTO_UDP);
    servers.push_back(serve(end(i), SOCK_DGRAM));
    EXPECT_EQ(send(client, vip(i)), 0);
  }
  EXPECT_EQ(exchange(servers[0], client), text(end(1)));
  for (int i = 2; i <= FL_DATAGRAM_PEERS + 1; ++i) {
    EXPECT_EQ(exchange(servers[i - 1], client), text(vip(i)));
  }
}

TEST_P(SocketTest, DatagramsStayWithTheirEndpointUntilItLeaves) {
  serve_first({end(1), end(2), end(3)});
  const Fd client = udp();
  std::vector<Fd> servers;
  for (int i = 1; i <= 3; ++i) servers.push_back(serve(end(i), SOCK_DGRAM));
  std::vector<int> left = {1, 2, 3};
  while (!left.empty()) {
    constexpr int kDatagrams = 20;
    for (int i = 0; i < kDatagrams; ++i) EXPECT_EQ(send(client, vip(1)), 0);
    std::vector<int> heard;
    for (const int number : left) {
      char byte = 0;
      int count = 0;
      while (::recv(servers[number - 1].get(), &byte, 1, MSG_DONTWAIT) == 1) ++count;
      if (count > 0) heard.push_back(number);
      EXPECT_TRUE(count == 0 || count == kDatagrams) << count;
    }
    ASSERT_EQ(heard.size(), 1U);
    leave(end(heard[0]));
    std::erase(left, heard[0]);
  }
  EXPECT_EQ(send(client, vip(1)), ECONNREFUSED);
}

TEST_P(SocketTest, RemovedFrontendIsForgottenByItsDatagrams) {
  serve_first({end(1)});
  const Fd other = serve(end(2), SOCK_DGRAM);
  const Fd client = udp();
  EXPECT_EQ(send(client, vip(1)), 0);
  put({.entry = 3, .protocol = IPPROTO_UDP, .endpoints = {end(2)}});
  put(vip(1), 3, IPPROTO_UDP);  // another service has the address now
  EXPECT_EQ(send(client, vip(1)), 0);
  EXPECT_EQ(exchange(other, client), text(vip(1)));
}

TEST_P(SocketTest, AnswersBelongToTheAddressSpokenToLast) {
  serve_first({end(1)});
  put(vip(2), 2, IPPROTO_UDP);
  const Fd server = serve(end(1), SOCK_DGRAM);
  const Fd client = udp();
  for (const int number : {1, 2, 1}) {
    EXPECT_EQ(send(client, vip(number)), 0);
    EXPECT_EQ(exchange(server, client), text(vip(number)));
  }
  EXPECT_EQ(send(client, end(1)), 0);
  EXPECT_EQ(exchange(server, client), text(end(1)));
}

TEST_P(SocketTest, ConnectedUdpThatNamesItsPeerKeepsTheEndpoint) {
  serve_first({end(1), end(2), end(3), end(4)});
  std::vector<Fd> servers;
  for (int number = 1; number <= 4; ++number) servers.push_back(serve(end(number), SOCK_DGRAM));
  for (int i = 0; i < 8; ++i) {
    const Fd client = udp();
    EXPECT_EQ(connect(client, vip(1)), 0);
    EXPECT_EQ(send(client, vip(1)), 0);
    EXPECT_EQ(::send(client.get(), "?", 1, 0), 1);
    int spoken_to = 0;
    for (const Fd& server : servers) {
      char byte = 0;
      if (::recv(server.get(), &byte, 1, MSG_DONTWAIT) != 1) continue;
      ++spoken_to;
      EXPECT_EQ(::recv(server.get(), &byte, 1, MSG_DONTWAIT), 1) << "both went there";
    }
    EXPECT_EQ(spoken_to, 1);
  }
}

TEST_P(SocketTest, SourceClassPicksTheRoute) {
  put({.entry = 1, .endpoints = {end(1)}, .local = {end(2)}});
  const Fd cluster = serve(end(1), SOCK_STREAM);
  const Fd local = serve(end(2), SOCK_STREAM);
  const auto where = [&](uint8_t source_class) {
    std::vector<uint8_t> routes(FL_SOURCE_CLASSES, 0);
    routes[source_class] = FL_ROUTE_LOCAL;
    put(vip(1), 1, IPPROTO_TCP, 0, routes);
    EXPECT_EQ(connect(tcp(), vip(1)), 0);
  };
  where(FL_SOURCE_NODE);
  EXPECT_TRUE(knocked(local)) << "a socket of the node";
  config().host_netns_cookie = netns_cookie() + 1;
  config().has_detector[v4() ? 0 : 1] = 1;
  put_config();
  where(FL_SOURCE_POD);
  EXPECT_TRUE(knocked(local)) << "a socket of a pod";
  config().has_detector[v4() ? 0 : 1] = 0;
  config().has_detector[v4() ? 1 : 0] = 1;
  put_config();
  where(FL_SOURCE_OTHER);
  EXPECT_TRUE(knocked(local)) << "no detector in this family";
}

TEST_P(SocketTest, PodsAreLeftAloneWhereTheyMustBeMasqueraded) {
  serve_first({end(1)}, FL_FRONTEND_SOCKETS_SKIP_PODS);
  const Fd server = serve(end(1), SOCK_STREAM);
  EXPECT_EQ(connect(tcp(), vip(1)), 0) << "the node itself";
  config().host_netns_cookie = netns_cookie() + 1;
  put_config();
  EXPECT_EQ(connect(tcp(), vip(1)), 0) << "neither";
  config().has_detector[0] = config().has_detector[1] = 1;
  put_config();
  EXPECT_EQ(connect(tcp(), vip(1)), ENETUNREACH);
  EXPECT_EQ(send(udp(), vip(1)), ENETUNREACH);
}

TEST_P(SocketTest, SourceRangesAreCheckedWhereTheSourceIsKnown) {
  serve_first({end(1)}, FL_FRONTEND_SOURCE_RANGES);
  const Fd server = serve(end(1), SOCK_STREAM);
  for (const uint32_t entry : {1, 2}) put_source_range(entry, end(3).host, 128);
  const auto bound = [](Fd socket, const Spot& to) {
    EXPECT_EQ(bind(socket, to.host), 0);
    return socket;
  };
  EXPECT_EQ(connect(tcp(), vip(1)), ENETUNREACH) << "not bound";
  EXPECT_EQ(send(udp(), vip(1)), ENETUNREACH) << "not bound";
  EXPECT_EQ(connect(bound(tcp(), end(3)), vip(1)), 0) << "inside";
  EXPECT_EQ(send(bound(udp(), end(3)), vip(1)), 0) << "inside";
  EXPECT_EQ(connect(bound(udp(), end(3)), vip(1)), 0) << "inside";
  EXPECT_NE(connect(bound(tcp(), end(4)), vip(1)), 0) << "outside";
  EXPECT_NE(send(bound(udp(), end(4)), vip(1)), 0) << "outside";
  EXPECT_EQ(counted(FL_COUNT_sockets_translated), 3);
}

// A process of the node will speak from the node's address: an endpoint on the node itself could
// not be reached in any other way.
TEST_P(SocketTest, SourceRangesAdmitTheNodeByItsAddress) {
  serve_first({end(1)}, FL_FRONTEND_SOURCE_RANGES);
  const Fd server = serve(end(1), SOCK_STREAM);
  for (const uint32_t entry : {1, 2}) put_source_range(entry, end(3).host, 128);
  const auto node_is = [&](const Spot& spot) {
    (v4() ? config().source_v4 : config().source_v6) = to_wide(spot.host);
    put_config();
  };
  node_is(end(3));
  EXPECT_EQ(connect(tcp(), vip(1)), 0);
  EXPECT_EQ(send(udp(), vip(1)), 0);
  node_is(end(4));
  EXPECT_EQ(connect(tcp(), vip(1)), ENETUNREACH);
  config().host_netns_cookie = netns_cookie() + 1;
  node_is(end(3));
  EXPECT_EQ(connect(tcp(), vip(1)), ENETUNREACH) << "not the node";
}

TEST_P(SocketTest, AffinityHoldsForAllAddressesOfAnEntry) {
  std::vector<Spot> endpoints;
  std::vector<Fd> servers;
  for (int i = 1; i <= 8; ++i) {
    endpoints.push_back(end(i));
    servers.push_back(serve(end(i), SOCK_STREAM));
  }
  put({.entry = 1, .endpoints = endpoints, .affinity_seconds = 600});
  for (int i = 1; i <= 12; ++i) put(vip(i), 1, IPPROTO_TCP);
  for (int i = 1; i <= 12; ++i) EXPECT_EQ(connect(tcp(), vip(i)), 0);
  std::multiset<int> waiting;
  for (const Fd& server : servers) {
    int count = 0;
    const int flags = ::fcntl(server.get(), F_GETFL);
    ::fcntl(server.get(), F_SETFL, flags | O_NONBLOCK);
    while (Fd(::accept(server.get(), nullptr, nullptr)).valid()) ++count;
    if (count > 0) waiting.insert(count);
  }
  EXPECT_THAT(waiting, ::testing::ElementsAre(12));
}

TEST_P(SocketTest, NodePortsAnswerOnChosenAddressesOfTheNode) {
  put({.entry = 1, .endpoints = {end(1)}});
  put({v4() ? "0.0.0.0" : "::", 30080}, 1, IPPROTO_TCP);
  const Fd server = serve(end(1), SOCK_STREAM);
  put_node_address(vip(5).host, FL_NODE_ADDRESS_NODE_PORTS);
  put_node_address(vip(6).host, 0);
  const Fd client = tcp();
  EXPECT_EQ(connect(client, {vip(5).host, 30080}), 0);
  EXPECT_EQ(peer(client), text({vip(5).host, 30080}));
  EXPECT_EQ(connect(tcp(), {vip(6).host, 30080}), ENETUNREACH);
  EXPECT_EQ(connect(tcp(), {vip(7).host, 30080}), ENETUNREACH);
}

}  // namespace
}  // namespace fairlead::bpf::testing
