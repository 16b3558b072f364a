// All controllers over a cluster in memory and a clock that the test moves.
//
// Threads: the test's.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "control/controllers/manager.h"
#include "fake_cluster.h"
#include "manual_loop.h"
#include "support.h"

namespace fairlead::controllers {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ControllerSetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster_.put(
        "{apiVersion: v1, kind: Namespace, metadata: {name: d}, spec: {finalizers: "
        "[kubernetes]}}");
    cluster_.put(
        "{apiVersion: v1, kind: Node, metadata: {name: n1, labels: "
        "{topology.kubernetes.io/zone: a}}, status: {conditions: [{type: Ready, status: "
        "'True'}]}}");
  }

  void start() {
    options_.root_ca = "PEM";
    set_ = std::make_unique<ControllerSet>(cluster_, loop_, options_);
    set_->start();
    settle();
  }
  void settle(Duration time = milliseconds(0)) { ASSERT_TRUE(loop_->advance(time)); }

  void put_service(std::string_view name = "web", std::string_view selector = "{app: web}") {
    cluster_.put(
        fmt::format("{{apiVersion: v1, kind: Service, metadata: {{name: {}, namespace: "
                    "d}}, spec: {{clusterIP: 10.0.0.1, selector: {}, ports: [{{name: http, "
                    "port: 80, protocol: TCP}}]}}}}",
                    name, selector));
  }
  void put_pod(int number, std::string_view ready = "True", std::string_view app = "web") {
    cluster_.put(fmt::format(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p{0}, namespace: d, labels: {{app: "
        "{2}}}}}, "
        "spec: {{nodeName: n1}}, status: {{podIP: 10.1.0.{0}, conditions: [{{type: Ready, status: "
        "'{1}'}}]}}}}",
        number, ready, app));
  }
  std::string slices() const {
    std::string made;
    for (const ObjectPtr& slice : cluster_.all("endpointslices", "d")) {
      made += (made.empty() ? "" : "\n") + slice_text(*slice);
    }
    return made;
  }
  size_t ready_addresses() const {
    const ObjectPtr endpoints = cluster_.find("endpoints", "d", "web");
    size_t count = 0;
    if (!endpoints) return count;
    for (const Value& subset : endpoints->get("subsets").items()) {
      count += subset.get("addresses").size();
    }
    return count;
  }
  ControllerMetrics metrics(std::string_view name) const {
    for (const ControllerMetrics& row : set_->metrics()) {
      if (row.name == name) return row;
    }
    ADD_FAILURE() << name;
    return {};
  }

  FakeCluster cluster_;
  std::shared_ptr<ManualLoop> loop_ = std::make_shared<ManualLoop>();
  ManagerOptions options_;
  std::unique_ptr<ControllerSet> set_;
};

}  // namespace fairlead::controllers
