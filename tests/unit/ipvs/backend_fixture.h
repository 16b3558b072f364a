// A backend on a host of its own, and services to give to it.
//
// Threads: the test's thread.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/compile.h"
#include "fakes.h"
#include "ipvs/backend.h"
#include "text.h"

namespace fairlead::ipvs::testing {

inline dataplane::Service service(const std::string& name, const std::string& cluster_ip) {
  dataplane::Service made;
  made.name = {"default", name};
  made.cluster_ips = {dataplane::testing::address(cluster_ip)};
  made.ports = {{"", dataplane::Protocol::kTcp, 80, 0}};
  return made;
}

class IpvsBackend : public ::testing::Test {
 protected:
  void SetUp() override {
    rules_.families = {dataplane::Family::kIPv4};
    rules_.detector.pod_prefixes = {dataplane::testing::prefix("10.1.0.0/16")};
    rules_.node_ports_on_all_addresses = {true, true};
    host_.elsewhere = {dataplane::testing::address("192.0.2.1"),
                       dataplane::testing::address("192.0.2.2")};
    options_.reap_period = std::chrono::nanoseconds(0);
    restart();
  }
  // As after an upgrade: another backend, the same kernel.
  void restart() {
    backend_ = create_backend(seams_of(host_), options_);
    const Status started = backend_->start(rules_);
    ASSERT_TRUE(started.ok()) << started.message();
    complete_ = true;
    table_.forget_acknowledged();
  }
  void set(const dataplane::Service& service, const std::vector<std::string_view>& endpoints) {
    const std::vector<dataplane::EndpointGroup> groups = {dataplane::testing::group(endpoints)};
    table_.replace(service.name, compile(service, groups, view_));
  }
  Result<dataplane::Ack> send() {
    dataplane::Delta delta = table_.pending();
    delta.generation = ++generation_;
    delta.complete = complete_;
    Result<dataplane::Ack> ack = backend_->apply(delta);
    if (!ack) return ack;
    complete_ = false;
    std::vector<dataplane::EntryKey> refused;
    for (const dataplane::Refusal& refusal : ack->refused) refused.push_back(refusal.key);
    table_.acknowledge(delta, refused);
    return ack;
  }
  void apply() {
    const Result<dataplane::Ack> ack = send();
    ASSERT_TRUE(ack.ok()) << ack.status().message();
    for (const auto& refusal : ack->refused) ADD_FAILURE() << refusal.reason.message();
  }

  Host host_;
  Options options_;
  dataplane::NodeRules rules_;
  dataplane::CompileView view_;
  dataplane::ForwardingTable table_;
  std::unique_ptr<dataplane::Backend> backend_;
  uint64_t generation_ = 0;
  bool complete_ = true;
};

}  // namespace fairlead::ipvs::testing
