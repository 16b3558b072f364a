// What the backend installs, repairs and survives. Traffic is the business of tests/e2e.
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>

#include "base/fd.h"
#include "tests/unit/iptables/backend_fixture.h"

namespace fairlead::iptables {
namespace {

class IptablesBackend : public BackendFixture {};

INSTANTIATE_TEST_SUITE_P(Variants, IptablesBackend,
                         ::testing::Values(Variant::kLegacy, Variant::kNft),
                         [](const auto& each) { return std::string(to_string(each.param)); });

// Whatever is rendered is, word for word, what the tool prints: only so can it be compared.
TEST_P(IptablesBackend, WritesWhatSavePrints) {
  put_many();
  apply(true);
  expect_exact();
  const std::string printed = "\n" + saved(Family::kIPv4, "nat") + saved(Family::kIPv4, "filter") +
                              saved(Family::kIPv6, "nat") + saved(Family::kIPv6, "filter");
  size_t rules = 0;
  for (const std::string& input : tool_->inputs) {
    std::istringstream lines(input);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("-I")) line[1] = 'A';
      if (!line.starts_with("-A")) continue;
      ++rules;
      EXPECT_NE(printed.find("\n" + line + "\n"), std::string::npos) << line;
    }
  }
  EXPECT_GT(rules, 200U);
}

TEST_P(IptablesBackend, CostFollowsTheChange) {
  for (int n = 1; n <= 60; ++n) put(n, 3);
  apply(true);
  put(7, 4);
  tool_->inputs.clear();
  // KUBE-SVC- with its five rules, and KUBE-SEP- with its two; in both families.
  EXPECT_EQ(apply().operations, 2U * (1 + 5 + 1 + 2));
  ASSERT_EQ(tool_->inputs.size(), 2U);
  EXPECT_EQ(tool_->inputs[0].find("KUBE-SERVICES"), std::string::npos);
  put(7, 4);
  EXPECT_EQ(apply().operations, 0U);
  expect_exact();
}

TEST_P(IptablesBackend, ServicesComeAndGo) {
  put_many();
  apply(true);
  for (int n = 1; n <= 10; ++n) table_.replace(service(n).name, {});
  for (int n = 11; n <= 15; ++n) put(n, (n + 3) % 5, n % 2 == 1);
  put(40, 2);
  apply();
  expect_exact();
  EXPECT_EQ(everything().find("default/svc7:"), std::string::npos);
  for (int n = 0; n <= 60; ++n) table_.replace(service(n).name, {});
  apply();
  expect_exact();
  EXPECT_EQ(everything().find("KUBE-SVC-"), std::string::npos);
}

TEST_P(IptablesBackend, AFailedRunLosesNothing) {
  put_many();
  apply(true);
  put(1, 3);
  table_.replace(service(2).name, {});
  Delta delta = table_.pending();
  tool_->fail_next = 1;
  EXPECT_FALSE(backend_->apply(delta));
  EXPECT_TRUE(backend_->disturbed());
  put(50, 2);
  EXPECT_GT(apply().operations, 0U);
  expect_exact();
}

TEST_P(IptablesBackend, AFailedFirstRunIsMadeUpFor) {
  put_many();
  table_.forget_acknowledged();
  Delta delta = table_.pending();
  delta.complete = true;
  tool_->fail_next = 1;
  EXPECT_FALSE(backend_->apply(delta));
  apply(true);
  expect_exact();
}

// kube-proxy's metrics against what iptables-save shows. In this namespace all rules are ours.
TEST_P(IptablesBackend, CountsRulesAsTheyStand) {
  const auto expect_true_totals = [&](const char* when) {
    SCOPED_TRACE(when);
    for (const Family family : rules_.families) {
      for (const char* table : {"nat", "filter", "mangle"}) {
        EXPECT_EQ(figure("total", family, table), rules_in(family, table)) << table;
      }
    }
  };
  expect_true_totals("at start");
  put_many();
  apply(true);
  expect_true_totals("many");
  EXPECT_GT(figure("last", Family::kIPv4, "nat"), 100);
  put(2, 7);
  put(50, 2);
  table_.replace(service(1).name, {});
  apply();
  expect_true_totals("changed");
  put(51, 1);
  const double before = figure("total", Family::kIPv4, "nat");
  apply();
  EXPECT_EQ(figure("last", Family::kIPv4, "nat"), figure("total", Family::kIPv4, "nat") - before);
  apply();
  EXPECT_EQ(figure("last", Family::kIPv4, "nat"), 0) << "nothing to do";
  rules_.service_prefixes.clear();
  restart();
  apply(true);
  expect_true_totals("taken over");
}

