// The backend on a real kernel with the real tools, in a network namespace of its own, with either
// variant: what it installs, adopts, repairs, removes and survives. Traffic is the business of
// tests/e2e.
#include "iptables/backend.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/fd.h"
#include "dataplane/compile.h"
#include "iptables/cleanup.h"
#include "iptables/localnet.h"
#include "text.h"

namespace fairlead::iptables {
namespace {

using dataplane::Ack;
using dataplane::Backend;
using dataplane::Delta;
using dataplane::Family;
using dataplane::ForwardingTable;
using dataplane::NodeRules;
using dataplane::testing::address;
using dataplane::testing::prefix;

// Fails on demand: whole runs, half runs, and runs that name something.
class FaultyTool final : public Tool {
 public:
  explicit FaultyTool(std::unique_ptr<Tool> real) : real_(std::move(real)) {}

  Variant variant() const override { return real_->variant(); }
  Result<std::string> save(Family family, std::string_view table) override {
    return real_->save(family, table);
  }
  Status restore(Family family, std::string_view input) override {
    inputs.emplace_back(input);
    if (fail_next > 0) {
      --fail_next;
      return Status::error(StatusCode::kUnavailable, "write rules by", "test", "locked");
    }
    if (!fail_once_at.empty() && input.find(fail_once_at) != std::string_view::npos) {
      fail_once_at.clear();
      const Status half = real_->restore(family, input.substr(0, input.find("*nat")));
      EXPECT_TRUE(half) << half.message();
      return Status::error(StatusCode::kUnavailable, "write rules by", "test", "locked at nat");
    }
    if (!refuse.empty() && input.find(refuse) != std::string_view::npos) {
      return Status::error(StatusCode::kInvalid, "write rules by", "test", "line 7 failed");
    }
    return real_->restore(family, input);
  }
  Result<bool> has_chain(Family family, std::string_view table, std::string_view chain) override {
    return real_->has_chain(family, table, chain);
  }
  Result<std::string> list_chain(Family family, std::string_view table,
                                 std::string_view chain) override {
    return real_->list_chain(family, table, chain);
  }
  Result<uint64_t> stamp(Family family, std::string_view table) override {
    return real_->stamp(family, table);
  }

  int fail_next = 0;
  std::string fail_once_at;  // of the run that has this, the tables before nat go in
  std::string refuse;
  std::vector<std::string> inputs;

 private:
  std::unique_ptr<Tool> real_;
};

// A service with a cluster IP, a node port and an external IP in both families.
dataplane::Service service(int n) {
  dataplane::Service service;
  service.name = {"default", "svc" + std::to_string(n)};
  const auto low = static_cast<uint32_t>(n);
  service.cluster_ips = {dataplane::Address::v4(0x0a600000U + low),
                         address("fd00:96::" + std::to_string(n))};
  service.external_ips = {dataplane::Address::v4(0xcb007100U + low)};
  service.ports = {{"http", dataplane::Protocol::kTcp, 80, static_cast<uint16_t>(30000 + n)}};
  return service;
}

class IptablesBackend : public ::testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: network namespaces and iptables";
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    const auto runner = create_process_runner();
    const std::vector<Variant> installed = installed_variants(*runner);
    if (std::find(installed.begin(), installed.end(), GetParam()) == installed.end()) {
      GTEST_SKIP() << "iptables-" << to_string(GetParam()) << " is not installed";
    }
    if (!create_tool(create_process_runner(), GetParam())
             ->restore(Family::kIPv4, "*nat\nCOMMIT\n")) {
      GTEST_SKIP() << "the kernel has no tables for iptables-" << to_string(GetParam());
    }
    rules_.families = {Family::kIPv4, Family::kIPv6};
    rules_.detector.pod_prefixes = {prefix("10.244.0.0/16"), prefix("fd00:244::/32")};
    rules_.node_ports_on_all_addresses = {true, true};
    rules_.service_prefixes = {prefix("10.96.0.0/12")};
    view_.families = rules_.families;
    options_.nft_chains_per_run = 40;  // so that small tables take several runs
    restart();
  }

