// The backend on a host of its own: what entries become, what a change changes, what stays after a
// failure, and whose things survive. The same host is a real kernel in kernel_test.cc.
#include "ipvs/backend.h"

#include <gtest/gtest.h>

#include "dataplane/compile.h"
#include "fakes.h"
#include "text.h"

namespace fairlead::ipvs {
namespace {

using dataplane::Ack;
using dataplane::Backend;
using dataplane::Delta;
using dataplane::Family;
using dataplane::ForwardingTable;
using dataplane::NodeRules;
using dataplane::testing::address;
using dataplane::testing::group;
using dataplane::testing::prefix;
using testing::Host;

dataplane::Service service(const std::string& name, const std::string& cluster_ip) {
  dataplane::Service made;
  made.name = {"default", name};
  made.cluster_ips = {address(cluster_ip)};
  made.ports = {{"", dataplane::Protocol::kTcp, 80, 0}};
  return made;
}

class IpvsBackend : public ::testing::Test {
 protected:
  void SetUp() override {
    rules_.families = {Family::kIPv4};
    rules_.detector.pod_prefixes = {prefix("10.1.0.0/16")};
    rules_.node_ports_on_all_addresses = {true, true};
    host_.elsewhere = {address("192.0.2.1"), address("192.0.2.2")};
    options_.reap_period = std::chrono::nanoseconds(0);
    restart();
  }
  // As after an upgrade: another backend, the same kernel.
  void restart() {
    backend_ = create_backend(testing::seams_of(host_), options_);
    const Status started = backend_->start(rules_);
    ASSERT_TRUE(started.ok()) << started.message();
    complete_ = true;
    table_.forget_acknowledged();
  }
  void set(const dataplane::Service& service, const std::vector<std::string_view>& endpoints) {
    const std::vector<dataplane::EndpointGroup> groups = {group(endpoints)};
    table_.replace(service.name, compile(service, groups, view_));
  }
  Result<Ack> send() {
    Delta delta = table_.pending();
    delta.generation = ++generation_;
    delta.complete = complete_;
    Result<Ack> ack = backend_->apply(delta);
    if (!ack) return ack;
    complete_ = false;
    std::vector<dataplane::EntryKey> refused;
    for (const dataplane::Refusal& refusal : ack->refused) refused.push_back(refusal.key);
    table_.acknowledge(delta, refused);
    return ack;
  }
  void apply() {
    const Result<Ack> ack = send();
    ASSERT_TRUE(ack.ok()) << ack.status().message();
    for (const auto& refusal : ack->refused) ADD_FAILURE() << refusal.reason.message();
  }

