// The world of the end-to-end measurements: a client, the node under test and a namespace in which
// every pod address answers, each in a network namespace of its own.
//
//   client 10.64.0.2 --- node (API server, fairlead-proxy) --- pods 10.0.0.0/10
//                          |
//                          +--- pod 10.66.0.2
//
// "pod" is a client that runs on the node: its sockets are in the node's cgroup. The client's are
// not, nor are those of the pods that answer.
//
// The API server holds `shape.services` Services of `shape.endpoints` endpoints each before the
// proxy starts; which addresses they have follows from their numbers.
//
// Threads: one owner. on_client() runs on a thread of the client's namespace.
#pragma once

#include <netinet/in.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "tests/api_server/api_server.h"
#include "tests/harness/bpf_sandbox.h"
#include "tests/harness/endpoints.h"
#include "tests/harness/netns.h"
#include "tests/harness/proxy_process.h"

namespace fairlead::bench {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

struct Shape {
  uint32_t services = 0;
  uint32_t endpoints = 0;  // of each service

  std::string to_string() const;  // "10,000 services × 5 endpoints"
  std::string id() const;         // "10000x5"
};

// An IPv4 address in host byte order.
using Host = uint32_t;
std::string host_text(Host host);
sockaddr_in socket_address(Host host, uint16_t port);

Host service_ip(uint32_t service);
// The address of a pod; the pods of `generation` 1 stand in for those of 0 after a change.
Host pod_ip(uint32_t number, uint32_t generation = 0);
inline constexpr uint16_t kServicePort = 80;
inline constexpr uint16_t kPodPort = 8080;

struct Memory {
  double resident_mb = 0;
  double peak_mb = 0;
};

// How the daemon runs. The sandbox (for mode ebpf) outlives every world.
struct Setup {
  std::string mode;  // of the daemon; "iptables-legacy" is mode iptables with the legacy tool
  const harness::BpfSandbox* sandbox = nullptr;
};

enum class From { kClient, kPod };

class ScaleWorld {
 public:
  // The last service gets `ports` ports, all leading to the same port of its endpoints.
  static Result<std::unique_ptr<ScaleWorld>> create(const Setup& setup, Shape shape,
                                                    uint32_t ports = 1);
  ~ScaleWorld();

  const Shape& shape() const { return shape_; }
  api_server::ApiServer& api() { return *api_; }

  struct StartTimes {
    double ready = 0;      // seconds to /readyz
    double reachable = 0;  // seconds until the last service answered
    double complete() const { return ready > reachable ? ready : reachable; }
  };
  // Starts the daemon and waits for both.
  Result<StartTimes> start_proxy(std::chrono::seconds patience);
  Status stop_proxy();
  harness::ProxyProcess& proxy() { return *proxy_; }

  harness::Namespace& at(From from) { return from == From::kPod ? *pod_ : *client_; }
  harness::Namespace& pods() { return *pods_; }

  // The slice of a service whose one endpoint is `pod`.
  std::string single_endpoint_slice(uint32_t service, Host pod) const;

  // Calls `function` on the client's thread.
  template <typename Function>
  auto on_client(Function&& function) {
    return client_->run(std::forward<Function>(function));
  }
  // The way itself, without any rule: removes what the daemon has installed.
  Status clean_up();

  Memory proxy_memory() const;
  double proxy_cpu_seconds() const;

 private:
  ScaleWorld(Setup setup, Shape shape, uint32_t ports)
      : setup_(std::move(setup)), shape_(shape), ports_(ports) {}
  uint32_t ports_of(uint32_t service) const { return service + 1 == shape_.services ? ports_ : 1; }
  Status build_network();
  Status fill_api();
  std::vector<std::string> arguments() const;

  const Setup setup_;
  const Shape shape_;
  const uint32_t ports_;
  std::string log_path_;
  std::unique_ptr<harness::Namespace> client_;
  std::unique_ptr<harness::Namespace> pod_;
  std::unique_ptr<harness::Namespace> node_;
  std::unique_ptr<harness::Namespace> pods_;
  std::unique_ptr<harness::EchoServers> echo_;
  std::unique_ptr<api_server::ApiServer> api_;
  std::unique_ptr<harness::ProxyProcess> proxy_;
};

// Connects from the calling thread's namespace. The address of the pod that answered; nullopt when
// nobody did within `timeout`.
std::optional<Host> who_answers(Host host, uint16_t port, std::chrono::milliseconds timeout);
// Seconds that connect() alone takes: the way of the first packet and of its answer. The
// connection is reset at once. nullopt when it fails.
std::optional<double> connect_seconds(Host host, uint16_t port);

// Kernel memory in slabs, of the whole machine.
double slab_mb();

}  // namespace fairlead::bench
