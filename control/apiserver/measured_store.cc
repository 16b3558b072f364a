#include "control/apiserver/measured_store.h"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <future>
#include <iterator>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/apiserver/codec.h"
#include "control/apiserver/metrics_text.h"
#include "control/schema/resources.h"

namespace fairlead::apiserver {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kRegistry = "/registry/";
constexpr std::array<double, 14> kSeconds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                             0.1,    0.25,  0.5,    1,     2.5,  5,     10};

enum StoreVerb : size_t { kStoreCreate, kStoreUpdate, kStoreDelete, kStoreGet, kStoreList };
constexpr std::array<std::string_view, 5> kOperations = {"create", "update", "delete", "get",
                                                         "list"};

struct StoreCell {
  std::array<std::atomic<uint64_t>, kSeconds.size() + 1> buckets{};  // not cumulative
  std::atomic<uint64_t> nanoseconds{0};
  std::atomic<uint64_t> errors{0};
};

}  // namespace

struct MeasuredStore::Counts {
  // One row for each stored resource, the last for everything else.
  struct Row {
    std::string name;    // "deployments.apps"
    std::string prefix;  // of its keys
    std::array<StoreCell, kOperations.size()> cells{};
  };

  std::vector<std::unique_ptr<Row>> rows;
  std::unordered_map<std::string_view, size_t> by_prefix;

  Counts() {
    const auto add = [this](std::string name, std::string prefix) {
      auto row = std::make_unique<Row>();
      row->name = std::move(name);
      row->prefix = std::move(prefix);
      rows.push_back(std::move(row));
    };
    for (const schema::Resource& resource : schema::all_resources()) {
      if (&storage_of(resource) != &resource || (resource.verbs & schema::kWatch) == 0) continue;
      std::string name(resource.plural);
      if (!resource.group.empty()) name.append(".").append(resource.group);
      add(std::move(name), resource_prefix(resource));
    }
    add("other", "");
    for (size_t i = 0; i + 1 < rows.size(); ++i) by_prefix.emplace(rows[i]->prefix, i);
  }

  size_t row_of(std::string_view key) const {
    size_t end = kRegistry.size();
    for (int part = 0; part < 2 && end != std::string_view::npos; ++part) {
      end = key.find('/', end);
      if (end != std::string_view::npos) ++end;
    }
    const auto found = by_prefix.find(key.substr(0, end));
    return found == by_prefix.end() ? rows.size() - 1 : found->second;
  }
};

MeasuredStore::MeasuredStore(std::unique_ptr<store::Store> store)
    : counts_(std::make_unique<Counts>()), store_(std::move(store)) {}
MeasuredStore::~MeasuredStore() = default;

template <typename T>
store::Store::Done<T> MeasuredStore::measured(size_t operation, size_t resource, Done<T> done) {
  return [cell = &counts_->rows[resource]->cells[operation], begun = Clock::now(),
          done = std::move(done)](Result<T> result) {
    const auto took = Clock::now() - begun;
    const double seconds = std::chrono::duration<double>(took).count();
    size_t bucket = 0;
    while (bucket < kSeconds.size() && seconds > kSeconds[bucket]) ++bucket;
    cell->buckets[bucket].fetch_add(1, std::memory_order_relaxed);
    cell->nanoseconds.fetch_add(
        static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(took).count()),
        std::memory_order_relaxed);
    if (!result) cell->errors.fetch_add(1, std::memory_order_relaxed);
    done(std::move(result));
  };
}

void MeasuredStore::put(std::string key, std::string value, store::Expect expect,
                        store::LeaseId lease, Done<store::WriteOutcome> done) {
  const size_t row = counts_->row_of(key);
  const StoreVerb operation = expect.mod_revision() == 0 ? kStoreCreate : kStoreUpdate;
  store_->put(std::move(key), std::move(value), expect, lease,
              measured(operation, row, std::move(done)));
}

void MeasuredStore::remove(std::string key, store::Expect expect, Done<store::WriteOutcome> done) {
  const size_t row = counts_->row_of(key);
  store_->remove(std::move(key), expect, measured(kStoreDelete, row, std::move(done)));
}

void MeasuredStore::range(store::RangeRequest request, Done<store::RangeResult> done) {
  const size_t row = counts_->row_of(request.key);
  const StoreVerb operation = request.end.empty() ? kStoreGet : kStoreList;
  store_->range(std::move(request), measured(operation, row, std::move(done)));
}

