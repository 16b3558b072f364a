// Garbage collection over a cluster in memory: owners that go, and what becomes of what they owned.
#include <algorithm>

#include "controller_set.h"

namespace fairlead::controllers {
namespace {

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

TEST_F(CollectorTest, ThoseThatWaitForEachOtherGo) {
  cluster_.put(
      "{apiVersion: apps/v1, kind: Deployment, metadata: {name: dep, namespace: d, uid: one, "
      "ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: set, uid: two, "
      "blockOwnerDeletion: true}]}}");
  cluster_.put(
      "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: set, namespace: d, uid: two, "
      "ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: dep, uid: one, "
      "blockOwnerDeletion: true}]}}");
  put_owned("Pod", "self", "Pod", "self", "three");
  cluster_.change("pods", "d", "self", "{metadata: {uid: three}}");
  start();
  remove_dep(Propagation::kForeground);
  const RemoveOptions foreground{"", "", Propagation::kForeground};
  cluster_.remove({&resource("apps", "v1", "replicasets"), "d", "set"}, foreground,
                  [](Result<ObjectPtr>) {});
  cluster_.remove({&resource("", "v1", "pods"), "d", "self"}, foreground, [](Result<ObjectPtr>) {});
  settle();
  EXPECT_EQ(cluster_.find("deployments", "d", "dep"), nullptr);
  EXPECT_EQ(cluster_.find("replicasets", "d", "set"), nullptr);
  EXPECT_EQ(cluster_.find("pods", "d", "self"), nullptr);
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

TEST_F(CollectorTest, AnOwnerThatNoCacheHoldsIsAskedForSeldom) {
  start();
  cluster_.put("{apiVersion: v1, kind: Event, metadata: {name: e, namespace: d, uid: event}}");
  int events = 0;
  int sets = 0;
  cluster_.fault = [&](const std::string& request) {
    events += request.starts_with("get events") ? 1 : 0;
    sets += request.starts_with("get replicasets") ? 1 : 0;
    return Status();
  };
  cluster_.put(
      "{apiVersion: v1, kind: Pod, metadata: {name: pod, namespace: d, ownerReferences: ["
      "{apiVersion: apps/v1, kind: ReplicaSet, name: never, uid: none}, "
      "{apiVersion: v1, kind: Event, name: e, uid: event}]}}");
  settle(std::chrono::minutes(4));
  EXPECT_EQ(events, 1);
  EXPECT_EQ(sets, 1) << "one that is there keeps no other from being asked for";
  EXPECT_NE(cluster_.find("pods", "d", "pod"), nullptr);
  cluster_.erase("events", "d", "e");
  settle(std::chrono::minutes(2));
  EXPECT_EQ(cluster_.find("pods", "d", "pod"), nullptr);
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
