// The backend on a real kernel, in a network namespace of its own: what it installs, adopts,
// repairs and survives. Traffic is the business of tests/e2e.
#include "nftables/backend.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/compile.h"
#include "describe.h"
#include "text.h"

namespace fairlead::nftables {
namespace {

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

// Fails transactions on demand, and lets others commit between them.
class FaultyTransport final : public NetlinkTransport {
 public:
  explicit FaultyTransport(std::unique_ptr<NetlinkTransport> real) : real_(std::move(real)) {}

  Result<std::vector<Refused>> transact(ByteView batch) override {
    ++transactions;
    if (fail_next > 0) {
      --fail_next;
      return Status::from_errno(ENOBUFS, "send to", "nf_tables");
    }
    if (before_next) std::exchange(before_next, nullptr)();
    Result<std::vector<Refused>> refused = real_->transact(batch);
    if (after_next) std::exchange(after_next, nullptr)();
    if (lose_next > 0) {
      --lose_next;
      return Status::from_errno(ENOBUFS, "receive from", "nf_tables");
    }
    return refused;
  }
  Status dump(ByteView request, const std::function<void(ByteView)>& each) override {
    return real_->dump(request, each);
  }

  int fail_next = 0;
  int lose_next = 0;  // answers, not transactions
  int transactions = 0;
  std::function<void()> before_next;
  std::function<void()> after_next;

 private:
  std::unique_ptr<NetlinkTransport> real_;
};

std::string shell(const std::string& command) {
  std::string output;
  FILE* const pipe = ::popen((command + " 2>&1").c_str(), "r");
  char buffer[4096];
  while (const size_t length = ::fread(buffer, 1, sizeof buffer, pipe)) {
    output.append(buffer, length);
  }
  const int status = ::pclose(pipe);
  return status == 0 ? output : "FAILED: " + output;
}

class NftablesBackendTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: network namespaces and nf_tables";
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    if (const Status ready = probe(); !ready) GTEST_SKIP() << ready.message();
    rules_.families = {Family::kIPv4, Family::kIPv6};
    rules_.detector.pod_prefixes = {prefix("10.244.0.0/16"), prefix("10.244.1.0/24"),
                                    prefix("fd00:244::/32")};
    rules_.node_port_addresses = {address("192.0.2.10")};
    view_.families = rules_.families;
    restart();
  }

  // A new process on the same kernel.
  void restart() {
    Result<std::unique_ptr<NetlinkTransport>> real = open_netlink();
    ASSERT_TRUE(real) << real.status().message();
    auto faulty = std::make_unique<FaultyTransport>(std::move(*real));
    transport_ = faulty.get();
    Result<std::unique_ptr<TextClient>> text = open_text_client();
    ASSERT_TRUE(text);
    backend_ = create_backend(std::move(faulty), std::move(*text), options_);
    const Status started = backend_->start(rules_);
    ASSERT_TRUE(started) << started.message();
  }

  void put(int n, int endpoints, bool local_policy = false, uint32_t affinity = 0) {
    dataplane::Service object = service(n);
    object.external_traffic_local = local_policy;
    object.affinity_seconds = affinity;
    put(object, n, endpoints);
  }

  // The service with pods that are told by `n`; the first of them is on this node.
  void put(const dataplane::Service& object, int n, int endpoints) {
    table_.replace(object.name, dataplane::compile(object, pods(n, endpoints), view_));
  }

  Ack apply(bool complete = false) {
    if (complete) table_.forget_acknowledged();
    Delta delta = table_.pending();
    delta.complete = complete;
    delta.generation = ++generation_;
    Result<Ack> ack = backend_->apply(delta);
    EXPECT_TRUE(ack) << ack.status().message();
    if (!ack) return {};
    for (const auto& refusal : ack->refused) ADD_FAILURE() << refusal.reason.message();
    table_.acknowledge(delta, {});
    return *ack;
  }

  // Nothing is missing, wrong or left over in the kernel.
  void expect_exact() {
    Result<dataplane::AuditReport> report = backend_->audit();
    ASSERT_TRUE(report) << report.status().message();
    EXPECT_EQ(report->repaired, 0U);
  }

