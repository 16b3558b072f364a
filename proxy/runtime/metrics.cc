#include "proxy/runtime/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <exception>
#include <iterator>
#include <map>
#include <sstream>
#include <unordered_map>

#include "base/log.h"
#include "base/thread_annotations.h"
#include "proxy/runtime/process_stats.h"

namespace fairlead::proxy {
namespace {

namespace prom = ::prometheus;

constexpr MetricInfo kInfos[] = {
#define FAIRLEAD_METRIC(id, kind, name, help, labels, buckets, page) \
  {MetricKind::kind, name, help, labels, MetricBuckets::buckets, MetricPage::page},
#include "proxy/runtime/metrics.def"
#undef FAIRLEAD_METRIC
};
constexpr size_t kMetricCount = std::size(kInfos);

constexpr std::string_view kOverflowLabel = "other";

std::vector<double> exponential(double start, double factor, size_t count) {
  std::vector<double> bounds;
  for (double bound = start; bounds.size() < count; bound *= factor) bounds.push_back(bound);
  return bounds;
}

std::vector<double> programming_bounds() {
  std::vector<double> bounds = {0.25, 0.5};
  for (int bound = 1; bound < 60; ++bound) bounds.push_back(bound);
  for (int bound = 60; bound < 120; bound += 5) bounds.push_back(bound);
  for (int bound = 120; bound <= 300; bound += 30) bounds.push_back(bound);
  return bounds;
}

const std::vector<double>& bounds_of(MetricBuckets buckets) {
  static const std::map<MetricBuckets, std::vector<double>> kBounds = {
      {MetricBuckets::kNone, {}},
      {MetricBuckets::kSync, exponential(0.001, 2, 15)},
      {MetricBuckets::kProgramming, programming_bounds()},
      {MetricBuckets::kRestClient,
       {0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0}},
      {MetricBuckets::kFine, exponential(0.00005, 2, 20)},
  };
  return kBounds.at(buckets);
}

std::vector<std::string_view> label_names(const MetricInfo& info) {
  std::vector<std::string_view> names;
  for (std::string_view rest = info.labels; !rest.empty();) {
    const size_t end = std::min(rest.find(','), rest.size());
    names.push_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return names;
}

// Distinct for distinct label values, which may hold anything but a zero byte.
std::string key_of(const std::vector<std::string>& values) {
  std::string key;
  for (const std::string& value : values) (key += value) += '\0';
  return key;
}

bool shown_in(MetricPage page, std::string_view mode) {
  switch (page) {
    case MetricPage::kIptables:
      return mode == "iptables";
    case MetricPage::kNftables:
      return mode == "nftables";
    default:
      return true;
  }
}

std::string sanitized_name(std::string_view name) {
  std::string result = "fairlead_backend_";
  for (const char c : name) {
    const bool fine =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    result += fine ? c : '_';
  }
  return result;
}

std::string write_page(const std::vector<prom::MetricFamily>& families) {
  std::ostringstream out;
  prom::TextSerializer().Serialize(out, families);
  return out.str();
}

// "v1.30.2" -> {"1", "30"}; empty strings for anything else.
std::pair<std::string, std::string> major_minor(std::string_view version) {
  if (version.starts_with('v')) version.remove_prefix(1);
  const size_t dot = version.find('.');
  if (dot == std::string_view::npos) return {};
  const size_t end = version.find_first_not_of("0123456789", dot + 1);
  return {
      std::string(version.substr(0, dot)),
      std::string(version.substr(dot + 1, end == std::string_view::npos ? end : end - dot - 1))};
}

#if defined(__clang__)
constexpr std::string_view kCompiler = "clang " __clang_version__;
#else
constexpr std::string_view kCompiler = "gcc " __VERSION__;
#endif
#if defined(__x86_64__)
constexpr std::string_view kPlatform = "linux/amd64";
#elif defined(__aarch64__)
constexpr std::string_view kPlatform = "linux/arm64";
#else
constexpr std::string_view kPlatform = "linux/unknown";
#endif

}  // namespace

std::span<const MetricInfo> metric_infos() {
  return kInfos;
}

void Counter::add(double amount) const {
  if (impl_ != nullptr && amount > 0) static_cast<prom::Counter*>(impl_)->Increment(amount);
}
void Counter::raise_to(double total) const {
  add(total - value());
}
double Counter::value() const {
  return impl_ == nullptr ? 0 : static_cast<prom::Counter*>(impl_)->Value();
}

void Gauge::set(double value) const {
  if (impl_ != nullptr) static_cast<prom::Gauge*>(impl_)->Set(value);
}
void Gauge::add(double amount) const {
  if (impl_ != nullptr) static_cast<prom::Gauge*>(impl_)->Increment(amount);
}
double Gauge::value() const {
  return impl_ == nullptr ? 0 : static_cast<prom::Gauge*>(impl_)->Value();
}

void Histogram::observe(double value) const {
  if (impl_ != nullptr) static_cast<prom::Histogram*>(impl_)->Observe(value);
}
uint64_t Histogram::count() const {
  if (impl_ == nullptr) return 0;
  return static_cast<prom::Histogram*>(impl_)->Collect().histogram.sample_count;
}

struct Metrics::State {
  struct Family {
    void* impl = nullptr;  // prom::Family<...>*, null when this mode does not have it
    std::vector<std::string> labels;
    std::unordered_map<std::string, void*>
        series;  // by the label values, each ended by a zero byte
  };

