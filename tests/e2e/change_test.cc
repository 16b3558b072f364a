// What happens when Services and endpoints change, to new connections and to those that exist.
#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

class Change : public Scenario {};
FAIRLEAD_SCENARIOS(Change);

TEST_P(Change, EndpointsComeAndGo) {
  auto web = service().endpoints({"a1"});
  web.apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1"});
  web.endpoints({"a1", "b1"}).apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
  web.endpoints({"b1", "b2"}).apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"b1", "b2"});
  web.endpoints({"a3"}).apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a3"});
}

TEST_P(Change, ARemovedServiceIsGoneAndItsNeighboursStay) {
  auto web = service("gone").endpoints({"a1"}).node_port().external_ip().load_balancer();
  auto neighbour = service("stays").endpoints({"a2"});
  web.write();
  neighbour.apply();
  web.remove();
  settle();
  dropped({outside()}, web.at_cluster_ip(family()));
  dropped({outside()}, web.at_external_ip(family()));
  dropped({outside()}, web.at_load_balancer(family()));
  reaches(everywhere(), neighbour.at_cluster_ip(family()), {"a2"});
}

TEST_P(Change, ServicePortMoves) {
  auto web = service().endpoints({"a1"});
  web.apply();
  web.port(8443).apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1"});
  refused(everywhere(), web.at(of(web.cluster_ip()), 80));
}

TEST_P(Change, TargetPortMoves) {
  auto web = service().endpoints({"a1"});
  web.apply();
  web.target_port(harness::kOtherPort).apply();
  EXPECT_EQ(ask(pod(), web.at_cluster_ip(family()).front()).local_port, harness::kOtherPort);
}

TEST_P(Change, PortNamesJoinServiceAndSlices) {
  auto web = service().endpoints({"a1"});
  web.apply();
  web.port_name("renamed").write_service();  // the slices still speak of the old name
  settle();
  refused(everywhere(), web.at_cluster_ip(family()));
  web.write_endpoints();
  settle();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1"});
}

TEST_P(Change, ProtocolIsAddedAndTaken) {
  auto web = service().endpoints({"a1"}).protocols({Protocol::kTcp});
  web.apply();
  const Target udp = {Protocol::kUdp, of(web.cluster_ip()), web.port()};
  refused({pod()}, {udp});
  web.protocols({Protocol::kTcp, Protocol::kUdp}).apply();
  reaches({pod()}, web.at_cluster_ip(family()), {"a1"});
  web.protocols({Protocol::kTcp}).apply();
  refused({pod()}, {udp});
  reaches({pod()}, web.at_cluster_ip(family()), {"a1"});
}

TEST_P(Change, TrafficPolicyChanges) {
  auto web = service().endpoints({"a1", "b1"}).node_port();
  web.apply();
  reaches({outside()}, web.at_node_port(family()), {"a1", "b1"}, Seen::kNode);
  auto local = web;
  local.external_local().apply();
  reaches({outside()}, web.at_node_port(family()), {"a1"}, Seen::kOwn);
  web.apply();
  reaches({outside()}, web.at_node_port(family()), {"a1", "b1"}, Seen::kNode);
}

TEST_P(Change, AServiceMadeAnewHasItsNewAddressOnly) {
  auto web = service().endpoints({"a1"});
  web.apply();
  const Targets before = web.at_cluster_ip(family());
  auto renewed = service("renewed").endpoints({"a2"});
  web.remove();
  renewed.apply();
  dropped({outside()}, before);
  reaches(everywhere(), renewed.at_cluster_ip(family()), {"a2"});
}

TEST_P(Change, ABurstOfServicesArrivesWhole) {
  std::vector<ServiceObject> services;
  Targets targets;
  for (int i = 0; i < 60; ++i) {
    services.push_back(service("many").endpoints({"a1", "b1"}).protocols({Protocol::kUdp}));
    services.back().write();
    targets.push_back(services.back().at_cluster_ip(family()).front());
  }
  settle();
  reaches({pod()}, targets, {"a1", "b1"});
  for (ServiceObject& each : services) each.remove();
  settle();
  dropped({outside()}, targets);
}

class Established : public Scenario {
 protected:
  // Keeps sending over one UDP flow until `done` likes the answer.
  bool flow_becomes(Conversation& flow, const std::function<bool(const Answer&)>& done) {
    return eventually([&] { return done(flow.exchange(kSilence)); });
  }
  bool flow_reaches(Conversation& flow, const std::string& pod) {
    return flow_becomes(flow, [&](const Answer& answer) { return answer.endpoint == pod; });
  }
};
FAIRLEAD_SCENARIOS(Established);

TEST_P(Established, TcpConnectionOutlivesItsEndpointsPlaceInTheSlice) {
  auto web = service().endpoints({"a1"}).protocols({Protocol::kTcp}).node_port();
  web.apply();
  Conversation inside(question(pod(), web.at_cluster_ip(family()).front()));
  Conversation from_outside(question(outside(), web.at_node_port(family()).front()));
  EXPECT_EQ(inside.exchange().endpoint, "a1");
  EXPECT_EQ(from_outside.exchange().endpoint, "a1");
  web.endpoints({terminating("a1"), EndpointObject{"b1"}}).apply();
  EXPECT_EQ(inside.exchange().endpoint, "a1");
  EXPECT_EQ(from_outside.exchange().endpoint, "a1");
  web.endpoints({"b1"}).apply();
  reaches({pod()}, web.at_cluster_ip(family()), {"b1"});
  EXPECT_EQ(inside.exchange().endpoint, "a1");
  EXPECT_EQ(from_outside.exchange().endpoint, "a1");
}

