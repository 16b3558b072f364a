// Creations, updates, patches, and what they refuse.
#include "tests/unit/apiserver/support.h"

namespace fairlead::apiserver {
namespace {

class RegistryWrite : public RegistryTest {};

constexpr std::string_view kPod =
    "{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: x}}, "
    "spec: {containers: [{name: c, image: i}]}}";
constexpr std::string_view kDeployment =
    "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {replicas: 2, selector: "
    "{matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, "
    "image: i}]}}}}";

TEST_F(RegistryWrite, CreateFillsMetadata) {
  ASSERT_EQ(create("pods", kPod), "a");
  EXPECT_EQ(last("metadata.namespace"), "default");
  EXPECT_EQ(last("metadata.uid").size(), 36u);
  EXPECT_EQ(last("metadata.creationTimestamp"), "2023-11-14T22:13:20Z");
  EXPECT_EQ(last("status.phase"), "Pending");
  EXPECT_EQ(last("status.qosClass"), "BestEffort");
  EXPECT_EQ(last("metadata.managedFields").find("f:image") != std::string::npos, true);
  EXPECT_EQ(get("pods", "a", "metadata.resourceVersion"), last("metadata.resourceVersion"));
}

TEST_F(RegistryWrite, TextIsTheObject) {
  ASSERT_EQ(create("pods", kPod), "a");
  std::string text;
  last_->append_json(&text);
  const schema::Document read = parsed(text);
  EXPECT_TRUE(read.root == last_->value()) << text;
  EXPECT_NE(text.find(R"("metadata":{"resourceVersion":")"), std::string::npos);
}

TEST_F(RegistryWrite, CreateRefusals) {
  ASSERT_EQ(create("pods", kPod), "a");
  EXPECT_EQ(create("pods", kPod), "409 AlreadyExists: pods \"a\" already exists");
  EXPECT_EQ(create("pods", kPod, "", "nowhere"), "404 NotFound: namespaces \"nowhere\" not found");
  EXPECT_EQ(create("pods", "{kind: Service}").substr(0, 14), "400 BadRequest");
  EXPECT_EQ(create("configmaps", "{metadata: {name: b, resourceVersion: '1'}}"),
            "400 BadRequest: resourceVersion should not be set on objects to be created");
  EXPECT_EQ(create("configmaps", "{metadata: {}}").substr(0, 11), "422 Invalid");
  EXPECT_EQ(create("configmaps", "{metadata: {name: B_}}").substr(0, 11), "422 Invalid");
}

TEST_F(RegistryWrite, NoNamespaceWhereThereIsNone) {
  EXPECT_EQ(create("namespaces", "{metadata: {name: nn, namespace: default}}"), "nn");
  EXPECT_EQ(last("metadata.namespace"), "null");
  EXPECT_EQ(patch("namespaces", "nn", "{metadata: {namespace: x, labels: {a: b}}}"), "nn");
  EXPECT_EQ(apply("namespaces", "nn",
                  "{apiVersion: v1, kind: Namespace, metadata: {name: nn, namespace: x}}", "m"),
            "nn");
  EXPECT_EQ(last("metadata.namespace"), "null");
  EXPECT_EQ(last("metadata.labels.a"), "b");
}

TEST_F(RegistryWrite, GenerateName) {
  const std::string name = create("configmaps", "{metadata: {generateName: x-}}");
  EXPECT_EQ(name.substr(0, 2), "x-");
  EXPECT_EQ(name.size(), 7u);
}

TEST_F(RegistryWrite, StrictAndWarn) {
  context_.field_validation = schema::FieldValidation::kStrict;
  EXPECT_EQ(create("configmaps", "{metadata: {name: a}, foo: 1}"),
            "400 BadRequest: strict decoding error: unknown field \"foo\"");
  context_.field_validation = schema::FieldValidation::kWarn;
  EXPECT_EQ(create("configmaps", "{metadata: {name: a}, foo: 1}"), "a");
  EXPECT_EQ(warnings_, std::vector<std::string>{"unknown field \"foo\""});
}

TEST_F(RegistryWrite, WhatIsNotUtf8IsNeverStored) {
  context_.field_manager = "a\xff";
  EXPECT_NE(create("pods", kPod).find("not UTF-8"), std::string::npos);
  context_.field_manager.clear();
  EXPECT_EQ(get("pods", "a", "kind"), "404 NotFound: pods \"a\" not found");
}

TEST_F(RegistryWrite, DryRunLeavesNothing) {
  context_.dry_run = true;
  EXPECT_EQ(create("pods", kPod), "a");
  EXPECT_EQ(last("metadata.resourceVersion"), "null");
  context_.dry_run = false;
  EXPECT_EQ(get("pods", "a", "kind"), "404 NotFound: pods \"a\" not found");
}

TEST_F(RegistryWrite, UpdateComparesRevision) {
  ASSERT_EQ(create("configmaps", "{metadata: {name: a}, data: {k: '1'}}"), "a");
  const std::string first = last("metadata.resourceVersion");
  EXPECT_EQ(update("configmaps", "a", "{metadata: {name: a}, data: {k: '2'}}"), "a");
  EXPECT_EQ(update("configmaps", "a",
                   fmt::format("{{metadata: {{name: a, resourceVersion: '{}'}}}}", first)),
            "409 Conflict: Operation cannot be fulfilled on configmaps \"a\": the object has been "
            "modified; please apply your changes to the latest version and try again");
  EXPECT_EQ(get("configmaps", "a", "data.k"), "2");
  EXPECT_EQ(update("configmaps", "b", "{metadata: {name: b}}"),
            "404 NotFound: configmaps \"b\" not found");
  EXPECT_EQ(update("configmaps", "a", "{metadata: {name: b}}"),
            "400 BadRequest: the name of the object (b) does not match the name on the URL (a)");
}

TEST_F(RegistryWrite, NothingChangedIsNotWritten) {
  ASSERT_EQ(create("configmaps", "{metadata: {name: a}, data: {k: '1'}}"), "a");
  const std::string first = last("metadata.resourceVersion");
  EXPECT_EQ(update("configmaps", "a", "{metadata: {name: a}, data: {k: '1'}}"), "a");
  EXPECT_EQ(last("metadata.resourceVersion"), first);
}

TEST_F(RegistryWrite, SomeKindsDemandARevision) {
  ASSERT_EQ(update("coordination.k8s.io/v1 leases", "l", "{metadata: {name: l}}"), "l");
  EXPECT_EQ(update("coordination.k8s.io/v1 leases", "l",
                   "{metadata: {name: l}, spec: {holderIdentity: x}}"),
            "422 Invalid: Lease.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: "
            "Invalid value: 0x0: must be specified for an update");
  EXPECT_EQ(
      update("coordination.k8s.io/v1 leases", "l", "{metadata: {name: l, resourceVersion: '0'}}")
          .substr(0, 11),
      "422 Invalid");
}

TEST_F(RegistryWrite, GenerationCountsDesire) {
  ASSERT_EQ(create("apps/v1 deployments", kDeployment), "d");
  EXPECT_EQ(last("metadata.generation"), "1");
  EXPECT_EQ(patch("apps/v1 deployments", "d", "{metadata: {labels: {x: yy}}}"), "d");
  EXPECT_EQ(last("metadata.generation"), "1");
  EXPECT_EQ(patch("apps/v1 deployments", "d", "{spec: {replicas: 3}}"), "d");
  EXPECT_EQ(last("metadata.generation"), "2");
  EXPECT_EQ(patch("apps/v1 deployments", "d", "{metadata: {annotations: {x: yy}}}"), "d");
  EXPECT_EQ(last("metadata.generation"), "3");
  constexpr const char* kSlices = "discovery.k8s.io/v1 endpointslices";
  ASSERT_EQ(create(kSlices, "{metadata: {name: s}, addressType: IPv4, endpoints: []}"), "s");
  EXPECT_EQ(patch(kSlices, "s", "{metadata: {annotations: {x: yy}}}"), "s");
  EXPECT_EQ(last("metadata.generation"), "1");
  EXPECT_EQ(patch(kSlices, "s", "{metadata: {labels: {x: yy}}}"), "s");
  EXPECT_EQ(last("metadata.generation"), "2");
}

TEST_F(RegistryWrite, StatusApart) {
  ASSERT_EQ(create("apps/v1 deployments", kDeployment), "d");
  EXPECT_EQ(patch("apps/v1 deployments", "d", "{status: {replicas: 7}}"), "d");
  EXPECT_EQ(last("status.replicas"), "null");
  EXPECT_EQ(
      patch("apps/v1 deployments/status", "d", "{spec: {replicas: 9}, status: {replicas: 7}}"),
      "d");
  EXPECT_EQ(last("status.replicas"), "7");
  EXPECT_EQ(last("spec.replicas"), "2");
}

// Whoever may write the status of signing requests may not approve them.
TEST_F(RegistryWrite, ApprovalIsASubresourceOfItsOwn) {
  constexpr const char* kRequests = "certificates.k8s.io/v1 certificatesigningrequests";
  constexpr const char* kStatus = "certificates.k8s.io/v1 certificatesigningrequests/status";
  constexpr const char* kApproval = "certificates.k8s.io/v1 certificatesigningrequests/approval";
  constexpr std::string_view kApproved =
      "{status: {conditions: [{type: Approved, status: 'True', reason: r, message: m}]}}";
  const auto conditions = [this] {
    std::string types;
    for (const schema::Value& each : last_->value().at("status.conditions").items()) {
      types += field_text(each, "type") + " ";
    }
    return types;
  };
  ASSERT_EQ(create(kRequests,
                   "{metadata: {name: c}, spec: {request: YQ==, signerName: "
                   "example.com/s, usages: [client auth]}}"),
            "c");
  EXPECT_EQ(patch(kStatus, "c", kApproved), "c");
  EXPECT_EQ(conditions(), "");
  EXPECT_EQ(patch(kApproval, "c", kApproved), "c");
  EXPECT_EQ(conditions(), "Approved ");
  EXPECT_EQ(
      patch(kStatus, "c", "{status: {conditions: [{type: Failed, status: 'True', reason: r}]}}"),
      "c");
  EXPECT_EQ(conditions(), "Approved Failed ");
  EXPECT_EQ(patch(kStatus, "c", "{status: {conditions: null}}"), "c");
  EXPECT_EQ(conditions(), "Approved ");
}

// Never the pod instead, nor a write to it.
TEST_F(RegistryWrite, WhatLeadsToANodeIsNotAnswered) {
  ASSERT_EQ(create("pods", kPod), "a");
  for (const char* which : {"log", "exec", "attach", "portforward", "proxy"}) {
    const std::string what = std::string("pods/") + which;
    const std::string expected =
        fmt::format("405 MethodNotAllowed: pods/{} is not answered by this server", which);
    EXPECT_EQ(get(what, "a", "kind"), expected);
    EXPECT_EQ(create(what, "{}", "a"), expected);
    EXPECT_EQ(update(what, "a", kPod), expected);
    EXPECT_EQ(patch(what, "a", "{metadata: {labels: {app: other}}}"), expected);
    EXPECT_EQ(remove(what, "a"), expected);
  }
  EXPECT_EQ(get("pods", "a", "metadata.labels.app"), "x");
  EXPECT_EQ(create("serviceaccounts/token", "{}", "default"),
            "405 MethodNotAllowed: serviceaccounts/token is not answered by this server");
}

TEST_F(RegistryWrite, Patches) {
  ASSERT_EQ(create("configmaps", "{metadata: {name: a}, data: {k: '1'}}"), "a");
  EXPECT_EQ(patch("configmaps", "a", "[{op: add, path: /data/j, value: '2'}]", PatchType::kJson),
            "a");
  EXPECT_EQ(last("data.j"), "2");
  EXPECT_EQ(patch("configmaps", "a", "{data: {k: null}}"), "a");
  EXPECT_EQ(last("data.k"), "null");
  EXPECT_EQ(patch("configmaps", "a", "{data: {s: x}}", PatchType::kStrategic), "a");
  EXPECT_EQ(last("data.s"), "x");
  EXPECT_EQ(patch("configmaps", "a", "{metadata: {resourceVersion: '1'}}").substr(0, 12),
            "409 Conflict");
  EXPECT_EQ(patch("configmaps", "zz", "{}"), "404 NotFound: configmaps \"zz\" not found");
}

TEST_F(RegistryWrite, PatchesOfManyThreadsAllCount) {
  ASSERT_EQ(create("configmaps", "{metadata: {name: a}}"), "a");
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this, i] {
      auto outcome = wait<Written>([&](auto done) {
        registry_->patch(target("configmaps", "a"), PatchType::kMerge,
                         parsed(fmt::format("{{data: {{k{}: x}}}}", i)), false, {}, done);
      });
      EXPECT_TRUE(outcome.ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  get("configmaps", "a", "data");
  EXPECT_EQ(last_->value().get("data").size(), 8u);
}

TEST_F(RegistryWrite, Apply) {
  constexpr std::string_view kOne =
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, "
      "data: {k: '1'}}";
  constexpr std::string_view kTwo =
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, "
      "data: {k: '2'}}";
  EXPECT_EQ(apply("configmaps", "a", kOne, "one"), "a");
  EXPECT_EQ(apply("configmaps", "a", kTwo, "two"),
            "409 Conflict: Apply failed with 1 conflict: conflict with \"one\" using v1: .data.k");
  ASSERT_EQ(last_error_.causes.size(), 1u);
  EXPECT_EQ(last_error_.causes[0].field, ".data.k");
  EXPECT_EQ(apply("configmaps", "a", kTwo, "two", true), "a");
  EXPECT_EQ(get("configmaps", "a", "data.k"), "2");
}

TEST_F(RegistryWrite, VersionsShareOneStorage) {
  ASSERT_EQ(create("autoscaling/v1 horizontalpodautoscalers",
                   "{metadata: {name: h}, spec: {maxReplicas: 3, scaleTargetRef: {kind: D, name: "
                   "d}, targetCPUUtilizationPercentage: 70}}"),
            "h");
  EXPECT_EQ(last("spec.targetCPUUtilizationPercentage"), "70");
  get("autoscaling/v2 horizontalpodautoscalers", "h", "spec");
  EXPECT_EQ(field_text(last_->value().at("spec.metrics").items()[0],
                       "resource.target.averageUtilization"),
            "70");
  // What v1 cannot say passes through it, whatever else users put where it travels.
  ASSERT_EQ(patch("autoscaling/v2 horizontalpodautoscalers", "h",
                  "{spec: {behavior: {scaleDown: {stabilizationWindowSeconds: 7}}}}"),
            "h");
  EXPECT_EQ(patch("autoscaling/v1 horizontalpodautoscalers", "h", "{spec: {maxReplicas: 4}}"), "h");
  EXPECT_EQ(get("autoscaling/v2 horizontalpodautoscalers", "h", "spec.maxReplicas"), "4");
  EXPECT_EQ(last("spec.behavior.scaleDown.stabilizationWindowSeconds"), "7");
  EXPECT_EQ(last("metadata.annotations"), "null");
  EXPECT_EQ(patch("autoscaling/v1 horizontalpodautoscalers", "h",
                  "{metadata: {annotations: {autoscaling.alpha.kubernetes.io/behavior: '[7]'}}}"),
            "h");
  EXPECT_EQ(get("autoscaling/v2 horizontalpodautoscalers", "h", "spec.behavior"), "null");
  ASSERT_EQ(create("events.k8s.io/v1 events",
                   "{metadata: {name: e}, eventTime: '2023-11-14T22:13:20.000000Z', note: hello, "
                   "reason: r, action: a, type: Normal, reportingController: c, reportingInstance: "
                   "i, regarding: {kind: Pod, name: p, namespace: default}}"),
            "e");
  EXPECT_EQ(get("events", "e", "message"), "hello");
  EXPECT_EQ(get("events", "e", "involvedObject.name"), "p");
}

TEST_F(RegistryWrite, EventsOutliveTheirSharedLease) {
  const auto make = [this](const std::string& name) {
    return create("events", fmt::format("{{metadata: {{name: {}}}, involvedObject: {{kind: Pod, "
                                        "name: p, namespace: default}}}}",
                                        name));
  };
  ASSERT_EQ(make("e"), "e");
  std::promise<store::LeaseId> lease;
  store::RangeRequest request;
  request.key = "/registry/core/events/default/e";
  store_->range(request, [&](Result<store::RangeResult> found) {
    lease.set_value(found.ok() && !found->entries.empty() ? found->entries[0]->lease : 0);
  });
  const store::LeaseId shared = lease.get_future().get();
  ASSERT_NE(shared, 0);
  std::promise<Status> revoked;
  store_->revoke_lease(shared, [&](Status status) { revoked.set_value(std::move(status)); });
  ASSERT_TRUE(revoked.get_future().get().ok());
  EXPECT_EQ(make("f"), "f");
  EXPECT_EQ(make("g"), "g");
}

TEST_F(RegistryWrite, SubsetsThatSayTheSameAreTheSame) {
  ASSERT_EQ(create("endpoints",
                   "{metadata: {name: e}, subsets: ["
                   "{addresses: [{ip: 10.0.0.2}, {ip: 10.0.0.1}], ports: [{name: b, port: 2}]}, "
                   "{addresses: [{ip: 10.0.0.1}], notReadyAddresses: [{ip: 10.0.0.2}], "
                   "ports: [{name: b, port: 2}, {name: a, port: 1}]}]}"),
            "e");
  const std::string subsets = last("subsets");
  EXPECT_EQ(subsets, R"([{"addresses":[{"ip":"10.0.0.1"}],"notReadyAddresses":[{"ip":"10.0.0.2"}],)"
                     R"("ports":[{"name":"a","port":1,"protocol":"TCP"},)"
                     R"({"name":"b","port":2,"protocol":"TCP"}]}])");
  const std::string revision = last("metadata.resourceVersion");
  EXPECT_EQ(patch("endpoints", "e",
                  "{subsets: [{notReadyAddresses: [{ip: 10.0.0.2}], addresses: [{ip: 10.0.0.1}], "
                  "ports: [{name: b, port: 2}, {name: a, port: 1}]}]}"),
            "e");
  EXPECT_EQ(last("metadata.resourceVersion"), revision) << "nothing changed";
}

TEST_F(RegistryWrite, JobsGetTheirSelector) {
  ASSERT_EQ(create("batch/v1 jobs",
                   "{metadata: {name: j}, spec: {template: {spec: {restartPolicy: Never, "
                   "containers: [{name: c, image: i}]}}}}"),
            "j");
  EXPECT_EQ(last("spec.selector.matchLabels").find(last("metadata.uid")) != std::string::npos,
            true);
  EXPECT_EQ(patch("batch/v1 jobs", "j", "{spec: {parallelism: 2}}"), "j");
}

TEST_F(RegistryWrite, Scale) {
  ASSERT_EQ(create("apps/v1 deployments", kDeployment), "d");
  EXPECT_EQ(get("apps/v1 deployments/scale", "d", "spec.replicas"), "2");
  EXPECT_EQ(last("status.selector"), "a=b");
  EXPECT_EQ(patch("apps/v1 deployments/scale", "d", "{spec: {replicas: 5}}"), "d");
  EXPECT_EQ(last("kind"), "Scale");
  EXPECT_EQ(get("apps/v1 deployments", "d", "spec.replicas"), "5");
  EXPECT_EQ(update("apps/v1 deployments/scale", "d", "{metadata: {name: d}, spec: {replicas: 0}}"),
            "d");
  EXPECT_EQ(get("apps/v1 deployments", "d", "spec.replicas"), "0");
  EXPECT_EQ(get("apps/v1 deployments", "d", "metadata.generation"), "3");
}

TEST_F(RegistryWrite, BindingRefusals) {
  ASSERT_EQ(create("pods",
                   "{metadata: {name: g}, spec: {schedulingGates: [{name: example.com/wait}], "
                   "containers: [{name: c, image: i}]}}"),
            "g");
  EXPECT_EQ(create("pods/binding", "{metadata: {name: g}, target: {kind: Node, name: node1}}", "g"),
            "409 Conflict: Operation cannot be fulfilled on pods \"g\": pod g has non-empty "
            ".spec.schedulingGates");
  ASSERT_EQ(create("pods", kPod), "a");
  EXPECT_EQ(create("pods/binding", "{metadata: {name: a}, target: {kind: Pod, name: node1}}", "a"),
            "422 Invalid: Pod \"a\" is invalid: target.kind: Unsupported value: \"Pod\": supported "
            "values: \"<empty>\", \"Node\"");
  EXPECT_EQ(create("pods/binding", "{metadata: {name: a}, target: {kind: Node}}", "a"),
            "422 Invalid: Pod \"a\" is invalid: target.name: Required value");
  const std::string version = get("pods", "a", "metadata.resourceVersion");
  const auto bind_at = [this](const std::string& resource_version) {
    return create("pods/binding",
                  fmt::format("{{metadata: {{name: a, resourceVersion: '{}'}}, target: {{name: "
                              "node1}}}}",
                              resource_version),
                  "a");
  };
  EXPECT_EQ(bind_at("1"),
            fmt::format("409 Conflict: Operation cannot be fulfilled on pods \"a\": Precondition "
                        "failed: ResourceVersion in precondition: 1, ResourceVersion in object "
                        "meta: {}",
                        version));
  EXPECT_EQ(bind_at(version), "Success");
}

TEST_F(RegistryWrite, Binding) {
  ASSERT_EQ(create("pods", kPod), "a");
  constexpr std::string_view kBinding =
      "{apiVersion: v1, kind: Binding, metadata: {name: a}, target: {kind: Node, name: node1}}";
  EXPECT_EQ(create("pods/binding", kBinding, "a"), "Success");
  EXPECT_EQ(get("pods", "a", "spec.nodeName"), "node1");
  EXPECT_EQ(create("pods/binding", kBinding, "a"),
            "409 Conflict: Operation cannot be fulfilled on pods \"a\": pod a is already assigned "
            "to node \"node1\"");
}

}  // namespace
}  // namespace fairlead::apiserver
