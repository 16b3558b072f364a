// Removals: preconditions, grace, finalizers, propagation, namespaces, evictions.
#include "tests/unit/apiserver/support.h"

namespace fairlead::apiserver {
namespace {

class RegistryRemove : public RegistryTest {
 protected:
  // Lets a test do something between a removal's decision and the removal.
  class Interloper : public Admission {
   public:
    explicit Interloper(RegistryRemove& test) : test_(test) {}
    void admit(Write& write, std::function<void(Outcome<Done0>)> done) override {
      if (write.operation != Operation::kDelete || !test_.before_removal_) return done(Done0());
      std::exchange(test_.before_removal_, nullptr)([done] { done(Done0()); });
    }

   private:
    RegistryRemove& test_;
  };

  void add_hooks(Hooks& hooks) override {
    hooks.admission.push_back(std::make_unique<Interloper>(*this));
  }
  std::string evict(std::string_view name, std::string_view options = "gracePeriodSeconds: 0") {
    return create("pods/eviction",
                  fmt::format("{{apiVersion: policy/v1, kind: Eviction, metadata: {{name: {}}}, "
                              "deleteOptions: {{{}}}}}",
                              name, options),
                  name);
  }
  // For pods with app=x.
  void make_budget(std::string_view status) {
    ASSERT_EQ(create("policy/v1 poddisruptionbudgets",
                     "{metadata: {name: p}, spec: {minAvailable: 1, selector: {matchLabels: {app: "
                     "x}}}}"),
              "p");
    ASSERT_EQ(patch("policy/v1 poddisruptionbudgets/status", "p",
                    fmt::format("{{status: {{observedGeneration: 1, {}}}}}", status)),
              "p");
  }

  std::function<void(std::function<void()>)> before_removal_;
  static constexpr std::string_view kRefused =
      "429 TooManyRequests: Cannot evict pod as it would violate the pod's disruption budget.";

