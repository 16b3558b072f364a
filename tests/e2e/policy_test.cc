// Traffic policies, readiness, termination and topology: which endpoints may answer whom.
#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

// TCP connections that stay open while endpoints change.
class OpenConnections {
 public:
  void add(const Place& place, const Question& question) {
    open_.emplace_back(place.name + " to " + question.target.to_string(), Conversation(question));
  }
  // Each of them, asked once more, is answered by `pod`.
  void expect(const std::string& pod, const std::string& when) {
    for (auto& [name, conversation] : open_) {
      const Answer answer = conversation.exchange();
      EXPECT_EQ(answer.endpoint, pod) << when << ", " << name;
    }
  }

 private:
  std::vector<std::pair<std::string, Conversation>> open_;
};

class ExternalLocal : public Scenario {
 protected:
  // A service with every kind of external address under externalTrafficPolicy: Local.
  ServiceObject local_service() {
    return service("local").load_balancer().node_port().external_ip().external_local();
  }
  std::vector<Targets> external_targets(const ServiceObject& web) const {
    return {web.at_load_balancer(family()), web.at_external_ip(family()),
            web.at_node_port(family())};
  }
};
FAIRLEAD_SCENARIOS(ExternalLocal);

TEST_P(ExternalLocal, ClientsOutsideReachLocalEndpointsAndKeepTheirAddress) {
  auto web = local_service().endpoints({"a1", "a2", "b1", "b2"});
  web.apply();
  for (const Targets& targets : external_targets(web)) {
    reaches({outside(), outside(3)}, targets, {"a1", "a2"}, Seen::kOwn);
  }
}

TEST_P(ExternalLocal, PodsAndTheNodeReachEveryEndpoint) {
  auto web = local_service().endpoints({"a1", "b1"});
  web.apply();
  for (const Targets& targets : external_targets(web)) {
    reaches({pod()}, targets, {"a1", "b1"}, Seen::kOwn);
    reaches({node()}, targets, {"a1", "b1"}, Seen::kNode);
  }
}

TEST_P(ExternalLocal, WithoutLocalEndpointsClientsOutsideHearNothing) {
  auto web = local_service().endpoints({"b1", "b2"});
  web.apply();
  for (const Targets& targets : external_targets(web)) {
    dropped({outside()}, targets);
    reaches({pod()}, targets, {"b1", "b2"}, Seen::kOwn);
    reaches({node()}, targets, {"b1", "b2"}, Seen::kNode);
  }
}

TEST_P(ExternalLocal, WithoutAnyEndpointEverybodyIsRefused) {
  auto web = local_service().no_endpoints();
  web.apply();
  for (const Targets& targets : external_targets(web)) refused(everywhere(), targets);
}

TEST_P(ExternalLocal, TheClusterIpFollowsTheInternalPolicy) {
  auto web = local_service().endpoints({"a1", "b1"});
  web.apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
}

TEST_P(ExternalLocal, TerminatingLocalEndpointsServeWhileThereIsNoOther) {
  auto web = local_service().endpoints({terminating("a1"), EndpointObject{"b1"}});
  web.apply();
  // Outside: the local choice falls back on its own. Inside: ready endpoints elsewhere count.
  for (const Targets& targets : external_targets(web)) {
    reaches({outside()}, targets, {"a1"}, Seen::kOwn);
    reaches({pod()}, targets, {"b1"});
  }
}

// A readiness flap is enough: what has begun must not pay for it, whoever asked.
TEST_P(ExternalLocal, ConnectionsOutliveTheLastLocalEndpoint) {
  auto web = local_service().endpoints({"a1"}).protocols({Protocol::kTcp});
  web.apply();
  OpenConnections open;
  for (const Targets& targets : external_targets(web)) {
    for (const Place& place : everywhere()) open.add(place, question(place, targets.front()));
  }
  open.expect("a1", "with the endpoint ready");
  web.endpoints({not_ready("a1"), EndpointObject{"b1"}}).apply();
  open.expect("a1", "with the only local endpoint not ready");
  for (const Targets& targets : external_targets(web)) {
    dropped({outside()}, targets);
    reaches({pod()}, targets, {"b1"}, Seen::kOwn);
    reaches({node()}, targets, {"b1"}, Seen::kNode);
  }
  web.endpoints({not_ready("a1")}).apply();
  open.expect("a1", "with no endpoint ready anywhere");
  for (const Targets& targets : external_targets(web)) refused(everywhere(), targets);
  web.endpoints({"a1", "b1"}).apply();
  open.expect("a1", "with the endpoint ready again");
  for (const Targets& targets : external_targets(web)) {
    reaches({outside()}, targets, {"a1"}, Seen::kOwn);
  }
}

class InternalLocal : public Scenario {};
FAIRLEAD_SCENARIOS(InternalLocal);

