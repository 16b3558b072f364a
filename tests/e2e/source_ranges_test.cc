// loadBalancerSourceRanges, and the healthCheckNodePort that a load balancer asks.
#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

class SourceRanges : public Scenario {
 protected:
  static std::vector<std::string> only(const DualAddress& address) {
    return {address.v4 + "/32", address.v6 + "/128"};
  }
  std::string host_prefix(const DualAddress& address) const {
    return of(address) + (family() == Family::kIPv4 ? "/32" : "/128");
  }
};
FAIRLEAD_SCENARIOS(SourceRanges);

TEST_P(SourceRanges, AdmitThoseInsideAndSilenceTheOthers) {
  auto web = service().endpoints({"a1", "b1"}).load_balancer().node_port().external_ip();
  web.source_ranges(only(Topology::outside(0))).apply();
  reaches({outside(0)}, web.at_load_balancer(family()), {"a1", "b1"}, Seen::kNode);
  dropped({outside(1), pod(), node()}, web.at_load_balancer(family()));
}

TEST_P(SourceRanges, ConcernLoadBalancerAddressesOnly) {
  auto web = service().endpoints({"a1"}).load_balancer().node_port().external_ip();
  web.source_ranges(only(Topology::outside(0))).apply();
  const std::vector<Place> others = {outside(1), pod(), node()};
  reaches(others, web.at_cluster_ip(family()), {"a1"});
  reaches(others, web.at_node_port(family()), {"a1"});
  reaches(others, web.at_external_ip(family()), {"a1"});
}

TEST_P(SourceRanges, HoldUnderTheLocalPolicy) {
  auto web = service().endpoints({"a1", "b1"}).load_balancer().external_local();
  web.source_ranges(only(Topology::outside(0))).apply();
  reaches({outside(0)}, web.at_load_balancer(family()), {"a1"}, Seen::kOwn);
  dropped({outside(1)}, web.at_load_balancer(family()));
}

TEST_P(SourceRanges, PodsInsideAreAdmitted) {
  auto web = service().endpoints({"a1"}).load_balancer();
  web.source_ranges({"10.244.1.0/24", "fd00:10:244:1::/64"}).apply();
  reaches({pod()}, web.at_load_balancer(family()), {"a1"});
  dropped({outside()}, web.at_load_balancer(family()));
}

TEST_P(SourceRanges, OfTheOtherFamilyLeaveNoHole) {
  auto web = service().endpoints({"a1"}).load_balancer();
  const DualAddress& client = Topology::outside(0);
  web.source_ranges({family() == Family::kIPv4 ? client.v6 + "/128" : client.v4 + "/32"}).apply();
  dropped({outside(0), outside(1), pod()}, web.at_load_balancer(family()));
}

TEST_P(SourceRanges, FollowTheirService) {
  auto web = service().endpoints({"a1"}).load_balancer();
  web.apply();
  reaches({outside(1)}, web.at_load_balancer(family()), {"a1"});
  web.source_ranges(only(Topology::outside(0))).apply();
  dropped({outside(1)}, web.at_load_balancer(family()));
  web.source_ranges(only(Topology::outside(1))).apply();
  dropped({outside(0)}, web.at_load_balancer(family()));
  reaches({outside(1)}, web.at_load_balancer(family()), {"a1"});
  web.source_ranges({}).apply();
  reaches({outside(0), outside(1)}, web.at_load_balancer(family()), {"a1"});
}

TEST_P(SourceRanges, ARefusalIsForThoseInsideOnly) {
  auto web = service().no_endpoints().load_balancer();
  web.source_ranges(only(Topology::outside(0))).apply();
  refused({outside(0)}, web.at_load_balancer(family()));
}

// Where the load balancer's address is local to the node, the node's own connections come from it;
// they pass when the node's address is among the ranges.
TEST_P(SourceRanges, WithTheNodeInsideTheAddressItselfIsAdmitted) {
  auto web = service().endpoints({"a1"}).load_balancer();
  web.source_ranges(only(Topology::node_a())).apply();
  const DualAddress vip = {web.at_load_balancer(Family::kIPv4).front().address,
                           web.at_load_balancer(Family::kIPv6).front().address};
  harness::Namespace& node_ns = world().at("node-a");
  ASSERT_TRUE(node_ns.ip("address add " + host_prefix(vip) + " dev lo nodad\n").ok());
  const Place itself = {"node-a", of(vip), true};
  // The kernel itself takes a moment to use a new IPv6 address: the first datagram may be lost.
  for (const Target& target : web.at_load_balancer(family())) {
    EXPECT_TRUE(eventually([&] { return ask(itself, target, kSilence).fate == Fate::kAnswered; }));
  }
  reaches({itself}, web.at_load_balancer(family()), {"a1"});
  web.source_ranges(only(Topology::outside(0))).apply();
  dropped({itself}, web.at_load_balancer(family()));
  EXPECT_TRUE(node_ns.ip("address delete " + host_prefix(vip) + " dev lo\n").ok());
}

