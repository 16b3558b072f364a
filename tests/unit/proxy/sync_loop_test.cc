// The sync loop between messages and a backend that can be made to fail: order, gating, nothing
// lost.
#include "proxy/sync_loop.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace fairlead::proxy {
namespace {

using dataplane::Ack;
using dataplane::AuditReport;
using dataplane::Delta;
using dataplane::EntryKey;
using dataplane::Family;
using dataplane::NodeRules;
using std::chrono::seconds;

// Keeps what it was given as a map, fails or refuses on demand, and lets the test wait for a state.
class FakeBackend final : public dataplane::Backend {
 public:
  std::string_view name() const override { return "fake"; }
  Status start(const NodeRules& rules) override {
    std::lock_guard lock(mutex_);
    ++starts;
    if (fail_starts > 0) {
      --fail_starts;
      return Status::error(StatusCode::kUnavailable, "start", "fake", "told to fail");
    }
    node = rules;
    return {};
  }
  Result<Ack> apply(const Delta& delta) override {
    std::lock_guard lock(mutex_);
    ++applies;
    if (fail_applies > 0) {
      --fail_applies;
      return Status::error(StatusCode::kUnavailable, "apply", "fake", "told to fail");
    }
    Ack ack;
    ack.generation = delta.generation;
    if (delta.complete) {
      ++completes;
      installed.clear();
    }
    if (delta.node) node = *delta.node;
    for (const auto& entry : delta.upserted) {
      if (refuse == entry->key.service.name) {
        ++refusals;
        ack.refused.push_back(
            {entry->key, Status::error(StatusCode::kExhausted, "apply", "fake", "full")});
      } else {
        installed[entry->key] = entry;
      }
    }
    for (const EntryKey& key : delta.removed) installed.erase(key);
    changed_.notify_all();
    return ack;
  }
  bool disturbed() override {
    std::lock_guard lock(mutex_);
    ++asked;
    changed_.notify_all();
    return is_disturbed;
  }
  Result<AuditReport> audit() override {
    std::lock_guard lock(mutex_);
    is_disturbed = stays_disturbed;
    ++audits;
    changed_.notify_all();
    return AuditReport{10, 3, audit_needs_complete};
  }
  std::vector<dataplane::Counter> counters() override { return {}; }
  Status remove_all() override { return {}; }

  // True when `condition` (called under the lock) holds before a generous time is over.
  bool wait(const std::function<bool()>& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, seconds(20), condition);
  }
  std::string targets(const std::string& service) {
    for (const auto& [key, entry] : installed) {
      if (key.service.name != service) continue;
      std::string text;
      for (const auto& target : entry->cluster.targets) text += target.address.to_string() + " ";
      return text;
    }
    return "absent";
  }
  void configure(const std::function<void()>& change) {
    std::lock_guard lock(mutex_);
    change();
  }

  int starts = 0, applies = 0, completes = 0, audits = 0, asked = 0;
  int fail_starts = 0, fail_applies = 0, refusals = 0;
  bool is_disturbed = false, stays_disturbed = false, audit_needs_complete = false;
  std::string refuse;
  NodeRules node;
  std::map<EntryKey, dataplane::EntryPointer> installed;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

class NoAddresses final : public AddressWatcher {
 public:
  int fd() const override { return never_.get(); }
  Result<bool> process() override { return false; }
  const std::vector<InterfaceAddress>& addresses() const override { return none_; }

