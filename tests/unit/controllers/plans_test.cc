// Namespaces, their defaults and nodes: objects in, writes out.
#include "control/controllers/namespace_defaults.h"
#include "control/controllers/namespaces.h"
#include "control/controllers/node_health.h"
#include "support.h"

namespace fairlead::controllers {
namespace {

constexpr int64_t kNow = 1'700'000'000'000'000;

std::string conditions_text(const Value& object) {
  std::string made;
  for (const Value& condition : object.get("status").get("conditions").items()) {
    made += fmt::format("{}{}={} {}", made.empty() ? "" : "\n", condition.get("type").as_string(),
                        condition.get("status").as_string(), condition.get("reason").as_string());
  }
  return made;
}

TEST(Namespaces, SayWhatRemains) {
  const ObjectPtr space = object(
      "{apiVersion: v1, kind: Namespace, metadata: {name: d, deletionTimestamp: "
      "'2024-01-01T00:00:00Z'}, spec: {finalizers: [kubernetes, other]}}");
  NamespaceFindings findings;
  findings.remaining = {{"pods.", 2}, {"deployments.apps", 1}};
  findings.finalizers = {{"a/b", 1}};
  const Plan plan = plan_namespace(*space, findings, kNow);
  ASSERT_EQ(plan.writes.size(), 1u);
  EXPECT_EQ(plan.writes[0].subresource, "status");
  const Value& body = plan.writes[0].body.root;
  EXPECT_EQ(body.get("status").get("phase").as_string(), "Terminating");
  EXPECT_EQ(conditions_text(body),
            "NamespaceDeletionDiscoveryFailure=False ResourcesDiscovered\n"
            "NamespaceDeletionGroupVersionParsingFailure=False ParsedGroupVersions\n"
            "NamespaceDeletionContentFailure=False ContentDeleted\n"
            "NamespaceContentRemaining=True SomeResourcesRemain\n"
            "NamespaceFinalizersRemaining=True SomeFinalizersRemain");
  EXPECT_EQ(find_by(body.get("status").get("conditions"), "type", "NamespaceContentRemaining")
                ->get("message")
                .as_string(),
            "Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 "
            "resource instances");
  // The same again is no news.
  EXPECT_TRUE(plan_namespace(body, findings, kNow + 1).writes.empty());
  findings = {};
  findings.failures = {"pods.: no"};
  EXPECT_EQ(condition_status(plan_namespace(body, findings, kNow).writes.at(0).body.root,
                             "NamespaceDeletionContentFailure"),
            "True");
  const Plan last = plan_namespace(body, {}, kNow);
  EXPECT_EQ(last.writes.at(0).subresource, "finalize");
  EXPECT_EQ(schema::to_json(last.writes[0].body.root.get("spec")), "{\"finalizers\":[\"other\"]}");
  // Somebody else's finalizer holds it: the conditions say that it is not the content.
  const Plan held = plan_namespace(last.writes[0].body.root, {}, kNow);
  EXPECT_EQ(held.writes.at(0).subresource, "status");
  EXPECT_EQ(condition_status(held.writes[0].body.root, "NamespaceContentRemaining"), "False");
  EXPECT_TRUE(plan_namespace(held.writes[0].body.root, {}, kNow).writes.empty());
}

TEST(NamespaceDefaults, Plans) {
  const std::string space = "{metadata: {name: d}}";
  const std::string account = "{metadata: {name: default, namespace: d}}";
  const std::string good =
      "{metadata: {name: kube-root-ca.crt, annotations: {kubernetes.io/description: The "
      "certificates by which clients inside the cluster verify the API server at its internal "
      "addresses.}}, data: {ca.crt: PEM}}";
  const std::string bare = "{metadata: {name: kube-root-ca.crt}, data: {ca.crt: PEM}}";
  const std::string bad = "{metadata: {name: kube-root-ca.crt}, data: {ca.crt: PEM, x: z}}";
  struct {
    std::string_view what;
    std::string space, account, certificates, root_ca, expected;
  } cases[] = {
      {"a fresh one", space, "", "", "PEM", "create default, create kube-root-ca.crt"},
      {"complete", space, account, good, "PEM", ""},
      {"somebody changed it", space, account, bad, "PEM", "update kube-root-ca.crt"},
      {"without its description", space, account, bare, "PEM", "update kube-root-ca.crt"},
      {"another authority", space, account, good, "NEW", "update kube-root-ca.crt"},
      {"no authority", space, "", "", "", "create default"},
      {"terminating", "{metadata: {name: d, deletionTimestamp: x}}", "", "", "PEM", ""},
      {"gone", "", "", "", "PEM", ""},
  };
  for (const auto& row : cases) {
    NamespaceDefaultsInput input;
    if (!row.space.empty()) input.space = object(row.space);
    if (!row.account.empty()) input.account = object(row.account);
    if (!row.certificates.empty()) input.certificates = object(row.certificates);
    input.root_ca = row.root_ca;
    std::string made;
    for (const Write& write : plan_namespace_defaults(input).writes) {
      made +=
          fmt::format("{}{} {}", made.empty() ? "" : ", ", verb_text(write.verb), write.what.name);
      if (write.what.name != "default") {
        EXPECT_EQ(schema::to_json(write.body.root.get("data")),
                  "{\"ca.crt\":\"" + row.root_ca + "\"}");
      }
    }
    EXPECT_EQ(made, row.expected) << row.what;
  }
}

std::string health_node(std::string_view ready, std::string_view taints = "[]") {
  return fmt::format(
      "{{apiVersion: v1, kind: Node, metadata: {{name: n1, resourceVersion: '5'}}, spec: {{taints: "
      "{}}}, status: {{conditions: [{{type: Ready, status: '{}'}}, {{type: MemoryPressure, status: "
      "'False'}}]}}}}",
      taints, ready);
}

// "pod p, status Unknown …, taints key:effect …".
std::string node_plan_text(const Plan& plan) {
  std::string made;
  for (const Write& write : plan.writes) {
    if (!made.empty()) made += ", ";
    if (write.what.resource->plural == "pods") {
      made += fmt::format("pod {} {}", write.what.name, condition_status(write.body.root, "Ready"));
    } else if (write.subresource == "status") {
      made += "status";
      for (const Value& condition : write.body.root.get("status").get("conditions").items()) {
        made += fmt::format(" {}", condition.get("status").as_string());
      }
    } else {
      made += "taints";
      for (const Value& taint : write.body.root.get("spec").get("taints").items()) {
        made +=
            fmt::format(" {}:{}", taint.get("key").as_string(), taint.get("effect").as_string());
      }
    }
  }
  return made;
}

TEST(NodeHealth, Plans) {
  const std::string pods =
      "{metadata: {name: p, namespace: d}, status: {conditions: [{type: Ready, "
      "status: '%s'}]}}";
  const auto pod = [&](std::string_view ready) {
    std::string made = pods;
    return made.replace(made.find("%s"), 2, ready);
  };
  const std::string unreachable =
      "[{key: node.kubernetes.io/unreachable, effect: NoSchedule}, {key: "
      "node.kubernetes.io/unreachable, effect: NoExecute}, {key: mine, effect: NoSchedule}]";
  struct {
    std::string_view what;
    std::string node;
    bool alive, was_ready;
    std::vector<std::string> pods;
    std::string_view expected;
  } cases[] = {
      {"well", health_node("True"), true, true, {pod("True")}, ""},
      {"silent: pods first, then conditions, those never posted too",
       health_node("True"),
       false,
       true,
       {pod("True"), pod("False")},
       "pod p False, status Unknown Unknown Unknown Unknown"},
      {"not ready by its own word",
       health_node("False"),
       true,
       true,
       {pod("True")},
       "pod p False, taints node.kubernetes.io/not-ready:NoSchedule "
       "node.kubernetes.io/not-ready:NoExecute"},
      {"not ready for long: its agent answers for the pods",
       health_node("False",
                   "[{key: node.kubernetes.io/not-ready, effect: NoSchedule}, {key: "
                   "node.kubernetes.io/not-ready, effect: NoExecute}]"),
       true,
       false,
       {pod("True")},
       ""},
      {"unknown, then alive, but not yet ready",
       health_node("Unknown", unreachable),
       true,
       false,
       {},
       ""},
      {"back",
       health_node("True", unreachable),
       true,
       false,
       {pod("False")},
       "taints mine:NoSchedule"},
      {"one taint turns into the other",
       health_node("False", unreachable),
       true,
       false,
       {},
       "taints mine:NoSchedule node.kubernetes.io/not-ready:NoSchedule "
       "node.kubernetes.io/not-ready:NoExecute"},
  };
  for (const auto& row : cases) {
    NodeInput input;
    input.node = object(row.node);
    input.pods = objects(row.pods);
    input.alive = row.alive;
    input.was_ready = row.was_ready;
    input.unix_microseconds = kNow;
    EXPECT_EQ(node_plan_text(plan_node(input)), row.expected) << row.what;
  }
  // After the conditions were written, the taint.
  NodeInput input;
  input.node = object(health_node("True"));
  input.alive = false;
  input.node = share(copy_of(plan_node(input).writes.at(0).body.root));
  EXPECT_EQ(node_plan_text(plan_node(input)),
            "taints node.kubernetes.io/unreachable:NoSchedule "
            "node.kubernetes.io/unreachable:NoExecute");
}

TEST(Times, AreWritten) {
  EXPECT_EQ(rfc3339(kNow), "2023-11-14T22:13:20Z");
  EXPECT_EQ(rfc3339_micro(kNow + 42), "2023-11-14T22:13:20.000042Z");
  EXPECT_EQ(rfc3339_micro(-1), "1969-12-31T23:59:59.999999Z");
}

}  // namespace
}  // namespace fairlead::controllers
