// The world of the tests, dual stack:
//
//   outside (clients) --- node-a --- node-b --- pods b1 b2 b3 b4
//                            |
//                            +--- pods a1 a2 a3 a4 and the client pod "pod"
//
// node-a is the node under test: it forwards, and everything that the clients outside send to
// service addresses is routed to it. node-b is a plain router. Every pod has a namespace and a
// cable of its own to its node; on port kEchoPort and kOtherPort it answers TCP and UDP
// (EchoServers). Namespace "outside" owns several addresses, so that it can be several clients.
//
// Threads: create on one thread; const afterwards, the namespaces have their own rules.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "dataplane/address.h"
#include "tests/harness/endpoints.h"
#include "tests/harness/netns.h"

namespace fairlead::harness {

inline constexpr uint16_t kEchoPort = 8080;
inline constexpr uint16_t kOtherPort = 8081;
inline constexpr int kOutsideAddresses = 10;

// An address in each family.
struct DualAddress {
  std::string v4;
  std::string v6;

  const std::string& of(dataplane::Family family) const {
    return family == dataplane::Family::kIPv4 ? v4 : v6;
  }
};

class Topology {
 public:
  // `furnish` is called on the own thread of each namespace, before it makes its first socket.
  using Furnish = std::function<Status(std::string_view name)>;
  static Result<std::unique_ptr<Topology>> create(const Furnish& furnish = {});

  // "outside", "node-a", "node-b" or a pod. Precondition: there is one.
  Namespace& at(std::string_view name) const;

  // A pod's address.
  static DualAddress pod(std::string_view name);
  // The n-th of outside's addresses, 0 <= n < kOutsideAddresses; 0 is the one it uses by itself.
  static DualAddress outside(int n = 0);
  static DualAddress node_a();            // the InternalIPs, facing outside
  static DualAddress node_a_secondary();  // facing node-b
  static DualAddress node_b();
  // The n-th address of the service range, of the ranges for external IPs and for load balancers;
  // outside routes all of them to node-a.
  static DualAddress service_ip(int n);
  static DualAddress external_ip(int n);
  static DualAddress load_balancer_ip(int n);

  static std::string cluster_cidrs();  // of pods: "10.244.0.0/16,fd00:10:244::/56"
  static std::string service_cidrs();

  // Is it one of node-a's own addresses, in any spelling?
  static bool is_node_a(std::string_view address);
  static std::string_view node_of(std::string_view pod);  // "node-a" or "node-b"
  // node-a itself or one of its pods.
  static bool runs_on_node_a(std::string_view name);
  static const std::vector<std::string>& pods();

 private:
  Topology() = default;
  Status build(const Furnish& furnish);
  Status build_nodes();
  Status build_pod(const std::string& name);
  Status listen(Namespace& where, const std::string& name, const DualAddress& address);

  std::map<std::string, std::unique_ptr<Namespace>, std::less<>> namespaces_;
  std::unique_ptr<EchoServers> servers_;  // before the namespaces in destruction
};

}  // namespace fairlead::harness
