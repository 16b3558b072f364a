// Flows that connection tracking has translated for another mode: programs go on with them, in the
// kernel, from real entries to whole packets.
#include "bpf/adopted_flows.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <cstring>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bpf/table_maps.h"
#include "proxy/runtime/conntrack_table.h"
#include "tests/harness/process.h"
#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::tcp;
using harness::udp;

class AdoptedFlowsTest : public PacketTest {
 protected:
  static constexpr std::string_view kClient = "10.1.0.5:4000";
  static constexpr std::string_view kService = "10.96.0.1:80";
  static constexpr std::string_view kEndpoint = "10.1.0.2:8080";
  // The client as its endpoint sees it: by a port that neither programs masquerade with nor sockets
  // of the node are given.
  static constexpr std::string_view kSource = "10.1.0.1:9123";
  static constexpr std::string_view kSourceOfSockets = "10.1.0.1:40123";
  static constexpr std::string_view kNode = "10.1.0.1:4000";

  template <typename Function>
  auto in_netns(Function function) {
    return datapath().netns().run(std::move(function));
  }
  void SetUp() override {
    PacketTest::SetUp();
    if (IsSkipped()) return;
    configure([](fl_config& config) { config.handover = FL_HANDOVER_ASIDE; });
    // Somebody's NAT rule, without which nothing is tracked.
    const Status tracks = in_netns([] {
      return harness::run_checked(
          {"nft", "-f", "-"},
          "table inet nat { chain out { type nat hook postrouting priority 100;"
          " ip daddr 192.0.2.1 masquerade; }; }");
    });
    ASSERT_TRUE(tracks.ok()) << tracks.message();
  }
  void TearDown() override {
    if (IsSkipped()) return;
    forget();
    EXPECT_TRUE(in_netns([] {
                  return harness::run_checked({"nft", "delete", "table", "inet", "nat"});
                }).ok());
    datapath().mark_returns_used();
  }

  static std::pair<fl_addr, fl_be16> at(std::string_view host_and_port) {
    const dataplane::SocketAddress parsed = harness::socket_address_of(host_and_port);
    return {wire(parsed.address), wire(parsed.port)};
  }
  static TrackedFlow flow(std::string_view client, std::string_view source,
                          std::string_view endpoint = kEndpoint, uint8_t protocol = IPPROTO_TCP) {
    TrackedFlow flow = {.protocol = protocol, .seconds = 600};
    std::tie(flow.client, flow.client_port) = at(client);
    std::tie(flow.address, flow.port) = at(kService);
    std::tie(flow.source, flow.source_port) = at(source);
    std::tie(flow.endpoint, flow.endpoint_port) = at(endpoint);
    return flow;
  }
  void track(const std::vector<TrackedFlow>& flows) {
    const Status written = in_netns([&]() -> Status {
      auto entries = ConntrackEntries::open();
      if (!entries) return entries.status();
      return entries->write(ConntrackEntries::Write::kAdd, flows, [](size_t place, int error) {
        ADD_FAILURE() << place << ": " << std::strerror(error);
      });
    });
    ASSERT_TRUE(written.ok()) << written.message();
  }
  // What is tracked outlives the rules.
  void forget() {
    for (const auto protocol : {dataplane::Protocol::kTcp, dataplane::Protocol::kUdp}) {
      const Status forgotten = in_netns([&]() -> Status {
        auto table = proxy::open_kernel_conntrack();
        if (!table) return table.status();
        return (*table)->list({dataplane::Family::kIPv4, protocol, {}}, [&](const auto& each) {
          EXPECT_TRUE((*table)->remove(each).ok());
          return true;
        });
      });
      EXPECT_TRUE(forgotten.ok()) << forgotten.message();
    }
  }
  // With tables as a start finds them in the maps.
  template <typename Question>
  auto ask(Question question) {
    const auto maps = open_table_maps(datapath().object());
    Tables tables(**maps);
    const Status found = tables.adopt();
    EXPECT_TRUE(found.ok()) << found.message();
    return in_netns([&] { return question(datapath().object(), tables); });
  }
  // "adopted/left".
  std::string adopt() {
    const auto counts =
        ask([](const Object& object, const Tables& tables) { return adopt_flows(object, tables); });
    if (!counts) return counts.status().message();
    return std::to_string(counts->adopted) + "/" + std::to_string(counts->left);
  }
  bool are_left() {
    const auto left = ask([](const Object& object, const Tables& tables) {
      return connections_are_left(object, tables);
    });
    EXPECT_TRUE(left.ok()) << left.status().message();
    return left && *left;
  }
};