  // What the elements of both tables mean, whatever numbers they use; see describe_elements().
  std::vector<std::string> meaning() {
    std::vector<std::string> lines;
    for (const Family family : rules_.families) {
      KernelState kernel(*transport_, family);
      const std::vector<std::string> more = describe_elements(kernel, family);
      lines.insert(lines.end(), more.begin(), more.end());
    }
    return lines;
  }

  // What stands is exact, and what a table written from nothing would be.
  void expect_as_if_new() {
    expect_exact();
    const std::vector<std::string> found = meaning();
    ASSERT_TRUE(backend_->remove_all());
    restart();
    apply(true);
    EXPECT_EQ(found, meaning());
  }

  NodeRules rules_;
  dataplane::CompileView view_;
  FamilyOptions options_;
  ForwardingTable table_;
  std::unique_ptr<Backend> backend_;
  FaultyTransport* transport_ = nullptr;
  uint64_t generation_ = 0;
};

TEST_F(NftablesBackendTest, InstallsWhatNftCanList) {
  for (int n = 1; n <= 3; ++n) put(n, n);
  put(4, 2, true, 30);
  put(5, 0);
  apply(true);
  expect_exact();
  // Protocols as numbers: their names come from /etc/protocols, which a small system may lack.
  const std::string listing = shell("nft -p list table ip fairlead");
  EXPECT_NE(listing.find("10.96.0.1 . 6 . 80"), std::string::npos) << listing;
  EXPECT_NE(listing.find("chain pick-2-sticky-30"), std::string::npos);
  EXPECT_EQ(shell("nft list table ip6 fairlead").find("FAILED"), std::string::npos);
  EXPECT_EQ(shell("nft -j list table ip fairlead").find("FAILED"), std::string::npos);
}

TEST_F(NftablesBackendTest, CostFollowsTheChange) {
  for (int n = 1; n <= 200; ++n) put(n, 5);
  apply(true);
  put(7, 6);
  // One more endpoint: one slot, and the set's class replaced; in both families.
  EXPECT_EQ(apply().operations, 6U);
  put(7, 6);
  EXPECT_EQ(apply().operations, 0U);
  expect_exact();
}

TEST_F(NftablesBackendTest, ARestartTakesOverWhatStands) {
  for (int n = 1; n <= 50; ++n) put(n, 3, n % 2 == 0, n % 3 == 0 ? 60 : 0);
  apply(true);
  const std::string before = shell("nft list table ip fairlead | sort");
  restart();
  EXPECT_EQ(shell("nft list table ip fairlead | sort"), before);
  EXPECT_EQ(apply(true).operations, 0U);
  EXPECT_EQ(shell("nft list table ip fairlead | sort"), before);
  expect_exact();
}

TEST_F(NftablesBackendTest, ARestartConvergesOnWhatChangedMeanwhile) {
  for (int n = 1; n <= 50; ++n) put(n, 3, n % 2 == 0, n % 3 == 0 ? 60 : 0);
  apply(true);
  restart();
  for (int n = 1; n <= 10; ++n) table_.replace(service(n).name, {});
  for (int n = 11; n <= 20; ++n) put(n, 4, n % 2 == 1);
  put(60, 2);
  apply(true);
  expect_exact();
  const std::string listing = shell("nft list table ip fairlead");
  EXPECT_EQ(listing.find("10.96.0.7 "), std::string::npos);
  EXPECT_NE(listing.find("10.96.0.60 "), std::string::npos);
}

// Who had an address in the earlier run and who has it now: in both orders of their names, in which
// entries are taken over.
struct Handover {
  const char* from;
  const char* to;
  bool node_port;
};
class NftablesHandoverTest : public NftablesBackendTest,
                             public ::testing::WithParamInterface<Handover> {};