TEST_P(IptablesBackend, CountsFailedRunsByTheSyncTheyWereIn) {
  put_many();
  table_.forget_acknowledged();
  Delta complete = table_.pending();
  complete.complete = true;
  tool_->fail_next = 1;
  EXPECT_FALSE(backend_->apply(complete));
  EXPECT_EQ(figure("restore_failures_total", Family::kIPv4), 1);
  EXPECT_EQ(figure("partial_restore_failures_total", Family::kIPv4), 0);
  apply(true);
  put(1, 3);
  const Delta partial = table_.pending();
  tool_->fail_next = 1;
  EXPECT_FALSE(backend_->apply(partial));
  EXPECT_EQ(figure("restore_failures_total", Family::kIPv4), 2);
  EXPECT_EQ(figure("partial_restore_failures_total", Family::kIPv4), 1);
  EXPECT_EQ(figure("restore_failures_total", Family::kIPv6), 0);
}

TEST_P(IptablesBackend, OneRefusedEntryHoldsUpNobody) {
  put_many();
  tool_->refuse = "default/svc13:http ";
  const Ack ack = apply(true, 2);  // one of each family
  for (const auto& refusal : ack.refused) EXPECT_EQ(refusal.key.service.name, "svc13");
  EXPECT_NE(everything().find("default/svc14:http"), std::string::npos);
  tool_->refuse.clear();
  apply();
  expect_exact();
  EXPECT_NE(everything().find("default/svc13:http"), std::string::npos);
}

TEST_P(IptablesBackend, NodeRulesChangeInPlace) {
  put_many();
  apply(true);
  rules_.detector.pod_prefixes = {prefix("10.244.0.0/24"), prefix("10.244.1.0/24")};
  rules_.detector.bridge_interface = "cni0";
  rules_.node_ports_on_all_addresses = {false, false};
  rules_.node_port_addresses = {address("192.0.2.10")};
  rules_.service_prefixes.clear();
  Delta delta;
  delta.node = std::make_shared<NodeRules>(rules_);
  const Result<Ack> ack = backend_->apply(delta);
  ASSERT_TRUE(ack) << ack.status().message();
  expect_exact();
  const std::string after = everything();
  EXPECT_NE(after.find("-d 192.0.2.10/32"), std::string::npos) << after;
  EXPECT_NE(after.find("-i cni0"), std::string::npos);
  EXPECT_EQ(after.find("10.96.0.0/12"), std::string::npos);
}

TEST_P(IptablesBackend, OneEntryRefusedUnderNewNodeRulesHoldsUpNobody) {
  for (int n = 1; n <= 6; ++n) put(n, 2);
  apply(true);
  rules_.detector.pod_prefixes = {prefix("10.244.0.0/24"), prefix("10.244.1.0/24")};
  put(7, 1);
  Delta delta = table_.pending();
  delta.node = std::make_shared<NodeRules>(rules_);
  tool_->refuse = "default/svc3:http ";
  const Result<Ack> ack = backend_->apply(delta);
  ASSERT_TRUE(ack) << ack.status().message();
  ASSERT_EQ(ack->refused.size(), 2U);  // one of each family
  std::vector<dataplane::EntryKey> refused;
  for (const auto& refusal : ack->refused) {
    EXPECT_EQ(refusal.key.service.name, "svc3");
    refused.push_back(refusal.key);
  }
  table_.acknowledge(delta, refused);
  EXPECT_NE(everything().find("default/svc7:http"), std::string::npos);
  tool_->refuse.clear();
  apply();
  expect_exact();
}

TEST_P(IptablesBackend, ManyRemovalsRewriteTheChain) {
  options_.deletion_limit = 5;
  restart();
  put_many();
  apply(true);
  for (int n = 1; n <= 20; ++n) table_.replace(service(n).name, {});
  put(42, 1);
  apply();
  expect_exact();
}

TEST_P(IptablesBackend, LargeTablesAreWrittenBriefly) {
  options_.comment_limit = 10;
  options_.fold_limit = 20;
  restart();
  for (int n = 1; n <= 20; ++n) put(n, 5, n % 2 == 0, n % 5 == 0 ? 60 : 0);
  apply(true);
  expect_exact();
  const std::string all = everything();
  EXPECT_EQ(all.find(":http cluster IP"), std::string::npos) << "comments";
  EXPECT_EQ(all.find(" -> 10.244"), std::string::npos) << "comments";
  const bool folded = all.find("-m statistic --mode random --probability 0.25000000000 -j DNAT") !=
                      std::string::npos;
  EXPECT_EQ(folded, GetParam() == Variant::kLegacy);
  put(3, 2);
  apply();
  expect_exact();
}

TEST_P(IptablesBackend, HostileInterfaceNamesAreRefused) {
  rules_.detector.bridge_interface = "x -j ACCEPT";
  EXPECT_EQ(backend_->start(rules_).code(), StatusCode::kInvalid);
}

