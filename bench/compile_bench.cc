// What one core does on the way from an EndpointSlice to a netlink batch, stage by stage:
// conversion, compile(), the table, Maglev, and the nftables renderer with its transaction. Items
// are endpoints throughout, so that the stages can be compared and added up.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "control/api/decode.h"
#include "dataplane/compile.h"
#include "dataplane/maglev.h"
#include "dataplane/table.h"
#include "nftables/render.h"
#include "nftables/transaction.h"
#include "proxy/objects.h"
#include "proxy/tracker.h"
#include "tests/api_server/objects.h"

namespace {

using fairlead::api_server::EndpointSliceSpec;
using fairlead::dataplane::Address;
using fairlead::dataplane::Delta;
using fairlead::dataplane::Endpoint;
using fairlead::dataplane::EndpointGroup;
using fairlead::dataplane::Family;
using fairlead::dataplane::ForwardingEntry;
using fairlead::dataplane::ForwardingTable;
using fairlead::dataplane::ObjectName;
using fairlead::dataplane::Protocol;
using fairlead::dataplane::Service;
using fairlead::nftables::Element;
using fairlead::nftables::PickClass;
using fairlead::nftables::Record;
using fairlead::nftables::Transaction;

constexpr uint32_t kPods = 0x0a000000;      // 10.0.0.0
constexpr uint32_t kServices = 0x0a800000;  // 10.128.0.0

Service service(uint32_t number) {
  Service made;
  made.name = {"default", "service-" + std::to_string(number)};
  made.created_at = 1700000000 + number;
  made.cluster_ips = {Address::v4(kServices + number + 1)};
  made.ports = {{"http", Protocol::kTcp, 80, 0}};
  return made;
}

std::vector<EndpointGroup> groups(uint32_t number, uint32_t endpoints) {
  EndpointGroup group{"http", Protocol::kTcp, Family::kIPv4, {}};
  for (uint32_t i = 0; i < endpoints; ++i) {
    Endpoint endpoint;
    endpoint.target = {Address::v4(kPods + number * endpoints + i + 1), 8080};
    endpoint.local = i % 100 == 0;
    group.endpoints.push_back(endpoint);
  }
  return {group};
}

std::vector<ForwardingEntry> compiled(uint32_t number, uint32_t endpoints) {
  return fairlead::dataplane::compile(service(number), groups(number, endpoints), {});
}

void count_endpoints(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void compile_service(benchmark::State& state) {
  const auto endpoints = static_cast<uint32_t>(state.range(0));
  const Service one = service(1);
  const std::vector<EndpointGroup> its_groups = groups(1, endpoints);
  for (auto _ : state) {
    benchmark::DoNotOptimize(fairlead::dataplane::compile(one, its_groups, {}));
  }
  count_endpoints(state);
}
BENCHMARK(compile_service)->Arg(1)->Arg(5)->Arg(50)->Arg(1000);

// From the slice as the trackers keep it: what a sync does for every service that changed.
void group_and_compile(benchmark::State& state) {
  const auto endpoints = static_cast<uint32_t>(state.range(0));
  const Service one = service(1);
  fairlead::proxy::Tracker tracker;
  fairlead::proxy::ZoneHints hints;
  tracker.put_service(one);
  fairlead::proxy::Slice slice;
  slice.name = one.name.name + "-abcde";
  slice.service = one.name;
  slice.ports = {{"http", Protocol::kTcp, 8080}};
  for (uint32_t i = 0; i < endpoints; ++i) {
    slice.endpoints.push_back(
        {Address::v4(kPods + i + 1),
         fairlead::proxy::SliceEndpoint::kReady | fairlead::proxy::SliceEndpoint::kServing});
  }
  tracker.put_slice(slice);
  for (auto _ : state) {
    const std::vector<EndpointGroup> merged = tracker.groups(one.name, hints, {});
    benchmark::DoNotOptimize(fairlead::dataplane::compile(one, merged, {}));
  }
  count_endpoints(state);
}
BENCHMARK(group_and_compile)->Arg(5)->Arg(50)->Arg(1000);

// From the bytes of the API server's JSON.
void decode_and_convert_slice(benchmark::State& state) {
  EndpointSliceSpec spec;
  for (int64_t i = 0; i < state.range(0); ++i) {
    spec.endpoints.push_back(
        {.address = "10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1),
         .node = "node-" + std::to_string(i % 100),
         .zone = "zone-" + std::to_string(i % 3),
         .pod = "web-7d9c5b8f6d-" + std::to_string(10000 + i)});
  }
  const std::string json = fairlead::api_server::endpoint_slice_json(spec);
  fairlead::api::Decoder decoder;
  fairlead::proxy::ZoneHints hints;
  for (auto _ : state) {
    auto decoded = decoder.endpoint_slice(json);
    benchmark::DoNotOptimize(
        fairlead::proxy::convert_slice(decoded->object, "node-a", hints, decoded->problems));
  }
  count_endpoints(state);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(json.size()));
}
BENCHMARK(decode_and_convert_slice)->Arg(1)->Arg(5)->Arg(100)->Arg(1000);

// One service after the other changes its last endpoint, in a table of `range(1)` services.
void replace_in_table(benchmark::State& state) {
  const auto endpoints = static_cast<uint32_t>(state.range(0));
  const auto services = static_cast<uint32_t>(state.range(1));
  ForwardingTable table;
  std::vector<std::vector<ForwardingEntry>> versions[2];
  std::vector<ObjectName> names;
  for (uint32_t i = 0; i < services; ++i) {
    names.push_back(service(i).name);
    versions[0].push_back(compiled(i, endpoints));
    std::vector<ForwardingEntry> other = versions[0].back();
    other[0].cluster.targets.back().address.port = 9090;
    versions[1].push_back(std::move(other));
    table.replace(names.back(), versions[0].back());
  }
  table.acknowledge(table.pending(), {});
  uint32_t next = 0;
  size_t version = 1;
  for (auto _ : state) {
    table.replace(names[next], versions[version][next]);
    const Delta delta = table.pending();
    table.acknowledge(delta, {});
    if (++next == services) {
      next = 0;
      version = 1 - version;
    }
  }
  count_endpoints(state);
}
BENCHMARK(replace_in_table)->Args({5, 100})->Args({5, 10000})->Args({50, 1000})->Args({1000, 100});

// The whole table at once, as at the start.
void fill_table(benchmark::State& state) {
  const auto endpoints = static_cast<uint32_t>(state.range(0));
  const auto services = static_cast<uint32_t>(state.range(1));
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<std::pair<ObjectName, std::vector<ForwardingEntry>>> all;
    for (uint32_t i = 0; i < services; ++i)
      all.emplace_back(service(i).name, compiled(i, endpoints));
    ForwardingTable table;
    state.ResumeTiming();
    for (auto& [name, entries] : all) table.replace(name, std::move(entries));
    const Delta delta = table.pending();
    table.acknowledge(delta, {});
    benchmark::DoNotOptimize(delta.upserted.size());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0) * state.range(1));
}
BENCHMARK(fill_table)->Args({5, 10000})->Args({50, 1000})->Unit(benchmark::kMillisecond);

