// Server-side apply: who owns what, what is taken away, what conflicts.
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "control/schema/defaults.h"
#include "control/schema/managed_fields.h"
#include "control/schema/structured_merge.h"
#include "tests/unit/schema/support.h"

namespace fairlead::schema {
namespace {

constexpr int64_t kNow = 1767323045;  // 2026-01-02T03:04:05Z

// One object that managers write to.
class Object {
 public:
  explicit Object(std::string_view type) : type_(*find_type(type)) {
    document_ = object_of(type, "{}");
  }

  // The conflicts, empty when there are none.
  std::string apply(std::string_view manager, std::string_view config, bool force = false) {
    const Document applied = object_of(type_.name, config, Conform::kPartial);
    const auto conflicts =
        apply_configuration(document_, applied.root, type_, named(manager), force);
    if (!conflicts.ok()) return "error: " + conflicts.status().detail();
    if (!conflicts->empty()) return conflict_message(*conflicts);
    canonical();
    return "";
  }

  void update(std::string_view manager, std::string_view text) {
    Document written = object_of(type_.name, text);
    track_update(written, document_.root, type_, named(manager));
    document_ = std::move(written);
  }

  std::string fields(std::string_view manager) const {
    std::string text;
    for (const Value& entry : document_.root.at("metadata.managedFields").items()) {
      if (entry.get("manager").as_string() == manager) text += to_json(entry.get("fieldsV1"));
    }
    return text;
  }
  std::string at(std::string_view path) const { return to_json(document_.root.at(path)); }
  const Value& root() const { return document_.root; }

 private:
  FieldManager named(std::string_view manager) const {
    FieldManager made;
    made.name = manager;
    made.api_version = "v1";
    made.now = kNow;
    return made;
  }
  void canonical() {
    const Status status = conform(document_, *type_.shape, Conform::kObject, nullptr);
    EXPECT_TRUE(status.ok()) << status.message();
  }

  const Type& type_;
  Document document_;
};

TEST(Apply, OwnsWhatItSays) {
  Object map("core.v1.ConfigMap");
  EXPECT_EQ(map.apply("a", "{metadata: {name: x, labels: {l: v}}, data: {k: '1'}}"), "");
  EXPECT_EQ(map.fields("a"), R"({"f:data":{"f:k":{}},"f:metadata":{"f:labels":{"f:l":{}}}})");
  EXPECT_EQ(map.at("data"), R"({"k":"1"})");
  const Value& entry = map.root().at("metadata.managedFields").items()[0];
  EXPECT_EQ(entry.get("operation").as_string(), "Apply");
  EXPECT_EQ(entry.get("fieldsType").as_string(), "FieldsV1");
  EXPECT_EQ(entry.get("time").as_string(), "2026-01-02T03:04:05Z");
}

TEST(Apply, TakesAwayWhatItNoLongerSays) {
  Object map("core.v1.ConfigMap");
  map.apply("a", "{data: {k: '1', l: '2'}}");
  map.apply("b", "{data: {l: '2'}}");
  EXPECT_EQ(map.apply("a", "{data: {m: '3'}}"), "");
  // l is the other one's too.
  EXPECT_EQ(map.at("data"), R"({"l":"2","m":"3"})");
  map.apply("b", "{}");
  EXPECT_EQ(map.at("data"), R"({"m":"3"})");
  EXPECT_EQ(map.fields("b"), "");
  map.apply("a", "{}");
  EXPECT_EQ(map.at("data"), "null");
}

TEST(Apply, ConflictsUnlessForced) {
  Object map("core.v1.ConfigMap");
  map.apply("a", "{data: {k: '1', l: '1'}}");
  EXPECT_EQ(map.apply("b", "{data: {k: '2'}}"),
            "Apply failed with 1 conflict: conflict with \"a\" using v1: .data.k");
  EXPECT_EQ(map.at("data.k"), "\"1\"");
  EXPECT_EQ(map.apply("b", "{data: {k: '2', l: '2'}}"),
            "Apply failed with 2 conflicts: conflicts with \"a\" using v1:\n- .data.k\n- .data.l");
  EXPECT_EQ(map.apply("b", "{data: {k: '2'}}", true), "");
  EXPECT_EQ(map.fields("a"), R"({"f:data":{"f:l":{}}})");
  EXPECT_EQ(map.fields("b"), R"({"f:data":{"f:k":{}}})");
  // The same value is no conflict: both own it.
  EXPECT_EQ(map.apply("a", "{data: {k: '2', l: '1'}}"), "");
}

TEST(Apply, ListsWithKeys) {
  Object deployment("apps.v1.Deployment");
  const std::string_view pods =
      "{spec: {template: {spec: {containers: [{name: x, image: i, ports: [{containerPort: "
      "80}]}]}}}}";
  EXPECT_EQ(deployment.apply("a", pods), "");
  EXPECT_EQ(
      deployment.fields("a"),
      R"({"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"x\"}":{".":{},"f:image":{},)"
      R"("f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}})");
  EXPECT_EQ(
      deployment.apply("b", "{spec: {template: {spec: {containers: [{name: w, image: j}]}}}}"), "");
  EXPECT_EQ(deployment.root().at("spec.template.spec.containers").size(), 2u);
  EXPECT_EQ(
      deployment.apply("c", "{spec: {template: {spec: {containers: [{name: x, image: z}]}}}}"),
      "Apply failed with 1 conflict: conflict with \"a\" using v1: "
      ".spec.template.spec.containers[name=\"x\"].image");
  EXPECT_EQ(deployment.apply("a", "{spec: {template: {spec: {}}}}"), "");
  EXPECT_EQ(deployment.root().at("spec.template.spec.containers").size(), 1u);
}

