// UDP sockets whose endpoint has left, in one namespace and in another.
#include "bpf/stale_sockets.h"

#include <arpa/inet.h>

#include <cerrno>
#include <memory>
#include <thread>

#include "tests/unit/bpf/socket_world.h"

namespace fairlead::bpf::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Nobody else on the machine may be connected here: without the iterator, addresses are all there
// is to go by.
const Spot kGone = {"127.93.17.21", 45877};
const Spot kStays = {"127.93.17.22", 45877};
const Spot kGoneV6 = {"fd00:e::1", 45877};
const Spot kService = {"10.96.0.1", 80};
const Spot kLasting = {"10.96.0.2", 80};
const Spot kServiceV6 = {"fd00:96::1", 80};

Tables::Gone gone(const Spot& spot, uint8_t protocol = IPPROTO_UDP) {
  return {to_wide(spot.host), htons(spot.port), protocol};
}

class StaleSocketsTest : public SocketWorld {
 protected:
  void SetUp() override {
    SocketWorld::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    put({.entry = 1, .protocol = IPPROTO_UDP, .endpoints = {kGone}});
    put({.entry = 2, .protocol = IPPROTO_UDP, .endpoints = {kStays}});
    put({.entry = 3, .protocol = IPPROTO_UDP, .endpoints = {kGoneV6}});
    put(kService, 1, IPPROTO_UDP);
    put(kLasting, 2, IPPROTO_UDP);
    put(kServiceV6, 3, IPPROTO_UDP);
  }

  static Fd connected(const Spot& to, int family = AF_INET) {
    Fd socket = open(family, SOCK_DGRAM);
    EXPECT_EQ(connect(socket, to), 0);
    return socket;
  }

  // What its application learns within the patience: ECONNABORTED, or EAGAIN when nothing.
  static int fate(const Fd& socket) {
    char byte = 0;
    return ::recv(socket.get(), &byte, 1, MSG_DONTWAIT) == 1 ? 0 : errno;
  }

  static void walk(StaleSockets& stale, std::vector<Tables::Gone> endpoints) {
    const uint64_t before = stale.counts().walks;
    stale.request(std::move(endpoints));
    const auto deadline = steady_clock::now() + std::chrono::seconds(10);
    while (stale.counts().walks == before && steady_clock::now() < deadline) {
      std::this_thread::sleep_for(milliseconds(5));
    }
    EXPECT_GT(stale.counts().walks, before);
    EXPECT_GE(stale.counts().namespaces, 2U);  // this one and the machine's
  }

  bool no_iterator() const { return fd(Program::kUdpSockets) < 0; }
};

TEST_F(StaleSocketsTest, ConnectedSocketsAreEnded) {
  if (no_iterator()) GTEST_SKIP() << "the kernel has no bpf_sock_destroy (Linux 6.5)";
  const Fd v4 = connected(kService);
  const Fd mapped = connected(kService, AF_INET6);
  const Fd v6 = connected(kServiceV6, AF_INET6);
  const Fd other = connected(kLasting);
  const Fd direct = connected(kGone);
  leave(kGone);
  leave(kGoneV6);
  StaleSockets stale(fd(Program::kUdpSockets));
  walk(stale, {gone(kGone), gone(kGoneV6)});
  EXPECT_EQ(fate(v4), ECONNABORTED);
  EXPECT_EQ(fate(mapped), ECONNABORTED);
  EXPECT_EQ(fate(v6), ECONNABORTED);
  EXPECT_EQ(fate(other), EAGAIN);
  EXPECT_EQ(fate(direct), EAGAIN) << "not connected through the service";
  EXPECT_EQ(stale.counts().ended, 3U);
}

TEST_F(StaleSocketsTest, SocketsConnectedElsewhereSinceAreLeftAlone) {
  if (no_iterator()) GTEST_SKIP() << "the kernel has no bpf_sock_destroy (Linux 6.5)";
  const Fd again = connected(kService);
  EXPECT_EQ(connect(again, kGone), 0);
  const Fd free = connected(kService);
  EXPECT_EQ(disconnect(free), 0);
  const Fd moved = connected(kService);
  EXPECT_EQ(connect(moved, kLasting), 0);
  leave(kGone);
  StaleSockets stale(fd(Program::kUdpSockets));
  walk(stale, {gone(kGone)});
  for (const Fd* socket : {&again, &free, &moved}) EXPECT_EQ(fate(*socket), EAGAIN);
  EXPECT_EQ(stale.counts().ended, 0U);
}

TEST_F(StaleSocketsTest, EveryNamespaceIsVisited) {
  auto other = harness::Namespace::create("other");
  ASSERT_TRUE(other.ok()) << other.status().message();
  const Fd there = (*other)->run([&] {
    EXPECT_TRUE(sandbox().enter().ok());
    return connected(kService);
  });
  leave(kGone);
  for (const int iterator : {fd(Program::kUdpSockets), -1}) {
    StaleSockets stale(iterator);
    walk(stale, {gone(kGone)});
    if (stale.counts().ended > 0) break;
  }
  EXPECT_EQ(fate(there), ECONNABORTED);
}

TEST_F(StaleSocketsTest, WithoutTheIteratorAddressesTell) {
  const Fd v4 = connected(kService);
  const Fd mapped = connected(kService, AF_INET6);
  const Fd v6 = connected(kServiceV6, AF_INET6);
  const Fd other = connected(kLasting);
  StaleSockets stale(-1);
  walk(stale, {gone(kGone), gone(kGoneV6)});
  EXPECT_EQ(fate(v4), ECONNABORTED);
  EXPECT_EQ(fate(mapped), ECONNABORTED);
  EXPECT_EQ(fate(v6), ECONNABORTED);
  EXPECT_EQ(fate(other), EAGAIN);
  EXPECT_EQ(stale.counts().ended, 3U);
}

TEST_F(StaleSocketsTest, OtherProtocolsNeedNoWalk) {
  const Fd socket = connected(kService);
  StaleSockets stale(-1);
  stale.request({gone(kGone, IPPROTO_SCTP)});
  walk(stale, {gone(kStays)});
  EXPECT_EQ(stale.counts().walks, 1U);
  EXPECT_EQ(fate(socket), EAGAIN);
}

}  // namespace
}  // namespace fairlead::bpf::testing
