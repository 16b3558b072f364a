// The options as the operator writes them, before anybody has looked at their meaning: the shape of
// KubeProxyConfiguration with its defaults, and the flags that have no field there.
//
// Threads: values.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace fairlead::proxy {

struct Settings {
  using Duration = std::chrono::nanoseconds;

  // Flags only.
  std::string config;
  std::string write_config_to;
  bool cleanup = false;
  bool init_only = false;
  bool help = false;
  std::string version;
  std::string master;
  int32_t healthz_port = 10256;
  int32_t metrics_port = 10249;

  std::string kubeconfig;
  std::string hostname_override;
  std::string bind_address = "0.0.0.0";
  // The defaults of these two follow the family of bind_address.
  std::string healthz_bind_address;
  std::string metrics_bind_address;
  bool bind_address_hard_fail = false;
  std::string mode;
  std::string detect_local_mode;
  std::string bridge_interface;
  std::string interface_name_prefix;
  std::string cluster_cidr;
  std::vector<std::string> node_port_addresses;
  int32_t oom_score_adj = -999;

  // What three blocks of the file have in common. min_sync_period 0 means that nobody gave one.
  struct Sync {
    Duration sync_period = std::chrono::seconds(30);
    Duration min_sync_period{0};
  };
  struct Masquerade {
    int32_t bit = 14;
    bool all = false;
  };
  Masquerade iptables_masquerade;
  Sync iptables_sync;
  bool localhost_node_ports = true;
  Masquerade nftables_masquerade;
  Sync nftables_sync;
  Sync ipvs_sync;
  std::string ipvs_scheduler;
  std::vector<std::string> ipvs_exclude_cidrs;
  bool ipvs_strict_arp = false;
  Duration ipvs_tcp_timeout{0};
  Duration ipvs_tcp_fin_timeout{0};
  Duration ipvs_udp_timeout{0};

  int32_t conntrack_max_per_core = 32768;
  int32_t conntrack_min = 131072;
  Duration conntrack_tcp_established_timeout = std::chrono::hours(24);
  Duration conntrack_tcp_close_wait_timeout = std::chrono::hours(1);
  bool conntrack_tcp_be_liberal = false;
  Duration conntrack_udp_timeout{0};
  Duration conntrack_udp_stream_timeout{0};

  int32_t verbosity = 0;
  std::string log_format = "text";

  // Fairlead's own.
  Duration audit_period = std::chrono::seconds(30);
  std::string on_config_change = "exit";
  int32_t nftables_affinity_max_entries = 262144;
  struct Ebpf {
    std::vector<std::string> devices;
    std::string xdp = "auto";
    std::string dsr = "off";
    std::string masquerade_ports = "10000-29999";
    std::string pin_path = "/sys/fs/bpf/fairlead";
    std::string cgroup;
    int32_t max_frontends = 131072;
    int32_t max_service_ports = 65536;
    int32_t max_endpoints = 262144;
    int32_t max_ring_slots = 2097152;
    int32_t max_source_ranges = 65536;
    int32_t max_flows = 262144;
    int32_t max_new_flows = 65536;
    int32_t max_affinity = 65536;
    int32_t max_fragments = 8192;
    int32_t return_classes = 4;
  };
  Ebpf ebpf;
};

}  // namespace fairlead::proxy
