#include "bench/store_measures.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <mutex>
#include <semaphore>
#include <thread>
#include <utility>

namespace fairlead::bench {
namespace {

using Clock = std::chrono::steady_clock;
using store::Expect;
using store::Store;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// As compressible as JSON is, and different for each object.
std::string object(size_t number) {
  std::string value;
  while (value.size() < kObjectBytes) {
    value += fmt::format(R"({{"name":"object-{}","field-{}":"{:x}"}},)", number, value.size(),
                         number * 2654435761U + value.size() * 40503);
  }
  value.resize(kObjectBytes);
  return value;
}

void must(const Status& status) {
  if (status.ok()) return;
  fmt::print(stderr, "store_bench: {}\n", status.message());
  std::exit(1);
}

void put_and_wait(Store& store, const std::string& key, std::string value, Expect expect) {
  std::binary_semaphore done(0);
  store.put(key, std::move(value), expect, 0, [&done](const Result<store::WriteOutcome>& outcome) {
    must(outcome.status());
    done.release();
  });
  done.acquire();
}

std::unique_ptr<store::Watch> watch_prefix(Store& store, const std::string& prefix,
                                           std::function<void()> ready) {
  store::WatchRequest request;
  request.key = prefix;
  Result<std::unique_ptr<store::Watch>> watch = store.watch(request, std::move(ready));
  must(watch.status());
  must((*watch)->take(1000).status());
  return std::move(watch).value();
}

}  // namespace

CreateRate measure_creates(Store& store, const std::string& prefix, int clients,
                           std::chrono::milliseconds duration) {
  std::mutex mutex;
  std::vector<double> all;
  const auto start = Clock::now();
  std::vector<std::thread> threads;
  for (int client = 0; client < clients; ++client) {
    threads.emplace_back([&, client] {
      const std::string value = object(static_cast<size_t>(client));
      std::vector<double> mine;
      for (int i = 0; Clock::now() - start < duration; ++i) {
        const auto begin = Clock::now();
        put_and_wait(store, fmt::format("{}/{}/{}", prefix, client, i), value, Expect::absent());
        mine.push_back(ms_since(begin));
      }
      const std::lock_guard lock(mutex);
      all.insert(all.end(), mine.begin(), mine.end());
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double seconds = ms_since(start) / 1000;
  return {static_cast<double>(all.size()) / seconds, quantile(all, 0.5), quantile(all, 0.99)};
}

Delays measure_write_to_event(Store& store, int writes) {
  Delays delays;
  std::counting_semaphore<> told(0);
  Clock::time_point when;
  const auto watch = watch_prefix(store, "/events/", [&] {
    when = Clock::now();
    told.release();
  });
  const std::string value = object(1);
  for (int i = 0; i < writes; ++i) {
    const auto start = Clock::now();
    put_and_wait(store, "/events/one", value, Expect::anything());
    told.acquire();
    delays.ms.push_back(std::chrono::duration<double, std::milli>(when - start).count());
    must(watch->take(1000).status());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return delays;
}

Delays measure_fan_out(Store& store, int watchers, int writes) {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<size_t> ready;
  std::vector<std::unique_ptr<store::Watch>> watches;
  for (int i = 0; i < watchers; ++i) {
    watches.push_back(watch_prefix(store, "/fan-out/", [&, number = watches.size()] {
      const std::lock_guard lock(mutex);
      ready.push_back(number);
      if (ready.size() == 1) changed.notify_one();
    }));
  }
  Delays delays;
  const std::string value = object(2);
  for (int i = 0; i < writes; ++i) {
    const auto start = Clock::now();
    std::atomic<bool> written = false;
    store.put("/fan-out/one", value, Expect::anything(), 0,
              [&](const Result<store::WriteOutcome>& outcome) {
                must(outcome.status());
                written = true;
                written.notify_one();
              });
    for (int taken = 0; taken < watchers;) {
      std::deque<size_t> batch;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return !ready.empty(); });
        batch.swap(ready);
      }
      for (const size_t number : batch) {
        const Result<store::WatchBatch> events = watches[number]->take(1000);
        must(events.status());
        taken += static_cast<int>(events->events.size());
        delays.ms.push_back(ms_since(start));
      }
    }
    written.wait(false);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return delays;
}

double measure_list(Store& store, const std::string& prefix, size_t limit, size_t expected) {
  store::RangeRequest request;
  request.key = prefix;
  request.end = store::prefix_end(prefix);
  request.limit = limit;
  size_t count = 0;
  const auto start = Clock::now();
  for (bool more = true; more;) {
    std::binary_semaphore done(0);
    store.range(request, [&](const Result<store::RangeResult>& result) {
      must(result.status());
      count += result->entries.size();
      more = result->more;
      request.revision = result->revision;
      if (more) request.key = store::key_after(result->entries.back()->key);
      done.release();
    });
    done.acquire();
  }
  const double ms = ms_since(start);
  if (count != expected) {
    must(Status::error(StatusCode::kInternal, "list", prefix,
                       fmt::format("{} objects where {} are", count, expected)));
  }
  return ms;
}

void fill(Store& store, size_t count) {
  std::counting_semaphore<> slots(256);
  for (size_t i = 0; i < count; ++i) {
    slots.acquire();
    store.put(fmt::format("/objects/{:06}", i), object(i), Expect::absent(), 0,
              [&slots](const Result<store::WriteOutcome>& outcome) {
                must(outcome.status());
                slots.release();
              });
  }
  for (int i = 0; i < 256; ++i) slots.acquire();
}

double resident_mb(const std::string& process) {
  std::ifstream status("/proc/" + process + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::strtod(line.c_str() + 6, nullptr) / 1000;
  }
  return 0;
}

}  // namespace fairlead::bench
