// NodePorts, external IPs and load-balancer addresses under externalTrafficPolicy Cluster.
#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

class NodePort : public Scenario {};
FAIRLEAD_SCENARIOS(NodePort);

TEST_P(NodePort, ReachesEveryEndpointFromEverywhereMasqueraded) {
  auto web = service().endpoints({"a1", "b1"}).node_port();
  web.apply();
  reaches(everywhere(), web.at_node_port(family()), {"a1", "b1"}, Seen::kNode);
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
}

TEST_P(NodePort, AnEndpointReachesItselfByNodePort) {
  auto web = service().endpoints({"a1"}).node_port();
  web.apply();
  reaches({pod("a1")}, web.at_node_port(family()), {"a1"}, Seen::kNode);
}

TEST_P(NodePort, AnswersOnTheServicePortOnlyAtTheClusterIp) {
  auto web = service().endpoints({"a1"}).node_port();
  web.apply();
  refused({outside(), pod()}, web.at(of(web.cluster_ip()), web.node_port_number()));
  refused({outside(), pod()}, web.at(of(Topology::node_a()), web.port()));
}

TEST_P(NodePort, AnswersAtNoOtherMachine) {
  auto web = service().endpoints({"a1"}).node_port();
  web.apply();
  // The packets pass through this node on their way to node-b, which has no such port.
  refused({outside(), pod()}, web.at_node_port_of(Topology::node_b(), family()));
}

// Modes differ in their default: iptables and IPVS serve every local address.
TEST_P(NodePort, DefaultsToThePrimaryAddress) {
  if (mode() == "iptables" || mode() == "ipvs") {
    GTEST_SKIP() << mode() << " serves every local address by default";
  }
  auto web = service().endpoints({"a1"}).node_port();
  web.apply();
  refused({outside(), pod()}, web.at_node_port_of(Topology::node_a_secondary(), family()));
  reaches({outside(), pod()}, web.at_node_port(family()), {"a1"});
}

TEST_P(NodePort, ClosesWithItsService) {
  auto web = service().endpoints({"a1"}).node_port();
  web.apply();
  reaches({outside()}, web.at_node_port(family()), {"a1"});
  web.remove();
  settle();
  refused({outside()}, web.at_node_port(family()));
}

class NodePortAddresses : public Scenario {
  std::vector<std::string> flags() const override {
    return {"--nodeport-addresses=172.31.0.0/24,2001:db8:31::/64"};
  }
};
FAIRLEAD_SCENARIOS(NodePortAddresses);

TEST_P(NodePortAddresses, AnswersOnlyInsideTheGivenRanges) {
  auto web = service().endpoints({"a1", "b1"}).node_port();
  web.apply();
  const Targets chosen = web.at_node_port_of(Topology::node_a_secondary(), family());
  reaches({outside(), pod()}, chosen, {"a1", "b1"}, Seen::kNode);
  refused({outside(), pod()}, web.at_node_port(family()));
}

class External : public Scenario {};
FAIRLEAD_SCENARIOS(External);

TEST_P(External, ExternalIpReachesEveryEndpointMasqueraded) {
  auto web = service().endpoints({"a1", "b1"}).external_ip();
  web.apply();
  reaches(everywhere(), web.at_external_ip(family()), {"a1", "b1"}, Seen::kNode);
}

TEST_P(External, LoadBalancerReachesEveryEndpointMasqueraded) {
  auto web = service().endpoints({"a1", "b1"}).load_balancer();
  web.apply();
  reaches(everywhere(), web.at_load_balancer(family()), {"a1", "b1"}, Seen::kNode);
}

TEST_P(External, LoadBalancerOfIpModeVipIsServed) {
  auto web = service().endpoints({"a1"}).load_balancer("VIP");
  web.apply();
  reaches(everywhere(), web.at_load_balancer(family()), {"a1"}, Seen::kNode);
}

TEST_P(External, LoadBalancerOfIpModeProxyIsLeftToTheLoadBalancer) {
  auto web = service().endpoints({"a1"}).load_balancer("Proxy").node_port();
  web.apply();
  dropped(everywhere(), web.at_load_balancer(family()));
  reaches(everywhere(), web.at_node_port(family()), {"a1"});
}

TEST_P(External, AllKindsOfAddressesOfOneServiceWork) {
  auto web = service().endpoints({"a1", "b1"}).load_balancer().node_port().external_ip();
  web.apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
  reaches(everywhere(), web.at_load_balancer(family()), {"a1", "b1"}, Seen::kNode);
  reaches(everywhere(), web.at_external_ip(family()), {"a1", "b1"}, Seen::kNode);
  reaches(everywhere(), web.at_node_port(family()), {"a1", "b1"}, Seen::kNode);
}

TEST_P(External, LoadBalancerAddressThatGoesIsNoLongerServed) {
  auto web = service().endpoints({"a1"}).load_balancer();
  web.apply();
  reaches({outside()}, web.at_load_balancer(family()), {"a1"});
  auto withdrawn = web;
  withdrawn.load_balancer("Proxy").apply();
  dropped({outside()}, web.at_load_balancer(family()));
  reaches({outside()}, web.at_cluster_ip(family()), {"a1"});
}

// An external IP is anybody's to write down. The older service keeps it, wherever the events come
// from and in whatever order, and hands it over when it goes.
TEST_P(External, AnAddressClaimedTwiceStaysWithTheOlderService) {
  auto younger = service("younger").endpoints({"a2"}).external_ip().created("2026-02-02T00:00:00Z");
  younger.apply();
  reaches({outside()}, younger.at_external_ip(family()), {"a2"});
  auto older = service("older")
                   .endpoints({"a1"})
                   .external_ip(younger.external_ip_address())
                   .created("2026-02-01T00:00:00Z");
  older.apply();
  reaches(everywhere(), older.at_external_ip(family()), {"a1"});
  reaches(everywhere(), younger.at_cluster_ip(family()), {"a2"});
  EXPECT_TRUE(
      eventually([&] { return world().proxy().metric("fairlead_conflicting_addresses") > 0; }));
  older.remove();
  settle();
  reaches(everywhere(), younger.at_external_ip(family()), {"a2"});
  EXPECT_TRUE(
      eventually([&] { return world().proxy().metric("fairlead_conflicting_addresses") == 0; }));
}

}  // namespace
}  // namespace fairlead::e2e
