// What an object costs between its text and the store: lists of 10,000 pods as JSON and protobuf,
// their tables, and one pod's way through everything that a create does.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "control/schema/conform.h"
#include "control/schema/defaults.h"
#include "control/schema/json_text.h"
#include "control/schema/managed_fields.h"
#include "control/schema/protobuf.h"
#include "control/schema/table.h"
#include "control/schema/validate.h"

namespace {

namespace schema = fairlead::schema;

constexpr int kPods = 10000;

std::string pod_json(int number) {
  const std::string id = std::to_string(number);
  return R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-7d9c5b8f6d-)" + id +
         R"(","namespace":"default","uid":"2f5d0f1c-7a5b-4d0e-9c6d-0123456789ab","resourceVersion":")" +
         id +
         R"(","creationTimestamp":"2026-01-02T03:04:05Z","labels":{"app":"web","pod-template-hash":"7d9c5b8f6d"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-7d9c5b8f6d","uid":"3a5d0f1c-7a5b-4d0e-9c6d-0123456789ab","controller":true,"blockOwnerDeletion":true}]},"spec":{"nodeName":"node-)" +
         std::to_string(number % 100) +
         R"(","containers":[{"name":"web","image":"registry.example.com/web:1.2.3","args":["--port=8080"],"ports":[{"name":"http","containerPort":8080,"protocol":"TCP"}],"env":[{"name":"POD_IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}}],"resources":{"limits":{"cpu":"500m","memory":"128Mi"},"requests":{"cpu":"100m","memory":"64Mi"}},"volumeMounts":[{"name":"token","mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","readOnly":true}]}],"volumes":[{"name":"token","projected":{"sources":[{"serviceAccountToken":{"path":"token"}}]}}],"tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}]},"status":{"phase":"Running","podIP":"10.1.2.3","podIPs":[{"ip":"10.1.2.3"}],"startTime":"2026-01-02T03:04:05Z","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-02T03:04:05Z"}],"containerStatuses":[{"name":"web","ready":true,"restartCount":0,"image":"registry.example.com/web:1.2.3","imageID":"sha256:0123","started":true,"state":{"running":{"startedAt":"2026-01-02T03:04:05Z"}}}]}})";
}

std::string list_json() {
  std::string json =
      R"({"apiVersion":"v1","kind":"PodList","metadata":{"resourceVersion":"1"},"items":[)";
  for (int i = 0; i < kPods; ++i) json += (i > 0 ? "," : "") + pod_json(i);
  return json + "]}";
}

const schema::Type& list_type() {
  return *schema::find_type("core.v1.PodList");
}

schema::Document parse_list(const std::string& json) {
  auto document = schema::parse_json(json, {json.size(), 64});
  return std::move(document).value();
}

const schema::Document& list() {
  static const schema::Document kList = [] {
    schema::Document document = parse_list(list_json());
    if (!schema::conform(document, *list_type().shape, schema::Conform::kObject, nullptr)) abort();
    return document;
  }();
  return kList;
}

void count(benchmark::State& state, size_t bytes) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kPods));
}

void parse(benchmark::State& state) {
  const std::string json = list_json();
  size_t memory = 0;
  for (auto _ : state) memory = parse_list(json).arena.bytes();
  count(state, json.size());
  state.counters["arena_over_text"] =
      static_cast<double>(memory) / static_cast<double>(json.size());
}
BENCHMARK(parse)->Unit(benchmark::kMillisecond);

void parse_and_conform(benchmark::State& state) {
  const std::string json = list_json();
  for (auto _ : state) {
    schema::Document document = parse_list(json);
    const bool ok =
        schema::conform(document, *list_type().shape, schema::Conform::kObject, nullptr).ok();
    benchmark::DoNotOptimize(ok);
  }
  count(state, json.size());
}
BENCHMARK(parse_and_conform)->Unit(benchmark::kMillisecond);

void write_json(benchmark::State& state) {
  const schema::Value& root = list().root;
  size_t bytes = 0;
  for (auto _ : state) bytes = schema::to_json(root).size();
  count(state, bytes);
}
BENCHMARK(write_json)->Unit(benchmark::kMillisecond);

void write_protobuf(benchmark::State& state) {
  const schema::Value& root = list().root;
  size_t bytes = 0;
  for (auto _ : state) bytes = schema::encode_protobuf(root, list_type()).size();
  count(state, bytes);
}
BENCHMARK(write_protobuf)->Unit(benchmark::kMillisecond);

void read_protobuf(benchmark::State& state) {
  const std::string message = schema::encode_protobuf(list().root, list_type());
  for (auto _ : state) {
    const bool ok = schema::decode_protobuf(message, list_type()).ok();
    benchmark::DoNotOptimize(ok);
  }
  count(state, message.size());
}
BENCHMARK(read_protobuf)->Unit(benchmark::kMillisecond);

void table(benchmark::State& state) {
  std::vector<const schema::Value*> pods;
  for (const schema::Value& pod : list().root.get("items").items()) pods.push_back(&pod);
  const schema::Resource& resource = *schema::find_kind("v1", "Pod");
  schema::TableRequest request;
  request.now = 1767400000;
  size_t bytes = 0;
  for (auto _ : state) {
    bytes = schema::table_json(resource, pods, list().root.get("metadata"), request).size();
  }
  count(state, bytes);
}
BENCHMARK(table)->Unit(benchmark::kMillisecond);

// From the body of a create to what goes to the store.
void create_pod(benchmark::State& state) {
  const std::string json = pod_json(1);
  const schema::Resource& resource = *schema::find_kind("v1", "Pod");
  const schema::Type& type = *resource.type();
  schema::Document empty;
  empty.root = schema::Value::object();
  if (!schema::conform(empty, *type.shape, schema::Conform::kObject, nullptr)) abort();
  schema::FieldManager manager;
  manager.name = "bench";
  manager.api_version = "v1";
  for (auto _ : state) {
    auto document = schema::parse_json(json);
    std::vector<std::string> complaints;
    bool ok = schema::conform(*document, *type.shape, schema::Conform::kObject, &complaints).ok();
    schema::apply_defaults(*document, type);
    ok = ok && schema::validate_create(document->root, resource).empty();
    schema::track_update(*document, empty.root, type, manager);
    benchmark::DoNotOptimize(schema::to_json(document->root));
    if (!ok) state.SkipWithError("the pod is refused");
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(create_pod)->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
