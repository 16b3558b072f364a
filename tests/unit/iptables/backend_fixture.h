// The backend on a real kernel with the real tools, in a network namespace of its own, with either
// variant of them.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/compile.h"
#include "iptables/backend.h"
#include "text.h"

namespace fairlead::iptables {

using dataplane::Ack;
using dataplane::Backend;
using dataplane::Delta;
using dataplane::Family;
using dataplane::ForwardingTable;
using dataplane::NodeRules;
using dataplane::testing::address;
using dataplane::testing::pods;
using dataplane::testing::prefix;
using dataplane::testing::service;

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

class BackendFixture : public ::testing::TestWithParam<Variant> {
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
    table_.replace(object.name, dataplane::compile(object, pods(n, endpoints), view_));
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

}  // namespace fairlead::iptables