TEST_P(NftablesHandoverTest, TheEndpointSetStaysWithItsService) {
  const Handover& handover = GetParam();
  const auto bare = [](const char* name, int n) {
    dataplane::Service object = service(n);
    object.name.name = name;
    object.external_ips.clear();
    object.ports[0].node_port = 0;
    object.affinity_seconds = 60;
    return object;
  };
  const auto with_address = [&](dataplane::Service object) {
    if (handover.node_port) {
      object.ports[0].node_port = 30001;
    } else {
      object.external_ips = {address("203.0.113.1")};
    }
    return object;
  };
  const dataplane::Service from = bare(handover.from, 1);
  const dataplane::Service to = bare(handover.to, 2);
  put(with_address(from), 1, 2);
  apply(true);
  const std::string set_of_service =
      "nft list map ip fairlead service-set | grep -o '10.96.0.1 .*:[^ ,]*'";
  const std::string before = shell(set_of_service);
  restart();
  put(from, 1, 2);
  put(with_address(to), 2, 2);
  apply(true);
  EXPECT_EQ(shell(set_of_service), before);
  expect_as_if_new();
}

INSTANTIATE_TEST_SUITE_P(Handovers, NftablesHandoverTest,
                         ::testing::Values(Handover{"blue", "green", false},
                                           Handover{"green", "blue", false},
                                           Handover{"green", "blue", true}));

// Whatever addresses change hands, within a service or among several, while nobody runs.
TEST_F(NftablesBackendTest, ARestartSortsOutAddressesThatChangedHands) {
  std::mt19937 random(54321);  // the same history in every run
  const auto pick = [&](int limit) {
    return static_cast<int>(random() % static_cast<unsigned>(limit));
  };
  constexpr int kServices = 15;
  const auto shuffle = [&] {
    std::vector<dataplane::Service> services;
    for (int n = 0; n < kServices; ++n) {
      dataplane::Service object = service(n);
      object.external_ips.clear();
      object.ports[0].node_port = 0;
      object.internal_traffic_local = pick(3) == 0;
      object.external_traffic_local = pick(3) == 0;
      object.affinity_seconds = pick(3) == 0 ? 60 : 0;
      if (pick(4) == 0) object.source_ranges = {prefix("198.51.100.0/24"), prefix("2001:db8::/64")};
      services.push_back(std::move(object));
    }
    const auto anybody = [&]() -> dataplane::Service& {
      return services[static_cast<size_t>(pick(kServices))];
    };
    // Cluster IPs too: a service that was created anew may have another one's.
    if (pick(3) == 0) std::swap(anybody().cluster_ips, anybody().cluster_ips);
    for (uint32_t n = 1; n <= 10; ++n) {
      anybody().external_ips.push_back(dataplane::Address::v4(0xcb007100U + n));
      anybody().external_ips.push_back(address("2001:db8:1::" + std::to_string(n)));
      anybody().load_balancer_ips.push_back(dataplane::Address::v4(0xc6336400U + n));
    }
    for (uint16_t n = 30000; n < 30008; ++n) anybody().ports[0].node_port = n;
    for (int n = 0; n < kServices; ++n) table_.replace(service(n).name, {});
    for (int n = 0; n < kServices; ++n) {
      if (pick(5) != 0) put(services[static_cast<size_t>(n)], n, pick(4));
    }
  };
  shuffle();
  apply(true);
  for (int round = 0; round < 6 && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    // One transaction for all, or some for each service.
    options_.elements_per_transaction = pick(2) == 0 ? 5000 : 10;
    shuffle();
    restart();
    apply(true);
    expect_as_if_new();
  }
}

// An address passes to an entry that is rendered before the one that gives it up, in a transaction
// of its own; the elements of both are alike to the last byte.
TEST_F(NftablesBackendTest, AnAddressPassesOnAcrossTransactions) {
  options_.elements_per_transaction = 1;
  restart();
  dataplane::Service first = service(1);
  dataplane::Service second = service(2);
  first.external_ips.clear();
  put(first, 1, 0);
  put(second, 2, 0);
  apply(true);
  std::swap(first.external_ips, second.external_ips);
  put(second, 2, 0);
  put(first, 1, 0);
  apply();
  expect_as_if_new();
}

TEST_F(NftablesBackendTest, AFailedTransactionLosesNothing) {
  put(1, 2);
  apply(true);
  put(1, 3);
  put(2, 2);
  Delta delta = table_.pending();
  transport_->fail_next = 1;
  EXPECT_FALSE(backend_->apply(delta));
  put(3, 1);
  EXPECT_GT(apply().operations, 0U);
  expect_exact();
}

