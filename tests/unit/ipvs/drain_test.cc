// Destinations that go while a client is connected with them: on a real kernel, which counts the
// connections and forgets them by its own clock.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <thread>

#include "base/fd.h"
#include "ipvs/backend.h"
#include "ipvs/server_table.h"
#include "text.h"

namespace fairlead::ipvs {
namespace {

using dataplane::Family;
using dataplane::Protocol;
using dataplane::testing::address;
using std::chrono::steady_clock;

constexpr const char* kVirtual = "10.96.0.1";
constexpr const char* kFirst = "10.1.0.1";
constexpr const char* kSecond = "10.1.0.2";

class DrainingKernel : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: network namespaces and IPVS";
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    if (const Status ready = probe(); !ready) GTEST_SKIP() << ready.message();
    ASSERT_EQ(std::system("ip link set lo up"), 0);
    for (const char* own : {kVirtual, kFirst, kSecond}) {
      ASSERT_EQ(std::system((std::string("ip address add ") + own + "/32 dev lo").c_str()), 0);
    }
    kernel_ = std::move(open_virtual_servers()).value();
    table_ = std::make_unique<ServerTable>(*kernel_, Family::kIPv4);
  }

  // The service has these endpoints and no other.
  void serve(Protocol protocol, const std::vector<const char*>& endpoints) {
    dataplane::ForwardingEntry entry;
    entry.key = {{"default", "web"}, "", protocol, Family::kIPv4};
    entry.frontends.resize(1);
    entry.frontends[0].address = {address(kVirtual), 80};
    for (const char* endpoint : endpoints) {
      entry.cluster.targets.push_back({{address(endpoint), 8080}, false});
    }
    const auto rendered = render(entry, View{}, 0);
    ASSERT_TRUE(rendered.ok()) << rendered.status().message();
    ASSERT_EQ(rendered->servers.size(), 1U);
    std::vector<ServerFailure> failures;
    ASSERT_TRUE(table_->push(rendered->servers, failures).ok());
    for (const ServerFailure& failure : failures) ADD_FAILURE() << failure.status.message();
  }
  // "10.1.0.1*0" and so on: the weight behind the address, and how many connections there are.
  std::map<std::string, uint32_t> destinations(Protocol protocol) {
    std::map<std::string, uint32_t> out;
    const auto listed = kernel_->destinations(ServerKey::at(protocol, {address(kVirtual), 80}));
    EXPECT_TRUE(listed.ok()) << listed.status().message();
    if (!listed) return out;
    for (const ListedDestination& each : *listed) {
      out[each.destination.address.address.to_string() + "*" +
          std::to_string(each.destination.weight)] = each.connections;
    }
    return out;
  }

