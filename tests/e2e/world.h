// The one world of a test process: the test network, an API server inside node-a, and the daemon
// under test, which is started when a scenario first needs it and restarted when one needs other
// flags.
//
// Threads: the test's thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "tests/e2e/api.h"
#include "tests/harness/bpf_sandbox.h"
#include "tests/harness/cluster.h"
#include "tests/harness/features.h"
#include "tests/harness/proxy_process.h"
#include "tests/harness/topology.h"

namespace fairlead::e2e {

// A --proxy-mode and what the kernel must offer for it.
struct Mode {
  std::string name;
  std::vector<harness::Feature> needs;
};
// Every mode that is tested, in one place.
const std::vector<Mode>& modes();

class World {
 public:
  // Built at the first call. Not ok: why there is none (kUnsupported: the machine lacks something).
  static Result<World*> get();
  ~World();

  harness::Topology& topology() { return *topology_; }
  harness::Namespace& at(std::string_view name) { return topology_->at(name); }
  harness::Cluster& cluster() { return *cluster_; }
  harness::ProxyProcess& proxy() { return *proxy_; }
  // Null where the machine cannot have one.
  harness::BpfSandbox* sandbox() { return sandbox_.get(); }
  Api& api() { return *api_; }

  // What every daemon of these tests is told, beside `flags`.
  std::vector<std::string> arguments(const std::string& mode,
                                     const std::vector<std::string>& flags) const;
  // Makes the daemon run in `mode` with `flags` (and the usual ones), ready. Between two modes
  // everything that the first one installed is cleaned up.
  Status ensure_proxy(const std::string& mode, const std::vector<std::string>& flags);
  // Starts it (again) with the same arguments; the rules in the kernel are whatever they are. When
  // it is not ready in time, that is an error, but it goes on running.
  Status start_proxy(std::chrono::milliseconds at_most = std::chrono::seconds(20));
  // Stops it and starts it in another mode, over whatever the first one has installed.
  Status switch_mode(const std::string& mode);
  void stop_proxy();
  Status clean_up();  // runs the binary with --cleanup

  // Waits until the node does what the API server says: a service of our own is changed last, and
  // has to answer as changed, in both families. False (and a failed expectation) when that takes
  // too long.
  bool settle();

  // "iptables", "ip6tables": or that of a variant, where FAIRLEAD_IPTABLES_VARIANT names one.
  static std::string iptables_tool(dataplane::Family family);

  // For messages of failed tests: what is in the kernel, and the log.
  std::string diagnosis();

 private:
  World() = default;
  Status build();
  Status hint_at_variant();

  Status build_sandbox();
  std::string nftables_state();
  std::string iptables_state();
  std::string ebpf_state();
  std::string ipvs_state();

  std::string log_path_;
  std::unique_ptr<harness::BpfSandbox> sandbox_;  // outlives every child and thread
  std::unique_ptr<harness::Topology> topology_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<harness::Cluster> cluster_;
  std::unique_ptr<harness::Cluster> marks_;  // holds the service of settle()
  std::unique_ptr<harness::ServiceObject> mark_;
  int settled_ = 0;
  std::string mode_;
  std::vector<std::string> flags_;
  std::unique_ptr<harness::ProxyProcess> proxy_;
};

}  // namespace fairlead::e2e