 private:
  Fd never_{::eventfd(0, EFD_CLOEXEC)};
  std::vector<InterfaceAddress> none_;
};

class SyncLoopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    config_.cluster_cidrs = {*dataplane::Prefix::parse("10.244.0.0/16")};
    node_ = std::make_unique<NodeState>(config_, ProxyMode::kNftables,
                                        std::vector<Family>{Family::kIPv4});
    options_.families = {Family::kIPv4};
    options_.audit_period = std::chrono::milliseconds(20);
    options_.sync_period = std::chrono::milliseconds(50);
  }

  void run() {
    SyncParts parts;
    parts.mailbox = &mailbox_;
    parts.hints = &hints_;
    parts.backend = &backend_;
    parts.node = node_.get();
    parts.addresses = &addresses_;
    parts.metrics = &metrics_;
    parts.health = &health_;
    parts.reporter = &reporter_;
    loop_ = std::make_unique<SyncLoop>(options_, parts);
    thread_ = std::thread([this] { ended_ = loop_->run(); });
  }
  void TearDown() override {
    if (!thread_.joinable()) return;
    loop_->stop();
    thread_.join();
  }

  ObjectMessage message(Resource resource, const std::string& name) {
    ObjectMessage result;
    result.resource = resource;
    result.name = {"d", name};
    result.received = std::chrono::steady_clock::now();
    return result;
  }
  void put_service(const std::string& name, uint32_t host) {
    ObjectMessage result = message(Resource::kServices, name);
    result.service.emplace();
    result.service->name = {"d", name};
    result.service->cluster_ips = {dataplane::Address::v4(0x0a600000U + host)};
    result.service->ports = {{"", dataplane::Protocol::kTcp, 80, 30000}};
    mailbox_.post(std::move(result));
  }
  void put_slice(const std::string& service, uint32_t host) {
    ObjectMessage result = message(Resource::kEndpointSlices, service + "-1");
    result.slice.emplace();
    result.slice->name = service + "-1";
    result.slice->service = {"d", service};
    result.slice->ports = {{"", dataplane::Protocol::kTcp, 8080}};
    result.slice->endpoints = {{dataplane::Address::v4(0x0af40000U + host),
                                SliceEndpoint::kReady | SliceEndpoint::kServing, 0}};
    mailbox_.post(std::move(result));
  }
  void put_node(const std::string& address) {
    ObjectMessage result = message(Resource::kNode, "node-a");
    result.node.emplace();
    result.node->addresses = {{"InternalIP", address}};
    mailbox_.post(std::move(result));
  }
  void listed() {
    mailbox_.post(ListedMessage{Resource::kServices});
    mailbox_.post(ListedMessage{Resource::kEndpointSlices});
  }
  void start_with_one_service() {
    put_service("web", 1);
    put_slice("web", 1);
    put_node("192.0.2.1");
    listed();
    run();
    ASSERT_TRUE(backend_.wait([&] { return backend_.targets("web") == "10.244.0.1:8080 "; }));
  }

  ProxyConfig config_;
  SyncOptions options_;
  FakeBackend backend_;
  NoAddresses addresses_;
  Mailbox<FeedMessage> mailbox_;
  ZoneHints hints_;
  Metrics metrics_{MetricsOptions{}};
  Health health_{HealthOptions{}};
  std::vector<Event> events_;
  Reporter reporter_{metrics_, health_, [this](const Event& event) { events_.push_back(event); }};
  std::unique_ptr<NodeState> node_;
  std::unique_ptr<SyncLoop> loop_;
  std::thread thread_;
  Status ended_;
};

TEST_F(SyncLoopTest, TheFirstDeltaIsCompleteAndHasTheNode) {
  start_with_one_service();
  EXPECT_TRUE(backend_.wait([&] {
    return backend_.completes == 1 && backend_.starts == 1 &&
           backend_.node.node_port_addresses ==
               std::vector<dataplane::Address>{*dataplane::Address::parse("192.0.2.1")};
  }));
  put_slice("web", 2);
  EXPECT_TRUE(backend_.wait([&] { return backend_.targets("web") == "10.244.0.2:8080 "; }));
  backend_.configure([&] { EXPECT_EQ(backend_.completes, 1); });
}

TEST_F(SyncLoopTest, NothingIsProgrammedBeforeBothLists) {
  run();
  put_service("web", 1);
  put_node("192.0.2.1");
  mailbox_.post(ListedMessage{Resource::kServices});
  // The loop has taken the messages once the mailbox is empty and a later one had its effect.
  mailbox_.post(MalformedMessage{Resource::kServices,
                                 Status::error(StatusCode::kInvalid, "decode", "x", "y")});
  while (metrics_.counter(Metric::kMalformedObjectsTotal, {"services"}).value() < 1) {
    std::this_thread::yield();
  }
  backend_.configure([&] { EXPECT_EQ(backend_.starts, 0); });
  put_slice("web", 7);
  mailbox_.post(ListedMessage{Resource::kEndpointSlices});
  EXPECT_TRUE(backend_.wait([&] { return backend_.targets("web") == "10.244.0.7:8080 "; }));
}

TEST_F(SyncLoopTest, AMissingNodeIsWaitedForThenDoneWithout) {
  options_.node_patience = std::chrono::milliseconds(1);
  put_service("web", 1);
  listed();
  run();
  EXPECT_TRUE(backend_.wait([&] { return backend_.targets("web").empty(); }));
}

