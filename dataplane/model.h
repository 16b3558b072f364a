// What compile() reads: a Service, its endpoints and the node, as plain typed values.
//
// The trackers in proxy/ build these from API objects; everything here is already valid (addresses
// parsed, ports in range, unusable pieces left out and reported). Field rules follow
// kube-proxy 1.30 and the KEPs named beside them.
//
// Threads: values.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/address.h"

namespace fairlead::dataplane {

struct ObjectName {
  std::string name_space;
  std::string name;

  std::string to_string() const { return name_space + "/" + name; }
  friend auto operator<=>(const ObjectName&, const ObjectName&) = default;
};

struct ServicePort {
  std::string name;  // empty when the service has one unnamed port
  Protocol protocol = Protocol::kTcp;
  uint16_t port = 0;       // never 0
  uint16_t node_port = 0;  // 0: none

  friend bool operator==(const ServicePort&, const ServicePort&) = default;
};

struct Service {
  ObjectName name;
  int64_t created_at =
      0;  // seconds since 1970; decides who keeps an address that two services claim

  // Addresses of either family, each list without duplicates. A headless service, an ExternalName
  // service and one that carries service.kubernetes.io/service-proxy-name never get here.
  std::vector<Address> cluster_ips;
  std::vector<Address> external_ips;
  std::vector<Address> load_balancer_ips;  // ipMode VIP or unset; Proxy is left out (KEP-1860)

  std::vector<ServicePort> ports;
  uint32_t affinity_seconds = 0;        // ClientIP affinity when not 0
  bool internal_traffic_local = false;  // internalTrafficPolicy: Local (KEP-2086)
  bool external_traffic_local = false;  // externalTrafficPolicy: Local
  // loadBalancerSourceRanges as given, both families together: a service with ranges of one family
  // only admits nobody on its load-balancer addresses of the other family.
  std::vector<Prefix> source_ranges;
  uint16_t health_check_node_port = 0;  // 0: none

  friend bool operator==(const Service&, const Service&) = default;
};

// Whether an endpoint carries topology hints, and whether they name this node or its zone
// (KEP-2433, KEP-3015).
enum class Hint : uint8_t { kNone, kElsewhere, kHere };

struct Endpoint {
  SocketAddress target;
  bool ready = true;
  bool serving = true;
  bool terminating = false;
  bool local = false;         // nodeName equals ours
  bool node_unknown = false;  // no nodeName at all: might be on this node
  Hint node_hint = Hint::kNone;
  Hint zone_hint = Hint::kNone;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// All endpoints of one (port name, protocol, family) of a service, over all of its slices, without
// duplicate targets.
struct EndpointGroup {
  std::string port_name;
  Protocol protocol = Protocol::kTcp;
  Family family = Family::kIPv4;
  std::vector<Endpoint> endpoints;
};

// What compile() needs to know of the node and of the daemon's options.
struct CompileView {
  std::vector<Family> families = {Family::kIPv4};  // those this node can serve
  std::vector<Address> node_addresses;             // the Node object's, for source ranges
  // A source detector works in the family (see NodeRules): index 0 for IPv4, 1 for IPv6.
  std::array<bool, 2> detects_local_traffic = {true, true};
  bool masquerade_all = false;  // --masquerade-all

  bool detects(Family family) const {
    return detects_local_traffic[family == Family::kIPv4 ? 0 : 1];
  }

  friend bool operator==(const CompileView&, const CompileView&) = default;
};

}  // namespace fairlead::dataplane