  static sockaddr_in at(const char* host, uint16_t port) {
    sockaddr_in out{};
    out.sin_family = AF_INET;
    out.sin_port = htons(port);
    ::inet_pton(AF_INET, host, &out.sin_addr);
    return out;
  }
  static Fd open(int type, auto call, const char* host, uint16_t port) {
    Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    const sockaddr_in to = at(host, port);
    EXPECT_EQ(call(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0) << host;
    return socket;
  }

  std::unique_ptr<VirtualServers> kernel_;
  std::unique_ptr<ServerTable> table_;
};

using Listed = std::map<std::string, uint32_t>;

TEST_F(DrainingKernel, ItsLastConnectionTakesADestinationAlong) {
  serve(Protocol::kTcp, {kFirst});
  const Fd endpoint = open(SOCK_STREAM, ::bind, kFirst, 8080);
  ASSERT_EQ(::listen(endpoint.get(), 1), 0);
  Fd client = open(SOCK_STREAM, ::connect, kVirtual, 80);
  const Fd accepted(::accept(endpoint.get(), nullptr, nullptr));
  ASSERT_TRUE(accepted.valid());

  serve(Protocol::kTcp, {kSecond});
  const Listed draining = {{"10.1.0.1*0", 1}, {"10.1.0.2*1", 0}};
  EXPECT_EQ(destinations(Protocol::kTcp), draining);
  ASSERT_TRUE(table_->reap().ok());
  EXPECT_EQ(destinations(Protocol::kTcp), draining) << "it has a connection";
  char byte = 'x';
  ASSERT_EQ(::send(client.get(), &byte, 1, MSG_NOSIGNAL), 1);
  EXPECT_EQ(::recv(accepted.get(), &byte, 1, 0), 1);

  const linger reset{1, 0};
  ASSERT_EQ(::setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
  client.reset();
  // IPVS remembers a connection for ten seconds more (IP_VS_TCP_S_CLOSE).
  const auto deadline = steady_clock::now() + std::chrono::seconds(60);
  while (destinations(Protocol::kTcp).size() == 2 && steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    ASSERT_TRUE(table_->reap().ok());
  }
  EXPECT_EQ(destinations(Protocol::kTcp), (Listed{{"10.1.0.2*1", 0}}));
  EXPECT_EQ(table_->draining(), 0U);
}

// Another mode serves from here on.
TEST_F(DrainingKernel, ConnectionsOfARetiredServerGoOn) {
  serve(Protocol::kTcp, {kFirst, kSecond});
  const Fd endpoints[] = {open(SOCK_STREAM, ::bind, kFirst, 8080),
                          open(SOCK_STREAM, ::bind, kSecond, 8080)};
  for (const Fd& endpoint : endpoints) ASSERT_EQ(::listen(endpoint.get(), 1), 0);
  const Fd client = open(SOCK_STREAM, ::connect, kVirtual, 80);
  const bool first = destinations(Protocol::kTcp)["10.1.0.1*1"] == 1;
  const Fd accepted(::accept(endpoints[first ? 0 : 1].get(), nullptr, nullptr));
  ASSERT_TRUE(accepted.valid());

  ASSERT_TRUE(table_->load([](const ServerKey&) { return true; }).ok());
  ASSERT_TRUE(table_->retire().ok());
  EXPECT_EQ(destinations(Protocol::kTcp), (Listed{{first ? "10.1.0.1*0" : "10.1.0.2*0", 1}}));
  char byte = 'x';
  ASSERT_EQ(::send(client.get(), &byte, 1, MSG_NOSIGNAL), 1);
  EXPECT_EQ(::recv(accepted.get(), &byte, 1, 0), 1);
  ASSERT_EQ(::send(accepted.get(), &byte, 1, MSG_NOSIGNAL), 1);
  EXPECT_EQ(::recv(client.get(), &byte, 1, 0), 1);
  EXPECT_EQ(table_->size(), 1U);
}

TEST_F(DrainingKernel, AServerThatIsIdleRetiresAtOnce) {
  serve(Protocol::kTcp, {kFirst, kSecond});
  ASSERT_TRUE(table_->load([](const ServerKey&) { return true; }).ok());
  ASSERT_TRUE(table_->retire().ok());
  EXPECT_EQ(table_->size(), 0U);
  EXPECT_TRUE(kernel_->servers()->empty());
}

TEST_F(DrainingKernel, DatagramsLeaveAtOnce) {
  serve(Protocol::kUdp, {kFirst});
  const Fd endpoint = open(SOCK_DGRAM, ::bind, kFirst, 8080);
  const Fd client = open(SOCK_DGRAM, ::connect, kVirtual, 80);
  char byte = 'x';
  ASSERT_EQ(::send(client.get(), &byte, 1, 0), 1);
  ASSERT_EQ(::recv(endpoint.get(), &byte, 1, 0), 1);
  EXPECT_EQ(destinations(Protocol::kUdp), (Listed{{"10.1.0.1*1", 1}}));
  serve(Protocol::kUdp, {kSecond});
  EXPECT_EQ(destinations(Protocol::kUdp), (Listed{{"10.1.0.2*1", 0}}));
}

TEST(Draining, IsForConnectionsOfTcpAlone) {
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
    dataplane::ForwardingEntry entry;
    entry.key = {{"default", "web"}, "", protocol, Family::kIPv4};
    entry.frontends.resize(1);
    entry.frontends[0].address = {address(kVirtual), 80};
    const auto rendered = render(entry, View{}, 0);
    ASSERT_TRUE(rendered.ok() && rendered->servers.size() == 1);
    EXPECT_EQ(rendered->servers[0].graceful, protocol == Protocol::kTcp) << to_string(protocol);
  }
}

}  // namespace
}  // namespace fairlead::ipvs