TEST_F(SyncLoopTest, AFailedStartIsTriedAgain) {
  backend_.fail_starts = 2;
  start_with_one_service();
  backend_.configure([&] { EXPECT_EQ(backend_.starts, 3); });
}

TEST_F(SyncLoopTest, AFailedApplyLosesNoChange) {
  start_with_one_service();
  backend_.configure([&] { backend_.fail_applies = 2; });
  put_slice("web", 2);
  put_service("other", 2);
  EXPECT_TRUE(backend_.wait([&] {
    return backend_.targets("web") == "10.244.0.2:8080 " && backend_.targets("other").empty();
  }));
  EXPECT_GE(metrics_.counter(Metric::kApplyFailures).value(), 1);
}

TEST_F(SyncLoopTest, ARefusedEntryHoldsUpNobodyAndIsTriedAgain) {
  start_with_one_service();
  backend_.configure([&] { backend_.refuse = "fat"; });
  put_service("fat", 3);
  put_slice("web", 2);
  EXPECT_TRUE(backend_.wait([&] { return backend_.targets("web") == "10.244.0.2:8080 "; }));
  backend_.configure([&] { EXPECT_EQ(backend_.targets("fat"), "absent"); });
  backend_.configure([&] { backend_.refuse.clear(); });
  EXPECT_TRUE(backend_.wait([&] { return backend_.targets("fat").empty(); }));
}

TEST_F(SyncLoopTest, WhatIsNewDoesNotWaitForRefusedEntries) {
  options_.sync_period = std::chrono::hours(1);
  start_with_one_service();
  backend_.configure([&] { backend_.refuse = "fat"; });
  put_service("fat", 3);
  ASSERT_TRUE(backend_.wait([&] { return backend_.refusals == 1; }));
  put_slice("web", 2);
  EXPECT_TRUE(backend_.wait([&] { return backend_.targets("web") == "10.244.0.2:8080 "; }));
  // It was not tried along, and stands; once it changes it is tried at once.
  backend_.configure([&] {
    EXPECT_EQ(backend_.refusals, 1);
    backend_.refuse.clear();
  });
  EXPECT_EQ(metrics_.gauge(Metric::kRefusedEntries).value(), 1);
  put_slice("fat", 3);
  EXPECT_TRUE(backend_.wait([&] { return backend_.targets("fat") == "10.244.0.3:8080 "; }));
}

TEST_F(SyncLoopTest, ADisturbedBackendIsAudited) {
  start_with_one_service();
  backend_.configure([&] { backend_.is_disturbed = true; });
  EXPECT_TRUE(backend_.wait([&] { return backend_.audits == 1; }));
}

// Counters, steps of a handover and damage to what an audit of its own does not look at wait for
// the question, not for the audit.
TEST_F(SyncLoopTest, AnAuditDoesNotPutOffTheNextQuestion) {
  options_.check_period = std::chrono::milliseconds(20);
  options_.audit_period = std::chrono::hours(1);
  options_.audit_share = 1;
  backend_.is_disturbed = true;
  start_with_one_service();
  ASSERT_TRUE(backend_.wait([&] { return backend_.audits == 1; }));
  EXPECT_TRUE(backend_.wait([&] { return backend_.asked >= 5; }));
  backend_.configure([&] { backend_.is_disturbed = true; });
  EXPECT_TRUE(backend_.wait([&] { return backend_.audits == 2; }));
}

TEST_F(SyncLoopTest, AuditsRestForAMultipleOfTheirTime) {
  options_.check_period = std::chrono::milliseconds(20);
  options_.audit_period = std::chrono::hours(1);
  options_.audit_share = 1e-12;
  backend_.stays_disturbed = backend_.is_disturbed = true;
  start_with_one_service();
  ASSERT_TRUE(backend_.wait([&] { return backend_.audits == 1; }));
  EXPECT_TRUE(backend_.wait([&] { return backend_.asked >= 5; }));
  backend_.configure([&] { EXPECT_EQ(backend_.audits, 1); });
}

TEST_F(SyncLoopTest, AuditsRestNoLongerThanThePeriod) {
  options_.audit_share = 1e-12;
  backend_.stays_disturbed = backend_.is_disturbed = true;
  start_with_one_service();
  EXPECT_TRUE(backend_.wait([&] { return backend_.audits >= 3; }));
}

