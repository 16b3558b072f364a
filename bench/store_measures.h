// What store_bench times, of any store: durable writes, the way from a write to a watch, lists,
// fan-out, opening, memory.
//
// Threads: one caller; each function starts and joins its own.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/scale_report.h"
#include "control/store/store.h"

namespace fairlead::bench {

inline constexpr size_t kObjectBytes = 1500;

// Opens the store of one mode; each place is a store of its own.
using OpenStore = std::function<std::unique_ptr<store::Store>(const std::string& place)>;

struct CreateRate {
  double per_second = 0;
  double p50_ms = 0;
  double p99_ms = 0;
};
// Closed-loop clients, a thread each, creating objects below `prefix`.
CreateRate measure_creates(store::Store& store, const std::string& prefix, int clients,
                           std::chrono::milliseconds duration);

struct Delays {
  std::vector<double> ms;
};
// From before the write until a watch of its prefix is told.
Delays measure_write_to_event(store::Store& store, int writes);

// `watchers` watches of one prefix; from before each write until each of them has taken the event,
// all taken by one other thread.
Delays measure_fan_out(store::Store& store, int watchers, int writes);

// Milliseconds of one list of everything below `prefix`, in pages when `limit` is not 0.
double measure_list(store::Store& store, const std::string& prefix, size_t limit, size_t expected);

// Creates /objects/000000 and so on, with many writes at once.
void fill(store::Store& store, size_t count);

double resident_mb(const std::string& process = "self");

}  // namespace fairlead::bench
