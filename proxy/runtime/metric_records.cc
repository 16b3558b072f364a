#include "proxy/runtime/metric_records.h"

namespace fairlead::proxy {

ConntrackRecorder::ConntrackRecorder(Metrics& metrics,
                                     std::span<const dataplane::Family> families) {
  for (const dataplane::Family family : families) {
    const std::string_view label = to_string(family);
    handles_[family] = {metrics.histogram(Metric::kConntrackDuration, {label}),
                        metrics.counter(Metric::kConntrackDeleted, {label}),
                        metrics.counter(Metric::kConntrackScanned, {label}),
                        metrics.counter(Metric::kConntrackFailures, {label})};
  }
}

void ConntrackRecorder::operator()(const ConntrackPass& pass) const {
  const auto found = handles_.find(pass.family);
  if (found == handles_.end()) return;
  const Handles& handles = found->second;
  handles.duration.observe(in_seconds(pass.duration));
  handles.deleted.add(static_cast<double>(pass.deleted));
  handles.scanned.add(static_cast<double>(pass.scanned));
  if (!pass.status.ok()) handles.failures.add();
}

void RequestRecorder::operator()(const client::Client::RequestReport& report) const {
  const std::string code = report.code == 0 ? "<error>" : std::to_string(report.code);
  metrics_.counter(Metric::kRestRequests, {code, report.method, report.host}).add();
  metrics_.histogram(Metric::kRestDuration, {report.verb, report.host})
      .observe(in_seconds(report.duration));
}

}  // namespace fairlead::proxy
