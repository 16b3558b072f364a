// The daemon's two HTTP listeners.
//   health  (10256): /healthz /livez /readyz
//   metrics (10249): /metrics /metrics/slis /healthz /proxyMode /configz, and with profiling
//   /debug/...
//
// A listener that cannot be bound fails start() with hard_fail; otherwise an Event says so and it
// is tried again every `retry_period` until it works.
//
// Threads: start() and destruction on one thread; the rest from any. What is passed in by reference
// must outlive this object and be callable from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "dataplane/address.h"
#include "proxy/runtime/events.h"
#include "proxy/runtime/health.h"
#include "proxy/runtime/metrics.h"

namespace fairlead::proxy {

struct HttpEndpointsOptions {
  std::optional<dataplane::SocketAddress> health;   // nullopt: no such listener
  std::optional<dataplane::SocketAddress> metrics;  // port 0: any
  bool hard_fail = false;                           // bindAddressHardFail
  bool profiling = false;                           // enableProfiling
  std::string mode = "nftables";                    // the body of /proxyMode
  std::chrono::milliseconds retry_period{5000};
  // The configuration in force as JSON, the value under "kubeproxy.config.k8s.io" of /configz.
  std::function<std::string()> configuration_json;
};

class HttpEndpoints {
 public:
  static Result<std::unique_ptr<HttpEndpoints>> start(HttpEndpointsOptions options, Health& health,
                                                      Metrics& metrics, EventSink events);
  virtual ~HttpEndpoints() = default;  // stops, joins

  virtual uint16_t health_port() const = 0;   // 0 while it is not bound
  virtual uint16_t metrics_port() const = 0;  // 0 while it is not bound
};

}  // namespace fairlead::proxy