  explicit State(std::string_view mode);
  void* find(Metric metric, MetricKind kind, LabelValues values) EXCLUDES(mutex);
  // What a backend says of one of these families.
  void take(Metric metric, const dataplane::Counter& counter) EXCLUDES(mutex);
  static void* create(const MetricInfo& info, Family& family,
                      const std::vector<std::string>& values);
  void run_before_scrape();

  prom::Registry main;
  prom::Registry slis;
  Mutex mutex;
  std::array<Family, kMetricCount> families GUARDED_BY(mutex);
  std::vector<dataplane::Counter> backend_counters GUARDED_BY(mutex);
  std::vector<std::function<void()>> callbacks GUARDED_BY(mutex);
};

Metrics::State::State(std::string_view mode) {
  MutexLock lock(mutex);
  for (size_t i = 0; i < kMetricCount; ++i) {
    const MetricInfo& info = kInfos[i];
    Family& family = families[i];
    for (const std::string_view name : label_names(info)) family.labels.emplace_back(name);
    if (!shown_in(info.page, mode)) continue;
    prom::Registry& registry = info.page == MetricPage::kSlis ? slis : main;
    const auto add = [&](auto builder) {
      family.impl =
          &builder.Name(std::string(info.name)).Help(std::string(info.help)).Register(registry);
    };
    switch (info.kind) {
      case MetricKind::kCounter:
        add(prom::BuildCounter());
        break;
      case MetricKind::kGauge:
        add(prom::BuildGauge());
        break;
      case MetricKind::kHistogram:
        add(prom::BuildHistogram());
        break;
    }
  }
}

void* Metrics::State::create(const MetricInfo& info, Family& family,
                             const std::vector<std::string>& values) {
  prom::Labels labels;
  for (size_t i = 0; i < values.size(); ++i) labels.emplace(family.labels[i], values[i]);
  switch (info.kind) {
    case MetricKind::kCounter:
      return &static_cast<prom::Family<prom::Counter>*>(family.impl)->Add(labels);
    case MetricKind::kGauge:
      return &static_cast<prom::Family<prom::Gauge>*>(family.impl)->Add(labels);
    case MetricKind::kHistogram:
      return &static_cast<prom::Family<prom::Histogram>*>(family.impl)
                  ->Add(labels, bounds_of(info.buckets));
  }
  return nullptr;
}

void* Metrics::State::find(Metric metric, MetricKind kind, LabelValues values) {
  const auto index = static_cast<size_t>(metric);
  const MetricInfo& info = kInfos[index];
  MutexLock lock(mutex);
  Family& family = families[index];
  if (info.kind != kind || family.labels.size() != values.size()) {
    assert(!"a metric is used with another kind or other labels than metrics.def gives it");
    return nullptr;
  }
  if (family.impl == nullptr) return nullptr;

  // The usual case must not allocate: handles are asked for on every sync. Most keys fit into the
  // string itself.
  std::string key;
  for (const std::string_view value : values) (key += value) += '\0';
  if (const auto found = family.series.find(key); found != family.series.end()) {
    return found->second;
  }
  std::vector<std::string> texts(values.begin(), values.end());
  if (family.series.size() >= kMaxSeriesPerFamily) {
    texts.assign(texts.size(), std::string(kOverflowLabel));
    key = key_of(texts);
    if (const auto found = family.series.find(key); found != family.series.end()) {
      return found->second;
    }
    LOG_WARNING("metric {} has more than {} series; new ones are counted under \"{}\"", info.name,
                kMaxSeriesPerFamily, kOverflowLabel);
  }
  try {
    return family.series.emplace(key, create(info, family, texts)).first->second;
  } catch (const std::exception& error) {
    LOG_ERROR("metric {}: {}", info.name, error.what());
    return nullptr;
  }
}

void Metrics::State::take(Metric metric, const dataplane::Counter& counter) {
  const MetricKind kind = kInfos[static_cast<size_t>(metric)].kind;
  const auto& labels = counter.labels;
  void* series = nullptr;
  switch (labels.size()) {
    case 0:
      series = find(metric, kind, {});
      break;
    case 1:
      series = find(metric, kind, {labels[0]});
      break;
    case 2:
      series = find(metric, kind, {labels[0], labels[1]});
      break;
    default:
      assert(!"no family of a backend's has more than two labels");
  }
  if (series == nullptr) return;
  if (kind == MetricKind::kGauge) {
    static_cast<prom::Gauge*>(series)->Set(counter.value);
  } else if (kind == MetricKind::kCounter) {
    auto* total = static_cast<prom::Counter*>(series);
    total->Increment(std::max(0.0, counter.value - total->Value()));
  }
}

void Metrics::State::run_before_scrape() {
  std::vector<std::function<void()>> copy;
  {
    MutexLock lock(mutex);
    copy = callbacks;
  }
  for (const auto& callback : copy) callback();
}

Metrics::Metrics(MetricsOptions options) : state_(std::make_unique<State>(options.mode)) {
  for (size_t i = 0; i < kMetricCount; ++i) {
    const auto metric = static_cast<Metric>(i);
    const auto touch = [&](LabelValues values) { state_->find(metric, kInfos[i].kind, values); };
    if (kInfos[i].labels.empty()) touch({});
    if (kInfos[i].labels == "ip_family") {
      for (const dataplane::Family family : options.families) touch({to_string(family)});
    }
  }
  const auto [major, minor] = major_minor(options.version);
  gauge(Metric::kBuildInfo, {options.build_date, kCompiler, options.git_commit, "", options.version,
                             "", major, minor, kPlatform})
      .set(1);
  gauge(Metric::kInfo, {options.version, options.mode}).set(1);

  before_scrape([cpu = counter(Metric::kProcessCpu), fds = gauge(Metric::kProcessOpenFds),
                 max_fds = gauge(Metric::kProcessMaxFds),
                 resident = gauge(Metric::kProcessResident),
                 virtual_bytes = gauge(Metric::kProcessVirtual),
                 threads = gauge(Metric::kProcessThreads), start = gauge(Metric::kProcessStart)] {
    const auto stats = read_process_stats();
    if (!stats) {
      LOG_V(2, "{}", stats.status().message());
      return;
    }
    cpu.raise_to(stats->cpu_seconds);
    fds.set(static_cast<double>(stats->open_fds));
    max_fds.set(static_cast<double>(stats->max_fds));
    resident.set(static_cast<double>(stats->resident_bytes));
    virtual_bytes.set(static_cast<double>(stats->virtual_bytes));
    threads.set(static_cast<double>(stats->threads));
    start.set(stats->start_time);
  });
}

Metrics::~Metrics() = default;

Counter Metrics::counter(Metric metric, LabelValues label_values) {
  Counter handle;
  handle.impl_ = state_->find(metric, MetricKind::kCounter, label_values);
  return handle;
}

Gauge Metrics::gauge(Metric metric, LabelValues label_values) {
  Gauge handle;
  handle.impl_ = state_->find(metric, MetricKind::kGauge, label_values);
  return handle;
}

Histogram Metrics::histogram(Metric metric, LabelValues label_values) {
  Histogram handle;
  handle.impl_ = state_->find(metric, MetricKind::kHistogram, label_values);
  return handle;
}

void Metrics::set_backend_counters(std::vector<dataplane::Counter> counters) {
  std::erase_if(counters, [this](const dataplane::Counter& counter) {
    const auto info =
        std::find_if(std::begin(kInfos), std::end(kInfos),
                     [&](const MetricInfo& each) { return each.name == counter.name; });
    if (info == std::end(kInfos)) return false;
    state_->take(static_cast<Metric>(info - std::begin(kInfos)), counter);
    return true;
  });
  MutexLock lock(state_->mutex);
  state_->backend_counters = std::move(counters);
}

void Metrics::before_scrape(std::function<void()> callback) {
  MutexLock lock(state_->mutex);
  state_->callbacks.push_back(std::move(callback));
}

std::string Metrics::text() const {
  state_->run_before_scrape();
  std::vector<prom::MetricFamily> families = state_->main.Collect();
  {
    MutexLock lock(state_->mutex);
    for (const dataplane::Counter& counter : state_->backend_counters) {
      prom::MetricFamily family;
      family.name = sanitized_name(counter.name);
      family.help = counter.help;
      family.type = counter.monotonic ? prom::MetricType::Counter : prom::MetricType::Gauge;
      prom::ClientMetric metric;
      (counter.monotonic ? metric.counter.value : metric.gauge.value) = counter.value;
      family.metric.push_back(std::move(metric));
      families.push_back(std::move(family));
    }
  }
  // A family without a series would be two comment lines and nothing else.
  std::erase_if(families, [](const prom::MetricFamily& family) { return family.metric.empty(); });
  return write_page(families);
}

std::string Metrics::slis_text() const {
  state_->run_before_scrape();
  return write_page(state_->slis.Collect());
}

}  // namespace fairlead::proxy
