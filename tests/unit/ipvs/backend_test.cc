// The backend on a host of its own: what entries become, what a change changes, what stays after a
// failure. What it promises of the host is tried on a real kernel in conformance_test.cc.
#include "backend_fixture.h"

namespace fairlead::ipvs {
namespace {

using dataplane::Ack;
using dataplane::testing::address;
using dataplane::testing::prefix;
using testing::Host;
using testing::IpvsBackend;
using testing::service;

TEST_F(IpvsBackend, AServiceIsAServerAnAddressAndElements) {
  set(service("web", "10.96.0.1"), {"10.1.0.1:8080 local", "10.1.1.1:8080"});
  apply();
  EXPECT_EQ(host_.describe(), "TCP 10.96.0.1:80 rr -> 10.1.0.1:8080*1 10.1.1.1:8080*1\n");
  EXPECT_EQ(host_.on_device, (std::set{address("10.96.0.1")}));
  EXPECT_EQ(host_.elements("KUBE-CLUSTER-IP"), "10.96.0.1,tcp:80");
  EXPECT_EQ(host_.elements("KUBE-LOOP-BACK"), "10.1.0.1,tcp:8080,10.1.0.1");
  EXPECT_EQ(host_.elements("KUBE-IPVS-IPS"), "10.96.0.1");
  EXPECT_EQ(host_.settings["net/ipv4/vs/conntrack"], "1");
}

TEST_F(IpvsBackend, NodePortsAreServersAtEveryAddressOfTheNode) {
  dataplane::Service web = service("web", "10.96.0.1");
  web.ports[0].node_port = 30080;
  set(web, {"10.1.0.1:8080"});
  apply();
  EXPECT_EQ(host_.describe(),
            "TCP 10.96.0.1:80 rr -> 10.1.0.1:8080*1\n"
            "TCP 192.0.2.1:30080 rr -> 10.1.0.1:8080*1\n"
            "TCP 192.0.2.2:30080 rr -> 10.1.0.1:8080*1\n");
  EXPECT_EQ(host_.elements("KUBE-NODE-PORT-TCP"), "30080");
  EXPECT_FALSE(host_.on_device.contains(address("192.0.2.1")));
  host_.elsewhere.erase(address("192.0.2.2"));
  ASSERT_TRUE(backend_->audit().ok());
  EXPECT_EQ(host_.describe().find("192.0.2.2"), std::string::npos) << host_.describe();
}

TEST_F(IpvsBackend, PolicyLocalIsAServerForOthersAndAMarkForPodsAndTheNode) {
  dataplane::Service web = service("web", "10.96.0.1");
  web.external_ips = {address("203.0.113.1")};
  web.external_traffic_local = true;
  set(web, {"10.1.0.1:8080 local", "10.1.1.1:8080"});
  apply();
  EXPECT_EQ(host_.describe(),
            "TCP 10.96.0.1:80 rr -> 10.1.0.1:8080*1 10.1.1.1:8080*1\n"
            "TCP 203.0.113.1:80 rr -> 10.1.0.1:8080*1\n"
            "IPv4 mark 0x7a000001 rr -> 10.1.0.1:8080*1 10.1.1.1:8080*1\n");
  EXPECT_EQ(host_.elements("FAIRLEAD-MARKS"), "203.0.113.1,tcp:80");
  EXPECT_EQ(host_.elements("KUBE-EXTERNAL-IP-LOCAL"), "203.0.113.1,tcp:80");
  // A restart finds the same mark again.
  restart();
  apply();
  EXPECT_NE(host_.describe().find("IPv4 mark 0x7a000001 rr"), std::string::npos);
  // Nobody here: others, who are dropped, have no server once the last connection has ended.
  set(web, {"10.1.1.1:8080"});
  apply();
  static_cast<void>(backend_->disturbed());
  EXPECT_EQ(host_.describe(),
            "TCP 10.96.0.1:80 rr -> 10.1.1.1:8080*1\n"
            "IPv4 mark 0x7a000001 rr -> 10.1.1.1:8080*1\n");
  EXPECT_EQ(host_.elements("FAIRLEAD-NO-LOCAL"), "203.0.113.1,tcp:80");
  // Nobody anywhere: the servers refuse, and are as they were after a restart.
  for (int round = 0; round < 2; ++round) {
    set(web, {});
    apply();
    static_cast<void>(backend_->disturbed());
    EXPECT_EQ(host_.describe(),
              "TCP 10.96.0.1:80 rr ->\n"
              "TCP 203.0.113.1:80 rr ->\n"
              "IPv4 mark 0x7a000001 rr ->\n");
    EXPECT_EQ(host_.elements("FAIRLEAD-NO-LOCAL"), "");
    restart();
  }
}

TEST_F(IpvsBackend, HealthCheckNodePortsAreLetIn) {
  dataplane::Service web = service("web", "10.96.0.1");
  web.ports.push_back({"b", dataplane::Protocol::kTcp, 81, 0});
  web.external_traffic_local = true;
  web.health_check_node_port = 32000;
  set(web, {"10.1.1.1:8080"});
  apply();
  EXPECT_EQ(host_.elements("KUBE-HEALTH-CHECK-NODE-PORT"), "32000");
  web.health_check_node_port = 32001;
  set(web, {"10.1.1.1:8080"});
  apply();
  EXPECT_EQ(host_.elements("KUBE-HEALTH-CHECK-NODE-PORT"), "32001");
  web.health_check_node_port = 0;
  set(web, {"10.1.1.1:8080"});
  apply();
  EXPECT_EQ(host_.elements("KUBE-HEALTH-CHECK-NODE-PORT"), "");
}

TEST_F(IpvsBackend, AffinityIsPersistence) {
  dataplane::Service web = service("web", "10.96.0.1");
  web.affinity_seconds = 300;
  set(web, {"10.1.0.1:8080"});
  apply();
  EXPECT_EQ(host_.describe(), "TCP 10.96.0.1:80 rr persistent 300 -> 10.1.0.1:8080*1\n");
}

TEST_F(IpvsBackend, RangesOfLengthZeroAreTwoHalves) {
  dataplane::Service web = service("web", "10.96.0.1");
  web.load_balancer_ips = {address("203.0.113.1")};
  web.source_ranges = {prefix("0.0.0.0/0"), prefix("192.0.2.0/24")};
  set(web, {"10.1.0.1:8080"});
  apply();
  EXPECT_EQ(host_.elements("KUBE-LOAD-BALANCER-SOURCE-CIDR"),
            "203.0.113.1,tcp:80,0.0.0.0/1 203.0.113.1,tcp:80,128.0.0.0/1 "
            "203.0.113.1,tcp:80,192.0.2.0/24");
}

TEST_F(IpvsBackend, ADestinationThatGoesEndsWhenItsConnectionsHave) {
  set(service("web", "10.96.0.1"), {"10.1.0.1:8080", "10.1.1.1:8080"});
  apply();
  const ServerKey key = host_.servers.begin()->first;
  const dataplane::SocketAddress leaving{address("10.1.0.1"), 8080};
  host_.servers[key].destinations[leaving].connections = 1;
  set(service("web", "10.96.0.1"), {"10.1.1.1:8080"});
  apply();
  EXPECT_EQ(host_.describe(), "TCP 10.96.0.1:80 rr -> 10.1.0.1:8080*0 10.1.1.1:8080*1\n");
  static_cast<void>(backend_->disturbed());
  EXPECT_TRUE(host_.servers[key].destinations.contains(leaving)) << "it has a connection";
  host_.servers[key].destinations[leaving].connections = 0;
  static_cast<void>(backend_->disturbed());
  EXPECT_EQ(host_.describe(), "TCP 10.96.0.1:80 rr -> 10.1.1.1:8080*1\n");
}

TEST_F(IpvsBackend, ADestinationThatComesBackServesAgain) {
  set(service("web", "10.96.0.1"), {"10.1.0.1:8080"});
  apply();
  host_.servers.begin()->second.destinations.begin()->second.connections = 1;
  set(service("web", "10.96.0.1"), {"10.1.1.1:8080"});
  apply();
  set(service("web", "10.96.0.1"), {"10.1.0.1:8080"});
  apply();
  EXPECT_NE(host_.describe().find("10.1.0.1:8080*1"), std::string::npos) << host_.describe();
}

TEST_F(IpvsBackend, ChangesCostTheChange) {
  for (int n = 1; n < 200; ++n) {
    set(service("web" + std::to_string(n), "10.96.1." + std::to_string(n)), {"10.1.0.1:8080"});
  }
  apply();
  set(service("web7", "10.96.1.7"), {"10.1.0.1:8080", "10.1.0.2:8080"});
  const Result<Ack> ack = send();
  ASSERT_TRUE(ack.ok());
  EXPECT_LE(ack->operations, 2U);
}

TEST_F(IpvsBackend, ARefusedEntryStaysAsItWasAndTheOthersGoIn) {
  set(service("bad", "10.96.0.1"), {"10.1.0.1:8080"});
  apply();
  host_.refuse_operation = "10.1.0.66";
  set(service("bad", "10.96.0.1"), {"10.1.0.66:8080"});
  set(service("good", "10.96.0.2"), {"10.1.0.2:8080 local"});
  const Result<Ack> ack = send();
  ASSERT_TRUE(ack.ok());
  ASSERT_EQ(ack->refused.size(), 1U);
  EXPECT_EQ(ack->refused[0].key.service.name, "bad");
  EXPECT_EQ(host_.describe(),
            "TCP 10.96.0.1:80 rr -> 10.1.0.1:8080*1\n"
            "TCP 10.96.0.2:80 rr -> 10.1.0.2:8080*1\n");
  host_.refuse_operation.clear();
  apply();
  EXPECT_NE(host_.describe().find("10.1.0.66:8080*1"), std::string::npos) << host_.describe();
}

TEST_F(IpvsBackend, ARefusedElementRefusesItsEntryOnly) {
  host_.refuse_element = "10.96.0.1,";
  set(service("bad", "10.96.0.1"), {"10.1.0.1:8080"});
  set(service("good", "10.96.0.2"), {"10.1.0.2:8080"});
  const Result<Ack> ack = send();
  ASSERT_TRUE(ack.ok());
  ASSERT_EQ(ack->refused.size(), 1U);
  EXPECT_EQ(host_.describe(), "TCP 10.96.0.2:80 rr -> 10.1.0.2:8080*1\n");
  EXPECT_FALSE(host_.on_device.contains(address("10.96.0.1")));
}

TEST_F(IpvsBackend, AFullSetGrows) {
  apply();
  for (auto& [name, set] : host_.sets) set.room = 2;
  restart();
  for (int n = 1; n < 9; ++n) {
    set(service("web" + std::to_string(n), "10.96.0." + std::to_string(n)),
        {"10.1.0." + std::to_string(n) + ":8080 local"});
  }
  apply();
  EXPECT_EQ(host_.sets["KUBE-CLUSTER-IP"].elements.size(), 8U);
  EXPECT_GE(host_.sets["KUBE-CLUSTER-IP"].room, 8U);
  EXPECT_EQ(host_.sets["KUBE-LOOP-BACK"].elements.size(), 8U);
  EXPECT_FALSE(host_.sets.contains("FAIRLEAD-GROWING"));
}

// Whichever call to the kernel fails, the same delta given again ends in the same state.
TEST_F(IpvsBackend, AFailureLosesNothing) {
  for (int n = 1; n < 6; ++n) {
    Host fresh;
    fresh.elsewhere = host_.elsewhere;
    host_ = fresh;
    restart();
    table_.replace({"default", "next"}, {});
    set(service("web", "10.96.0.1"), {"10.1.0.1:8080 local"});
    apply();
    host_.fail_netlink = n;
    set(service("web", "10.96.0.1"), {"10.1.0.2:8080 local"});
    set(service("next", "10.96.0.2"), {"10.1.0.3:8080"});
    const Result<Ack> failed = send();
    host_.fail_netlink = 0;
    if (!failed) apply();
    EXPECT_EQ(host_.describe(),
              "TCP 10.96.0.1:80 rr -> 10.1.0.2:8080*1\n"
              "TCP 10.96.0.2:80 rr -> 10.1.0.3:8080*1\n")
        << n;
    EXPECT_EQ(host_.elements("KUBE-LOOP-BACK"), "10.1.0.2,tcp:8080,10.1.0.2") << n;
  }
}

TEST_F(IpvsBackend, LockedRulesAreTriedAgain) {
  Host fresh;
  host_ = fresh;
  host_.fail_restore = 1;
  backend_ = create_backend(testing::seams_of(host_), options_);
  const Status locked = backend_->start(rules_);
  EXPECT_EQ(locked.code(), StatusCode::kUnavailable) << locked.message();
  EXPECT_TRUE(backend_->start(rules_).ok());
  EXPECT_NE(host_.rules["v4 nat"].find("-A PREROUTING"), std::string::npos);
}

TEST_F(IpvsBackend, AnAuditRepairsWhatIsMissingWrongOrTooMuch) {
  set(service("web", "10.96.0.1"), {"10.1.0.1:8080 local", "10.1.1.1:8080"});
  apply();
  const std::string good = host_.describe();
  ASSERT_TRUE(backend_->audit().ok());
  const auto expect_repair = [&](auto damage) {
    damage();
    const auto report = backend_->audit();
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_GT(report->repaired, 0U);
    EXPECT_EQ(host_.describe(), good);
    EXPECT_EQ(host_.on_device, (std::set{address("10.96.0.1")}));
    EXPECT_EQ(host_.elements("KUBE-LOOP-BACK"), "10.1.0.1,tcp:8080,10.1.0.1");
  };
  expect_repair([&] { host_.servers.clear(); });
  expect_repair([&] { host_.servers.begin()->second.settings.scheduler = "wlc"; });
  expect_repair([&] { host_.servers.begin()->second.destinations.clear(); });
  expect_repair([&] { host_.on_device.clear(); });
  expect_repair([&] { host_.on_device.insert(address("10.96.7.7")); });
  expect_repair([&] { host_.sets["KUBE-LOOP-BACK"].elements.clear(); });
  expect_repair([&] { host_.sets.clear(); });
  expect_repair([&] {
    host_.rules["v4 nat"].clear();
    ++host_.stamp;
  });
  const auto report = backend_->audit();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->repaired, 0U) << "nothing left to repair";
}

}  // namespace
}  // namespace fairlead::ipvs
