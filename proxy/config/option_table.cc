#include <iterator>

#include "proxy/config/options.h"

namespace fairlead::proxy {
namespace {

// A function that says where in Settings a value lives.
#define AT(member) \
  Place([](Settings& settings) -> decltype((settings.member)) { return settings.member; })

constexpr std::monostate kNowhere;

using enum Group;
using enum Type;

constexpr std::string_view kWindows = "it is for Windows nodes";
constexpr std::string_view kStandardError = "the log goes to standard error, complete";
constexpr std::string_view kNoForeignLibraries =
    "it belonged to a library that kube-proxy once happened to contain";
constexpr std::string_view kUserspace = "it belonged to kube-proxy's userspace mode";
constexpr std::string_view kUnbuffered = "each log line is written at once";

const Option kOptions[] = {
    {"config", "", kGeneral, kString, AT(config), kPlain,
     "Path of a KubeProxyConfiguration file, YAML or JSON. All settings then come from it, except "
     "the "
     "flags that say otherwise here."},
    {"write-config-to", "", kGeneral, kString, AT(write_config_to), kBeatsFile,
     "Write the effective configuration to this file and exit."},
    {"cleanup", "", kGeneral, kBool, AT(cleanup), kBeatsFile,
     "Remove all that any mode has installed on this node, and exit."},
    {"init-only", "", kGeneral, kBool, AT(init_only), kBeatsFile,
     "Do what needs full privileges, say what the mode lacks here, and exit; CAP_NET_ADMIN is then "
     "enough to run in mode nftables."},
    {"help", "", kGeneral, kBool, AT(help), kBeatsFile, "Print this and exit."},
    {"version", "", kGeneral, kString, AT(version), kBeatsFile | kOptionalText,
     "Print the version and exit."},
    {"proxy-mode", "mode", kGeneral, kString, AT(mode), kPlain,
     "auto, nftables, iptables, ipvs, ebpf or dpdk. auto, or nothing, picks the best that this "
     "node "
     "offers."},

    {"kubeconfig", "clientConnection.kubeconfig", kApiServer, kString, AT(kubeconfig), kPlain,
     "Path of a kubeconfig file. Without it and --master: the Pod's ServiceAccount."},
    {"master", "", kApiServer, kString, AT(master), kBeatsFile,
     "URL of the API server; wins over the kubeconfig's."},

    {"hostname-override", "hostnameOverride", kNode, kString, AT(hostname_override), kBeatsFile,
     "Name of this node's Node object; the host's name when empty. Wins over the file's."},
    {"bind-address", "bindAddress", kNode, kString, AT(bind_address), kZeroIsUnset,
     "Overrides the node's primary address. Nothing is bound to it."},
    {"healthz-bind-address", "healthzBindAddress", kNode, kString, AT(healthz_bind_address),
     kZeroIsUnset,
     "Address and port of /healthz and /livez. An empty flag disables them. Default 0.0.0.0:10256, "
     "[::]:10256 when --bind-address is IPv6."},
    {"metrics-bind-address", "metricsBindAddress", kNode, kString, AT(metrics_bind_address),
     kZeroIsUnset,
     "Address and port of /metrics, /configz and /proxyMode. An empty flag disables them. Default "
     "127.0.0.1:10249, [::1]:10249 when --bind-address is IPv6."},
    {"bind-address-hard-fail", "bindAddressHardFail", kNode, kBool, AT(bind_address_hard_fail),
     kPlain, "Exit when a server cannot bind its address."},
    {"oom-score-adj", "oomScoreAdj", kNode, kInteger, AT(oom_score_adj), kPlain,
     "oom_score_adj of the process, -1000 to 1000."},
    {"healthz-port", "", kNode, kInteger, AT(healthz_port), kDeprecated,
     "use --healthz-bind-address; 0 still disables the server, another port counts when the "
     "address "
     "has none"},
    {"metrics-port", "", kNode, kInteger, AT(metrics_port), kDeprecated,
     "use --metrics-bind-address; 0 still disables the server, another port counts when the "
     "address "
     "has none"},
    {"cleanup-iptables", "", kGeneral, kBool, AT(cleanup), kBeatsFile | kDeprecated,
     "use --cleanup"},

    {"masquerade-all", "iptables.masqueradeAll", kTraffic, kBool, AT(iptables_masquerade.all),
     kPlain, "Masquerade all traffic to cluster IPs. The flag counts in every mode."},
    {"nodeport-addresses", "nodePortAddresses", kTraffic, kList, AT(node_port_addresses), kPlain,
     "Where node ports answer: CIDRs of local addresses, 'primary', 'all', 'localhost'. Default: "
     "every "
     "local address for iptables and IPVS, the node's primary addresses otherwise."},

    {"detect-local-mode", "detectLocalMode", kLocalTraffic, kString, AT(detect_local_mode), kPlain,
     "How pods' traffic is told from other traffic: ClusterCIDR (default), NodeCIDR, "
     "BridgeInterface "
     "or InterfaceNamePrefix."},
    {"cluster-cidr", "clusterCIDR", kLocalTraffic, kString, AT(cluster_cidr), kPlain,
     "Addresses of the cluster's pods, for ClusterCIDR: one CIDR, or one of each family separated "
     "by "
     "a comma."},
    {"pod-bridge-interface", "detectLocal.bridgeInterface", kLocalTraffic, kString,
     AT(bridge_interface), kPlain, "The pods' bridge, for BridgeInterface."},
    {"pod-interface-name-prefix", "detectLocal.interfaceNamePrefix", kLocalTraffic, kString,
     AT(interface_name_prefix), kPlain,
     "How the names of the pods' interfaces begin, for InterfaceNamePrefix."},

    {"iptables-masquerade-bit", "iptables.masqueradeBit", kIptables, kInteger,
     AT(iptables_masquerade.bit), kPlain,
     "Bit of the packet mark that asks for masquerading, 0 to 31. The flag counts in every mode."},
    {"iptables-sync-period", "iptables.syncPeriod", kIptables, kDuration,
     AT(iptables_sync.sync_period), kZeroIsUnset,
     "A failed update is tried again at the latest after this time. The flag counts in every mode "
     "but "
     "ipvs."},
    {"iptables-min-sync-period", "iptables.minSyncPeriod", kIptables, kDuration,
     AT(iptables_sync.min_sync_period), kZeroIsUnset,
     "Shortest time between two updates; 0: none. The flag counts in every mode but ipvs."},
    {"iptables-localhost-nodeports", "iptables.localhostNodePorts", kIptables, kBool,
     AT(localhost_node_ports), kIptablesOnly, "Node ports answer on 127.0.0.0/8 too."},

    {"", "nftables.masqueradeBit", kNftables, kInteger, AT(nftables_masquerade.bit), kPlain,
     "As iptables.masqueradeBit, for every mode but iptables and ipvs."},
    {"", "nftables.masqueradeAll", kNftables, kBool, AT(nftables_masquerade.all), kPlain,
     "As iptables.masqueradeAll, for every mode but iptables and ipvs."},
    {"", "nftables.syncPeriod", kNftables, kDuration, AT(nftables_sync.sync_period), kZeroIsUnset,
     "As iptables.syncPeriod, for every mode but iptables and ipvs."},
    {"", "nftables.minSyncPeriod", kNftables, kDuration, AT(nftables_sync.min_sync_period),
     kZeroIsUnset, "As iptables.minSyncPeriod, for every mode but iptables and ipvs."},

    {"ipvs-sync-period", "ipvs.syncPeriod", kIpvs, kDuration, AT(ipvs_sync.sync_period),
     kZeroIsUnset | kIpvsOnly, "As --iptables-sync-period, for ipvs."},
    {"ipvs-min-sync-period", "ipvs.minSyncPeriod", kIpvs, kDuration, AT(ipvs_sync.min_sync_period),
     kZeroIsUnset | kIpvsOnly, "As --iptables-min-sync-period, for ipvs."},
    {"ipvs-scheduler", "ipvs.scheduler", kIpvs, kString, AT(ipvs_scheduler), kIpvsOnly,
     "IPVS scheduler; rr when empty."},
    {"ipvs-exclude-cidrs", "ipvs.excludeCIDRs", kIpvs, kList, AT(ipvs_exclude_cidrs), kIpvsOnly,
     "Others' virtual servers in these CIDRs are not cleaned up; services and node ports there are "
     "served."},
    {"ipvs-strict-arp", "ipvs.strictARP", kIpvs, kBool, AT(ipvs_strict_arp), kIpvsOnly,
     "Set arp_ignore to 1 and arp_announce to 2."},
    {"ipvs-tcp-timeout", "ipvs.tcpTimeout", kIpvs, kDuration, AT(ipvs_tcp_timeout), kIpvsOnly,
     "Timeout of idle TCP connections; 0 leaves it."},
    {"ipvs-tcpfin-timeout", "ipvs.tcpFinTimeout", kIpvs, kDuration, AT(ipvs_tcp_fin_timeout),
     kIpvsOnly, "Timeout of TCP connections after a FIN; 0 leaves it."},
    {"ipvs-udp-timeout", "ipvs.udpTimeout", kIpvs, kDuration, AT(ipvs_udp_timeout), kIpvsOnly,
     "Timeout of UDP; 0 leaves it."},

    {"conntrack-max-per-core", "conntrack.maxPerCore", kConntrack, kInteger,
     AT(conntrack_max_per_core), kPlain,
     "Connections to track for each CPU; 0 leaves the limit, whatever --conntrack-min says."},
    {"conntrack-min", "conntrack.min", kConntrack, kInteger, AT(conntrack_min), kPlain,
     "Connections to track at least."},
    {"conntrack-tcp-timeout-established", "conntrack.tcpEstablishedTimeout", kConntrack, kDuration,
     AT(conntrack_tcp_established_timeout), kPlain,
     "Timeout of idle established TCP connections; 0 leaves it."},
    {"conntrack-tcp-timeout-close-wait", "conntrack.tcpCloseWaitTimeout", kConntrack, kDuration,
     AT(conntrack_tcp_close_wait_timeout), kPlain,
     "Timeout of TCP connections in CLOSE_WAIT; 0 leaves it."},
    {"conntrack-tcp-be-liberal", "conntrack.tcpBeLiberal", kConntrack, kBool,
     AT(conntrack_tcp_be_liberal), kPlain, "Set nf_conntrack_tcp_be_liberal to 1."},
    {"conntrack-udp-timeout", "conntrack.udpTimeout", kConntrack, kDuration,
     AT(conntrack_udp_timeout), kPlain,
     "Timeout of UDP connections without an answer; 0 leaves it."},
    {"conntrack-udp-timeout-stream", "conntrack.udpStreamTimeout", kConntrack, kDuration,
     AT(conntrack_udp_stream_timeout), kPlain,
     "Timeout of UDP connections with answers; 0 leaves it."},

    {"v", "logging.verbosity", kLogging, kInteger, AT(verbosity), kBeatsFile,
     "Write log lines up to this level of detail."},
    {"logging-format", "logging.format", kLogging, kString, AT(log_format),
     kZeroIsUnset | kBeatsFile, "text or json."},

    {"audit-period", "fairlead.auditPeriod", kFairlead, kDuration, AT(audit_period), kPlain,
     "How often the datapath is compared with what it should be, and repaired; 0: only when it was "
     "disturbed."},
    {"on-config-change", "fairlead.onConfigChange", kFairlead, kString, AT(on_config_change),
     kZeroIsUnset,
     "What to do when the content of the --config file changes: exit (with an error, to be "
     "restarted) "
     "or ignore."},
    {"nftables-affinity-max-entries", "fairlead.nftables.affinityMaxEntries", kFairlead, kInteger,
     AT(nftables_affinity_max_entries), kZeroIsUnset | kNftablesOnly,
     "Room for remembered clients of services with ClientIP affinity, each address family."},

    {"devices", "fairlead.ebpf.devices", kEbpf, kList, AT(ebpf.devices), kEbpfOnly,
     "Devices whose traffic is served: names, a trailing + as a wildcard. Empty: every device "
     "that carries traffic of others."},
    {"ebpf-xdp", "fairlead.ebpf.xdp", kEbpf, kString, AT(ebpf.xdp), kZeroIsUnset | kEbpfOnly,
     "Where XDP programs run: auto (native where the driver can, else generic; not on veth), "
     "native, generic or off."},
    {"ebpf-dsr", "fairlead.ebpf.dsr", kEbpf, kString, AT(ebpf.dsr), kZeroIsUnset | kEbpfOnly,
     "Direct server return: off, or ipip (endpoints on other nodes get the packet in a tunnel "
     "and answer the client themselves)."},
    {"ebpf-masquerade-ports", "fairlead.ebpf.masqueradePorts", kEbpf, kString,
     AT(ebpf.masquerade_ports), kZeroIsUnset | kEbpfOnly,
     "Source ports of masqueraded connections, LOW-HIGH within 1024-65535. Keep node ports out."},
    {"ebpf-pin-path", "fairlead.ebpf.pinPath", kEbpf, kString, AT(ebpf.pin_path),
     kZeroIsUnset | kEbpfOnly,
     "Directory below a BPF file system where maps and links are kept across restarts."},
    {"ebpf-cgroup", "fairlead.ebpf.cgroup", kEbpf, kString, AT(ebpf.cgroup), kEbpfOnly,
     "Directory of the cgroup v2 whose sockets are served. Empty: the root of the hierarchy."},
    {"ebpf-max-frontends", "fairlead.ebpf.maxFrontends", kEbpf, kInteger, AT(ebpf.max_frontends),
     kZeroIsUnset | kEbpfOnly, "Room for virtual addresses with a port."},
    {"ebpf-max-service-ports", "fairlead.ebpf.maxServicePorts", kEbpf, kInteger,
     AT(ebpf.max_service_ports), kZeroIsUnset | kEbpfOnly,
     "Room for service ports, each protocol and address family."},
    {"ebpf-max-endpoints", "fairlead.ebpf.maxEndpoints", kEbpf, kInteger, AT(ebpf.max_endpoints),
     kZeroIsUnset | kEbpfOnly, "Room for endpoints, counted once for every service port."},
    {"ebpf-max-ring-slots", "fairlead.ebpf.maxRingSlots", kEbpf, kInteger, AT(ebpf.max_ring_slots),
     kZeroIsUnset | kEbpfOnly,
     "Room for the slots that endpoints are chosen from, a multiple of 16."},
    {"ebpf-max-source-ranges", "fairlead.ebpf.maxSourceRanges", kEbpf, kInteger,
     AT(ebpf.max_source_ranges), kZeroIsUnset | kEbpfOnly,
     "Room for CIDRs: loadBalancerSourceRanges, pods, services."},
    {"ebpf-max-flows", "fairlead.ebpf.maxFlows", kEbpf, kInteger, AT(ebpf.max_flows),
     kZeroIsUnset | kEbpfOnly, "Room for established connections that pass as packets."},
    {"ebpf-max-new-flows", "fairlead.ebpf.maxNewFlows", kEbpf, kInteger, AT(ebpf.max_new_flows),
     kZeroIsUnset | kEbpfOnly,
     "Room for connections that are not established yet; the oldest makes way."},
    {"ebpf-max-affinity", "fairlead.ebpf.maxAffinity", kEbpf, kInteger, AT(ebpf.max_affinity),
     kZeroIsUnset | kEbpfOnly,
     "Room for remembered clients of services with ClientIP affinity; the oldest makes way."},
    {"ebpf-max-fragments", "fairlead.ebpf.maxFragments", kEbpf, kInteger, AT(ebpf.max_fragments),
     kZeroIsUnset | kEbpfOnly,
     "Room for datagrams of which fragments are on their way; the oldest makes way."},
    {"ebpf-return-classes", "fairlead.ebpf.returnClasses", kEbpf, kInteger, AT(ebpf.return_classes),
     kZeroIsUnset | kEbpfOnly,
     "Ways in which one source port can lead back, times 65536; a power of two up to 256."},

    {"feature-gates", "featureGates", kIgnored, kGates, kNowhere, kPlain,
     "no behaviour depends on a feature gate"},
    {"kube-api-content-type", "clientConnection.contentType", kIgnored, kString, kNowhere, kPlain,
     "the API is always read as JSON"},
    {"", "clientConnection.acceptContentTypes", kIgnored, kString, kNowhere, kPlain,
     "the API is always read as JSON"},
    {"kube-api-qps", "clientConnection.qps", kIgnored, kNumber, kNowhere, kPlain,
     "there is one list and one watch for each resource, nothing to throttle"},
    {"kube-api-burst", "clientConnection.burst", kIgnored, kInteger, kNowhere, kPlain,
     "there is one list and one watch for each resource, nothing to throttle"},
    {"config-sync-period", "configSyncPeriod", kIgnored, kDuration, kNowhere, kPlain,
     "a watch leaves nothing to refresh; see --audit-period for the datapath"},
    {"profiling", "enableProfiling", kIgnored, kBool, kNowhere, kPlain,
     "there is no profiling endpoint; use perf"},
    {"show-hidden-metrics-for-version", "showHiddenMetricsForVersion", kIgnored, kString, kNowhere,
     kPlain, "no metric is hidden"},
    {"", "iptables.snatNodeInternalIP", kIgnored, kBool, kNowhere, kPlain,
     "masquerading takes the address of the outgoing interface"},
    {"proxy-port-range", "portRange", kIgnored, kString, kNowhere, kPlain, kUserspace},
    {"udp-timeout", "udpIdleTimeout", kIgnored, kDuration, kNowhere, kPlain, kUserspace},
    {"resource-container", "resourceContainer", kIgnored, kString, kNowhere, kPlain,
     "the container runtime chooses the cgroup"},
    {"cleanup-ipvs", "", kIgnored, kBool, kNowhere, kPlain,
     "--cleanup removes what every mode installed"},
    {"conntrack-max", "", kIgnored, kInteger, kNowhere, kPlain,
     "use --conntrack-max-per-core and --conntrack-min"},
    {"google-json-key", "", kIgnored, kString, kNowhere, kPlain, "use --kubeconfig"},

    {"vmodule", "logging.vmodule", kIgnored, kString, kNowhere, kBeatsFile | kLoose,
     "the verbosity is the same for all files"},
    {"log-flush-frequency", "logging.flushFrequency", kIgnored, kDuration, kNowhere,
     kBeatsFile | kLoose, kUnbuffered},
    {"log-json-info-buffer-size", "logging.options.json.infoBufferSize", kIgnored, kString,
     kNowhere, kBeatsFile | kLoose, kUnbuffered},
    {"log-json-split-stream", "logging.options.json.splitStream", kIgnored, kBool, kNowhere,
     kBeatsFile, kStandardError},
    {"log-text-info-buffer-size", "logging.options.text.infoBufferSize", kIgnored, kString,
     kNowhere, kBeatsFile | kLoose, kUnbuffered},
    {"log-text-split-stream", "logging.options.text.splitStream", kIgnored, kBool, kNowhere,
     kBeatsFile, kStandardError},
    {"logtostderr", "", kIgnored, kBool, kNowhere, kBeatsFile, kStandardError},
    {"alsologtostderr", "", kIgnored, kBool, kNowhere, kBeatsFile, kStandardError},
    {"stderrthreshold", "", kIgnored, kString, kNowhere, kBeatsFile, kStandardError},
    {"one-output", "", kIgnored, kBool, kNowhere, kBeatsFile, kStandardError},
    {"log-dir", "", kIgnored, kString, kNowhere, kBeatsFile, kStandardError},
    {"log-file", "", kIgnored, kString, kNowhere, kBeatsFile, kStandardError},
    {"log-file-max-size", "", kIgnored, kInteger, kNowhere, kBeatsFile, kStandardError},
    {"add-dir-header", "", kIgnored, kBool, kNowhere, kBeatsFile, "log lines have no such header"},
    {"skip-headers", "", kIgnored, kBool, kNowhere, kBeatsFile, "log lines have no such header"},
    {"skip-log-headers", "", kIgnored, kBool, kNowhere, kBeatsFile,
     "log lines have no such header"},
    {"log-backtrace-at", "", kIgnored, kString, kNowhere, kBeatsFile,
     "log lines carry no stack trace"},

    {"network-name", "winkernel.networkName", kIgnored, kString, kNowhere, kPlain, kWindows},
    {"source-vip", "winkernel.sourceVip", kIgnored, kString, kNowhere, kPlain, kWindows},
    {"enable-dsr", "winkernel.enableDSR", kIgnored, kBool, kNowhere, kPlain, kWindows},
    {"root-hnsendpoint-name", "winkernel.rootHnsEndpointName", kIgnored, kString, kNowhere, kPlain,
     kWindows},
    {"forward-healthcheck-vip", "winkernel.forwardHealthCheckVip", kIgnored, kBool, kNowhere,
     kPlain, kWindows},
    {"windows-service", "windowsRunAsService", kIgnored, kBool, kNowhere, kPlain, kWindows},
    {"windows-priorityclass", "", kIgnored, kString, kNowhere, kPlain, kWindows},

    {"allow-dynamic-housekeeping", "", kIgnored, kBool, kNowhere, kPlain, kNoForeignLibraries},
    {"application-metrics-count-limit", "", kIgnored, kInteger, kNowhere, kPlain,
     kNoForeignLibraries},
    {"azure-container-registry-config", "", kIgnored, kString, kNowhere, kPlain,
     kNoForeignLibraries},
    {"boot-id-file", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"cloud-provider-gce-l7lb-src-cidrs", "", kIgnored, kString, kNowhere, kPlain,
     kNoForeignLibraries},
    {"cloud-provider-gce-lb-src-cidrs", "", kIgnored, kString, kNowhere, kPlain,
     kNoForeignLibraries},
    {"container-hints", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"containerd", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"containerd-namespace", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"default-not-ready-toleration-seconds", "", kIgnored, kInteger, kNowhere, kPlain,
     kNoForeignLibraries},
    {"default-unreachable-toleration-seconds", "", kIgnored, kInteger, kNowhere, kPlain,
     kNoForeignLibraries},
    {"docker", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"docker-env-metadata-whitelist", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"docker-only", "", kIgnored, kBool, kNowhere, kPlain, kNoForeignLibraries},
    {"docker-root", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"docker-tls", "", kIgnored, kBool, kNowhere, kPlain, kNoForeignLibraries},
    {"docker-tls-ca", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"docker-tls-cert", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"docker-tls-key", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"enable-load-reader", "", kIgnored, kBool, kNowhere, kPlain, kNoForeignLibraries},
    {"event-storage-age-limit", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"event-storage-event-limit", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"global-housekeeping-interval", "", kIgnored, kDuration, kNowhere, kPlain,
     kNoForeignLibraries},
    {"housekeeping-interval", "", kIgnored, kDuration, kNowhere, kPlain, kNoForeignLibraries},
    {"log-cadvisor-usage", "", kIgnored, kBool, kNowhere, kPlain, kNoForeignLibraries},
    {"machine-id-file", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"referenced-reset-interval", "", kIgnored, kInteger, kNowhere, kPlain, kNoForeignLibraries},
    {"storage-driver-buffer-duration", "", kIgnored, kDuration, kNowhere, kPlain,
     kNoForeignLibraries},
    {"storage-driver-db", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"storage-driver-host", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"storage-driver-password", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"storage-driver-secure", "", kIgnored, kBool, kNowhere, kPlain, kNoForeignLibraries},
    {"storage-driver-table", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"storage-driver-user", "", kIgnored, kString, kNowhere, kPlain, kNoForeignLibraries},
    {"update-machine-info-interval", "", kIgnored, kDuration, kNowhere, kPlain,
     kNoForeignLibraries},
};
#undef AT

}  // namespace

std::span<const Option> options() {
  return kOptions;
}

}  // namespace fairlead::proxy