TEST_F(SyncLoopTest, AnAuditMayAskForEverythingAgain) {
  start_with_one_service();
  backend_.configure([&] { backend_.is_disturbed = backend_.audit_needs_complete = true; });
  EXPECT_TRUE(backend_.wait([&] { return backend_.completes == 2; }));
}

TEST_F(SyncLoopTest, AConflictIsToldOnceAndResolvedWhenTheHolderGoes) {
  start_with_one_service();
  put_service("twin", 2);  // the same node port
  EXPECT_TRUE(backend_.wait([&] { return backend_.targets("twin").empty(); }));
  backend_.configure([&] {
    for (const auto& [key, entry] : backend_.installed) {
      EXPECT_EQ(entry->frontends.size(), key.service.name == "web" ? 1U : 2U) << key.to_string();
    }
  });
  ObjectMessage gone = message(Resource::kServices, "twin");
  gone.removed = true;
  mailbox_.post(std::move(gone));
  EXPECT_TRUE(backend_.wait([&] {
    return backend_.targets("twin") == "absent" &&
           backend_.installed.begin()->second->frontends.size() == 2;
  }));
  TearDown();
  size_t told = 0;
  for (const Event& event : events_) told += event.reason == EventReason::kAddressConflict;
  EXPECT_EQ(told, 1U);
}

TEST_F(SyncLoopTest, NodeCidrModeWaitsAndEndsWhenTheyChange) {
  config_.detect_local_mode = DetectLocalMode::kNodeCidr;
  node_ = std::make_unique<NodeState>(config_, ProxyMode::kNftables,
                                      std::vector<Family>{Family::kIPv4});
  put_service("web", 1);
  listed();
  const auto put_pod_cidr = [&](const char* cidr) {
    ObjectMessage result = message(Resource::kNode, "node-a");
    result.node.emplace();
    result.node->pod_cidrs = {cidr};
    mailbox_.post(std::move(result));
  };
  put_pod_cidr("10.244.1.0/24");
  run();
  EXPECT_TRUE(backend_.wait([&] { return backend_.node.detector.pod_prefixes.size() == 1; }));
  put_pod_cidr("10.244.2.0/24");
  thread_.join();
  EXPECT_EQ(ended_.code(), StatusCode::kConflict);
}

TEST_F(SyncLoopTest, ANodeWhosePrimaryFamilyIsLeftOutIsNotServed) {
  options_.families_left_out = {
      {Family::kIPv6, Status::error(StatusCode::kNotFound, "run", "ip6tables", "lost")}};
  put_service("web", 1);
  put_node("2001:db8::1");
  listed();
  run();
  thread_.join();
  EXPECT_EQ(ended_.message(), "serve IPv6, the node's primary family: run ip6tables: lost");
  EXPECT_EQ(backend_.starts, 0);
}

TEST_F(SyncLoopTest, AFamilyThatIsLeftOutIsToldOnceAndKeepsNobodyFromTheOther) {
  options_.families_left_out = {
      {Family::kIPv6, Status::error(StatusCode::kNotFound, "run", "ip6tables", "lost")}};
  for (const char* name : {"dual", "stack"}) {
    ObjectMessage both = message(Resource::kServices, name);
    both.service.emplace();
    both.service->name = {"d", name};
    both.service->cluster_ips = {dataplane::Address::v4(0x0a600009U + (*name == 'd')),
                                 *dataplane::Address::parse("fd00:96::9")};
    both.service->ports = {{"", dataplane::Protocol::kTcp, 80, 0}};
    mailbox_.post(std::move(both));
  }
  ::testing::internal::CaptureStderr();
  start_with_one_service();
  TearDown();
  EXPECT_EQ(backend_.installed.size(), 3U);
  for (const auto& [key, entry] : backend_.installed) EXPECT_EQ(key.family, Family::kIPv4);
  EXPECT_EQ(health_.livez().http_status, 200);
  const std::string log = ::testing::internal::GetCapturedStderr();
  const size_t told = log.find("IPv6 is not served on this node: d/");
  ASSERT_NE(told, std::string::npos) << log;
  EXPECT_EQ(log.find("IPv6 is not served", told + 1), std::string::npos) << log;
}

}  // namespace
}  // namespace fairlead::proxy