Result<std::unique_ptr<store::Watch>> MeasuredStore::watch(store::WatchRequest request,
                                                           std::function<void()> ready) {
  return store_->watch(std::move(request), std::move(ready));
}
void MeasuredStore::grant_lease(std::chrono::seconds ttl, Done<store::Lease> done) {
  store_->grant_lease(ttl, std::move(done));
}
void MeasuredStore::keep_alive(store::LeaseId id, Done<store::Lease> done) {
  store_->keep_alive(id, std::move(done));
}
void MeasuredStore::revoke_lease(store::LeaseId id, DoneStatus done) {
  store_->revoke_lease(id, std::move(done));
}
void MeasuredStore::compact(store::Revision revision, DoneStatus done) {
  store_->compact(revision, std::move(done));
}
store::Revision MeasuredStore::revision() const {
  return store_->revision();
}
store::Usage MeasuredStore::usage() const {
  return store_->usage();
}

Status MeasuredStore::health() const {
  return store_->health();
}

void MeasuredStore::append_objects(std::string& page) {
  begin_family(page, "apiserver_storage_objects", "gauge", "Objects in the store, by resource.");
  for (size_t i = 0; i + 1 < counts_->rows.size(); ++i) {
    const Counts::Row& row = *counts_->rows[i];
    store::RangeRequest request;
    request.key = row.prefix;
    request.end = store::prefix_end(row.prefix);
    request.count_only = true;
    request.allow_cached = true;
    std::promise<Result<store::RangeResult>> promise;
    store_->range(std::move(request), [&promise](Result<store::RangeResult> result) {
      promise.set_value(std::move(result));
    });
    const Result<store::RangeResult> result = promise.get_future().get();
    if (!result) continue;
    fmt::format_to(std::back_inserter(page), "apiserver_storage_objects{{resource=\"{}\"}} {}\n",
                   row.name, result->count);
  }
}

void MeasuredStore::append_metrics(std::string& page) {
  const auto each_cell = [this](const auto& write) {
    for (const auto& row : counts_->rows) {
      for (size_t operation = 0; operation < kOperations.size(); ++operation) {
        const StoreCell& cell = row->cells[operation];
        uint64_t count = 0;
        for (const std::atomic<uint64_t>& bucket : cell.buckets) count += bucket;
        if (count == 0) continue;
        write(cell, count,
              fmt::format("operation=\"{}\",type=\"{}\"", kOperations[operation], row->name));
      }
    }
  };
  const auto out = std::back_inserter(page);
  begin_family(page, "etcd_requests_total", "counter", "Requests to the store, whichever it is.");
  each_cell([&](const StoreCell&, uint64_t count, const std::string& labels) {
    fmt::format_to(out, "etcd_requests_total{{{}}} {}\n", labels, count);
  });
  begin_family(page, "etcd_request_errors_total", "counter", "Requests that the store refused.");
  each_cell([&](const StoreCell& cell, uint64_t, const std::string& labels) {
    fmt::format_to(out, "etcd_request_errors_total{{{}}} {}\n", labels, cell.errors.load());
  });
  begin_family(page, "etcd_request_duration_seconds", "histogram",
               "Time until the store has answered; of writes, until they are durable.");
  each_cell([&](const StoreCell& cell, uint64_t count, const std::string& labels) {
    uint64_t below = 0;
    for (size_t i = 0; i < kSeconds.size(); ++i) {
      below += cell.buckets[i];
      fmt::format_to(out, "etcd_request_duration_seconds_bucket{{{},le=\"{}\"}} {}\n", labels,
                     kSeconds[i], below);
    }
    fmt::format_to(out,
                   "etcd_request_duration_seconds_bucket{{{0},le=\"+Inf\"}} {1}\n"
                   "etcd_request_duration_seconds_sum{{{0}}} {2}\n"
                   "etcd_request_duration_seconds_count{{{0}}} {1}\n",
                   labels, count, static_cast<double>(cell.nanoseconds.load()) / 1e9);
  });
  append_objects(page);
  if (const store::Usage used = usage(); used.bytes != 0) {
    begin_family(page, "apiserver_storage_size_bytes", "gauge", "Current keys and values.");
    fmt::format_to(out, "apiserver_storage_size_bytes{{storage_cluster_id=\"\"}} {}\n", used.bytes);
    begin_family(page, "fairlead_store_quota_bytes", "gauge", "How much they may be; 0: no limit.");
    fmt::format_to(out, "fairlead_store_quota_bytes {}\n", used.quota_bytes);
  }
  begin_family(page, "fairlead_store_revision", "gauge", "The newest revision.");
  fmt::format_to(out, "fairlead_store_revision {}\n", revision());
  begin_family(page, "fairlead_store_healthy", "gauge",
               "1 while reads are current and writes are taken.");
  fmt::format_to(out, "fairlead_store_healthy {}\n", health().ok() ? 1 : 0);
}

}  // namespace fairlead::apiserver
