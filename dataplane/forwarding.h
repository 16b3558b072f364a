// What compile() writes and every backend renders: addresses, a choice of endpoints, a
// source-address rule, a verdict when there is nobody to answer.
//
// No backend needs to know what a traffic policy is. A packet that starts a connection is matched
// against a Frontend by destination address, protocol and port; the class of its source picks a
// Route; the route names one of the entry's two endpoint choices and says whether the source is
// masqueraded.
//
// Threads: values; a ForwardingEntry is immutable once it is in a table and shared by const
// pointer.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/address.h"
#include "dataplane/model.h"

namespace fairlead::dataplane {

// Where a new connection comes from, in this order of precedence.
enum class SourceClass : uint8_t {
  kPod,    // the source detector says: a pod of this cluster (never, without a detector)
  kNode,   // an address of this node
  kOther,  // anywhere else
};
inline constexpr size_t kSourceClassCount = 3;

enum class Choice : uint8_t { kCluster, kLocal };
enum class EmptyVerdict : uint8_t { kReject, kDrop };

struct Route {
  Choice choice = Choice::kCluster;
  bool masquerade = false;  // replace the source by this node's address

  friend bool operator==(const Route&, const Route&) = default;
};

enum class FrontendKind : uint8_t { kClusterIp, kExternalIp, kLoadBalancer, kNodePort };
std::string_view to_string(FrontendKind kind);

// One virtual address. For kNodePort the address is the family's unspecified one: the port counts
// on every address that NodeRules::node_port_addresses selects.
struct Frontend {
  FrontendKind kind = FrontendKind::kClusterIp;
  SocketAddress address;
  std::array<Route, kSourceClassCount> routes;  // indexed by SourceClass
  bool source_ranges_apply = false;  // only sources in ForwardingEntry::source_ranges pass

  const Route& route(SourceClass source) const { return routes[static_cast<size_t>(source)]; }
  friend bool operator==(const Frontend&, const Frontend&) = default;
};

struct Target {
  SocketAddress address;
  // May be on this node: when it is also the source, the connection must be masqueraded (hairpin).
  bool maybe_local = false;

  friend auto operator<=>(const Target&, const Target&) = default;
};

struct EndpointChoice {
  std::vector<Target> targets;  // sorted, without duplicates
  EmptyVerdict when_empty = EmptyVerdict::kReject;

  friend bool operator==(const EndpointChoice&, const EndpointChoice&) = default;
};

// One (service port, protocol, family).
struct EntryKey {
  ObjectName service;
  std::string port_name;
  Protocol protocol = Protocol::kTcp;
  Family family = Family::kIPv4;

  // "ns/name:port/TCP/IPv4"; without ":port" when the port has no name.
  std::string to_string() const;
  friend auto operator<=>(const EntryKey&, const EntryKey&) = default;
};

struct EntryKeyHash {
  size_t operator()(const EntryKey& key) const;
};

struct ForwardingEntry {
  EntryKey key;
  int64_t created_at = 0;           // of the service; see FrontendClaims
  std::vector<Frontend> frontends;  // sorted by (kind, address)
  EndpointChoice cluster;           // the choices that routes name
  EndpointChoice local;
  uint32_t affinity_seconds = 0;  // 0: none. Otherwise per entry, shared by all of its frontends
  std::vector<Prefix> source_ranges;    // of this entry's family; sorted
  uint16_t health_check_node_port = 0;  // of the service, TCP, answered by the daemon; 0: none

  const EndpointChoice& choice(Choice which) const {
    return which == Choice::kCluster ? cluster : local;
  }
  friend bool operator==(const ForwardingEntry&, const ForwardingEntry&) = default;
};

using EntryPointer = std::shared_ptr<const ForwardingEntry>;

// How to tell a pod's traffic from other traffic. Empty means that nothing can tell.
struct SourceDetector {
  std::vector<Prefix> pod_prefixes;   // source address inside one of these (ClusterCIDR, NodeCIDR)
  std::string bridge_interface;       // or: arrives from this interface
  std::string interface_name_prefix;  // or: arrives from an interface whose name begins so

  bool empty() const {
    return pod_prefixes.empty() && bridge_interface.empty() && interface_name_prefix.empty();
  }
  friend bool operator==(const SourceDetector&, const SourceDetector&) = default;
};

// The IPVS mode's device, here and in kube-proxy: the virtual addresses on it are none of the
// node's.
inline constexpr const char* kVirtualDevice = "kube-ipvs0";

// Everything a backend must know beside the entries. Both families together; each backend takes
// what concerns it.
struct NodeRules {
  std::vector<Family> families;
  SourceDetector detector;
  uint32_t masquerade_mark = 0x4000;  // a single bit of the packet mark
  // Node ports of a family (index 0: IPv4, 1: IPv6) answer on every local address but loopback when
  // true, otherwise on exactly those of node_port_addresses.
  std::array<bool, 2> node_ports_on_all_addresses{};
  std::vector<Address> node_port_addresses;
  std::vector<Prefix> service_prefixes;  // ServiceCIDRs, when the API server tells them

  bool node_ports_everywhere(Family family) const {
    return node_ports_on_all_addresses[family == Family::kIPv4 ? 0 : 1];
  }
  friend bool operator==(const NodeRules&, const NodeRules&) = default;
};

}  // namespace fairlead::dataplane