// A commit that we do not know of looks like somebody else's, and is found like one.
TEST_F(NftablesBackendTest, ALostAnswerIsMendedAtOnce) {
  put(1, 2);
  apply(true);
  put(1, 3);
  put(2, 0);
  transport_->lose_next = 1;
  apply();
  expect_as_if_new();
}

TEST_F(NftablesBackendTest, NodeRulesChangeInPlace) {
  for (int n = 1; n <= 5; ++n) put(n, 2, true);
  apply(true);
  rules_.detector.pod_prefixes.clear();
  rules_.detector.bridge_interface = "cni0";
  rules_.node_ports_on_all_addresses = {true, true};
  rules_.service_prefixes = {prefix("10.96.0.0/16")};
  Delta delta;
  delta.node = std::make_shared<NodeRules>(rules_);
  ASSERT_TRUE(backend_->apply(delta));
  expect_exact();
  const std::string listing = shell("nft list table ip fairlead");
  EXPECT_NE(listing.find("iifname \"cni0\""), std::string::npos) << listing;
  EXPECT_EQ(listing.find("10.244.0.0/16"), std::string::npos);
}

TEST_F(NftablesBackendTest, HostileInterfaceNamesAreRefused) {
  rules_.detector.bridge_interface = "x\"; flush ruleset";
  const Status status = backend_->start(rules_);
  EXPECT_EQ(status.code(), StatusCode::kInvalid);
}

struct Damage {
  const char* command;
};
class NftablesRepairTest : public NftablesBackendTest,
                           public ::testing::WithParamInterface<Damage> {};

TEST_P(NftablesRepairTest, PutsBackWhatSomebodyBroke) {
  for (int n = 1; n <= 20; ++n) put(n, 3, n % 2 == 0, n % 3 == 0 ? 60 : 0);
  apply(true);
  const std::string before = shell("nft list table ip fairlead | sort");
  EXPECT_FALSE(backend_->disturbed());
  ASSERT_EQ(shell(GetParam().command).find("FAILED"), std::string::npos);
  EXPECT_TRUE(backend_->disturbed());
  Result<dataplane::AuditReport> report = backend_->audit();
  ASSERT_TRUE(report) << report.status().message();
  EXPECT_GT(report->repaired, 0U);
  EXPECT_EQ(shell("nft list table ip fairlead | sort"), before);
  EXPECT_FALSE(backend_->disturbed());
  expect_exact();
}

INSTANTIATE_TEST_SUITE_P(
    Damages, NftablesRepairTest,
    ::testing::Values(
        Damage{"nft delete table ip fairlead"}, Damage{"nft flush ruleset"},
        Damage{"nft flush chain ip fairlead services"},
        Damage{"nft flush chain ip fairlead pick-3"},
        Damage{"nft flush chain ip fairlead nat-postrouting"},
        Damage{"nft flush map ip fairlead endpoints"},
        Damage{"nft delete element ip fairlead service-set { 10.96.0.3 . tcp . 80 }"},
        Damage{"nft add element ip fairlead service-set { 10.97.0.3 . tcp . 80 : 1:1 } && "
               "nft flush map ip fairlead policies"},
        Damage{"nft add rule ip fairlead services drop"}));

TEST_F(NftablesBackendTest, AChangeAfterDamageStillGoesIn) {
  put(1, 2);
  apply(true);
  shell("nft flush map ip fairlead endpoints");
  put(1, 1);  // must delete an element that is gone
  apply();
  expect_exact();
}

// Somebody flushes everything while we are at it. What the next transaction fails for is mended at
// once; what it does not show is known to the next disturbed().
TEST_F(NftablesBackendTest, AFlushBeforeOurTransactionIsMendedAtOnce) {
  put(1, 2);
  put(2, 2);
  apply(true);
  put(1, 1);
  transport_->before_next = [] { shell("nft flush ruleset"); };
  apply();
  EXPECT_TRUE(backend_->disturbed());  // the other family has nothing yet
  ASSERT_TRUE(backend_->audit());
  expect_as_if_new();
}

TEST_F(NftablesBackendTest, AFlushAfterOurTransactionIsNoticed) {
  put(1, 2);
  apply(true);
  put(1, 3);
  transport_->after_next = [] { shell("nft delete table ip fairlead"); };
  apply();
  EXPECT_TRUE(backend_->disturbed());
  ASSERT_TRUE(backend_->audit());
  EXPECT_FALSE(backend_->disturbed());
  expect_as_if_new();
}