void maglev(benchmark::State& state) {
  const ForwardingEntry entry = compiled(1, static_cast<uint32_t>(state.range(0)))[0];
  const auto size = fairlead::dataplane::maglev_table_size(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(fairlead::dataplane::maglev_table(entry.cluster.targets, size));
  }
  count_endpoints(state);
}
BENCHMARK(maglev)->Arg(5)->Arg(50)->Arg(1000)->Unit(benchmark::kMicrosecond);

// New services: the elements and, in batches of 1,000 services, the bytes for the kernel.
void render_and_build(benchmark::State& state) {
  const auto endpoints = static_cast<uint32_t>(state.range(0));
  constexpr uint32_t kBatch = 1000;
  const uint32_t services = std::max(1U, kBatch / endpoints);
  std::vector<Record> records;
  uint32_t token = 0;
  for (uint32_t i = 0; i < services; ++i) {
    Record record;
    record.entry = std::make_shared<const ForwardingEntry>(compiled(i, endpoints)[0]);
    fairlead::nftables::InstalledSet empty;
    empty.number = i + 1;
    record.cluster = fairlead::nftables::arrange(
        empty, record.entry->cluster, PickClass{false, endpoints, 0}, [&] { return ++token; });
    records.push_back(std::move(record));
  }
  const auto class_number = [](const PickClass& pick) { return pick.endpoints; };
  size_t bytes = 0;
  for (auto _ : state) {
    Transaction transaction(Family::kIPv4);
    for (const Record& record : records) {
      for (const Element& element : fairlead::nftables::elements_of(record, class_number)) {
        transaction.add(element);
      }
    }
    bytes += transaction.build().bytes().size();
  }
  state.SetItemsProcessed(state.iterations() * services * endpoints);
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
}
BENCHMARK(render_and_build)->Arg(1)->Arg(5)->Arg(50)->Arg(1000)->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
