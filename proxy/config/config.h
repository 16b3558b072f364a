// What the daemon was told, typed and checked: the result of flags and configuration file together.
//
// load() (load.h) makes one; nothing else does, so whoever holds a ProxyConfig may rely on every
// statement below. Only options that mean something here are members; kube-proxy's others are
// accepted, reported once and forgotten (options.h lists them with the reason).
// docs/configuration.md has the operator's view.
//
// Threads: values.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "dataplane/address.h"

namespace fairlead::proxy {

enum class ProxyMode : uint8_t { kAuto, kNftables, kIptables, kIpvs, kEbpf, kDpdk };
// The --proxy-mode words; kAuto is "auto".
std::string_view to_string(ProxyMode mode);
// "" is kAuto, as an empty mode leaves the choice to kube-proxy.
std::optional<ProxyMode> parse_proxy_mode(std::string_view text);

// How traffic of this cluster's pods is told from other traffic.
enum class DetectLocalMode : uint8_t { kClusterCidr, kNodeCidr, kBridge, kInterfacePrefix };
std::string_view to_string(DetectLocalMode mode);  // "ClusterCIDR", ...

enum class LogFormat : uint8_t { kText, kJson };

// What a change of the configuration file means to the running daemon.
enum class OnConfigChange : uint8_t {
  kExit,    // exit with an error, to be restarted with the new content (as kube-proxy)
  kIgnore,  // log it and go on
};

// Which node addresses answer on node ports.
struct NodePortAddresses {
  bool primary = false;  // the Node object's primary address of each family
  std::vector<dataplane::Prefix> prefixes;

  // True when nobody asked for anything: the default of the mode counts.
  bool empty() const { return !primary && prefixes.empty(); }
  friend bool operator==(const NodePortAddresses&, const NodePortAddresses&) = default;
};

struct ConntrackConfig {
  // nf_conntrack_max becomes max(max_per_core * cores, min); max_per_core 0 leaves it alone.
  int32_t max_per_core = 32768;
  int32_t min = 131072;
  // 0 leaves the system's value.
  std::chrono::nanoseconds tcp_established_timeout = std::chrono::hours(24);
  std::chrono::nanoseconds tcp_close_wait_timeout = std::chrono::hours(1);
  std::chrono::nanoseconds udp_timeout{0};
  std::chrono::nanoseconds udp_stream_timeout{0};
  bool tcp_be_liberal = false;
};

// Options of the mode that each is named after; checked only when that mode may be chosen.
struct IptablesConfig {
  bool localhost_node_ports = true;  // IPv4 only
};

struct IpvsConfig {
  std::string scheduler = "rr";
  std::vector<dataplane::Prefix> exclude_prefixes;  // virtual servers that are not ours to remove
  bool strict_arp = false;
  // 0 leaves the system's value.
  std::chrono::nanoseconds tcp_timeout{0};
  std::chrono::nanoseconds tcp_fin_timeout{0};
  std::chrono::nanoseconds udp_timeout{0};
};

struct NftablesConfig {
  // Room for remembered clients of services with ClientIP affinity, each family.
  uint32_t affinity_max_entries = 262144;
};

// As bpf/options.h, which says what each means.
struct EbpfConfig {
  enum class Xdp : uint8_t { kAuto, kNative, kGeneric, kOff };
  enum class Dsr : uint8_t { kOff, kIpip };

  std::vector<std::string> devices;  // names, a trailing + as a wildcard; empty: the mode's choice
  Xdp xdp = Xdp::kAuto;
  Dsr dsr = Dsr::kOff;
  // Masquerading ports, both included: 1024 <= first <= last.
  uint16_t masquerade_first = 10000;
  uint16_t masquerade_last = 29999;
  std::string pin_path = "/sys/fs/bpf/fairlead";  // absolute
  std::string cgroup;                             // absolute; empty: the root of the hierarchy
  uint32_t max_frontends = 131072;
  uint32_t max_service_ports = 65536;
  uint32_t max_endpoints = 262144;
  uint32_t max_ring_slots = 2097152;  // a multiple of 16
  uint32_t max_source_ranges = 65536;
  uint32_t max_flows = 262144;
  uint32_t max_new_flows = 65536;
  uint32_t max_affinity = 65536;
  uint32_t max_fragments = 8192;
  uint32_t return_classes = 4;  // a power of two
};

struct ProxyConfig {
  ProxyMode mode = ProxyMode::kAuto;

  // Who and where we are. Trimmed and in lower case; empty: the host's name (see node_name()).
  std::string hostname_override;
  // Overrides the node's primary address when not unspecified; nothing is bound to it. Its family
  // is the node's primary family when the Node object cannot be had.
  dataplane::Address bind_address;

  // The API server. Both empty: in-cluster configuration.
  std::string kubeconfig;
  std::string master;  // URL; wins over the kubeconfig's server

  // Our servers; nullopt: disabled. Port 0: any free port, written to the log.
  std::optional<dataplane::SocketAddress> healthz_bind_address;
  std::optional<dataplane::SocketAddress> metrics_bind_address;
  bool bind_address_hard_fail = false;  // a server that cannot bind ends the process

  // Semantics.
  bool masquerade_all = false;
  uint8_t masquerade_bit = 14;  // 0..31
  DetectLocalMode detect_local_mode = DetectLocalMode::kClusterCidr;
  std::vector<dataplane::Prefix> cluster_cidrs;  // at most one of each family
  std::string bridge_interface;                  // not empty in mode kBridge
  std::string interface_name_prefix;             // not empty in mode kInterfacePrefix
  NodePortAddresses node_port_addresses;

  // Synchronisation. A failed update is tried again at the latest after sync_period; /healthz turns
  // 503 when an update has been pending for more than twice as long.
  std::chrono::nanoseconds sync_period = std::chrono::seconds(30);
  // The shortest time between two updates of the datapath; nullopt when nobody gave one: the sync
  // loop then goes by its own measure. 0: every change at once.
  std::optional<std::chrono::nanoseconds> min_sync_period;
  // How often the datapath is compared with what it should be; 0: only when it was disturbed.
  std::chrono::nanoseconds audit_period = std::chrono::seconds(30);

  // The process and the host.
  int32_t oom_score_adj = -999;
  ConntrackConfig conntrack;
  int32_t log_verbosity = 0;
  LogFormat log_format = LogFormat::kText;
  std::string config_file;  // empty: none
  OnConfigChange on_config_change = OnConfigChange::kExit;

  IptablesConfig iptables;
  IpvsConfig ipvs;
  NftablesConfig nftables;
  EbpfConfig ebpf;

  uint32_t masquerade_mark() const { return uint32_t{1} << masquerade_bit; }
};

// What node ports answer on in `chosen` (not kAuto): what was asked for, or the mode's default,
// which is every address for iptables and IPVS and the node's primary addresses otherwise.
NodePortAddresses effective_node_port_addresses(const ProxyConfig& config, ProxyMode chosen);

// The name of our Node object: the override, or the host's name trimmed and in lower case.
Result<std::string> node_name(const ProxyConfig& config);

}  // namespace fairlead::proxy