TEST(Apply, SetsAndAtomicLists) {
  Object account("core.v1.ServiceAccount");
  account.apply("a", "{metadata: {finalizers: [x.y/a]}}");
  account.apply("b", "{metadata: {finalizers: [x.y/b]}}");
  EXPECT_EQ(account.at("metadata.finalizers"), R"(["x.y/a","x.y/b"])");
  EXPECT_EQ(account.fields("b"), R"({"f:metadata":{"f:finalizers":{"v:\"x.y/b\"":{}}}})");
  account.apply("a", "{metadata: {}}");
  EXPECT_EQ(account.at("metadata.finalizers"), R"(["x.y/b"])");
  Object policy("networking.v1.NetworkPolicy");
  policy.apply("a", "{spec: {podSelector: {matchLabels: {a: b}}, ingress: [{}]}}");
  EXPECT_EQ(policy.fields("a"), R"({"f:spec":{"f:ingress":{},"f:podSelector":{}}})");
}

TEST(Apply, IsTheSameTheSecondTime) {
  Object map("core.v1.ConfigMap");
  map.apply("a", "{data: {k: '1'}}");
  const std::string once = to_json(map.root());
  map.apply("a", "{data: {k: '1'}}");
  EXPECT_EQ(to_json(map.root()), once);
}

TEST(Apply, WhatIsRefused) {
  Object deployment("apps.v1.Deployment");
  EXPECT_EQ(
      deployment.apply("a", "{spec: {template: {spec: {containers: [{name: x}, {name: x}]}}}}"),
      "error: duplicate entries for key {\"name\":\"x\"}");
  EXPECT_EQ(deployment.apply("a", "{spec: {template: {spec: {containers: [{image: x}]}}}}"),
            "error: associative list with keys has an element that omits all key fields "
            "{\"image\":\"x\"}");
  EXPECT_EQ(deployment.apply("a", "{metadata: {managedFields: [{manager: a}]}}"),
            "error: must be nil");
}

