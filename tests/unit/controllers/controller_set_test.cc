// All controllers over a cluster in memory: from one change to the rest that follows from it, with
// conflicts, failures and lost watches in between.
#include "controller_set.h"

#include <set>

namespace fairlead::controllers {
namespace {

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

TEST_F(ControllerSetTest, AMirrorThatIsTakenAwayIsMadeAnew) {
  start();
  put_service("db", "null");
  cluster_.put(
      "{apiVersion: v1, kind: Endpoints, metadata: {name: db, namespace: d}, subsets: "
      "[{addresses: [{ip: 192.0.2.1}], ports: [{port: 5432, protocol: TCP}]}]}");
  settle();
  const std::string name(name_of(*cluster_.all("endpointslices", "d").at(0)));
  cluster_.change("endpointslices", "d", name,
                  "{metadata: {labels: {endpointslice.kubernetes.io/managed-by: me}}}");
  settle();
  EXPECT_EQ(cluster_.all("endpointslices", "d").size(), 2u);
}

TEST_F(ControllerSetTest, ARefusedCreationKeepsNothingElseBack) {
  start();
  bool once = true;
  cluster_.fault = [&](const std::string& request) {
    if (!once || !request.starts_with("create endpointslices")) return Status();
    once = false;
    return Status::error(StatusCode::kPermission, "create", "slice", "as told");
  };
  put_service("db", "null");
  cluster_.put(
      "{apiVersion: v1, kind: Endpoints, metadata: {name: db, namespace: d}, subsets: "
      "[{addresses: [{ip: 192.0.2.1}, {ip: '2001:db8::1'}], ports: [{port: 80, protocol: TCP}]}]}");
  loop_->run();
  EXPECT_NE(slices().find("IPv6 /TCP/80 [2001:db8::1 r]"), std::string::npos);
  EXPECT_NE(metrics("endpointslicemirroring").last_error.find("as told"), std::string::npos);
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
  cluster_.change("configmaps", "d", "kube-root-ca.crt", "{metadata: {annotations: null}}");
  settle();
  EXPECT_FALSE(cluster_.find("configmaps", "d", "kube-root-ca.crt")
                   ->at("metadata.annotations")
                   .get("kubernetes.io/description")
                   .as_string()
                   .empty());
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
  settle(seconds(8));
  EXPECT_EQ(cluster_.find("namespaces", "", "d"), nullptr);
  for (const char* plural :
       {"pods", "services", "endpoints", "endpointslices", "configmaps", "serviceaccounts"}) {
    EXPECT_TRUE(cluster_.all(plural, "d").empty()) << plural;
  }
}

constexpr std::string_view kHeldConfigMap =
    "{apiVersion: v1, kind: ConfigMap, metadata: {name: held, namespace: d, finalizers: [a/b]}}";

TEST_F(ControllerSetTest, ASuccessorOfANamespaceIsNotEmptied) {
  cluster_.put(kHeldConfigMap);
  start();
  cluster_.remove({&resource("", "v1", "namespaces"), "", "d"}, {}, [](Result<ObjectPtr>) {});
  settle();
  cluster_.pause("namespaces");
  cluster_.erase("configmaps", "d", "held");
  cluster_.erase("namespaces", "", "d");
  cluster_.put("{apiVersion: v1, kind: Namespace, metadata: {name: d}}");
  cluster_.put("{apiVersion: v1, kind: ConfigMap, metadata: {name: new, namespace: d}}");
  settle(seconds(10));
  EXPECT_NE(cluster_.find("configmaps", "d", "new"), nullptr);
}

TEST_F(ControllerSetTest, ASuccessorThatComesDuringALookIsNotEmptied) {
  cluster_.put(kHeldConfigMap);
  start();
  cluster_.pause("namespaces");
  cluster_.remove({&resource("", "v1", "namespaces"), "", "d"}, {}, [](Result<ObjectPtr>) {});
  bool once = true;
  cluster_.fault = [&](const std::string& request) {
    if (once && request.starts_with("list configmaps")) {
      once = false;
      cluster_.erase("configmaps", "d", "held");
      cluster_.erase("namespaces", "", "d");
      cluster_.put("{apiVersion: v1, kind: Namespace, metadata: {name: d}}");
      cluster_.put("{apiVersion: v1, kind: ConfigMap, metadata: {name: new, namespace: d}}");
    }
    return Status();
  };
  cluster_.resume();
  settle(seconds(10));
  EXPECT_FALSE(once);
  EXPECT_NE(cluster_.find("configmaps", "d", "new"), nullptr);
}

// What another server admits while it has not heard of the end yet is found all the same.
TEST_F(ControllerSetTest, ANamespaceGoesAfterTheGrace) {
  start();
  cluster_.remove({&resource("", "v1", "namespaces"), "", "d"}, {}, [](Result<ObjectPtr>) {});
  settle(seconds(4));
  EXPECT_NE(cluster_.find("namespaces", "", "d"), nullptr);
  EXPECT_TRUE(cluster_.all("configmaps", "d").empty()) << "it is emptied at once";
  cluster_.put("{apiVersion: v1, kind: ConfigMap, metadata: {name: late, namespace: d}}");
  settle(seconds(2));
  EXPECT_EQ(cluster_.find("configmaps", "d", "late"), nullptr);
  EXPECT_EQ(cluster_.find("namespaces", "", "d"), nullptr);
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
  settle(seconds(8));
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

TEST_F(ControllerSetTest, AReportedStatusIsASignOfLife) {
  cluster_.put(
      "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: n1, namespace: "
      "kube-node-lease}, spec: {renewTime: '2024-01-01T00:00:00.000000Z'}}");
  start();
  settle(seconds(30));
  cluster_.change("nodes", "", "n1",
                  "{status: {conditions: [{type: Ready, status: 'True', lastHeartbeatTime: "
                  "'2024-01-01T00:00:30Z'}]}}");
  settle(seconds(39));
  EXPECT_EQ(condition_status(*cluster_.find("nodes", "", "n1"), "Ready"), "True");
  settle(seconds(2));
  EXPECT_EQ(condition_status(*cluster_.find("nodes", "", "n1"), "Ready"), "Unknown");
}

TEST_F(ControllerSetTest, ANodeThatComesBackToASilentLeaseIsJudged) {
  const std::string_view node =
      "{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {conditions: [{type: Ready, "
      "status: 'True'}]}}";
  cluster_.put(
      "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: n1, namespace: "
      "kube-node-lease}, spec: {renewTime: '2024-01-01T00:00:00.000000Z'}}");
  start();
  settle(seconds(30));
  cluster_.erase("nodes", "", "n1");
  settle();
  cluster_.put(node);
  settle(seconds(39));
  EXPECT_EQ(condition_status(*cluster_.find("nodes", "", "n1"), "Ready"), "True");
  settle(seconds(2));
  EXPECT_EQ(condition_status(*cluster_.find("nodes", "", "n1"), "Ready"), "Unknown");
  // And without its lease it is one that nobody judges, whatever was renewed meanwhile.
  cluster_.erase("nodes", "", "n1");
  settle();
  cluster_.change("leases", "kube-node-lease", "n1",
                  "{spec: {renewTime: '2024-01-01T00:01:30.000000Z'}}");
  settle();
  cluster_.erase("leases", "kube-node-lease", "n1");
  settle();
  cluster_.put(node);
  settle(std::chrono::hours(1));
  EXPECT_EQ(condition_status(*cluster_.find("nodes", "", "n1"), "Ready"), "True");
}

}  // namespace
}  // namespace fairlead::controllers