TEST_P(InternalLocal, ConnectionsOutliveTheLastLocalEndpoint) {
  auto web = service().endpoints({"a1", "b1"}).protocols({Protocol::kTcp}).internal_local();
  web.apply();
  const Targets targets = web.at_cluster_ip(family());
  OpenConnections open;
  for (const Place& place : everywhere()) open.add(place, question(place, targets.front()));
  open.expect("a1", "with the endpoint ready");
  web.endpoints({not_ready("a1"), EndpointObject{"b1"}}).apply();
  open.expect("a1", "with the only local endpoint not ready");
  dropped(everywhere(), targets);
  web.endpoints({"a1", "b1"}).apply();
  open.expect("a1", "with the endpoint ready again");
  reaches(everywhere(), targets, {"a1"});
}

TEST_P(InternalLocal, OnlyLocalEndpointsAnswer) {
  auto web = service().endpoints({"a1", "a2", "b1"}).internal_local();
  web.apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "a2"});
}

TEST_P(InternalLocal, WithoutLocalEndpointsPacketsAreDropped) {
  auto web = service().endpoints({"b1"}).internal_local();
  web.apply();
  dropped(everywhere(), web.at_cluster_ip(family()));
}

TEST_P(InternalLocal, WithoutAnyEndpointEverybodyIsRefused) {
  auto web = service().no_endpoints().internal_local();
  web.apply();
  refused(everywhere(), web.at_cluster_ip(family()));
}

TEST_P(InternalLocal, ExternalAddressesFollowTheExternalPolicy) {
  auto web = service().endpoints({"a1", "b1"}).internal_local().node_port().external_ip();
  web.apply();
  reaches({outside()}, web.at_node_port(family()), {"a1", "b1"}, Seen::kNode);
  reaches({outside()}, web.at_external_ip(family()), {"a1", "b1"}, Seen::kNode);
}

class Readiness : public Scenario {};
FAIRLEAD_SCENARIOS(Readiness);

TEST_P(Readiness, EndpointsThatAreNotReadyAreLeftOut) {
  auto web = service().endpoints({EndpointObject{"a1"}, not_ready("a2"), not_ready("b1")});
  web.apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1"});
}

TEST_P(Readiness, NobodyReadyIsRefused) {
  auto web = service().endpoints({not_ready("a1"), not_ready("b1")});
  web.apply();
  refused(everywhere(), web.at_cluster_ip(family()));
}

TEST_P(Readiness, TerminatingEndpointsServeOnlyWhileNobodyIsReady) {
  auto web = service().endpoints({terminating("a1"), terminating("b1"), not_ready("a2")});
  web.apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
  web.endpoints({terminating("a1"), terminating("b1"), EndpointObject{"a2"}}).apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a2"});
}

TEST_P(Readiness, TerminatingAndNotServingIsNobody) {
  auto web = service().endpoints({EndpointObject{"a1", false, false, true, {}}});
  web.apply();
  refused(everywhere(), web.at_cluster_ip(family()));
}

// publishNotReadyAddresses reaches the proxy as ready = true, whatever else is said.
TEST_P(Readiness, PublishedEndpointsServeThoughTheyTerminate) {
  auto web = service().endpoints({EndpointObject{"a1", true, false, true, {}}});
  web.apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1"});
}

TEST_P(Readiness, UnsaidConditionsMeanReady) {
  auto web = service().endpoints(
      {EndpointObject{"a1", std::nullopt, std::nullopt, std::nullopt, {}}, EndpointObject{"b1"}});
  web.apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
}

class TopologyHints : public Scenario {};
FAIRLEAD_SCENARIOS(TopologyHints);

TEST_P(TopologyHints, EndpointsOfOurZoneAnswer) {
  auto web =
      service().endpoints({hinted("a1", "zone-a"), hinted("b1", "zone-a"), hinted("b2", "zone-b")});
  web.apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
}

TEST_P(TopologyHints, AnEndpointWithoutHintMakesAllCount) {
  auto web =
      service().endpoints({hinted("a1", "zone-a"), hinted("b1", "zone-b"), EndpointObject{"b2"}});
  web.apply();
  reaches({pod()}, web.at_cluster_ip(family()), {"a1", "b1", "b2"});
}

TEST_P(TopologyHints, NobodyInOurZoneMakesAllCount) {
  auto web = service().endpoints({hinted("a1", "zone-b"), hinted("b1", "zone-c")});
  web.apply();
  reaches({pod()}, web.at_cluster_ip(family()), {"a1", "b1"});
}

TEST_P(TopologyHints, OnlyReadyEndpointsDecide) {
  EndpointObject leaving = terminating("b2");  // carries no hint
  auto web = service().endpoints({hinted("a1", "zone-a"), hinted("b1", "zone-b"), leaving});
  web.apply();
  reaches({pod()}, web.at_cluster_ip(family()), {"a1"});
}

TEST_P(TopologyHints, LocalPolicyIgnoresThem) {
  auto web = service().endpoints({hinted("a1", "zone-b"), hinted("b1", "zone-a")}).node_port();
  web.external_local().apply();
  reaches({outside()}, web.at_node_port(family()), {"a1"}, Seen::kOwn);
  reaches({pod()}, web.at_cluster_ip(family()), {"b1"});
}

}  // namespace
}  // namespace fairlead::e2e
