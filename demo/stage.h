// Everything the demo plays with: the test network (two nodes, pods, a client outside), `fairlead
// server` inside node-a, fairlead-proxy beside it, and kubectl, through which everything is made.
//
// Nothing of it has a name on the machine: network namespaces, logs and the directory of the server
// (kDirectory, in a mount namespace of this process) live as long as this process, so the kernel
// takes all of it away even when the process is killed.
//
// Threads: one owner.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "dataplane/address.h"
#include "demo/api_process.h"
#include "demo/kubectl.h"
#include "demo/page.h"
#include "tests/harness/probe.h"
#include "tests/harness/proxy_process.h"
#include "tests/harness/topology.h"

namespace fairlead::demo {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

inline constexpr const char* kDirectory = "/run/fairlead-demo";

// A service of the demo: dual stack, port 80 of TCP and UDP. Its endpoints are the pods that have
// its name as a label.
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
  static Result<std::unique_ptr<Stage>> build(Page& page);

  harness::Namespace& at(std::string_view place) { return topology_->at(place); }
  ApiProcess& api() { return *api_; }
  Kubectl& kubectl() { return *kubectl_; }
  harness::ProxyProcess& proxy() { return *proxy_; }

  // Starts the proxy, for the first time or again, and waits until it is ready: how long that took.
  Result<Milliseconds> start_proxy();
  Result<harness::CommandResult> clean_up();  // fairlead-proxy --cleanup
  Result<harness::CommandResult> run_on_node(std::vector<std::string> command);

  Status make_nodes_and_pods();
  Status write(const DemoService& service);  // which pods have its label, and the Service
  Status write_endpoints(const DemoService& service);
  Status write_policy(const DemoService& service);
  // What a kubelet says of a pod's readiness probe.
  Status write_ready(const std::string& pod, bool ready);

  // A question to ask from a place ("outside", "node-a" or a pod).
  harness::Question question(std::string_view place, harness::Target target);
  // The same from a port that no other client gets. For questions that may come before there is a
  // service: where its address lies in no ServiceCIDR (a load balancer's), connection tracking
  // remembers such a packet for two minutes, untranslated, and would drop a later client with the
  // same port.
  harness::Question early(harness::Question question);
  // Asks again and again, each time over a new connection, until the answer is right: the time
  // since `begin`.
  Result<Milliseconds> until(Clock::time_point begin, const harness::Question& question,
                             const std::function<bool(const harness::Answer&)>& right);
  std::string logs() const;  // the ends of them

 private:
  Stage() = default;
  std::vector<std::string> arguments() const;

  Fd log_;
  std::unique_ptr<harness::Topology> topology_;
  std::unique_ptr<ApiProcess> api_;
  std::unique_ptr<Kubectl> kubectl_;
  std::map<std::string, std::set<std::string>> labelled_;  // pods, by service
  unsigned early_port_ = 0;
  std::unique_ptr<harness::ProxyProcess> proxy_;
};

}  // namespace fairlead::demo