  static DeleteOptions propagation(std::string how) {
    DeleteOptions options;
    options.propagation = std::move(how);
    return options;
  }
  static DeleteOptions grace(int64_t seconds) {
    DeleteOptions options;
    options.grace_seconds = seconds;
    return options;
  }
  void make_running_pod(const std::string& name, std::string_view extra = "") {
    ASSERT_EQ(
        create("pods", fmt::format("{{metadata: {{name: {}, labels: {{app: x}}}}, spec: "
                                   "{{nodeName: node1, containers: [{{name: c, image: i}}]}}}}",
                                   name)),
        name);
    ASSERT_EQ(patch("pods/status", name,
                    "{status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}}"),
              name)
        << extra;
  }
};

TEST_F(RegistryRemove, Preconditions) {
  ASSERT_EQ(create("configmaps", "{metadata: {name: a}}"), "a");
  const std::string version = last("metadata.resourceVersion");
  DeleteOptions options;
  options.uid = "other";
  EXPECT_EQ(remove("configmaps", "a", options).substr(0, 90),
            "409 Conflict: Operation cannot be fulfilled on configmaps \"a\": Precondition failed: "
            "UID in");
  options = {};
  options.resource_version = "1";
  EXPECT_EQ(remove("configmaps", "a", options).substr(0, 12), "409 Conflict");
  options.resource_version = version;
  EXPECT_EQ(remove("configmaps", "a", options), "Success");
  EXPECT_EQ(remove("configmaps", "a"), "404 NotFound: configmaps \"a\" not found");
}

TEST_F(RegistryRemove, FinalizersHoldUp) {
  ASSERT_EQ(create("configmaps", "{metadata: {name: a, finalizers: [example.com/x]}}"), "a");
  EXPECT_EQ(remove("configmaps", "a"), "a");
  EXPECT_EQ(last("metadata.deletionTimestamp"), "2023-11-14T22:13:20Z");
  EXPECT_EQ(last("metadata.deletionGracePeriodSeconds"), "0");
  EXPECT_EQ(patch("configmaps", "a", "{metadata: {finalizers: [example.com/x, example.com/y]}}")
                .substr(0, 11),
            "422 Invalid");
  EXPECT_EQ(patch("configmaps", "a", "{metadata: {finalizers: null}}"), "a");
  EXPECT_EQ(get("configmaps", "a", "kind"), "404 NotFound: configmaps \"a\" not found");
}

TEST_F(RegistryRemove, PropagationIsAFinalizer) {
  for (const auto& [how, finalizer] :
       {std::pair("Orphan", "[\"orphan\"]"), std::pair("Foreground", "[\"foregroundDeletion\"]")}) {
    ASSERT_EQ(create("configmaps", "{metadata: {name: a}}"), "a");
    EXPECT_EQ(remove("configmaps", "a", propagation(how)), "a");
    EXPECT_EQ(last("metadata.finalizers"), finalizer);
    EXPECT_EQ(remove("configmaps", "a", propagation("Background")), "Success");
  }
  EXPECT_EQ(remove("configmaps", "a", propagation("Sideways")).substr(0, 14), "400 BadRequest");
}

// As old clients rely on, which delete what owns pods without a word about the pods.
TEST_F(RegistryRemove, SomeKindsOrphanByDefault) {
  constexpr std::string_view kController =
      "{metadata: {name: r}, spec: {selector: {a: b}, template: {metadata: {labels: {a: b}}, "
      "spec: {containers: [{name: c, image: i}]}}}}";
  constexpr std::string_view kJob =
      "{metadata: {name: r}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: "
      "c, image: i}]}}}}";
  for (const auto& [what, body] :
       {std::pair("replicationcontrollers", kController), std::pair("batch/v1 jobs", kJob)}) {
    ASSERT_EQ(create(what, body), "r");
    EXPECT_EQ(remove(what, "r"), "r");
    EXPECT_EQ(last("metadata.finalizers"), "[\"orphan\"]");
    EXPECT_EQ(remove(what, "r", propagation("Background")), "Success");
    ASSERT_EQ(create(what, body), "r");
    EXPECT_EQ(remove(what, "r", propagation("Background")), "Success");
  }
}

TEST_F(RegistryRemove, PodsHaveGraceOnNodes) {
  ASSERT_EQ(create("pods", "{metadata: {name: b}, spec: {containers: [{name: c, image: i}]}}"),
            "b");
  EXPECT_EQ(remove("pods", "b"), "Success");
  make_running_pod("a");
  EXPECT_EQ(remove("pods", "a"), "a");
  EXPECT_EQ(last("metadata.deletionTimestamp"), "2023-11-14T22:13:50Z");
  EXPECT_EQ(last("metadata.deletionGracePeriodSeconds"), "30");
  EXPECT_EQ(remove("pods", "a", grace(5)), "a");
  EXPECT_EQ(last("metadata.deletionGracePeriodSeconds"), "5");
  EXPECT_EQ(remove("pods", "a", grace(60)), "a");
  EXPECT_EQ(last("metadata.deletionGracePeriodSeconds"), "5");
  EXPECT_EQ(remove("pods", "a", grace(0)), "Success");
}

TEST_F(RegistryRemove, Namespaces) {
  EXPECT_EQ(
      remove("namespaces", "default"),
      "403 Forbidden: namespaces \"default\" is forbidden: this namespace may not be deleted");
  ASSERT_EQ(create("namespaces", "{metadata: {name: nn}}"), "nn");
  EXPECT_EQ(last("spec.finalizers"), "[\"kubernetes\"]");
  EXPECT_EQ(last("status.phase"), "Active");
  EXPECT_EQ(remove("namespaces", "nn"), "nn");
  EXPECT_EQ(last("status.phase"), "Terminating");
  EXPECT_EQ(create("configmaps", "{metadata: {name: a}}", "", "nn"),
            "403 Forbidden: configmaps \"a\" is forbidden: unable to create new content in "
            "namespace nn because it is being terminated");
  ASSERT_EQ(last_error_.causes.size(), 1u);
  EXPECT_EQ(last_error_.causes[0].reason, "NamespaceTerminating");
  EXPECT_EQ(update("namespaces/finalize", "nn", "{metadata: {name: nn}, spec: {finalizers: []}}"),
            "nn");
  EXPECT_EQ(get("namespaces", "nn", "kind"), "404 NotFound: namespaces \"nn\" not found");
}

TEST_F(RegistryRemove, Collections) {
  for (const char* name : {"a", "b", "c"}) {
    create("configmaps", fmt::format("{{metadata: {{name: {}, labels: {{k: {}}}}}}}", name, name));
  }
  ListOptions which;
  which.labels = schema::LabelSelector::parse("k!=b").value();
  auto removed = wait<ListAnswer>([&](auto done) {
    registry_->remove_collection(target("configmaps"), which, {}, context_, done);
  });
  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(removed->objects.size(), 2u);
  EXPECT_EQ(list("configmaps"), "b");
}

TEST_F(RegistryRemove, EvictionSpendsDisruptions) {
  make_running_pod("a");
  make_running_pod("b");
  ASSERT_EQ(create("policy/v1 poddisruptionbudgets",
                   "{metadata: {name: p}, spec: {minAvailable: 1, selector: {matchLabels: {app: "
                   "x}}}}"),
            "p");
  EXPECT_EQ(evict("a"), kRefused);  // the controller has not looked at it yet
  EXPECT_EQ(patch("policy/v1 poddisruptionbudgets/status", "p",
                  "{status: {observedGeneration: 1, disruptionsAllowed: 1, currentHealthy: 2, "
                  "desiredHealthy: 1, expectedPods: 2}}"),
            "p");
  EXPECT_EQ(evict("a"), "Success");
  EXPECT_EQ(get("policy/v1 poddisruptionbudgets", "p", "status.disruptionsAllowed"), "0");
  EXPECT_EQ(evict("b"), kRefused);
  ASSERT_EQ(last_error_.causes.size(), 1u);
  EXPECT_EQ(last_error_.causes[0].message,
            "The disruption budget p needs 1 healthy pods and has 2 currently");
  EXPECT_EQ(list("pods"), "b");
}

TEST_F(RegistryRemove, EvictionsDryRunInTheBody) {
  make_running_pod("a");
  make_budget("disruptionsAllowed: 1, currentHealthy: 2, desiredHealthy: 1");
  EXPECT_EQ(evict("a", "dryRun: [Some]"),
            "400 BadRequest: deleteOptions.dryRun: Unsupported value: \"Some\": supported values: "
            "\"All\"");
  EXPECT_EQ(evict("a", "dryRun: [All]"), "Success");
  EXPECT_EQ(get("policy/v1 poddisruptionbudgets", "p", "status.disruptionsAllowed"), "1");
  EXPECT_EQ(get("pods", "a", "metadata.deletionTimestamp"), "null");
}

TEST_F(RegistryRemove, EvictionSpendsNothingInVain) {
  make_running_pod("a");
  make_budget("disruptionsAllowed: 1, currentHealthy: 2, desiredHealthy: 1");
  EXPECT_EQ(evict("a", "preconditions: {resourceVersion: '1'}").substr(0, 12), "409 Conflict");
  EXPECT_EQ(evict("a", "preconditions: {uid: other}").substr(0, 12), "409 Conflict");
  EXPECT_EQ(evict("a", "propagationPolicy: Sideways").substr(0, 14), "400 BadRequest");
  EXPECT_EQ(get("policy/v1 poddisruptionbudgets", "p", "status.disruptionsAllowed"), "1");
}

TEST_F(RegistryRemove, EvictionSaysWhyThePodGoes) {
  make_running_pod("a");
  const std::string version = last("metadata.resourceVersion");
  EXPECT_EQ(evict("a", fmt::format("preconditions: {{resourceVersion: '{}'}}", version)),
            "Success");
  get("pods", "a", "kind");
  const auto conditions = last_->value().at("status.conditions").items();
  ASSERT_EQ(conditions.size(), 2u);
  EXPECT_EQ(field_text(conditions[1], "type"), "DisruptionTarget");
  EXPECT_EQ(field_text(conditions[1], "reason"), "EvictionByEvictionAPI");
  EXPECT_NE(last("metadata.deletionTimestamp"), "null");
}

// A pod that becomes ready between the decision and the removal counts for the budget again.
TEST_F(RegistryRemove, EvictionOfAPodThatBecomesReady) {
  for (const char* before : {"{status: {phase: Pending}}",
                             "{status: {phase: Running, conditions: [{type: Ready, status: "
                             "'False'}]}}"}) {
    make_running_pod("a");
    ASSERT_EQ(patch("pods/status", "a", before), "a");
    make_budget("disruptionsAllowed: 0, currentHealthy: 1, desiredHealthy: 1");
    before_removal_ = [this](std::function<void()> done) {
      registry_->patch(target("pods/status", "a"), PatchType::kMerge,
                       parsed("{status: {phase: Running, conditions: [{type: Ready, status: "
                              "'True'}]}}"),
                       false, {}, [done](const Outcome<Written>& written) {
                         EXPECT_TRUE(written.ok());
                         done();
                       });
    };
    EXPECT_EQ(evict("a"), kRefused) << before;
    EXPECT_EQ(get("pods", "a", "metadata.deletionTimestamp"), "null");
    ASSERT_EQ(patch("pods/status", "a", before), "a");
    EXPECT_EQ(evict("a"), "Success");
    EXPECT_EQ(remove("policy/v1 poddisruptionbudgets", "p"), "Success");
  }
}

TEST_F(RegistryRemove, EvictionWaitsForABudgetsController) {
  std::string disrupted;
  for (int i = 0; i <= 2000; ++i) {
    disrupted += fmt::format("{}p{}: '2023-11-14T22:13:20Z'", i == 0 ? "" : ", ", i);
  }
  make_running_pod("a");
  make_budget("disruptionsAllowed: 1, currentHealthy: 2, desiredHealthy: 1, disruptedPods: {" +
              disrupted + "}");
  EXPECT_EQ(evict("a").substr(0, 13), "403 Forbidden");
}

}  // namespace
}  // namespace fairlead::apiserver