TEST_F(AdoptedFlowsTest, AConnectionGoesOnByThePortThatItHas) {
  serve({.at = kService, .endpoints = {kEndpoint}});
  track({flow(kClient, kSource)});
  expect_pass(tcp(kClient, kService).flags("PA"));
  EXPECT_TRUE(are_left());
  EXPECT_EQ(adopt(), "1/0");
  EXPECT_FALSE(are_left());
  expect_forward(tcp(kClient, kService).flags("PA"), tcp(kSource, kEndpoint).flags("PA").ttl(63));
  expect_forward(tcp(kEndpoint, kSource).flags("PA"), tcp(kService, kClient).flags("PA").ttl(63));
  ASSERT_EQ(datapath().flows().size(), 1U);
  EXPECT_TRUE(datapath().flows()[0].established);
}

TEST_F(AdoptedFlowsTest, WithoutMasqueradingToo) {
  serve({.at = kService, .endpoints = {kEndpoint}});
  track({flow(kClient, kClient)});
  EXPECT_EQ(adopt(), "1/0");
  expect_forward(tcp(kClient, kService).flags("PA"), tcp(kClient, kEndpoint).flags("PA").ttl(63));
  expect_forward(tcp(kEndpoint, kClient).flags("PA"), tcp(kService, kClient).flags("PA").ttl(63));
}

TEST_F(AdoptedFlowsTest, AndDatagramsThatGoToAndFro) {
  serve({.at = kService, .protocol = IPPROTO_UDP, .endpoints = {kEndpoint}});
  track({flow(kClient, kSource, kEndpoint, IPPROTO_UDP)});
  EXPECT_FALSE(are_left());  // nobody waits for datagrams
  EXPECT_EQ(adopt(), "1/0");
  ASSERT_EQ(datapath().flows().size(), 1U);
  EXPECT_TRUE(datapath().flows()[0].established);
  expect_forward(udp(kClient, kService), udp(kSource, kEndpoint).ttl(63));
  expect_forward(udp(kEndpoint, kSource), udp(kService, kClient).ttl(63));
}

TEST_F(AdoptedFlowsTest, WhatProgramsCannotGoOnWithIsLeft) {
  serve({.at = kService, .endpoints = {kEndpoint}});
  track({flow(kNode, kNode), flow(kClient, kSource, "10.1.0.9:8080"),
         flow("10.1.0.7:4000", kSourceOfSockets)});
  EXPECT_EQ(adopt(), "0/3");
  EXPECT_TRUE(are_left());
  expect_pass(tcp(kClient, kService).flags("PA"));
}

// The look ends with the first one, wherever it stands among the others.
TEST_F(AdoptedFlowsTest, OneThatIsLeftIsFoundAmongMany) {
  serve({.at = kService, .endpoints = {kEndpoint}});
  std::vector<TrackedFlow> flows = {flow(kNode, kNode)};
  for (int i = 0; i < 20; ++i) {
    flows.push_back(
        flow(fmt::format("10.1.0.{}:4000", 100 + i), fmt::format("10.1.0.1:{}", 9200 + i)));
  }
  track(flows);
  EXPECT_EQ(adopt(), "20/1");
  EXPECT_TRUE(are_left());
}

TEST_F(AdoptedFlowsTest, OfServicesAlone) {
  track({flow(kClient, kSource)});
  EXPECT_EQ(adopt(), "0/0");
  EXPECT_FALSE(are_left());
}

TEST_F(AdoptedFlowsTest, APortThatIsTakenIsLeft) {
  serve({.at = kService, .endpoints = {kEndpoint}});
  track({flow(kClient, kSource)});
  EXPECT_EQ(adopt(), "1/0");
  forget();  // or connection tracking would not have it either
  track({flow("10.1.0.6:4000", kSource)});
  EXPECT_EQ(adopt(), "0/1");
  expect_forward(tcp(kEndpoint, kSource).flags("PA"), tcp(kService, kClient).flags("PA").ttl(63));
}

}  // namespace
}  // namespace fairlead::bpf::testing
