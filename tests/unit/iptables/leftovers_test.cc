// What an earlier run, another proxy or another mode left, and what leaving the mode leaves.
#include <cstdio>
#include <fstream>

#include "iptables/cleanup.h"
#include "iptables/localnet.h"
#include "tests/unit/iptables/backend_fixture.h"

namespace fairlead::iptables {
namespace {

class IptablesLeftovers : public BackendFixture {};

INSTANTIATE_TEST_SUITE_P(Variants, IptablesLeftovers,
                         ::testing::Values(Variant::kLegacy, Variant::kNft),
                         [](const auto& each) { return std::string(to_string(each.param)); });

TEST_P(IptablesLeftovers, ARestartTakesOverWhatStands) {
  put_many();
  apply(true);
  const std::string before = everything();
  restart();
  EXPECT_EQ(everything(), before);
  EXPECT_EQ(apply(true).operations, 0U);
  EXPECT_EQ(everything(), before);
  expect_exact();
}

TEST_P(IptablesLeftovers, ARestartConvergesOnWhatChangedMeanwhile) {
  put_many();
  apply(true);
  restart();
  for (int n = 1; n <= 10; ++n) table_.replace(service(n).name, {});
  put(12, 4, true);
  put(41, 2);
  apply(true);
  expect_exact();
  EXPECT_EQ(everything().find("default/svc7:"), std::string::npos);
}

// What kube-proxy 1.30 leaves for a service that is the same, one that has gone, and itself.
TEST_P(IptablesLeftovers, KubeProxysRulesAreTakenOver) {
  put(1, 1);
  apply(true);
  const std::string wanted = everything();
  // Ours is what kube-proxy has, and what it would have more; rules of others stand beside it.
  run("*nat\n:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]\n:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]\n"
      ":CNI-HOSTPORT - [0:0]\n-A CNI-HOSTPORT -p tcp -m tcp --dport 81 -j ACCEPT\n"
      "-A PREROUTING -j CNI-HOSTPORT\n"
      "-I KUBE-SERVICES -d 10.96.9.9/32 -p tcp -m comment --comment \"a/b cluster IP\" -m tcp "
      "--dport 80 -j KUBE-SVC-AAAAAAAAAAAAAAAA\n"
      "-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-AAAAAAAAAAAAAAAA\n"
      "-A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m tcp -j DNAT --to-destination 10.244.9.9:80\nCOMMIT\n"
      "*mangle\n:FAIRLEAD-IPTABLES - [0:0]\n-X FAIRLEAD-IPTABLES\nCOMMIT\n");
  restart();
  EXPECT_NE(everything().find("10.244.9.9:80"), std::string::npos) << "gone before the first sync";
  EXPECT_GT(apply(true).operations, 0U);
  expect_exact();
  const std::string after = everything();
  EXPECT_EQ(after.find("AAAAAAAA"), std::string::npos) << after;
  EXPECT_NE(after.find("-A PREROUTING -j CNI-HOSTPORT"), std::string::npos);
  run("*nat\n-D PREROUTING -j CNI-HOSTPORT\n:CNI-HOSTPORT - [0:0]\n-X CNI-HOSTPORT\nCOMMIT\n");
  EXPECT_EQ(everything(), wanted);
}

// What went while no process ran, by more rules of one chain than are deleted one by one.
TEST_P(IptablesLeftovers, ManyStaleRulesGoAfterARestart) {
  options_.deletion_limit = 5;
  restart();
  for (int n = 1; n <= 40; ++n) put(n, n % 2, n % 4 == 0);  // every other one is refused in filter
  apply(true);
  restart();
  for (int n = 1; n <= 30; ++n) table_.replace(service(n).name, {});
  apply(true);
  EXPECT_EQ(everything().find("default/svc8:"), std::string::npos);
  expect_exact();
  EXPECT_NE(everything().find("default/svc38:"), std::string::npos);
}

TEST_P(IptablesLeftovers, CleanupRemovesOursAndNobodyElses) {
  const std::string foreign =
      "*nat\n:CNI-HOSTPORT - [0:0]\n-A PREROUTING -j CNI-HOSTPORT\nCOMMIT\n"
      "*filter\n-A FORWARD -p tcp -m tcp --dport 81 -j DROP\nCOMMIT\n"
      "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n";
  run(foreign);
  put_many();
  apply(true);
  ASSERT_TRUE(backend_->remove_all());
  const std::string left = everything();
  for (const char* ours :
       {"KUBE-SVC-", "KUBE-SERVICES", "KUBE-MARK-MASQ", "KUBE-FORWARD", "KUBE-PROXY", "FAIRLEAD"}) {
    EXPECT_EQ(left.find(ours), std::string::npos) << ours << "\n" << left;
  }
  EXPECT_NE(left.find("-A PREROUTING -j CNI-HOSTPORT"), std::string::npos) << left;
  EXPECT_NE(left.find("--dport 81 -j DROP"), std::string::npos);
  EXPECT_NE(left.find("KUBE-KUBELET-CANARY"), std::string::npos);
  EXPECT_TRUE(backend_->remove_all()) << "with nothing left to remove";
}

// What listens on 127.0.0.1 is never in reach of neighbours: route_localnet is on only while the
// guard stands.
TEST_P(IptablesLeftovers, RouteLocalnetNeverStandsWithoutItsGuard) {
  const std::string setting = ::testing::TempDir() + "localnet." + std::to_string(::getpid());
  const auto set = [&](int value) { std::ofstream(setting) << value; };
  const auto is = [&] {
    int value = -1;
    std::ifstream(setting) >> value;
    return value;
  };
  const auto guarded = [&] {
    const std::string filter = saved(Family::kIPv4, "filter");
    const bool all = filter.find("-A INPUT -j KUBE-FIREWALL") != std::string::npos &&
                     filter.find("-A OUTPUT -j KUBE-FIREWALL") != std::string::npos &&
                     filter.find(martian_rule()) != std::string::npos;
    EXPECT_TRUE(all || filter.find("KUBE-FIREWALL") == std::string::npos) << filter;
    return all;
  };
  ASSERT_TRUE(backend_->remove_all());
  route_localnet_ = setting;

  set(0);
  fail_at_start_ = 1;
  EXPECT_FALSE(start_again());
  EXPECT_EQ(is(), 0) << "set before the guard was there";
  restart();
  EXPECT_EQ(is(), 1);
  EXPECT_TRUE(guarded());
  restart();  // who has set it is remembered
  ASSERT_TRUE(backend_->remove_all());
  EXPECT_EQ(is(), 0);
  EXPECT_FALSE(guarded());

  set(0);
  restart();
  run("*mangle\n:FAIRLEAD-IPTABLES - [0:0]\n-X FAIRLEAD-IPTABLES\n"
      ":FAIRLEAD-IPVS - [0:0]\nCOMMIT\n");  // as IPVS does
  ASSERT_TRUE(backend_->remove_all());
  EXPECT_EQ(is(), 0);
  EXPECT_FALSE(guarded());
  EXPECT_NE(everything().find("-j KUBE-SERVICES"), std::string::npos) << "not ours any more";
  run("*mangle\n:FAIRLEAD-IPTABLES - [0:0]\nCOMMIT\n");
  ASSERT_TRUE(backend_->remove_all());

  set(1);  // by somebody else
  restart();
  ASSERT_TRUE(backend_->remove_all());
  EXPECT_EQ(is(), 1);
  EXPECT_TRUE(guarded());

  set(0);
  restart();
  route_localnet_ = "/proc/sys/kernel/cap_last_cap";  // not 0, and nobody can write it
  restart();
  ASSERT_TRUE(backend_->remove_all());
  EXPECT_TRUE(guarded()) << "not to be reset";

  route_localnet_ = setting;
  run("*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n");
  restart();
  ASSERT_TRUE(backend_->remove_all());
  EXPECT_EQ(is(), 0);
  EXPECT_TRUE(guarded()) << "the kubelet's";
  EXPECT_EQ(everything().find("fairlead"), std::string::npos);
  std::remove(setting.c_str());
}

TEST_P(IptablesLeftovers, NodePortsThatComeToLoopbackAreGuardedFirst) {
  ASSERT_TRUE(backend_->remove_all());
  route_localnet_ = ::testing::TempDir() + "localnet." + std::to_string(::getpid());
  std::ofstream(route_localnet_) << 0;
  const auto routed = [&] { return localnet_routed(route_localnet_); };
  rules_.node_ports_on_all_addresses = {false, false};
  restart();
  apply(true);
  EXPECT_FALSE(routed());
  rules_.node_ports_on_all_addresses = {true, true};
  Delta delta;
  delta.node = std::make_shared<NodeRules>(rules_);
  tool_->refuse = martian_rule();
  EXPECT_FALSE(backend_->apply(delta));
  EXPECT_FALSE(routed());
  tool_->refuse.clear();
  ASSERT_TRUE(backend_->apply(delta));
  EXPECT_TRUE(routed());
  expect_exact();
  ASSERT_TRUE(backend_->remove_all());
  EXPECT_FALSE(routed());
  std::remove(route_localnet_.c_str());
}

// The node's tools change from one variant to the other between two runs.
TEST_P(IptablesLeftovers, TheOtherVariantsGuardGoesAndOursStands) {
  const Variant now = GetParam() == Variant::kNft ? Variant::kLegacy : Variant::kNft;
  auto tool = create_tool(create_process_runner(), now);
  if (!tool->restore(Family::kIPv4, "*nat\nCOMMIT\n")) {
    GTEST_SKIP() << "there is no iptables-" << to_string(now);
  }
  ASSERT_TRUE(backend_->remove_all());
  route_localnet_ = ::testing::TempDir() + "localnet." + std::to_string(::getpid());
  std::ofstream(route_localnet_) << 0;
  restart();
  BackendParts parts;
  parts.tool = std::move(tool);
  parts.others.push_back(create_tool(create_process_runner(), GetParam()));
  parts.route_localnet = route_localnet_;
  backend_ = create_backend(std::move(parts), options_);
  ASSERT_TRUE(backend_->start(rules_));
  put(1, 1);
  apply(true);
  EXPECT_TRUE(localnet_routed(route_localnet_));
  EXPECT_EQ(everything().find("KUBE-"), std::string::npos) << "of the earlier run";
  const Result<std::string> ours =
      create_tool(create_process_runner(), now)->save(Family::kIPv4, "filter");
  ASSERT_TRUE(ours) << ours.status().message();
  EXPECT_NE(ours->find(martian_rule()), std::string::npos) << *ours;
  std::remove(route_localnet_.c_str());
}

TEST_P(IptablesLeftovers, CleanupLeavesAnotherProxysRules) {
  put_many();
  apply(true);
  run("*mangle\n:FAIRLEAD-IPTABLES - [0:0]\n-X FAIRLEAD-IPTABLES\nCOMMIT\n"
      "*filter\n-D KUBE-FIREWALL " +
      localnet_rule() + "\nCOMMIT\n");
  const std::string before = everything();
  // Of IPv6 the mark is still there.
  const Status left = remove_rules(*tool_, Family::kIPv4, kOwner, route_localnet_);
  EXPECT_EQ(left.code(), StatusCode::kConflict) << "nothing is removed, and that is said";
  for (const char* told : {"KUBE-SERVICES", "KUBE-FORWARD", "FAIRLEAD-IPTABLES",
                           "--proxy-mode=iptables", to_string(GetParam()).data()}) {
    EXPECT_NE(left.message().find(told), std::string::npos) << told << ": " << left.message();
  }
  EXPECT_EQ(everything(), before);
  EXPECT_EQ(backend_->remove_all().code(), StatusCode::kConflict);
  EXPECT_NE(everything().find("IPv4nat-A KUBE-SERVICES"), std::string::npos) << "still theirs";
  EXPECT_EQ(everything().find("IPv6nat-A KUBE-SERVICES"), std::string::npos) << "ours went";
  // What the message says helps.
  restart();
  ASSERT_TRUE(backend_->remove_all());
  EXPECT_EQ(everything().find("KUBE-"), std::string::npos) << everything();
}

TEST_P(IptablesLeftovers, AnotherModesChainsGo) {
  run("*nat\n:KUBE-LOAD-BALANCER - [0:0]\nCOMMIT\n*mangle\n:FAIRLEAD-IPVS - [0:0]\nCOMMIT\n"
      "*filter\n:KUBE-IPVS-FILTER - [0:0]\n-A INPUT -j KUBE-IPVS-FILTER\nCOMMIT\n");
  restart();
  put(1, 1);
  apply(true);
  expect_exact();
  EXPECT_EQ(everything().find("IPVS"), std::string::npos);
  EXPECT_EQ(everything().find("KUBE-LOAD-BALANCER"), std::string::npos);
}

// The removal of what another mode left fails half way: its tables go in one by one.
TEST_P(IptablesLeftovers, AFailedRemovalOfAnotherModesRulesIsMadeUpFor) {
  put(1, 1);
  for (const char* at : {"-D INPUT -j KUBE-IPVS-FILTER", "-X KUBE-IPVS-FILTER"}) {
    SCOPED_TRACE(at);
    run("*nat\n:KUBE-LOAD-BALANCER - [0:0]\n-A PREROUTING -m comment --comment \"as it was\" "
        "-j KUBE-SERVICES\n-A KUBE-SERVICES -j KUBE-LOAD-BALANCER\nCOMMIT\n"
        "*filter\n:KUBE-IPVS-FILTER - [0:0]\n-A INPUT -j KUBE-IPVS-FILTER\nCOMMIT\n");
    restart();
    tool_->fail_once_at = at;
    table_.forget_acknowledged();
    Delta delta = table_.pending();
    delta.complete = true;
    EXPECT_FALSE(backend_->apply(delta));
    EXPECT_EQ(tool_->fail_once_at, "");
    apply(true);
    expect_exact();
    EXPECT_EQ(everything().find("KUBE-IPVS-FILTER"), std::string::npos);
    EXPECT_EQ(everything().find("KUBE-LOAD-BALANCER"), std::string::npos);
    EXPECT_EQ(everything().find("as it was"), std::string::npos);
  }
}

// In a built-in chain, too, a rule is an older proxy's only if a proxy would have written it there.
TEST_P(IptablesLeftovers, OthersRulesThatUseOursSurvive) {
  put(1, 1);
  apply(true);
  const std::vector<std::string> foreign = {
      "-A PREROUTING -p tcp -m tcp --dport 9999 -j KUBE-MARK-MASQ",
      "-A PREROUTING -p tcp -m tcp --dport 9998 -j KUBE-SERVICES",
      "-A OUTPUT -m comment --comment theirs -j KUBE-NODEPORTS"};
  std::string input = "*nat\n";
  for (const std::string& rule : foreign) input += rule + "\n";
  run(input + "-A PREROUTING -m comment --comment older -j KUBE-SERVICES\nCOMMIT\n");
  const auto expect_theirs = [&](const char* when) {
    SCOPED_TRACE(when);
    const std::string nat = saved(Family::kIPv4, "nat");
    for (const std::string& rule : foreign) EXPECT_NE(nat.find(rule), std::string::npos) << nat;
    EXPECT_NE(nat.find("-A KUBE-MARK-MASQ -j MARK"), std::string::npos) << "does what it did";
  };
  restart();
  apply(true);
  expect_theirs("restarted");
  EXPECT_EQ(everything().find("older"), std::string::npos);
  expect_exact();
  ASSERT_TRUE(backend_->remove_all());
  expect_theirs("cleaned up");
  EXPECT_EQ(everything().find("-A KUBE-SERVICES"), std::string::npos);
  EXPECT_EQ(everything().find("-j KUBE-POSTROUTING"), std::string::npos);
  ASSERT_TRUE(backend_->remove_all()) << "what others hold is nothing left over";
}

TEST_P(IptablesLeftovers, SomebodyElseRemovesAnotherModesRules) {
  put(1, 1);
  run("*filter\n:KUBE-IPVS-FILTER - [0:0]\n-A INPUT -j KUBE-IPVS-FILTER\n"
      "-A INPUT -j KUBE-IPVS-FILTER\nCOMMIT\n");
  restart();
  run("*filter\n-D INPUT -j KUBE-IPVS-FILTER\nCOMMIT\n");
  ASSERT_TRUE(backend_->disturbed());
  ASSERT_TRUE(backend_->audit());
  apply(true);
  expect_exact();
  EXPECT_EQ(everything().find("KUBE-IPVS-FILTER"), std::string::npos);
}

}  // namespace
}  // namespace fairlead::iptables
