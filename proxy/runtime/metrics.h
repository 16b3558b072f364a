// The daemon's metrics: every family that metrics.def lists, kube-proxy's names first.
//
// Ask for a handle once and keep it; using it is an atomic add. A family that the running mode does
// not have (the iptables_* ones in nftables mode) gives a handle that does nothing, so nobody asks
// which mode runs. Label values must come from a small closed set: series are never dropped. Past
// kMaxSeriesPerFamily a new combination shares the handle whose labels all read "other".
//
//   Counter failures = metrics.counter(Metric::kReflectorFailures, {"services"});
//   failures.add();
//
// Threads: everything from any thread. Handles are values and live as long as the Metrics.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/address.h"
#include "dataplane/backend.h"

namespace fairlead::proxy {

// As Prometheus has durations.
inline double in_seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

enum class Metric : uint16_t {
#define FAIRLEAD_METRIC(id, kind, name, help, labels, buckets, page) id,
#include "proxy/runtime/metrics.def"
#undef FAIRLEAD_METRIC
};

enum class MetricKind : uint8_t { kCounter, kGauge, kHistogram };
enum class MetricPage : uint8_t { kAlways, kIptables, kNftables, kSlis };
enum class MetricBuckets : uint8_t {
  kNone,
  kSync,         // 1 ms doubling to 16.4 s
  kProgramming,  // 0.25 s to 5 min
  kRestClient,   // 5 ms to 60 s
  kFine,         // 50 us doubling to 26 s
};

struct MetricInfo {
  MetricKind kind = MetricKind::kCounter;
  std::string_view name;
  std::string_view help;
  std::string_view labels;  // comma-separated names; empty: none
  MetricBuckets buckets = MetricBuckets::kNone;
  MetricPage page = MetricPage::kAlways;
};
// metrics.def as a table, indexed by Metric.
std::span<const MetricInfo> metric_infos();

class Counter {
 public:
  void add(double amount = 1) const;  // amounts below zero are ignored
  // For totals that are kept elsewhere: adds what is missing to `total`. One caller per series.
  void raise_to(double total) const;
  double value() const;

 private:
  friend class Metrics;
  void* impl_ = nullptr;
};

class Gauge {
 public:
  void set(double value) const;
  void add(double amount) const;
  double value() const;

 private:
  friend class Metrics;
  void* impl_ = nullptr;
};

class Histogram {
 public:
  void observe(double value) const;
  uint64_t count() const;

 private:
  friend class Metrics;
  void* impl_ = nullptr;
};

struct MetricsOptions {
  std::string mode = "nftables";  // the --proxy-mode word in force
  // Series labelled with nothing but ip_family exist from the start for these.
  std::vector<dataplane::Family> families = {dataplane::Family::kIPv4};
  std::string version = "v0.0.0";  // "v1.30.0": also split into major and minor
  std::string git_commit;
  std::string build_date;
};

class Metrics {
 public:
  static constexpr size_t kMaxSeriesPerFamily = 2000;
  using LabelValues = std::initializer_list<std::string_view>;

  explicit Metrics(MetricsOptions options);
  ~Metrics();

  // Precondition: the kind and the number of label values are those of metrics.def. In a debug
  // build anything else aborts; otherwise the handle does nothing.
  Counter counter(Metric metric, LabelValues label_values = {});
  Gauge gauge(Metric metric, LabelValues label_values = {});
  Histogram histogram(Metric metric, LabelValues label_values = {});

  // What the backend counts, exported as dataplane::Counter says. The sync thread calls this after
  // a sync and now and then; a scrape shows the last call. Characters that Prometheus refuses
  // become '_'.
  void set_backend_counters(std::vector<dataplane::Counter> counters);

  // Called before every page is written, on the scraping thread: for gauges that are cheaper to
  // read than to keep up to date. Add before the listeners start.
  void before_scrape(std::function<void()> callback);

  std::string text() const;       // /metrics, Prometheus text format 0.0.4
  std::string slis_text() const;  // /metrics/slis
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fairlead::proxy