TEST_P(IptablesBackend, PutsBackWhatSomebodyBroke) {
  put_many();
  apply(true);
  const std::string before = everything();
  for (const char* damage : {
           "*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n",
           "*nat\n:KUBE-MARK-MASQ - [0:0]\nCOMMIT\n",
           "*nat\n:PREROUTING ACCEPT [0:0]\n-F PREROUTING\nCOMMIT\n",
           "*nat\n-A KUBE-SERVICES -p tcp -m tcp --dport 1 -j ACCEPT\nCOMMIT\n",
           "*nat\n-I KUBE-SERVICES -p tcp -m tcp --dport 1 -j ACCEPT\nCOMMIT\n",
           "*filter\n-F\n-X\nCOMMIT\n",
           "*nat\n-F\n-X\nCOMMIT\n",
           "*nat\n:KUBE-SVC-BBBBBBBBBBBBBBBB - [0:0]\nCOMMIT\n",
           "*filter\n-F FORWARD\n-F KUBE-FORWARD\nCOMMIT\n",
           "*mangle\n-F\n-X\nCOMMIT\n",
       }) {
    SCOPED_TRACE(damage);
    EXPECT_FALSE(backend_->disturbed());
    run(damage);
    EXPECT_TRUE(backend_->disturbed());
    Result<dataplane::AuditReport> report = backend_->audit();
    ASSERT_TRUE(report) << report.status().message();
    EXPECT_GT(report->repaired, 0U);
    EXPECT_EQ(everything(), before);
    EXPECT_FALSE(backend_->disturbed());
    expect_exact();
  }
}

// A change meets damage that nobody has seen yet.
TEST_P(IptablesBackend, AChangeOverDamageArrives) {
  put_many();
  apply(true);
  run("*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n");
  table_.replace(service(1).name, {});
  put(5, 3);
  apply();
  expect_exact();
}

// The nft tool shows nothing of a table in which nft has written what it has no words for.
TEST_P(IptablesBackend, WhatCannotBeReadIsNotTakenForMissing) {
  if (GetParam() != Variant::kNft) GTEST_SKIP() << "the kernel has no other rules there";
  put_many();
  apply(true);
  const std::string before = everything();
  ASSERT_EQ(std::system("nft 'add chain ip nat foreign; add set ip nat s { type ipv4_addr . "
                        "ipv4_addr; }; add rule ip nat foreign ip saddr . ip daddr @s masquerade'"),
            0);
  EXPECT_TRUE(backend_->disturbed());
  tool_->inputs.clear();
  Result<dataplane::AuditReport> report = backend_->audit();
  EXPECT_EQ(report.status().code(), StatusCode::kUnsupported);
  EXPECT_NE(report.status().message().find("iptables-nft-save: table nat"), std::string::npos)
      << report.status().message();
  // Said once; but it is looked again.
  report = backend_->audit();
  ASSERT_TRUE(report) << report.status().message();
  EXPECT_EQ(report->repaired, 0U);
  EXPECT_EQ(tool_->inputs, std::vector<std::string>());
  EXPECT_EQ(backend_->remove_all().code(), StatusCode::kUnsupported);

  EXPECT_EQ(start_again().code(), StatusCode::kUnsupported);
  EXPECT_EQ(tool_->inputs, std::vector<std::string>());
  EXPECT_EQ(backend_->remove_all().code(), StatusCode::kUnsupported);
  ASSERT_EQ(std::system("nft 'delete rule ip nat foreign handle '$(nft -a list chain ip nat foreign"
                        " | sed -n 's/.*handle //p' | tail -1)"),
            0);
  ASSERT_EQ(std::system("nft 'delete chain ip nat foreign; delete set ip nat s'"), 0);
  restart();
  apply(true);
  expect_exact();
  EXPECT_EQ(everything(), before);
}

TEST_P(IptablesBackend, HealthCheckNodePortsAreLetIn) {
  const std::string rule =
      "-A KUBE-NODEPORTS -p tcp -m comment --comment \"default/svc4:http health check node port\" "
      "-m tcp --dport 32004 -j ACCEPT\n";
  put(4, 0, true);
  apply(true);
  for (const Family family : rules_.families) {
    EXPECT_NE(saved(family, "filter").find(rule), std::string::npos) << saved(family, "filter");
  }
  restart();
  apply(true);
  expect_exact();
  EXPECT_NE(everything().find("--dport 32004"), std::string::npos);
  put(4, 1);
  apply();
  EXPECT_EQ(everything().find("--dport 32004"), std::string::npos);
}

TEST_P(IptablesBackend, CountsConnectionsToNodePortsOnLoopback) {
  // Whatever the endpoint: that the packet is translated and sent is enough.
  ASSERT_EQ(std::system("ip link set lo up && ip route add 10.244.0.0/16 dev lo"), 0);
  put(1, 1);
  apply(true);
  for (const uint16_t port : {30001, 30001, 30002}) {  // nobody has the last one
    const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
  const std::vector<dataplane::Counter> counters = backend_->counters();
  const auto accepted = std::find_if(counters.begin(), counters.end(), [](const auto& each) {
    return each.name == "kubeproxy_iptables_localhost_nodeports_accepted_packets_total";
  });
  ASSERT_NE(accepted, counters.end());
  EXPECT_EQ(accepted->value, 2) << saved(Family::kIPv4, "nat");
}

}  // namespace
}  // namespace fairlead::iptables