  Host host_;
  Options options_;
  NodeRules rules_;
  dataplane::CompileView view_;
  ForwardingTable table_;
  std::unique_ptr<Backend> backend_;
  uint64_t generation_ = 0;
  bool complete_ = true;
};

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
  // Nobody here: no server for others, who are dropped.
  set(web, {"10.1.1.1:8080"});
  apply();
  EXPECT_EQ(host_.describe(),
            "TCP 10.96.0.1:80 rr -> 10.1.1.1:8080*1\n"
            "IPv4 mark 0x7a000001 rr -> 10.1.1.1:8080*1\n");
  EXPECT_EQ(host_.elements("FAIRLEAD-NO-LOCAL"), "203.0.113.1,tcp:80");
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

TEST_F(IpvsBackend, AnUnchangedTableChangesNothingAfterARestart) {
  set(service("web", "10.96.0.1"), {"10.1.0.1:8080 local", "10.1.1.1:8080"});
  apply();
  restart();
  const Result<Ack> ack = send();
  ASSERT_TRUE(ack.ok());
  EXPECT_EQ(ack->operations, 0U);
}

TEST_F(IpvsBackend, WhatAnEarlierRunLeftAndNobodyWantsGoes) {
  set(service("old", "10.96.0.1"), {"10.1.0.1:8080 local"});
  apply();
  table_.replace({"default", "old"}, {});
  restart();
  set(service("new", "10.96.0.2"), {"10.1.0.2:8080"});
  apply();
  EXPECT_EQ(host_.describe(), "TCP 10.96.0.2:80 rr -> 10.1.0.2:8080*1\n");
  EXPECT_EQ(host_.on_device, (std::set{address("10.96.0.2")}));
  EXPECT_EQ(host_.elements("KUBE-CLUSTER-IP"), "10.96.0.2,tcp:80");
  EXPECT_EQ(host_.elements("KUBE-LOOP-BACK"), "");
}

TEST_F(IpvsBackend, AForeignServerIsNeverTouchedAndItsAddressRefused) {
  const ServerKey foreign = ServerKey::at(dataplane::Protocol::kTcp, {address("10.96.0.9"), 80});
  const ServerKey marked = ServerKey::marked(Family::kIPv4, 7);
  host_.servers[foreign].settings.scheduler = "wlc";
  host_.servers[marked].settings.scheduler = "wlc";
  restart();
  set(service("mine", "10.96.0.1"), {"10.1.0.1:8080"});
  set(service("theirs", "10.96.0.9"), {"10.1.0.1:8080"});
  const Result<Ack> ack = send();
  ASSERT_TRUE(ack.ok());
  ASSERT_EQ(ack->refused.size(), 1U);
  EXPECT_NE(ack->refused[0].reason.message().find("somebody else"), std::string::npos);
  EXPECT_EQ(host_.elements("KUBE-CLUSTER-IP"), "10.96.0.1,tcp:80");
  ASSERT_TRUE(backend_->audit().ok());
  ASSERT_TRUE(backend_->remove_all().ok());
  EXPECT_EQ(host_.describe(), "TCP 10.96.0.9:80 wlc ->\nIPv4 mark 0x7 wlc ->\n");
  EXPECT_TRUE(host_.sets.empty());
  EXPECT_FALSE(host_.device);
}

// It came after we looked: the kernel says so, and nothing of ours may get into it.
TEST_F(IpvsBackend, AForeignServerThatCameUnseenStaysAsItIs) {
  apply();
  const ServerKey foreign = ServerKey::at(dataplane::Protocol::kTcp, {address("10.96.0.9"), 80});
  host_.servers[foreign].settings.scheduler = "wlc";
  set(service("theirs", "10.96.0.9"), {"10.1.0.1:8080"});
  const Result<Ack> ack = send();
  ASSERT_TRUE(ack.ok());
  EXPECT_EQ(ack->refused.size(), 1U);
  EXPECT_EQ(host_.describe(), "TCP 10.96.0.9:80 wlc ->\n");
  EXPECT_EQ(host_.elements("KUBE-CLUSTER-IP"), "");
  EXPECT_TRUE(host_.on_device.empty());
}

TEST_F(IpvsBackend, ExcludedAddressesAreLeftAlone) {
  options_.excluded = {prefix("10.96.0.0/24")};
  restart();
  set(service("web", "10.96.0.1"), {"10.1.0.1:8080"});
  set(service("other", "10.96.1.1"), {"10.1.0.1:8080"});
  apply();
  EXPECT_EQ(host_.describe(), "TCP 10.96.1.1:80 rr -> 10.1.0.1:8080*1\n");
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

constexpr const char* kIptablesMode =
    "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-XPGD46QRK7WJZT7O - [0:0]\n"
    "-A PREROUTING -j KUBE-SERVICES\n"
    "-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-XPGD46QRK7WJZT7O\n";

TEST_F(IpvsBackend, AnotherModesRulesServeUntilOursCan) {
  Host fresh;
  host_ = fresh;
  host_.rules["v4 nat"] = kIptablesMode;
  restart();
  EXPECT_EQ(host_.restores, 0);
  ASSERT_TRUE(backend_->audit().ok());
  EXPECT_EQ(host_.rules["v4 nat"], kIptablesMode);
  set(service("web", "10.96.0.1"), {"10.1.0.1:8080"});
  apply();
  EXPECT_EQ(host_.rules["v4 nat"].find("KUBE-SVC"), std::string::npos);
  EXPECT_NE(host_.rules["v4 nat"].find("--match-set KUBE-CLUSTER-IP"), std::string::npos);
  EXPECT_NE(host_.rules["v4 mangle"].find(":FAIRLEAD-IPVS"), std::string::npos);
}

TEST_F(IpvsBackend, AnotherModeThatHasTakenOverKeepsItsRules) {
  set(service("web", "10.96.0.1"), {"10.1.0.1:8080"});
  apply();
  host_.servers.begin()->second.destinations.begin()->second.connections = 1;
  host_.rules.clear();
  host_.rules["v4 nat"] = kIptablesMode;
  backend_ = create_backend(testing::seams_of(host_), options_);
  const auto wait = backend_->release();
  ASSERT_TRUE(wait.ok());
  EXPECT_GT(wait->count(), 0) << "a connection would end";
  ASSERT_TRUE(backend_->remove_all().ok());
  EXPECT_EQ(host_.rules["v4 nat"], kIptablesMode);
  EXPECT_EQ(host_.describe(), "");
  EXPECT_TRUE(host_.sets.empty());
  EXPECT_FALSE(host_.device);
}

// Each question is a process.
TEST_F(IpvsBackend, AStartAsksForEachTableOnce) {
  host_.saves.clear();
  restart();
  EXPECT_EQ(host_.saves,
            (std::map<std::string, int>{{"v4 mangle", 1}, {"v4 nat", 1}, {"v4 filter", 1}}));
}

// A stamp may be one for all tables of both families, and IPVS is read in full when it starts.
TEST_F(IpvsBackend, WhatItHasJustWrittenAndReadDoesNotDisturbIt) {
  rules_.families = {Family::kIPv4, Family::kIPv6};
  for (const char* before : {"", kIptablesMode}) {  // another mode's: ours wait for the first delta
    Host fresh;
    host_ = fresh;
    host_.rules["v4 nat"] = host_.rules["v6 nat"] = before;
    restart();
    set(service("web", "10.96.0.1"), {"10.1.0.1:8080"});
    apply();
    EXPECT_FALSE(backend_->disturbed()) << before;
    ++host_.stamp;
    EXPECT_TRUE(backend_->disturbed()) << before;
  }
}

// A kube-proxy of the same mode has the same device, sets and chains.
TEST_F(IpvsBackend, WhatFairleadHasNotMadeIsNotCleanedUp) {
  set(service("web", "10.96.0.1"), {"10.1.0.1:8080"});
  apply();
  host_.sets.erase("FAIRLEAD-MARKS");
  const std::string before = host_.describe();
  backend_ = create_backend(testing::seams_of(host_), options_);
  ASSERT_TRUE(backend_->remove_all().ok());
  EXPECT_EQ(host_.describe(), before);
  EXPECT_TRUE(host_.device);
  EXPECT_EQ(host_.elements("KUBE-CLUSTER-IP"), "10.96.0.1,tcp:80");
}

TEST_F(IpvsBackend, OldKernelsWaitForNoReuse) {
  for (const auto& [release, value] :
       std::initializer_list<std::pair<const char*, const char*>>{{"4.19.0-27-amd64", "0"},
                                                                  {"5.8.1", "0"},
                                                                  {"5.9.0", ""},
                                                                  {"6.1.0", ""},
                                                                  {"nonsense", ""}}) {
    Host fresh;
    host_ = fresh;
    host_.settings["release"] = release;
    restart();
    EXPECT_EQ(host_.settings["net/ipv4/vs/conn_reuse_mode"], value) << release;
  }
}

}  // namespace
}  // namespace fairlead::ipvs
