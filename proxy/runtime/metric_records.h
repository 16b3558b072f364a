// From what other parts report to the metrics that show it.
//
// Threads: a recorder may be called from any thread.
#pragma once

#include <map>
#include <span>

#include "control/client/client.h"
#include "proxy/runtime/conntrack.h"
#include "proxy/runtime/metrics.h"

namespace fairlead::proxy {

// The observer of a ConntrackReconciler.
class ConntrackRecorder {
 public:
  ConntrackRecorder(Metrics& metrics, std::span<const dataplane::Family> families);
  void operator()(const ConntrackPass& pass) const;

 private:
  struct Handles {
    Histogram duration;
    Counter deleted, scanned, failures;
  };
  std::map<dataplane::Family, Handles> handles_;
};

// The request observer of a client: rest_client_*.
class RequestRecorder {
 public:
  explicit RequestRecorder(Metrics& metrics) : metrics_(metrics) {}
  void operator()(const client::Client::RequestReport& report) const;

 private:
  Metrics& metrics_;
};

}  // namespace fairlead::proxy