  // A new process on the same kernel.
  void restart() {
    const Status started = start_again();
    ASSERT_TRUE(started) << started.message();
  }
  Status start_again() {
    auto faulty = std::make_unique<FaultyTool>(create_tool(create_process_runner(), GetParam()));
    faulty->fail_next = std::exchange(fail_at_start_, 0);
    tool_ = faulty.get();
    BackendParts parts;
    parts.tool = std::move(faulty);
    parts.route_localnet = route_localnet_;
    backend_ = create_backend(std::move(parts), options_);
    return backend_->start(rules_);
  }

  void put(int n, int endpoints, bool local_policy = false, uint32_t affinity = 0,
           const char* range = "") {
    dataplane::Service object = service(n);
    object.external_traffic_local = local_policy;
    if (local_policy) object.health_check_node_port = static_cast<uint16_t>(32000 + n);
    object.affinity_seconds = affinity;
    if (*range != 0) {
      object.load_balancer_ips = {dataplane::Address::v4(0xcb007800U + static_cast<uint32_t>(n))};
      object.source_ranges = {prefix(range)};
    }
    std::vector<dataplane::EndpointGroup> groups(2);
    for (size_t f = 0; f < 2; ++f) {
      groups[f] = {"http", dataplane::Protocol::kTcp, f == 0 ? Family::kIPv4 : Family::kIPv6, {}};
      for (int i = 0; i < endpoints; ++i) {
        dataplane::Endpoint endpoint;
        const std::string host = std::to_string(n % 250) + (f == 0 ? "." : ":") + std::to_string(i);
        endpoint.target = {address((f == 0 ? "10.244." : "fd00:244::") + host), 8080};
        endpoint.local = i == 0;
        groups[f].endpoints.push_back(endpoint);
      }
    }
    table_.replace(object.name, dataplane::compile(object, groups, view_));
  }
  // Services of every kind.
  void put_many() {
    for (int n = 1; n <= 24; ++n) put(n, n % 5, n % 2 == 0, n % 3 == 0 ? 60 : 0);
    put(30, 2, false, 0, "192.0.2.0/24");
    put(31, 0, false, 0, "192.0.2.0/24");
    put(32, 3, true, 0, "0.0.0.0/0");
  }

  Ack apply(bool complete = false, size_t refusals = 0) {
    if (complete) table_.forget_acknowledged();
    Delta delta = table_.pending();
    delta.complete = complete;
    delta.generation = ++generation_;
    Result<Ack> ack = backend_->apply(delta);
    EXPECT_TRUE(ack) << ack.status().message();
    if (!ack) return {};
    EXPECT_EQ(ack->refused.size(), refusals);
    std::vector<dataplane::EntryKey> refused;
    for (const auto& refusal : ack->refused) refused.push_back(refusal.key);
    table_.acknowledge(delta, refused);
    return *ack;
  }

  // Nothing is missing, wrong or left over in the kernel.
  void expect_exact() {
    Result<dataplane::AuditReport> report = backend_->audit();
    ASSERT_TRUE(report) << report.status().message();
    EXPECT_EQ(report->repaired, 0U);
    EXPECT_GT(report->checked, 0U);
  }

