#include "control/apiserver/request_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <cctype>
#include <sstream>

namespace fairlead::apiserver {

namespace {
namespace prom = ::prometheus;

const prom::Histogram::BucketBoundaries kSeconds = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};

// In the words of kube-apiserver's metrics.
std::string verb_label(std::string_view verb) {
  if (verb == "create") return "POST";
  if (verb == "update") return "PUT";
  std::string label(verb);
  for (char& c : label) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return label;
}

prom::Labels request_labels(std::string_view verb, std::string_view group,
                            std::string_view resource) {
  return {{"verb", verb_label(verb)},
          {"group", std::string(group)},
          {"resource", std::string(resource)}};
}
}  // namespace

struct RequestMetrics::State {
  prom::Registry registry;
  prom::Family<prom::Counter>& requests = prom::BuildCounter()
                                              .Name("apiserver_request_total")
                                              .Help("Requests answered.")
                                              .Register(registry);
  prom::Family<prom::Histogram>& durations = prom::BuildHistogram()
                                                 .Name("apiserver_request_duration_seconds")
                                                 .Help("Time to answer, watches left out.")
                                                 .Register(registry);
  prom::Counter& refused = prom::BuildCounter()
                               .Name("apiserver_dropped_requests_total")
                               .Help("Requests refused because too many were in flight.")
                               .Register(registry)
                               .Add({});
  prom::Family<prom::Gauge>& in_flight = prom::BuildGauge()
                                             .Name("apiserver_current_inflight_requests")
                                             .Help("Requests being worked on.")
                                             .Register(registry);
  prom::Gauge& watches = prom::BuildGauge()
                             .Name("apiserver_longrunning_requests")
                             .Help("Watches open.")
                             .Register(registry)
                             .Add({{"verb", "WATCH"}});
};

RequestMetrics::RequestMetrics() : state_(std::make_unique<State>()) {}
RequestMetrics::~RequestMetrics() = default;

void RequestMetrics::count(std::string_view verb, std::string_view group, std::string_view resource,
                           int code, double seconds) {
  prom::Labels labels = request_labels(verb, group, resource);
  if (verb != "watch") state_->durations.Add(labels, kSeconds).Observe(seconds);
  labels.emplace("code", std::to_string(code));
  state_->requests.Add(labels).Increment();
}

void RequestMetrics::count_refused() {
  state_->refused.Increment();
}

void RequestMetrics::set_in_flight(bool mutating, size_t requests) {
  state_->in_flight.Add({{"request_kind", mutating ? "mutating" : "readOnly"}})
      .Set(static_cast<double>(requests));
}

void RequestMetrics::set_watches(size_t open) {
  state_->watches.Set(static_cast<double>(open));
}

std::string RequestMetrics::page() const {
  std::ostringstream out;
  prom::TextSerializer().Serialize(out, state_->registry.Collect());
  return out.str();
}

}  // namespace fairlead::apiserver