TEST_P(Established, TcpConnectionOutlivesUnrelatedChanges) {
  auto web = service().endpoints({"a1", "b1"}).protocols({Protocol::kTcp});
  web.apply();
  Conversation connection(question(pod(), web.at_cluster_ip(family()).front()));
  const Answer first = connection.exchange();
  for (int i = 0; i < 5; ++i) {
    auto other = service("other").endpoints({"a2"}).node_port();
    other.apply();
    web.endpoints(i % 2 == 0 ? std::vector<EndpointObject>{{"a1"}, {"b1"}, {"b2"}}
                             : std::vector<EndpointObject>{{"a1"}, {"b1"}})
        .apply();
    other.remove();
  }
  settle();
  const Answer last = connection.exchange();
  EXPECT_EQ(last.endpoint, first.endpoint) << last.to_string();
  EXPECT_EQ(last.source_port, first.source_port);
}

TEST_P(Established, UdpFlowMovesWhenItsEndpointGoes) {
  auto web = service().endpoints({"a1"}).protocols({Protocol::kUdp}).node_port();
  web.node_port().external_ip().load_balancer().apply();
  Conversation flows[] = {
      Conversation(question(pod(), web.at_cluster_ip(family()).front())),
      Conversation(question(node(), web.at_cluster_ip(family()).front())),
      Conversation(question(outside(), web.at_node_port(family()).front())),
      Conversation(question(outside(), web.at_external_ip(family()).front())),
      Conversation(question(outside(), web.at_load_balancer(family()).front())),
  };
  constexpr size_t kOnThisNode = 2;  // of the flows, the first
  for (Conversation& flow : flows) EXPECT_EQ(flow.exchange().endpoint, "a1");
  web.endpoints({"b1"}).apply();
  for (Conversation& flow : flows) EXPECT_TRUE(flow_reaches(flow, "b1"));
  const bool aborted = has(mode(), Behaviour::kStaleUdpSocketsAreAborted);
  for (size_t i = 0; i < std::size(flows); ++i) {
    EXPECT_EQ(flows[i].reconnections(), aborted && i < kOnThisNode ? 1 : 0) << i;
  }
}

TEST_P(Established, UdpFlowStaysWithALivingEndpoint) {
  auto web = service().endpoints({"a1", "b1"}).protocols({Protocol::kUdp});
  web.apply();
  Conversation flow(question(pod(), web.at_cluster_ip(family()).front()));
  const std::string first = flow.exchange().endpoint;
  ASSERT_TRUE(first == "a1" || first == "b1") << first;
  web.endpoints({EndpointObject{first}, EndpointObject{"a2"}}).apply();
  web.endpoints({EndpointObject{first}, EndpointObject{"a2"}, EndpointObject{"b3"}}).apply();
  const auto expect_to_stay = [&] {
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(flow.exchange().endpoint, first);
      std::this_thread::sleep_for(20ms);
    }
  };
  expect_to_stay();
  web.endpoints({terminating(first), EndpointObject{"a2"}}).apply();
  if (has(mode(), Behaviour::kTerminatingEndpointsLoseUdpFlows)) {
    EXPECT_TRUE(flow_reaches(flow, "a2"));
  } else {
    expect_to_stay();
  }
}

TEST_P(Established, UdpFlowIsRefusedWithoutEndpointsAndServedByTheFirst) {
  auto web = service().endpoints({"a1"}).protocols({Protocol::kUdp});
  web.apply();
  Conversation flow(question(pod(), web.at_cluster_ip(family()).front()));
  EXPECT_EQ(flow.exchange().endpoint, "a1");
  web.no_endpoints().apply();
  EXPECT_TRUE(
      flow_becomes(flow, [](const Answer& answer) { return answer.fate == Fate::kRefused; }));
  web.endpoints({"b2"}).apply();
  EXPECT_TRUE(flow_reaches(flow, "b2"));
}

// The flow's first packets found no rule and were remembered as untranslated.
TEST_P(Established, UdpFlowOlderThanItsServiceIsServed) {
  auto web = service().endpoints({"a1"}).protocols({Protocol::kUdp});
  Conversation flow(question(pod(), web.at_cluster_ip(family()).front()));
  EXPECT_EQ(flow.exchange(kSilence).fate, Fate::kDropped);
  web.apply();
  EXPECT_TRUE(flow_reaches(flow, "a1"));
}

TEST_P(Established, UdpFlowEndsWithItsService) {
  auto web = service().endpoints({"a1"}).protocols({Protocol::kUdp});
  web.apply();
  Conversation flow(question(outside(), web.at_cluster_ip(family()).front()));
  EXPECT_EQ(flow.exchange().endpoint, "a1");
  web.remove();
  settle();
  EXPECT_TRUE(
      flow_becomes(flow, [](const Answer& answer) { return answer.fate == Fate::kDropped; }));
}

}  // namespace
}  // namespace fairlead::e2e
