// The healthCheckNodePort servers: one port for each Service with externalTrafficPolicy: Local,
// answering load balancers whether this node has a local ready endpoint for it.
//
// Any path. 200 when local_endpoints > 0 and the proxy keeps up, else 503; the same JSON and
// headers as kube-proxy. All ports share one thread and one epoll: a port costs a file descriptor.
// Requests are bounded in size, time and number; `Connection: close`.
//
// A changed count is in effect when reconcile() or update() returns, so a caller that tells the
// health ports first and the datapath second takes the load balancer's traffic away before the
// rules. Sockets are opened and closed shortly afterwards by the io thread. A port that cannot be
// opened is reported once (and again after it worked) and tried every retry_period.
//
// Threads: everything from any thread. `keeps_up` and `on_bind_failure` are called on the io
// thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/status.h"
#include "dataplane/address.h"
#include "dataplane/model.h"

namespace fairlead::proxy {

struct ServiceHealthTarget {
  uint16_t port = 0;
  size_t local_endpoints = 0;  // dataplane::count_local_ready_addresses()

  friend bool operator==(const ServiceHealthTarget&, const ServiceHealthTarget&) = default;
};

struct ServiceHealthOptions {
  // Where to listen: the node addresses that nodePortAddresses selects. Empty: every address, both
  // families.
  std::vector<dataplane::Address> addresses;
  size_t max_connections = 1024;               // more are closed at once
  std::chrono::milliseconds io_timeout{5000};  // from accept to the answer's last byte
  std::chrono::milliseconds retry_period{5000};
};

class ServiceHealthServers {
 public:
  using Desired = std::map<dataplane::ObjectName, ServiceHealthTarget>;
  using BindFailure = std::function<void(const dataplane::ObjectName& service, uint16_t port,
                                         const Status& reason)>;

  static Result<std::unique_ptr<ServiceHealthServers>> start(ServiceHealthOptions options,
                                                             std::function<bool()> keeps_up,
                                                             BindFailure on_bind_failure);
  virtual ~ServiceHealthServers() = default;  // closes every port, joins

  virtual void reconcile(Desired desired) = 0;  // the whole picture
  virtual void update(const dataplane::ObjectName& service,
                      std::optional<ServiceHealthTarget> target) = 0;  // nullopt: the service goes
  virtual void set_addresses(std::vector<dataplane::Address> addresses) = 0;  // reopens every port

  virtual size_t open_ports() const = 0;
  virtual size_t failed_ports() const = 0;
  // Waits until every change made before the call has been acted upon (for tests and shutdown).
  virtual void flush() = 0;
};

}  // namespace fairlead::proxy