TEST(Track, UpdatesOwnWhatTheyChange) {
  Object map("core.v1.ConfigMap");
  map.update("editor", "{metadata: {name: x, labels: {l: v}}, data: {k: '1'}}");
  EXPECT_EQ(map.fields("editor"),
            R"({"f:data":{".":{},"f:k":{}},"f:metadata":{"f:labels":{".":{},"f:l":{}}}})");
  map.update("other", "{metadata: {name: x, labels: {l: v}}, data: {k: '2', m: '3'}}");
  EXPECT_EQ(map.fields("editor"), R"({"f:data":{},"f:metadata":{"f:labels":{".":{},"f:l":{}}}})");
  EXPECT_EQ(map.fields("other"), R"({"f:data":{"f:k":{},"f:m":{}}})");
  map.update("third", "{metadata: {name: x}}");
  EXPECT_EQ(map.fields("editor") + map.fields("other") + map.fields("third"), "");
}

TEST(Track, AsKubectlCreateLeavesIt) {
  Document deployment = object_of(
      "apps.v1.Deployment",
      "{metadata: {name: x, labels: {app: x}}, spec: {selector: {matchLabels: {app: x}}, template: "
      "{metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: i}]}}}}");
  const Type& type = *find_type("apps.v1.Deployment");
  apply_defaults(deployment, type);
  FieldManager manager;
  manager.name = "kubectl-create";
  manager.api_version = "apps/v1";
  manager.now = kNow;
  manager.ignored = {"status"};
  track_update(deployment, object_of("apps.v1.Deployment", "{}").root, type, manager);
  EXPECT_EQ(
      to_json(deployment.root.at("metadata.managedFields").items()[0].get("fieldsV1")),
      R"({"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:progressDeadlineSeconds":{},"f:replicas":{},)"
      R"("f:revisionHistoryLimit":{},"f:selector":{},"f:strategy":{"f:rollingUpdate":{".":{},"f:maxSurge":{},)"
      R"("f:maxUnavailable":{}},"f:type":{}},"f:template":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},)"
      R"("f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:imagePullPolicy":{},"f:name":{},)"
      R"("f:resources":{},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},)"
      R"("f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{}}}}})");
}

TEST(Track, AppliersLoseWhatOthersChange) {
  Object map("core.v1.ConfigMap");
  map.apply("a", "{data: {k: '1', l: '1'}}");
  Document edited = object_of("core.v1.ConfigMap", to_json(map.root()));
  map.update("editor", "{data: {k: '2', l: '1'}, metadata: {managedFields: " +
                           to_json(map.root().at("metadata.managedFields")) + "}}");
  EXPECT_EQ(map.fields("a"), R"({"f:data":{"f:l":{}}})");
  EXPECT_EQ(map.apply("a", "{data: {k: '3', l: '1'}}"),
            "Apply failed with 1 conflict: conflict with \"editor\" using v1: .data.k");
}

TEST(Track, ManyManagersBecomeOne) {
  Object map("core.v1.ConfigMap");
  std::string data;
  for (int i = 0; i < 30; ++i) {
    data += (i ? ", k" : "k") + std::to_string(i) + ": x";
    map.update("m" + std::to_string(i), "{data: {" + data + "}}");
  }
  EXPECT_LE(map.root().at("metadata.managedFields").size(), 11u);
  EXPECT_NE(map.fields("ancient-changes"), "");
  EXPECT_NE(map.fields("m29"), "");
}

TEST(FieldSet, ReadsWhatItWrites) {
  for (const std::string_view text :
       {R"({"f:a":{".":{},"f:b":{},"k:{\"name\":\"x\"}":{}},"v:\"s\"":{}})", "{}"}) {
    const Document document = parsed(text);
    const Result<FieldSet> set = FieldSet::from_value(document.root);
    ASSERT_TRUE(set.ok()) << text;
    Arena arena;
    EXPECT_EQ(to_json(set->to_value(arena)), text);
  }
  for (const std::string_view text : {R"({"a":{}})", R"({"f:a":1})", R"({"x:a":{}})", "[]"}) {
    EXPECT_FALSE(FieldSet::from_value(parsed(text).root).ok()) << text;
  }
}

}  // namespace
}  // namespace fairlead::schema
