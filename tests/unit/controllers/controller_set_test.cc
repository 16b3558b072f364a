// All controllers over a cluster in memory: from one change to the rest that follows from it, with
// conflicts, failures and lost watches in between.
#include <set>

#include "control/controllers/manager.h"
#include "fake_cluster.h"
#include "manual_loop.h"
#include "support.h"

namespace fairlead::controllers {
namespace {

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

TEST_F(ControllerSetTest, EndpointsFollowPods) {
  start();
  put_service();
  settle();
  EXPECT_EQ(slices(), "IPv4 []");
  put_pod(1);
  put_pod(2, "False");
  settle();
  EXPECT_EQ(slices(), "IPv4 http/TCP/80 [10.1.0.1 r s ~n1 @a, 10.1.0.2 ~n1 @a]");
  EXPECT_EQ(ready_addresses(), 1u);
  // No time passes between the pod's word and the endpoints'.
  cluster_.change("pods", "d", "p1", "{status: {conditions: [{type: Ready, status: 'False'}]}}");
  settle();
  EXPECT_EQ(slices(), "IPv4 http/TCP/80 [10.1.0.1 ~n1 @a, 10.1.0.2 ~n1 @a]");
  EXPECT_EQ(ready_addresses(), 0u);
  cluster_.change("pods", "d", "p1", "{metadata: {labels: {app: other}}}");
  cluster_.erase("pods", "d", "p2");
  settle();
  EXPECT_EQ(slices(), "IPv4 []");
  cluster_.erase("services", "d", "web");
  settle();
  EXPECT_EQ(cluster_.find("endpoints", "d", "web"), nullptr);
  EXPECT_EQ(slices(), "") << "the collector takes what the service owned";
}

TEST_F(ControllerSetTest, OneChangeIsOneServicesWork) {
  for (int i = 0; i < 50; ++i) {
    put_service(fmt::format("s{}", i), fmt::format("{{app: a{}}}", i));
  }
  for (int i = 0; i < 50; ++i) put_pod(i, "True", fmt::format("a{}", i));
  start();
  const uint64_t before = metrics("endpointslice").worked;
  cluster_.take_writes();
  cluster_.change("pods", "d", "p7", "{status: {conditions: [{type: Ready, status: 'False'}]}}");
  settle();
  EXPECT_EQ(cluster_.take_writes().size(), 2u);
  EXPECT_LE(metrics("endpointslice").worked - before, 2u) << "the pod, and the slice's own event";
  // What says nothing about endpoints is not even looked at.
  const uint64_t after = metrics("endpointslice").worked;
  cluster_.change("pods", "d", "p7", "{metadata: {annotations: {x: z}}}");
  settle();
  EXPECT_EQ(metrics("endpointslice").worked, after);
}

TEST_F(ControllerSetTest, OwnWritesAreKnownBeforeTheirEvents) {
  start();
  cluster_.pause("endpointslices");
  cluster_.pause("endpoints");
  put_service();
  put_pod(1);
  settle();
  cluster_.take_writes();
  put_pod(2);
  settle();
  EXPECT_EQ(slices(), "IPv4 http/TCP/80 [10.1.0.1 r s ~n1 @a, 10.1.0.2 r s ~n1 @a]");
  EXPECT_EQ(cluster_.take_writes().size(), 2u) << "one of each, not made a second time";
  // Events that come late and tell old news change nothing.
  cluster_.resume();
  settle();
  EXPECT_TRUE(cluster_.take_writes().empty());
  EXPECT_EQ(metrics("endpointslice").retries, 0u);
}

TEST_F(ControllerSetTest, WhatOthersChangeIsPutRight) {
  start();
  put_service();
  put_pod(1);
  settle();
  const std::string slice(name_of(*cluster_.all("endpointslices", "d").at(0)));
  cluster_.change("endpointslices", "d", slice, "{endpoints: []}");
  cluster_.change("endpoints", "d", "web", "{subsets: []}");
  settle();
  EXPECT_EQ(slices(), "IPv4 http/TCP/80 [10.1.0.1 r s ~n1 @a]");
  EXPECT_EQ(ready_addresses(), 1u);
  cluster_.erase("endpointslices", "d", slice);
  cluster_.erase("endpoints", "d", "web");
  settle();
  EXPECT_EQ(slices(), "IPv4 http/TCP/80 [10.1.0.1 r s ~n1 @a]");
  EXPECT_EQ(ready_addresses(), 1u);
}

TEST_F(ControllerSetTest, HandMadeEndpointsAreMirroredAndMayComeFirst) {
  start();
  cluster_.put(
      "{apiVersion: v1, kind: Endpoints, metadata: {name: db, namespace: d}, subsets: "
      "[{addresses: [{ip: 192.0.2.1}], ports: [{port: 5432, protocol: TCP}]}]}");
  settle();
  EXPECT_EQ(slices(), "");
  put_service("db", "null");
  settle();
  EXPECT_EQ(slices(), "IPv4 /TCP/5432 [192.0.2.1 r]");
  EXPECT_NE(cluster_.find("endpoints", "d", "db"), nullptr);
  cluster_.erase("endpoints", "d", "db");
  settle();
  EXPECT_EQ(slices(), "");
}

TEST_F(ControllerSetTest, EndpointsLeftFromBeforeGo) {
  cluster_.put("{apiVersion: v1, kind: Endpoints, metadata: {name: old, namespace: d}}");
  cluster_.put(
      "{apiVersion: v1, kind: Endpoints, metadata: {name: election, namespace: d, "
      "annotations: {control-plane.alpha.kubernetes.io/leader: x}}}");
  start();
  EXPECT_EQ(cluster_.find("endpoints", "d", "old"), nullptr);
  EXPECT_NE(cluster_.find("endpoints", "d", "election"), nullptr);
}

TEST_F(ControllerSetTest, HintsFollowZonesAndNodes) {
  const auto put_node = [&](std::string_view name, std::string_view zone) {
    cluster_.put(
        fmt::format("{{apiVersion: v1, kind: Node, metadata: {{name: {}, labels: "
                    "{{topology.kubernetes.io/zone: {}}}}}, status: {{allocatable: {{cpu: "
                    "1}}, conditions: [{{type: Ready, status: 'True'}}]}}}}",
                    name, zone));
  };
  put_node("n1", "a");
  start();
  put_service();
  cluster_.change("services", "d", "web",
                  "{metadata: {annotations: {service.kubernetes.io/topology-mode: Auto}}}");
  put_pod(1);
  put_pod(2);
  settle();
  EXPECT_EQ(slices(), "IPv4 http/TCP/80 [10.1.0.1 r s ~n1 @a, 10.1.0.2 r s ~n1 @a]");
  put_node("n2", "b");
  settle();
  EXPECT_EQ(slices(), "IPv4 http/TCP/80 [10.1.0.1 r s ~n1 @a >a, 10.1.0.2 r s ~n1 @a >b]");
  cluster_.erase("nodes", "", "n2");
  settle();
  EXPECT_EQ(slices(), "IPv4 http/TCP/80 [10.1.0.1 r s ~n1 @a, 10.1.0.2 r s ~n1 @a]");
}

TEST_F(ControllerSetTest, ConflictsAndFailuresAreTriedAgain) {
  start();
  int refusals = 3;
  std::vector<StatusCode> codes = {StatusCode::kConflict, StatusCode::kUnavailable,
                                   StatusCode::kInternal};
  cluster_.fault = [&](const std::string& request) {
    if (request.find("endpointslices") == std::string::npos || refusals == 0) return Status();
    return Status::error(codes[static_cast<size_t>(--refusals)], "write", "slice", "as told");
  };
  put_service();
  put_pod(1);
  settle();
  EXPECT_EQ(slices(), "");
  settle(milliseconds(5));
  settle(milliseconds(10));
  EXPECT_EQ(slices(), "") << "the third has not come yet";
  settle(milliseconds(20));
  EXPECT_EQ(slices(), "IPv4 http/TCP/80 [10.1.0.1 r s ~n1 @a]");
  EXPECT_EQ(metrics("endpointslice").retries, 3u);
  EXPECT_NE(metrics("endpointslice").last_error.find("as told"), std::string::npos);
}

TEST_F(ControllerSetTest, ALostWatchMissesNothing) {
  start();
  put_service();
  put_pod(1);
  put_pod(3);
  settle();
  cluster_.pause("pods");  // the events are lost with the watches
  put_pod(2);
  cluster_.erase("pods", "d", "p1");
  settle();
  cluster_.lose_watches(Status::error(StatusCode::kExpired, "watch", "pods", "too old"));
  settle(seconds(1));
  EXPECT_EQ(slices(), "IPv4 http/TCP/80 [10.1.0.3 r s ~n1 @a, 10.1.0.2 r s ~n1 @a]");
  EXPECT_EQ(ready_addresses(), 2u);
}

TEST_F(ControllerSetTest, AServerThatClosesWatchesIsWatchedOn) {
  start();
  put_service();
  settle();
  cluster_.lose_watches(Status());
  put_pod(1);
  settle(seconds(1));
  EXPECT_EQ(ready_addresses(), 1u);
}

TEST_F(ControllerSetTest, ListsThatFailAreMadeAgain) {
  int failures = 4;
  cluster_.fault = [&](const std::string& request) {
    if (!request.starts_with("list services") || failures == 0) return Status();
    --failures;
    return Status::error(StatusCode::kUnavailable, "list", "services", "away");
  };
  put_service();
  put_pod(1);
  start();
  EXPECT_EQ(ready_addresses(), 0u);
  settle(seconds(10));
  EXPECT_EQ(ready_addresses(), 1u);
}

TEST_F(ControllerSetTest, NamespacesHaveAnAccountAndCertificates) {
  start();
  EXPECT_NE(cluster_.find("serviceaccounts", "d", "default"), nullptr);
  EXPECT_NE(cluster_.find("configmaps", "d", "kube-root-ca.crt"), nullptr);
  cluster_.erase("serviceaccounts", "d", "default");
  cluster_.change("configmaps", "d", "kube-root-ca.crt", "{data: {ca.crt: forged}}");
  settle();
  EXPECT_NE(cluster_.find("serviceaccounts", "d", "default"), nullptr);
  EXPECT_EQ(
      cluster_.find("configmaps", "d", "kube-root-ca.crt")->at("data").get("ca.crt").as_string(),
      "PEM");
}

TEST_F(ControllerSetTest, ANamespaceEmptiesPodsFirst) {
  put_service();
  put_pod(1);
  start();
  cluster_.put(
      "{apiVersion: v1, kind: Pod, metadata: {name: held, namespace: d, finalizers: "
      "[a/b]}}");
  settle();
  cluster_.remove({&resource("", "v1", "namespaces"), "", "d"}, {},
                  [](Result<ObjectPtr> answer) { EXPECT_TRUE(answer.ok()); });
  settle();
  ObjectPtr space = cluster_.find("namespaces", "", "d");
  ASSERT_NE(space, nullptr);
  EXPECT_EQ(condition_status(*space, "NamespaceFinalizersRemaining"), "True");
  EXPECT_EQ(cluster_.all("pods", "d").size(), 1u);
  EXPECT_EQ(cluster_.all("services", "d").size(), 1u) << "while there are pods";
  cluster_.change("pods", "d", "held", "{metadata: {finalizers: null}}");
  settle(seconds(3));
  EXPECT_EQ(cluster_.find("namespaces", "", "d"), nullptr);
  for (const char* plural :
       {"pods", "services", "endpoints", "endpointslices", "configmaps", "serviceaccounts"}) {
    EXPECT_TRUE(cluster_.all(plural, "d").empty()) << plural;
  }
}

TEST_F(ControllerSetTest, ANamespaceThatCannotBeEmptiedSaysSo) {
  cluster_.put("{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: d}}");
  start();
  bool refuse = true;
  cluster_.fault = [&](const std::string& request) {
    if (!refuse || !request.starts_with("remove-all secrets")) return Status();
    return Status::error(StatusCode::kInternal, "remove", "secrets", "as told");
  };
  cluster_.remove({&resource("", "v1", "namespaces"), "", "d"}, {}, [](Result<ObjectPtr>) {});
  settle();
  const ObjectPtr space = cluster_.find("namespaces", "", "d");
  ASSERT_NE(space, nullptr);
  EXPECT_EQ(condition_status(*space, "NamespaceDeletionContentFailure"), "True");
  refuse = false;
  settle(seconds(3));
  EXPECT_EQ(cluster_.find("namespaces", "", "d"), nullptr);
}

TEST_F(ControllerSetTest, ASilentNodesPodsLeave) {
  cluster_.put(
      "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: n1, namespace: "
      "kube-node-lease}, spec: {renewTime: '2024-01-01T00:00:00.000000Z'}}");
  put_service();
  put_pod(1);
  start();
  settle(seconds(30));
  cluster_.change("leases", "kube-node-lease", "n1",
                  "{spec: {renewTime: '2024-01-01T00:00:30.000000Z'}}");
  settle(seconds(39));
  EXPECT_EQ(ready_addresses(), 1u) << "renewed 39 s ago";
  settle(seconds(1));
  EXPECT_EQ(ready_addresses(), 0u);
  ObjectPtr node = cluster_.find("nodes", "", "n1");
  EXPECT_EQ(condition_status(*node, "Ready"), "Unknown");
  EXPECT_NE(find_by(node->at("spec.taints"), "key", "node.kubernetes.io/unreachable"), nullptr);
  // Its agent is back: it says so itself.
  cluster_.change("leases", "kube-node-lease", "n1",
                  "{spec: {renewTime: '2024-01-01T00:01:30.000000Z'}}");
  cluster_.change("nodes", "", "n1", "{status: {conditions: [{type: Ready, status: 'True'}]}}");
  settle();
  node = cluster_.find("nodes", "", "n1");
  EXPECT_TRUE(node->at("spec.taints").empty());
  EXPECT_EQ(condition_status(*node, "Ready"), "True");
}

TEST_F(ControllerSetTest, ANodeWithoutLeaseIsNotJudged) {
  put_service();
  put_pod(1);
  start();
  settle(std::chrono::hours(1));
  EXPECT_EQ(ready_addresses(), 1u);
  EXPECT_EQ(condition_status(*cluster_.find("nodes", "", "n1"), "Ready"), "True");
}

class CollectorTest : public ControllerSetTest {
 protected:
  std::string uid(std::string_view plural, std::string_view name) const {
    return std::string(uid_of(*cluster_.find(plural, "d", name)));
  }
  void put_owned(std::string_view kind, std::string_view name, std::string_view owner_kind,
                 std::string_view owner, std::string_view owner_uid) {
    cluster_.put(
        fmt::format("{{apiVersion: {}, kind: {}, metadata: {{name: {}, namespace: d, "
                    "ownerReferences: [{{apiVersion: apps/v1, kind: {}, name: {}, uid: {}, "
                    "controller: true, blockOwnerDeletion: true}}]}}}}",
                    kind == "Pod" ? "v1" : "apps/v1", kind, name, owner_kind, owner, owner_uid));
  }
  void put_tree() {
    cluster_.put("{apiVersion: apps/v1, kind: Deployment, metadata: {name: dep, namespace: d}}");
    put_owned("ReplicaSet", "set", "Deployment", "dep", uid("deployments", "dep"));
    put_owned("Pod", "pod", "ReplicaSet", "set", uid("replicasets", "set"));
  }
  void remove_dep(Propagation propagation) {
    cluster_.remove({&resource("apps", "v1", "deployments"), "d", "dep"}, {"", "", propagation},
                    [](Result<ObjectPtr> answer) { EXPECT_TRUE(answer.ok()); });
  }
  std::string removals() {
    std::string made;
    for (const std::string& write : cluster_.take_writes()) {
      if (write.starts_with("remove")) made += (made.empty() ? "" : ", ") + write;
    }
    return made;
  }
};

TEST_F(CollectorTest, Background) {
  put_tree();
  start();
  cluster_.take_writes();
  remove_dep(Propagation::kBackground);
  settle();
  EXPECT_EQ(removals(), "remove deployments d/dep, remove replicasets d/set, remove pods d/pod");
}

TEST_F(CollectorTest, AnOwnerThatComesAndGoesUnseenIsMissed) {
  start();
  cluster_.pause("replicasets");
  cluster_.put("{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: set, namespace: d}}");
  put_owned("Pod", "pod", "ReplicaSet", "set", uid("replicasets", "set"));
  settle();
  EXPECT_EQ(removals(), "");
  cluster_.erase("replicasets", "d", "set");
  cluster_.lose_watches(Status::error(StatusCode::kExpired, "watch", "all", "as told"));
  settle(seconds(2));
  EXPECT_EQ(removals(), "remove pods d/pod");
}

TEST_F(CollectorTest, ForegroundGoesFromTheLeaves) {
  put_tree();
  start();
  std::vector<std::string> gone;
  cluster_.wrote = [&](const std::string&) {
    for (const char* plural : {"pods", "replicasets", "deployments"}) {
      if (!cluster_.all(plural, "d").empty()) continue;
      if (std::find(gone.begin(), gone.end(), plural) == gone.end()) gone.emplace_back(plural);
    }
  };
  remove_dep(Propagation::kForeground);
  EXPECT_NE(cluster_.find("deployments", "d", "dep"), nullptr);
  settle();
  EXPECT_EQ(fmt::format("{}", fmt::join(gone, " ")), "pods replicasets deployments");
}

TEST_F(CollectorTest, OrphansStay) {
  put_tree();
  start();
  remove_dep(Propagation::kOrphan);
  settle();
  EXPECT_EQ(cluster_.find("deployments", "d", "dep"), nullptr);
  const ObjectPtr set = cluster_.find("replicasets", "d", "set");
  ASSERT_NE(set, nullptr);
  EXPECT_TRUE(set->at("metadata.ownerReferences").empty());
  EXPECT_NE(cluster_.find("pods", "d", "pod"), nullptr);
}

TEST_F(CollectorTest, AnOwnerThatNeverWas) {
  start();
  put_owned("Pod", "pod", "ReplicaSet", "never", "no-such-uid");
  settle();
  EXPECT_EQ(cluster_.find("pods", "d", "pod"), nullptr);
}

TEST_F(CollectorTest, AnOwnerWhoseStateIsNotKnownIsNotAbsent) {
  start();
  cluster_.fault = [&](const std::string& request) {
    if (!request.starts_with("get replicasets")) return Status();
    return Status::error(StatusCode::kUnavailable, "get", "replicaset", "away");
  };
  put_owned("Pod", "pod", "ReplicaSet", "never", "no-such-uid");
  settle(seconds(60));
  EXPECT_NE(cluster_.find("pods", "d", "pod"), nullptr);
}

TEST_F(CollectorTest, AnOwnerInAnotherNamespaceIsReported) {
  cluster_.put(
      "{apiVersion: v1, kind: Namespace, metadata: {name: e}, spec: {finalizers: "
      "[kubernetes]}}");
  cluster_.put(
      "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: set, namespace: e, uid: "
      "elsewhere}}");
  start();
  put_owned("Pod", "pod", "ReplicaSet", "set", "elsewhere");
  settle();
  const std::vector<ObjectPtr> events = cluster_.all("events", "d");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]->get("reason").as_string(), "OwnerRefInvalidNamespace");
  EXPECT_EQ(cluster_.find("pods", "d", "pod"), nullptr);
  EXPECT_NE(cluster_.find("replicasets", "e", "set"), nullptr);
}

TEST_F(CollectorTest, WhatChangedSinceTheDecisionIsDecidedAgain) {
  put_tree();
  start();
  // Between the decision and the removal somebody takes the pod's owner away.
  cluster_.fault = [&](const std::string& request) {
    if (request == "remove pods d/pod" && cluster_.find("pods", "d", "pod")) {
      cluster_.fault = nullptr;
      cluster_.change("pods", "d", "pod", "{metadata: {ownerReferences: null}}");
    }
    return Status();
  };
  remove_dep(Propagation::kBackground);
  settle(seconds(1));
  EXPECT_EQ(cluster_.find("replicasets", "d", "set"), nullptr);
  EXPECT_NE(cluster_.find("pods", "d", "pod"), nullptr);
}

}  // namespace
}  // namespace fairlead::controllers
