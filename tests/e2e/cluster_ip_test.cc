// ClusterIPs: from every kind of source, and which source the endpoint sees.
#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

class ClusterIp : public Scenario {};
FAIRLEAD_SCENARIOS(ClusterIp);

TEST_P(ClusterIp, PodsReachEveryEndpointWithTheirOwnAddress) {
  auto web = service().endpoints({"a1", "b1", "b2"});
  web.apply();
  reaches({pod()}, web.at_cluster_ip(family()), {"a1", "b1", "b2"}, Seen::kOwn);
}

TEST_P(ClusterIp, TheNodeItselfReachesEveryEndpoint) {
  auto web = service().endpoints({"a1", "b1"});
  web.apply();
  reaches({node()}, web.at_cluster_ip(family()), {"a1", "b1"}, Seen::kNode);
}

TEST_P(ClusterIp, ClientsOutsideAreMasqueraded) {
  auto web = service().endpoints({"a1", "b1"});
  web.apply();
  reaches({outside(), outside(4)}, web.at_cluster_ip(family()), {"a1", "b1"}, Seen::kNode);
}

TEST_P(ClusterIp, AnEndpointReachesItselfAndItsPeers) {
  auto web = service().endpoints({"a1", "a2", "b1"});
  web.apply();
  reaches({pod("a1"), pod("a2")}, web.at_cluster_ip(family()), {"a1", "a2", "b1"}, Seen::kOwn);
}

TEST_P(ClusterIp, AnOnlyEndpointReachesItself) {
  auto web = service().endpoints({"a1"});
  web.apply();
  reaches({pod("a1")}, web.at_cluster_ip(family()), {"a1"}, Seen::kNode);
}

TEST_P(ClusterIp, PodsOfTheOtherNodeAreServedWhenRoutedHere) {
  // node-b has no service rules and routes by default to this node.
  auto web = service().endpoints({"a1", "a2"});
  web.apply();
  reaches({pod("b1")}, web.at_cluster_ip(family()), {"a1", "a2"}, Seen::kOwn);
}

TEST_P(ClusterIp, AProcessInTheNodesNetworkIsAnEndpointLikeAnyOther) {
  auto api = service("host").endpoints({"node-a"});
  api.apply();
  reaches({pod(), outside()}, api.at_cluster_ip(family()), {"node-a"});
  reaches({node()}, api.at_cluster_ip(family()), {"node-a"}, Seen::kNode);
}

TEST_P(ClusterIp, UndefinedPortIsRefused) {
  auto web = service().endpoints({"a1"});
  web.apply();
  refused(everywhere(), web.at(of(web.cluster_ip()), 81));
  // A service that lives, but for one protocol only, has no such port for the other one.
  auto tcp = service("tcp").endpoints({"a1"}).protocols({Protocol::kTcp});
  tcp.apply();
  refused(everywhere(), {{Protocol::kUdp, of(tcp.cluster_ip()), tcp.port()}});
  reaches(everywhere(), tcp.at_cluster_ip(family()), {"a1"});
}

TEST_P(ClusterIp, ProtocolsOfOnePortAreIndependent) {
  auto tcp = service("tcp").endpoints({"a1"}).protocols({Protocol::kTcp});
  auto both = service("both").endpoints({"a2"});
  tcp.write();
  both.apply();
  reaches({pod()}, tcp.at_cluster_ip(family()), {"a1"});
  reaches({pod()}, both.at_cluster_ip(family()), {"a2"});
}

TEST_P(ClusterIp, TargetPortDiffersFromPort) {
  auto web = service().endpoints({"a1"}).port(8000).target_port(harness::kOtherPort);
  web.apply();
  for (const Target& target : web.at_cluster_ip(family())) {
    const Answer answer = ask(pod(), target);
    EXPECT_EQ(answer.endpoint, "a1") << answer.to_string();
    EXPECT_EQ(answer.local_port, harness::kOtherPort);
  }
}

TEST_P(ClusterIp, SingleStackServiceLivesInItsOwnFamilyOnly) {
  const Family other = family() == Family::kIPv4 ? Family::kIPv6 : Family::kIPv4;
  auto mine = service("mine").endpoints({"a1"}).families({family()});
  auto others = service("others").endpoints({"a1"}).families({other});
  mine.write();
  others.apply();
  reaches(everywhere(), mine.at_cluster_ip(family()), {"a1"});
  dropped({outside()}, others.at_cluster_ip(family()));
}

TEST_P(ClusterIp, EndpointsOfSeveralSlicesAddUp) {
  auto web = service().endpoints({"a1", "a2"});
  web.write();
  auto more = web;
  more.endpoints({"a2", "b1"});  // a2 is in both slices and counts once
  std::string second = more.slice_json(family());
  const std::string suffix = family() == Family::kIPv4 ? "-v4" : "-v6";
  const std::string name = web.name() + suffix;
  for (size_t at = second.find(name); at != std::string::npos; at = second.find(name, at + 1)) {
    second.replace(at, name.size(), name.substr(0, name.size() - 1) + "x");
  }
  world().cluster().write_raw("endpointslices", name.substr(0, name.size() - 1) + "x", second);
  settle();
  reaches({pod()}, web.at_cluster_ip(family()), {"a1", "a2", "b1"});
}

// What a pod sends has a checksum that a device is still to finish. The node's cables shall know as
// little of SCTP as most devices: then the kernel finishes it on the way out, behind the
// translation.
TEST_P(ClusterIp, SctpIsServed) {
  if (const std::string missing = harness::missing_features({harness::Feature::kSctp});
      !missing.empty()) {
    GTEST_SKIP() << missing;
  }
  const auto devices_finish_checksums = [this](const char* on_or_off) {
    for (const char* cable : {"eth0", "eth1"}) {
      const Status set = world().at("node-a").run([&] {
        return harness::run_checked({"ethtool", "-K", cable, "tx-checksum-sctp", on_or_off});
      });
      EXPECT_TRUE(set.ok()) << set.message();
    }
  };
  auto web = service().endpoints({"a1", "b1"}).protocols({Protocol::kSctp}).node_port();
  web.apply();
  devices_finish_checksums("off");
  reaches({pod()}, web.at_cluster_ip(family()), {"a1", "b1"}, Seen::kOwn);
  reaches({outside()}, web.at_node_port(family()), {"a1", "b1"}, Seen::kNode);
  devices_finish_checksums("on");
}

// SCTP services need no SCTP sockets on the node: the rules must be taken and disturb nobody.
TEST_P(ClusterIp, SctpServiceDoesNotDisturbOthers) {
  auto sctp = service("sctp").endpoints({"a1"}).protocols({Protocol::kSctp});
  auto web = service().endpoints({"a1"});
  sctp.write();
  web.apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1"});
  EXPECT_EQ(world().proxy().metric("fairlead_refused_entries"), 0);
}

}  // namespace
}  // namespace fairlead::e2e