TEST_F(NftablesBackendTest, AFlushDuringTheFirstSyncIsMendedAtOnce) {
  put(1, 2);
  put(2, 2);
  apply(true);
  table_.replace(service(2).name, {});  // left over from the earlier run
  restart();
  transport_->before_next = [] { shell("nft flush ruleset"); };
  apply(true);
  ASSERT_TRUE(backend_->audit());
  expect_as_if_new();
}

TEST_F(NftablesBackendTest, AFlushDuringAnAuditIsNoticed) {
  put(1, 2);
  apply(true);
  shell("nft flush map ip fairlead endpoints");
  transport_->after_next = [] { shell("nft flush map ip fairlead service-policy"); };
  ASSERT_TRUE(backend_->audit());
  EXPECT_TRUE(backend_->disturbed());
  ASSERT_TRUE(backend_->audit());
  EXPECT_FALSE(backend_->disturbed());
  expect_as_if_new();
}

// Our own commits disturb nobody: of elements, chains, sets and node rules, and an audit's.
TEST_F(NftablesBackendTest, OwnCommitsAreNoDisturbance) {
  const auto undisturbed = [&] { EXPECT_FALSE(backend_->disturbed()); };
  undisturbed();
  options_.elements_per_transaction = 10;
  restart();
  undisturbed();
  for (int n = 1; n <= 10; ++n) put(n, n, true, 45);
  apply(true);
  undisturbed();
  dataplane::Service ranged = service(11);
  ranged.load_balancer_ips = {address("198.51.100.7")};
  ranged.source_ranges = {prefix("10.0.0.0/9")};
  put(ranged, 11, 2);
  put(1, 250);
  apply();
  undisturbed();
  const std::vector<Family> families = rules_.families;
  rules_ = {};  // no node facts: the static text has nothing to say
  rules_.families = families;
  Delta delta;
  for (int n = 0; n < 2; ++n) {
    delta.node = std::make_shared<NodeRules>(rules_);
    ASSERT_TRUE(backend_->apply(delta));
    undisturbed();
    expect_exact();
    undisturbed();
  }
  restart();
  undisturbed();
}

TEST_F(NftablesBackendTest, TheLimitRefusesOnlyWhatExceedsIt) {
  options_.element_limit = 60;
  restart();
  put(1, 3);
  apply(true);
  put(2, 60);
  const Delta delta = table_.pending();
  Result<Ack> ack = backend_->apply(delta);
  ASSERT_TRUE(ack);
  ASSERT_EQ(ack->refused.size(), 2U);  // in both families
  EXPECT_EQ(ack->refused[0].key.service.name, "svc2");
  EXPECT_EQ(ack->refused[0].reason.code(), StatusCode::kExhausted);
  expect_exact();
}

TEST_F(NftablesBackendTest, RemoveAllLeavesForeignTablesAlone) {
  ASSERT_EQ(shell("nft add table ip foreign"), "");
  put(1, 2);
  apply(true);
  ASSERT_TRUE(backend_->remove_all());
  EXPECT_EQ(shell("nft list ruleset"), "table ip foreign {\n}\n");
}

// A long random history in small batches, with restarts in between, ends exactly where it should.
TEST_F(NftablesBackendTest, AnyHistoryEndsExact) {
  std::mt19937 random(12345);  // the same history in every run
  const auto pick = [&](int limit) {
    return static_cast<int>(random() % static_cast<unsigned>(limit));
  };
  apply(true);
  for (int round = 0; round < 60; ++round) {
    for (int change = 0; change < 5; ++change) {
      const int n = 1 + pick(12);
      if (pick(4) == 0) {
        table_.replace(service(n).name, {});
      } else {
        put(n, pick(7), pick(2) == 0, pick(3) == 0 ? 30 + static_cast<uint32_t>(pick(2)) : 0);
      }
    }
    if (pick(10) == 0) {
      restart();
      apply(true);
    } else {
      apply();
    }
  }
  expect_exact();
  const size_t entries = table_.size();
  restart();
  EXPECT_EQ(apply(true).operations, 0U) << entries << " entries";
}

}  // namespace
}  // namespace fairlead::nftables
