// What only the eBPF mode has: sockets that its programs do not see, so that packets are what is
// translated; maps that an operator sized too small.
#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

// All that runs on the node has its sockets outside the node's cgroup. What the node then sends to
// itself passes no device but loopback, which nobody looks at: its own node ports, and endpoints
// that are the node, are for sockets alone.
class PacketPath : public Scenario {
 protected:
  void SetUp() override {
    Scenario::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    move([](harness::BpfSandbox& sandbox) { return sandbox.leave(); });
  }
  void TearDown() override {
    if (!IsSkipped()) move([](harness::BpfSandbox& sandbox) { return sandbox.enter(); });
    Scenario::TearDown();
  }
  void move(Status (*step)(harness::BpfSandbox&)) {
    for (const char* place : {"node-a", "pod", "a1", "a2"}) {
      const Status moved = world().at(place).run([&] { return step(*world().sandbox()); });
      EXPECT_TRUE(moved.ok()) << moved.message();
    }
  }

  Place packets(Place from) const {
    from.packets_only = true;
    return from;
  }
  Place by_packet(const std::string& name = "pod") const { return packets(pod(name)); }
  std::vector<Place> by_packet_everywhere() const {
    return {outside(), by_packet(), packets(node())};
  }
};
FAIRLEAD_SCENARIOS_OF(PacketPath, "ebpf");

TEST_P(PacketPath, ClusterIpsAreReachedWithThePodsAddress) {
  auto web = service().endpoints({"a1", "a2", "b1"});
  web.apply();
  reaches({by_packet()}, web.at_cluster_ip(family()), {"a1", "a2", "b1"}, Seen::kOwn);
  reaches({packets(node())}, web.at_cluster_ip(family()), {"a1", "a2", "b1"}, Seen::kNode);
}

TEST_P(PacketPath, AnEndpointReachesItselfMasqueraded) {
  auto web = service().endpoints({"a1"}).node_port();
  web.apply();
  reaches({by_packet("a1")}, web.at_cluster_ip(family()), {"a1"}, Seen::kNode);
  reaches({by_packet("a1")}, web.at_node_port(family()), {"a1"}, Seen::kNode);
  auto peers = service("peers").endpoints({"a1", "a2", "b1"});
  peers.apply();
  reaches({by_packet("a1"), by_packet("a2")}, peers.at_cluster_ip(family()), {"a1", "a2", "b1"},
          Seen::kOwn);
}

TEST_P(PacketPath, ExternalAddressesAreMasqueraded) {
  auto web = service().endpoints({"a1", "b1"}).load_balancer().node_port().external_ip();
  web.apply();
  reaches({outside(), by_packet()}, web.at_node_port(family()), {"a1", "b1"}, Seen::kNode);
  reaches(by_packet_everywhere(), web.at_external_ip(family()), {"a1", "b1"}, Seen::kNode);
  reaches(by_packet_everywhere(), web.at_load_balancer(family()), {"a1", "b1"}, Seen::kNode);
}

TEST_P(PacketPath, LocalPolicies) {
  auto web = service().endpoints({"a1", "b1"}).node_port().external_local().internal_local();
  web.apply();
  reaches(by_packet_everywhere(), web.at_cluster_ip(family()), {"a1"});
  reaches({by_packet()}, web.at_node_port(family()), {"a1", "b1"}, Seen::kOwn);
  reaches({outside()}, web.at_node_port(family()), {"a1"}, Seen::kOwn);
  auto elsewhere = service("elsewhere").endpoints({"b1"}).internal_local();
  elsewhere.apply();
  dropped(by_packet_everywhere(), elsewhere.at_cluster_ip(family()));
}

TEST_P(PacketPath, NobodyIsRefused) {
  auto web = service().no_endpoints().load_balancer().node_port().external_ip();
  web.apply();
  refused(by_packet_everywhere(), web.at_cluster_ip(family()));
  refused(by_packet_everywhere(), web.at_load_balancer(family()));
  refused(by_packet_everywhere(), web.at_external_ip(family()));
  refused({outside(), by_packet()}, web.at_node_port(family()));
  auto other = service("other").endpoints({"a1"});
  other.apply();
  refused(by_packet_everywhere(), other.at(of(other.cluster_ip()), 81));
}

TEST_P(PacketPath, UdpFlowsMoveWhenTheirEndpointGoes) {
  auto web = service().endpoints({"a1"}).protocols({Protocol::kUdp});
  web.apply();
  Conversation flows[] = {Conversation(question(pod(), web.at_cluster_ip(family()).front())),
                          Conversation(question(node(), web.at_cluster_ip(family()).front()))};
  for (Conversation& flow : flows) EXPECT_EQ(flow.exchange().endpoint, "a1");
  web.endpoints({"b1"}).apply();
  for (Conversation& flow : flows) {
    EXPECT_TRUE(eventually([&] { return flow.exchange(kSilence).endpoint == "b1"; }));
    EXPECT_EQ(flow.reconnections(), 0) << "there is nothing in it that could be aborted";
  }
}

