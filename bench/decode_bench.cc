// How fast pages of EndpointSlices become structs: bytes and endpoints a second, for the whole page
// (list walk and every slice decoded), for the walk alone, and for one watch line.
#include <benchmark/benchmark.h>

#include <string>

#include "control/api/decode.h"

namespace {

using fairlead::Status;
using fairlead::api::Decoder;
using fairlead::api::RawObject;

constexpr int kSlices = 500;  // a page

// As kube-controller-manager writes it, managed fields included.
std::string slice_json(int slice, int endpoints) {
  const std::string id = std::to_string(slice);
  std::string json =
      R"({"metadata":{"name":"service-)" + id + R"(-abcde","generateName":"service-)" + id +
      R"(-","namespace":"namespace-)" + std::to_string(slice % 50) +
      R"(","uid":"2f5d0f1c-7a5b-4d0e-9c6d-0123456789ab","resourceVersion":")" +
      std::to_string(100000 + slice) +
      R"(","generation":7,"creationTimestamp":"2026-01-02T03:04:05Z","labels":{"app":"service-)" +
      id +
      R"(","endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"service-)" +
      id +
      R"("},"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-02T03:04:05Z"},"ownerReferences":[{"apiVersion":"v1","kind":"Service","name":"service-)" +
      id +
      R"(","uid":"3a5d0f1c-7a5b-4d0e-9c6d-0123456789ab","controller":true,"blockOwnerDeletion":true}],"managedFields":[{"manager":"kube-controller-manager","operation":"Update","apiVersion":"discovery.k8s.io/v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:addressType":{},"f:endpoints":{},"f:metadata":{"f:labels":{".":{},"f:app":{},"f:kubernetes.io/service-name":{}}},"f:ports":{}}}]},"addressType":"IPv4","endpoints":[)";
  for (int i = 0; i < endpoints; ++i) {
    const std::string host = std::to_string(slice % 250) + "." + std::to_string(i % 250);
    if (i > 0) json += ',';
    json +=
        R"({"addresses":["10.200.)" + host +
        R"("],"conditions":{"ready":true,"serving":true,"terminating":false},"targetRef":{"kind":"Pod","namespace":"namespace-)" +
        std::to_string(slice % 50) + R"(","name":"service-)" + id + "-7d9c5b8f6d-" +
        std::to_string(10000 + i) +
        R"(","uid":"4b5d0f1c-7a5b-4d0e-9c6d-0123456789ab"},"nodeName":"node-)" +
        std::to_string(i % 97) + R"(.example.internal","zone":"zone-)" + std::to_string(i % 3) +
        R"(","hints":{"forZones":[{"name":"zone-)" + std::to_string(i % 3) + R"("}]}})";
  }
  return json +
         R"(],"ports":[{"name":"http","port":8080,"protocol":"TCP"},{"name":"metrics","port":9090,"protocol":"TCP"}]})";
}

std::string page_json(int endpoints) {
  std::string json =
      R"({"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[)";
  for (int i = 0; i < kSlices; ++i) json += (i > 0 ? "," : "") + slice_json(i, endpoints);
  return json + "]}";
}

void ignore(size_t, const Status&) {}

void decode_page(benchmark::State& state) {
  const std::string page = page_json(static_cast<int>(state.range(0)));
  Decoder decoder;
  size_t endpoints = 0;
  for (auto _ : state) {
    const auto each = [&](const RawObject& object) {
      const auto slice = decoder.endpoint_slice(object.json);
      endpoints += slice->object.endpoints.size();
    };
    benchmark::DoNotOptimize(decoder.list(page, each, ignore).ok());
  }
  state.SetBytesProcessed(static_cast<int64_t>(page.size()) * state.iterations());
  state.SetItemsProcessed(static_cast<int64_t>(endpoints));
}
BENCHMARK(decode_page)->Arg(1)->Arg(10)->Arg(100)->Arg(500)->Unit(benchmark::kMillisecond);

void walk_page(benchmark::State& state) {
  const std::string page = page_json(static_cast<int>(state.range(0)));
  Decoder decoder;
  size_t bytes = 0;
  for (auto _ : state) {
    const auto each = [&](const RawObject& object) { bytes += object.json.size(); };
    benchmark::DoNotOptimize(decoder.list(page, each, ignore).ok());
  }
  state.SetBytesProcessed(static_cast<int64_t>(page.size()) * state.iterations());
  benchmark::DoNotOptimize(bytes);
}
BENCHMARK(walk_page)->Arg(1)->Arg(100)->Unit(benchmark::kMillisecond);

void decode_watch_line(benchmark::State& state) {
  const std::string line =
      R"({"type":"MODIFIED","object":)" + slice_json(1, static_cast<int>(state.range(0))) + "}";
  Decoder decoder;
  for (auto _ : state) {
    const auto event = decoder.watch_line(line);
    benchmark::DoNotOptimize(decoder.endpoint_slice(event->object.json)->object.endpoints.size());
  }
  state.SetBytesProcessed(static_cast<int64_t>(line.size()) * state.iterations());
}
BENCHMARK(decode_watch_line)->Arg(10)->Arg(100);

}  // namespace

BENCHMARK_MAIN();