  std::string saved(Family family, std::string_view table) {
    return create_tool(create_process_runner(), GetParam())->save(family, table).value();
  }
  // kube-proxy's metric of that ending.
  double figure(const std::string& ending, Family family, const std::string& table = "") {
    std::vector<std::string> labels = {std::string(to_string(family))};
    if (!table.empty()) labels.push_back(table);
    for (const dataplane::Counter& each : backend_->counters()) {
      if (each.name == "kubeproxy_sync_proxy_rules_iptables_" + ending && each.labels == labels) {
        return each.value;
      }
    }
    return -1;
  }
  double rules_in(Family family, std::string_view table) {
    std::istringstream text(saved(family, table));
    double count = 0;
    for (std::string line; std::getline(text, line);) count += line.starts_with("-A ") ? 1 : 0;
    return count;
  }
  // All rules of all tables, sorted, without the lines that have the time in them.
  std::string everything() {
    std::vector<std::string> lines;
    for (const Family family : rules_.families) {
      for (const char* table : {"nat", "filter", "mangle"}) {
        std::istringstream text(saved(family, table));
        for (std::string line; std::getline(text, line);) {
          if (line.starts_with(':')) line.resize(line.find(' '));
          if (line.starts_with(':') || line.starts_with('-')) {
            lines.push_back(std::string(to_string(family)) + table + line);
          }
        }
      }
    }
    std::sort(lines.begin(), lines.end());
    std::string all;
    for (const std::string& line : lines) all += line + "\n";
    return all;
  }
  void run(const std::string& input) {
    const Status done =
        create_tool(create_process_runner(), GetParam())->restore(Family::kIPv4, input);
    ASSERT_TRUE(done) << input << done.message();
  }

  std::string route_localnet_ = "/dev/null";
  int fail_at_start_ = 0;
  NodeRules rules_;
  dataplane::CompileView view_;
  TableOptions options_;
  ForwardingTable table_;
  std::unique_ptr<Backend> backend_;
  FaultyTool* tool_ = nullptr;
  uint64_t generation_ = 0;
};

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

TEST_P(IptablesBackend, ARestartTakesOverWhatStands) {
  put_many();
  apply(true);
  const std::string before = everything();
  restart();
  EXPECT_EQ(everything(), before);
  EXPECT_EQ(apply(true).operations, 0U);
  EXPECT_EQ(everything(), before);
  expect_exact();
}

TEST_P(IptablesBackend, ARestartConvergesOnWhatChangedMeanwhile) {
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
TEST_P(IptablesBackend, KubeProxysRulesAreTakenOver) {
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

// What went while no process ran, by more rules of one chain than are deleted one by one.
TEST_P(IptablesBackend, ManyStaleRulesGoAfterARestart) {
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

TEST_P(IptablesBackend, CleanupRemovesOursAndNobodyElses) {
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
TEST_P(IptablesBackend, RouteLocalnetNeverStandsWithoutItsGuard) {
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
  run("*mangle\n:FAIRLEAD-IPTABLES - [0:0]\n-X FAIRLEAD-IPTABLES\nCOMMIT\n");  // as IPVS does
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

TEST_P(IptablesBackend, NodePortsThatComeToLoopbackAreGuardedFirst) {
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

TEST_P(IptablesBackend, CleanupLeavesAnotherProxysRules) {
  put_many();
  apply(true);
  run("*mangle\n:FAIRLEAD-IPTABLES - [0:0]\n-X FAIRLEAD-IPTABLES\nCOMMIT\n"
      "*filter\n-D KUBE-FIREWALL " +
      localnet_rule() + "\nCOMMIT\n");
  const std::string before = everything();
  // Of IPv6 the mark is still there.
  ASSERT_TRUE(remove_rules(*tool_, Family::kIPv4, kOwner, route_localnet_));
  EXPECT_EQ(everything(), before);
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

TEST_P(IptablesBackend, AnotherModesChainsGo) {
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
TEST_P(IptablesBackend, AFailedRemovalOfAnotherModesRulesIsMadeUpFor) {
  put(1, 1);
  for (const char* at : {"-D INPUT -j KUBE-IPVS-FILTER", "-X KUBE-IPVS-FILTER"}) {
    SCOPED_TRACE(at);
    run("*nat\n:KUBE-LOAD-BALANCER - [0:0]\n-A PREROUTING -j KUBE-LOAD-BALANCER\nCOMMIT\n"
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
  }
}

TEST_P(IptablesBackend, SomebodyElseRemovesAnotherModesRules) {
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
