// Everything the demo plays with: the test network (two nodes, pods, a client outside), a
// Kubernetes API server in memory inside node-a, and the real fairlead-proxy beside it.
//
// Nothing of it has a name on the machine: network namespaces, the log and the proxy's lock file
// live as long as this process, so the kernel takes all of it away even when the process is killed.
//
// Threads: one owner.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "dataplane/address.h"
#include "tests/api_server/api_server.h"
#include "tests/harness/probe.h"
#include "tests/harness/proxy_process.h"
#include "tests/harness/topology.h"

namespace fairlead::demo {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

// A service of the demo: dual stack, port 80 of TCP and UDP. Its endpoints are pods of the test
// network.
struct DemoService {
  std::string name;
  harness::DualAddress cluster_ip;
  std::vector<std::string> pods = {};
  uint16_t node_port = 0;
  harness::DualAddress load_balancer_ip = {};
  uint16_t health_check_port = 0;
  bool external_local = false;  // externalTrafficPolicy: Local
  int affinity_seconds = 0;     // 0: none

  harness::Target at_cluster_ip(dataplane::Family family = dataplane::Family::kIPv4,
                                dataplane::Protocol protocol = dataplane::Protocol::kTcp) const;
};

class Stage {
 public:
  static Result<std::unique_ptr<Stage>> build();

  harness::Namespace& at(std::string_view place) { return topology_->at(place); }
  api_server::ApiServer& api() { return *api_; }
  harness::ProxyProcess& proxy() { return *proxy_; }

  // Starts the proxy, for the first time or again, and waits until it is ready: how long that took.
  Result<Milliseconds> start_proxy();
  Result<harness::CommandResult> clean_up();  // fairlead-proxy --cleanup
  Result<harness::CommandResult> run_on_node(std::vector<std::string> command);
  // Ends all connections to the API server and refuses new ones; serves again.
  void take_api_down();
  Status bring_api_up();

  Status write(const DemoService& service);  // the Service and its EndpointSlices
  Status write_service(const DemoService& service);
  Status write_endpoints(const DemoService& service);

  // A question to ask from a place ("outside", "node-a" or a pod).
  harness::Question question(std::string_view place, harness::Target target);
  // Asks again and again, each time over a new connection, until the answer is right: the time
  // since `begin`.
  Result<Milliseconds> until(Clock::time_point begin, const harness::Question& question,
                             const std::function<bool(const harness::Answer&)>& right);
  std::string log_tail() const { return proxy_ ? proxy_->log_tail(20) : ""; }

 private:
  Stage() = default;
  std::vector<std::string> arguments() const;

  Fd log_;
  std::unique_ptr<harness::Topology> topology_;
  std::unique_ptr<api_server::ApiServer> api_;
  std::unique_ptr<harness::ProxyProcess> proxy_;
};

}  // namespace fairlead::demo