TEST_P(PacketPath, AProcessInTheNodesNetworkIsAnEndpointLikeAnyOther) {
  auto api = service("host").endpoints({"node-a"}).node_port().external_ip();
  api.apply();
  reaches({outside(), by_packet()}, api.at_cluster_ip(family()), {"node-a"});
  reaches({outside(), by_packet()}, api.at_node_port(family()), {"node-a"});
  reaches({outside(), by_packet()}, api.at_external_ip(family()), {"node-a"});
  auto mixed = service("mixed").endpoints({"node-a", "a1", "b1"});
  mixed.apply();
  reaches({outside(), by_packet()}, mixed.at_cluster_ip(family()), {"node-a", "a1", "b1"});
}

// From the same port, first by the service, then to its endpoint itself: the answer is not taken
// for one to the first connection.
TEST_P(PacketPath, AnEndpointCanBeSpokenToDirectlyAfterwards) {
  auto web = service().endpoints({"a2"}).protocols({Protocol::kTcp});
  web.apply();
  const Target direct = {Protocol::kTcp, of(Topology::pod("a2")), harness::kEchoPort};
  for (uint16_t port = 20000; port < 20020; ++port) {
    Question first = question(pod(), web.at_cluster_ip(family()).front());
    Question second = question(pod(), direct);
    first.source_port = second.source_port = port;
    EXPECT_EQ(harness::ask(first).endpoint, "a2") << port;
    const Answer answer = harness::ask(second, kSilence * 4);
    EXPECT_EQ(answer.endpoint, "a2") << port << ": " << answer.to_string();
  }
}

TEST_P(PacketPath, AffinityHolds) {
  auto web = service().endpoints({"a1", "a2", "b1", "b2"}).affinity(600).node_port();
  web.apply();
  for (const Place& place : {outside(), by_packet()}) {
    const Answer first = ask(place, web.at_cluster_ip(family()).front());
    for (int i = 0; i < 10; ++i) {
      EXPECT_EQ(ask(place, web.at_cluster_ip(family()).front()).endpoint, first.endpoint);
      EXPECT_EQ(ask(place, web.at_node_port(family()).front()).endpoint, first.endpoint);
    }
  }
}

// Room for 33 endpoints: 2 of the service that tells whether changes arrive, 8 of small, 16 of big,
// and 7 for changes, since what comes needs room before what goes gives its own back. One less than
// huge would take.
class SmallMaps : public Scenario {
  std::vector<std::string> flags() const override { return {"--ebpf-max-endpoints=34"}; }

 protected:
  // What finds room only when the rest of its delta has given some back comes milliseconds later.
  void are_reached_in_the_end(const Targets& to, const Pods& pods) {
    for (const Target& target : to) {
      EXPECT_TRUE(eventually([&] { return pods.contains(ask(outside(), target).endpoint); }))
          << target.to_string();
    }
    reaches(everywhere(), to, pods);
  }
};
FAIRLEAD_SCENARIOS_OF(SmallMaps, "ebpf");

TEST_P(SmallMaps, AServiceWithoutRoomIsRefusedAloud) {
  const std::initializer_list<const char*> all = {"a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4"};
  auto small = service("small").endpoints({"a1", "b1"});
  small.apply();
  auto big = service("big").endpoints(all).families({family()});  // 16: each protocol has its own
  auto huge = service("huge").endpoints(all).families({family()}).protocols({Protocol::kTcp});
  big.apply();
  are_reached_in_the_end(big.at_cluster_ip(family()), Pods(all.begin(), all.end()));
  huge.apply();
  EXPECT_TRUE(eventually([&] { return world().proxy().metric("fairlead_refused_entries") > 0; }));
  EXPECT_TRUE(eventually([&] { return world().api().count_events("TableFull", huge.name()) > 0; }));
  EXPECT_GT(world().api().count_events("TableFull", "--ebpf-max-endpoints"), 0);
  EXPECT_GT(world().api().count_events("TableFull", "fl_endpoints"), 0);
  reaches(everywhere(), small.at_cluster_ip(family()), {"a1", "b1"});
  reaches(everywhere(), big.at_cluster_ip(family()), Pods(all.begin(), all.end()));
  // Changes go on, and room that is given back is used.
  small.endpoints({"a2", "b2"}).apply();  // as many as before: fewer would leave room for huge
  are_reached_in_the_end(small.at_cluster_ip(family()), {"a2", "b2"});
  big.remove();
  huge.endpoints({"a3", "b3"}).apply();
  reaches(everywhere(), huge.at_cluster_ip(family()), {"a3", "b3"});
  EXPECT_TRUE(eventually([&] { return world().proxy().metric("fairlead_refused_entries") == 0; }));
}

}  // namespace
}  // namespace fairlead::e2e