class HealthCheckPort : public Scenario {
 protected:
  // What a load balancer outside hears; status 0 when nobody listens.
  harness::HttpAnswer check(const ServiceObject& web) {
    Result<harness::HttpAnswer> answer =
        harness::http_get(world().at("outside"), of(Topology::node_a()),
                          web.health_check_port_number(), "/healthz", 1000ms);
    return answer ? std::move(answer).value() : harness::HttpAnswer{};
  }
  bool becomes(const ServiceObject& web, int status, const std::string& in_body = "") {
    return eventually([&] {
      const harness::HttpAnswer answer = check(web);
      return answer.status == status && answer.body.find(in_body) != std::string::npos;
    });
  }
  ServiceObject checked_service() {
    return service().load_balancer().external_local().health_check_port();
  }
};
FAIRLEAD_SCENARIOS(HealthCheckPort);

// A node whose own firewall lets nothing in still answers the load balancer's health checks, in the
// modes that kube-proxy has it in.
TEST_P(HealthCheckPort, PassesTheNodesFirewall) {
  if (!has(mode(), Behaviour::kHealthChecksPassTheFirewall)) {
    GTEST_SKIP() << "mode " << mode() << " leaves that to the firewall";
  }
  auto web = checked_service().endpoints({"a1"});
  web.apply();
  const auto firewall = [&](const char* operation) {
    const std::string command = World::iptables_tool(family());
    return world().at("node-a").run([&] {
      return harness::run_checked({command, operation, "INPUT", "-p", "tcp", "--dport",
                                   std::to_string(web.health_check_port_number()), "-j", "DROP"});
    });
  };
  ASSERT_TRUE(firewall("-A"));
  EXPECT_TRUE(becomes(web, 200));
  web.remove();
  settle();
  EXPECT_EQ(check(web).status, 0);
  EXPECT_TRUE(firewall("-D"));
}

TEST_P(HealthCheckPort, TellsHowManyEndpointsAreHere) {
  auto web = checked_service().endpoints({"a1", "a2", "b1"}).families({family()});
  web.apply();
  ASSERT_TRUE(becomes(web, 200)) << check(web).body;
  const harness::HttpAnswer answer = check(web);
  for (const std::string expected :
       {"\"namespace\":\"e2e\"", "\"localEndpoints\":2", "\"serviceProxyHealthy\":true"}) {
    std::string body = answer.body;
    std::erase_if(body, [](char c) { return c == ' ' || c == '\n' || c == '\t'; });
    EXPECT_NE(body.find(expected), std::string::npos) << answer.body;
  }
  EXPECT_NE(answer.body.find(web.name()), std::string::npos) << answer.body;
  EXPECT_NE(answer.headers.find("x-load-balancing-endpoint-weight: 2"), std::string::npos)
      << answer.headers;
}

// The weight is what load balancers share traffic by: a pod is one pod, however many addresses it
// has.
TEST_P(HealthCheckPort, CountsADualStackPodOnce) {
  auto web = checked_service().endpoints({"a1", "a2", "b1"});
  web.apply();
  ASSERT_TRUE(becomes(web, 200)) << check(web).body;
  const harness::HttpAnswer answer = check(web);
  EXPECT_NE(answer.headers.find("x-load-balancing-endpoint-weight: 2"), std::string::npos)
      << answer.headers;
}

TEST_P(HealthCheckPort, FailsWithoutReadyLocalEndpointAndRecovers) {
  auto web = checked_service().endpoints({"b1"});
  web.apply();
  EXPECT_TRUE(becomes(web, 503));
  web.endpoints({"a1", "b1"}).apply();
  EXPECT_TRUE(becomes(web, 200));
  web.endpoints({terminating("a1"), EndpointObject{"b1"}}).apply();
  EXPECT_TRUE(becomes(web, 503));
}

TEST_P(HealthCheckPort, ClosesWithItsService) {
  auto web = checked_service().endpoints({"a1"});
  web.apply();
  EXPECT_TRUE(becomes(web, 200));
  web.remove();
  settle();
  EXPECT_TRUE(becomes(web, 0));
}

}  // namespace
}  // namespace fairlead::e2e
