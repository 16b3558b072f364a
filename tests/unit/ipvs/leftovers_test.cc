// What the backend finds on a node, and leaves there: an earlier run's things, others' things,
// other modes' rules, another variant of iptables, what a kernel lacks.
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <tuple>

#include "backend_fixture.h"
#include "iptables/layout.h"

namespace fairlead::ipvs {
namespace {

using dataplane::Ack;
using dataplane::Family;
using dataplane::testing::address;
using dataplane::testing::prefix;
using testing::Host;
using testing::IpvsBackend;
using testing::service;

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

// Whose a server is goes by address, port and protocol: others may share an address of ours.
TEST_F(IpvsBackend, ForeignServersAtAddressesOfOursSurviveEverything) {
  using dataplane::Protocol;
  dataplane::Service web = service("web", "10.96.0.1");
  web.external_ips = {address("203.0.113.1")};
  web.ports[0].node_port = 30080;
  set(web, {"10.1.0.1:8080"});
  rules_.node_ports_on_all_addresses = {false, false};
  rules_.node_port_addresses = {address("192.0.2.1")};
  restart();
  apply();
  const std::string ours = host_.describe();
  std::vector<ServerKey> foreign;
  for (const auto& [protocol, at, port] :
       std::initializer_list<std::tuple<Protocol, const char*, uint16_t>>{
           {Protocol::kTcp, "10.96.0.1", 443},
           {Protocol::kUdp, "10.96.0.1", 80},
           {Protocol::kTcp, "203.0.113.1", 443},
           {Protocol::kTcp, "192.0.2.1", 30081},
           {Protocol::kUdp, "192.0.2.1", 30080},
           {Protocol::kTcp, "192.0.2.2", 30080}}) {  // a port, but no address, of ours
    foreign.push_back(ServerKey::at(protocol, {address(at), port}));
    host_.servers[foreign.back()].settings.scheduler = "wlc";
  }
  const auto expect = [&](bool all, const char* after) {
    EXPECT_EQ(host_.servers.size(), foreign.size() + (all ? 3 : 0)) << after << host_.describe();
    for (const ServerKey& key : foreign) {
      EXPECT_EQ(host_.servers[key].settings.scheduler, "wlc") << after << ": " << key.to_string();
    }
  };
  ASSERT_TRUE(backend_->audit().ok());
  expect(true, "audit");
  restart();
  apply();
  expect(true, "restart");
  ASSERT_TRUE(backend_->audit().ok());
  expect(true, "restart and audit");
  backend_ = create_backend(testing::seams_of(host_), options_);
  ASSERT_TRUE(backend_->remove_all().ok());
  expect(false, "removal");
}

// A run may end at any moment: what it has made by then is known as ours, and all of it goes.
TEST_F(IpvsBackend, ARunThatEndsAtAnyBatchLeavesNothingThatIsNobodys) {
  int ended = 0;
  for (int n = 1; n < 9; ++n) {
    Host fresh;
    fresh.elsewhere = host_.elsewhere;
    host_ = fresh;
    table_.replace({"default", "new"}, {});
    restart();
    dataplane::Service web = service("web", "10.96.0.1");
    web.external_ips = {address("203.0.113.1")};
    web.ports[0].node_port = 30080;
    set(web, {"10.1.0.1:8080 local"});
    set(service("old", "10.96.0.2"), {"10.1.0.2:8080"});
    apply();
    // Comes, goes, moves to other sets and other ports.
    web.external_traffic_local = true;
    web.ports[0].node_port = 30081;
    set(web, {"10.1.0.1:8080 local", "10.1.1.1:8080"});
    table_.replace({"default", "old"}, {});
    set(service("new", "10.96.0.3"), {"10.1.0.3:8080"});
    host_.fail_netlink = n;
    ended += send().ok() ? 0 : 1;
    host_.fail_netlink = 0;
    backend_ = create_backend(testing::seams_of(host_), options_);
    ASSERT_TRUE(backend_->remove_all().ok());
    EXPECT_EQ(host_.describe(), "") << n;
  }
  EXPECT_GT(ended, 2);
}

// A node's address may go while nobody looks: what it had as node port goes all the same.
TEST_F(IpvsBackend, NodePortsAtAnAddressThatWentUnseenGo) {
  dataplane::Service web = service("web", "10.96.0.1");
  web.ports[0].node_port = 30080;
  set(web, {"10.1.0.1:8080"});
  apply();
  host_.elsewhere.erase(address("192.0.2.2"));
  restart();
  apply();
  EXPECT_EQ(host_.describe().find("192.0.2.2"), std::string::npos) << host_.describe();
}

// An older build, and kube-proxy, name node ports without the addresses. The record that we make of
// them comes at once, or a run that ends meanwhile would leave servers that are nobody's.
TEST_F(IpvsBackend, NodePortsWithoutARecordAreTakenOver) {
  dataplane::Service web = service("web", "10.96.0.1");
  web.ports[0].node_port = 30080;
  set(web, {"10.1.0.1:8080"});
  apply();
  const std::string record = host_.elements("FAIRLEAD-NODE-PORTS");
  EXPECT_EQ(record, "192.0.2.1,tcp:30080 192.0.2.2,tcp:30080");
  host_.sets.erase("FAIRLEAD-NODE-PORTS");
  restart();
  EXPECT_EQ(host_.elements("FAIRLEAD-NODE-PORTS"), "");
  set(web, {"10.1.0.2:8080"});
  apply();
  EXPECT_EQ(host_.elements("FAIRLEAD-NODE-PORTS"), record);
  EXPECT_NE(host_.describe().find("192.0.2.2:30080 rr -> 10.1.0.2:8080*1"), std::string::npos);
}

// As in kube-proxy: only what others have there is spared.
TEST_F(IpvsBackend, ExcludedAddressesAreServed) {
  options_.excluded = {prefix("10.96.0.0/24"), prefix("192.0.2.0/24"), prefix("203.0.113.0/24")};
  restart();
  dataplane::Service web = service("web", "10.96.0.1");
  web.external_ips = {address("203.0.113.1")};
  web.ports[0].node_port = 30080;
  set(web, {"10.1.0.1:8080"});
  apply();
  EXPECT_EQ(host_.describe(),
            "TCP 10.96.0.1:80 rr -> 10.1.0.1:8080*1\n"
            "TCP 192.0.2.1:30080 rr -> 10.1.0.1:8080*1\n"
            "TCP 192.0.2.2:30080 rr -> 10.1.0.1:8080*1\n"
            "TCP 203.0.113.1:80 rr -> 10.1.0.1:8080*1\n");
  EXPECT_EQ(host_.on_device, (std::set{address("10.96.0.1"), address("203.0.113.1")}));
  // Ours go when nobody wants them, also in the next run.
  table_.replace({"default", "web"}, {});
  restart();
  apply();
  EXPECT_EQ(host_.describe(), "");
}

TEST_F(IpvsBackend, AForeignServerAtAnExcludedAddressStaysAndIsNamed) {
  options_.excluded = {prefix("192.0.2.0/24")};
  const ServerKey foreign = ServerKey::at(dataplane::Protocol::kTcp, {address("192.0.2.1"), 30080});
  host_.servers[foreign].settings.scheduler = "wlc";
  restart();
  dataplane::Service web = service("web", "10.96.0.1");
  web.ports[0].node_port = 30080;
  set(web, {"10.1.0.1:8080"});
  set(service("other", "10.96.0.2"), {"10.1.0.2:8080"});
  const Result<Ack> ack = send();
  ASSERT_TRUE(ack.ok());
  ASSERT_EQ(ack->refused.size(), 1U);
  EXPECT_NE(ack->refused[0].reason.message().find(
                "TCP 192.0.2.1:30080: there is a virtual server of somebody else"),
            std::string::npos)
      << ack->refused[0].reason.message();
  EXPECT_EQ(host_.describe(),
            "TCP 10.96.0.2:80 rr -> 10.1.0.2:8080*1\nTCP 192.0.2.1:30080 wlc ->\n");
}

// Without a record, servers at node ports' numbers may be kube-proxy's or others': what is wanted
// is taken over; of the rest, what is excluded is left.
TEST_F(IpvsBackend, ExcludedServersThatNobodyHasRecordedStayUnlessWanted) {
  const auto take_over = [&](bool wanted) {
    dataplane::Service web = service("web", "10.96.0.1");
    web.ports[0].node_port = 30080;
    options_.excluded.clear();
    restart();
    set(web, {"10.1.0.1:8080"});
    apply();
    options_.excluded = {prefix("192.0.2.1/32")};
    host_.sets["FAIRLEAD-NODE-PORTS"].elements.clear();
    restart();
    if (!wanted) {
      table_.replace({"default", "web"}, {});
    } else {
      set(web, {"10.1.0.2:8080"});
    }
    apply();
    ASSERT_TRUE(backend_->audit().ok());
  };
  take_over(true);
  EXPECT_NE(host_.describe().find("192.0.2.1:30080 rr -> 10.1.0.2:8080*1"), std::string::npos);
  take_over(false);
  EXPECT_EQ(host_.describe(), "TCP 192.0.2.1:30080 rr -> 10.1.0.1:8080*1\n");
  ASSERT_TRUE(backend_->remove_all().ok());
  EXPECT_EQ(host_.describe(), "TCP 192.0.2.1:30080 rr -> 10.1.0.1:8080*1\n");
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

TEST_F(IpvsBackend, ASchedulerThatTheKernelLacksIsNamedOnce) {
  host_.schedulers.erase("mh");
  options_.scheduler = "mh";
  backend_ = create_backend(testing::seams_of(host_), options_);
  const Status started = backend_->start(rules_);
  EXPECT_EQ(started.message(),
            "use --ipvs-scheduler=mh: the kernel does not have it (try: modprobe ip_vs_mh)");
  host_.schedulers.insert("mh");
  EXPECT_TRUE(backend_->start(rules_).ok());
  EXPECT_EQ(host_.describe(), "") << "nothing of the trial stays";
}

TEST_F(IpvsBackend, WithoutTheSchedulerOfAffinityOnlyWhatNeedsItIsRefused) {
  host_.schedulers.erase("sh");
  restart();
  dataplane::Service web = service("web", "10.96.0.1");
  web.affinity_seconds = 100;
  web.external_traffic_local = true;
  web.external_ips = {address("203.0.113.1")};
  set(web, {"10.1.0.1:8080 local", "10.1.1.1:8080"});
  set(service("other", "10.96.0.2"), {"10.1.0.2:8080"});
  const Result<Ack> ack = send();
  ASSERT_TRUE(ack.ok());
  ASSERT_EQ(ack->refused.size(), 1U);
  EXPECT_NE(ack->refused[0].reason.message().find("no scheduler sh (try: modprobe ip_vs_sh)"),
            std::string::npos)
      << ack->refused[0].reason.message();
  EXPECT_EQ(host_.describe(), "TCP 10.96.0.2:80 rr -> 10.1.0.2:8080*1\n");
  EXPECT_FALSE(backend_->disturbed()) << "the books are right";
}

// Detection may give another answer than at the last start.
TEST_F(IpvsBackend, RulesInTheOtherVariantGo) {
  set(service("web", "10.96.0.1"), {"10.1.0.1:8080"});
  apply();
  const auto move_to_other = [&] {
    for (const char* table : {"mangle", "nat", "filter"}) {
      host_.rules[std::string("other v4 ") + table] = host_.rules[std::string("v4 ") + table];
    }
    host_.rules["other v4 nat"] += "-A PREROUTING -j SOMEBODY\n";
  };
  const auto others = [&] {
    std::string text;
    for (const char* table : {"mangle", "nat", "filter"}) {
      text += host_.rules[std::string("other v4 ") + table];
    }
    return text;
  };
  const auto create = [&] {
    OwnedSeams seams = testing::seams_of(host_);
    seams.other_iptables.push_back(testing::other_tool_of(host_));
    backend_ = create_backend(std::move(seams), options_);
  };
  move_to_other();
  create();
  ASSERT_TRUE(backend_->start(rules_).ok());
  EXPECT_NE(others().find("KUBE-SERVICES"), std::string::npos) << "serve until all is known";
  complete_ = true;
  table_.forget_acknowledged();
  apply();
  EXPECT_EQ(others().find("KUBE-"), std::string::npos) << others();
  EXPECT_EQ(others().find("FAIRLEAD-"), std::string::npos) << others();
  EXPECT_NE(others().find("-A PREROUTING -j SOMEBODY"), std::string::npos);
  EXPECT_NE(host_.rules["v4 nat"].find(":KUBE-SERVICES"), std::string::npos);

  move_to_other();
  create();
  ASSERT_TRUE(backend_->remove_all().ok());
  EXPECT_EQ(others().find("KUBE-"), std::string::npos) << others();
  EXPECT_EQ(host_.rules["v4 nat"].find("KUBE-"), std::string::npos) << host_.rules["v4 nat"];

  // Without our mark they are somebody else's.
  host_.rules["other v4 nat"] = kIptablesMode;
  host_.rules["other v4 mangle"] = "";
  create();
  ASSERT_TRUE(backend_->start(rules_).ok());
  complete_ = true;
  table_.forget_acknowledged();
  apply();
  EXPECT_EQ(host_.rules["other v4 nat"], kIptablesMode);
}

// Everything but the rules is looked at all the same, and the reason is given once.
TEST_F(IpvsBackend, ATableThatCannotBeReadIsToldOnceAndLeftAlone) {
  set(service("web", "10.96.0.1"), {"10.1.0.1:8080"});
  apply();
  ASSERT_TRUE(backend_->audit().ok());
  const std::string nat = host_.rules["v4 nat"];
  const std::string servers = host_.describe();
  host_.unreadable = "v4 nat";
  ++host_.stamp;
  host_.servers.clear();
  const int restores = host_.restores;
  EXPECT_TRUE(backend_->disturbed());
  EXPECT_EQ(backend_->audit().status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(host_.describe(), servers);
  for (int n = 0; n < 2; ++n) {
    EXPECT_TRUE(backend_->disturbed()) << "it may be readable again";
    const auto report = backend_->audit();
    EXPECT_TRUE(report.ok()) << report.status().message();
  }
  EXPECT_EQ(host_.restores, restores);
  EXPECT_EQ(backend_->remove_all().code(), StatusCode::kUnsupported);
  EXPECT_EQ(host_.rules["v4 nat"], nat);
  host_.unreadable.clear();
  ASSERT_TRUE(backend_->start(rules_).ok());
  ASSERT_TRUE(backend_->audit().ok());
  host_.unreadable = "v4 nat";
  ++host_.stamp;
  EXPECT_EQ(backend_->audit().status().code(), StatusCode::kUnsupported) << "said anew";
}

// While packets to 127.0.0.0/8 are routed, KUBE-FIREWALL is all that keeps neighbours from what
// listens there, whoever has set that.
TEST_F(IpvsBackend, TakingOverLeavesTheGuardOfLoopbackWhileItIsNeeded) {
  host_.route_localnet = ::testing::TempDir() + "ipvs-localnet." + std::to_string(::getpid());
  for (const char* routed : {"1", "0"}) {
    std::ofstream(host_.route_localnet) << routed;
    host_.rules["v4 filter"] =
        "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-FIREWALL - [0:0]\n"
        "-A INPUT -j KUBE-FIREWALL\n-A KUBE-FIREWALL " +
        iptables::martian_rule() + "\n";
    restart();
    const std::string& filter = host_.rules["v4 filter"];
    const bool guarded = filter.find("-A INPUT -j KUBE-FIREWALL") != std::string::npos &&
                         filter.find(iptables::martian_rule()) != std::string::npos;
    EXPECT_EQ(guarded, routed == std::string("1")) << filter;
  }
  std::remove(host_.route_localnet.c_str());
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
