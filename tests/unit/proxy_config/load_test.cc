// What the operator writes, as flags, as a file or both, against what comes out: a setting, an
// error, a warning.
#include <functional>

#include "cases.h"
#include "proxy/config/file.h"

namespace fairlead::proxy {
namespace {

using dataplane::Prefix;
using dataplane::SocketAddress;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::optional<SocketAddress> at(const char* address, uint16_t port) {
  return SocketAddress{*dataplane::Address::parse(address), port};
}
Prefix cidr(const char* text) {
  return *Prefix::parse(text);
}

struct SettingCase {
  std::vector<std::string> arguments;
  std::string file;
  std::function<bool(const ProxyConfig&)> holds;
};

void expect_settings(const std::vector<SettingCase>& cases) {
  for (const SettingCase& c : cases) {
    const Outcome outcome = run(c.arguments, c.file);
    EXPECT_EQ(outcome.error, "");
    EXPECT_TRUE(c.holds(outcome.loaded.config))
        << testing::PrintToString(c.arguments) << c.file << "\n"
        << outcome.loaded.configz;
  }
}

TEST(Load, NothingGivenIsKubeProxysDefault) {
  const Outcome outcome = run({});
  const ProxyConfig& config = outcome.loaded.config;
  EXPECT_THAT(outcome.warnings, IsEmpty());
  EXPECT_EQ(outcome.loaded.action, Action::kRun);
  EXPECT_EQ(config.mode, ProxyMode::kAuto);
  EXPECT_EQ(config.healthz_bind_address, at("0.0.0.0", 10256));
  EXPECT_EQ(config.metrics_bind_address, at("127.0.0.1", 10249));
  EXPECT_EQ(config.masquerade_mark(), 0x4000U);
  EXPECT_EQ(config.sync_period, seconds(30));
  EXPECT_EQ(config.min_sync_period, std::nullopt);
  EXPECT_EQ(config.audit_period, seconds(30));
  EXPECT_EQ(config.oom_score_adj, -999);
  EXPECT_EQ(config.conntrack.max_per_core, 32768);
  EXPECT_EQ(config.conntrack.tcp_close_wait_timeout, std::chrono::hours(1));
  EXPECT_TRUE(config.node_port_addresses.empty());
  EXPECT_EQ(config.on_config_change, OnConfigChange::kExit);
}

TEST(Load, SpellingsOfFlags) {
  using C = ProxyConfig;
  expect_settings({
      {{"--proxy-mode=nftables"}, "", [](const C& c) { return c.mode == ProxyMode::kNftables; }},
      {{"--proxy-mode", "ipvs"}, "", [](const C& c) { return c.mode == ProxyMode::kIpvs; }},
      {{"--proxy_mode=ebpf"}, "", [](const C& c) { return c.mode == ProxyMode::kEbpf; }},
      {{"--proxy-mode=dpdk"}, "", [](const C& c) { return c.mode == ProxyMode::kDpdk; }},
      {{"--proxy-mode=iptables"}, "", [](const C& c) { return c.mode == ProxyMode::kIptables; }},
      {{"--proxy-mode=auto"}, "", [](const C& c) { return c.mode == ProxyMode::kAuto; }},
      {{"--proxy-mode="}, "", [](const C& c) { return c.mode == ProxyMode::kAuto; }},
      {{"--masquerade-all"}, "", [](const C& c) { return c.masquerade_all; }},
      {{"--masquerade-all=true"}, "", [](const C& c) { return c.masquerade_all; }},
      {{"--masquerade-all=false"}, "", [](const C& c) { return !c.masquerade_all; }},
      {{"--masquerade-all", "--masquerade-all=0"},
       "",
       [](const C& c) { return !c.masquerade_all; }},
      {{"--iptables-localhost-nodeports=F"},
       "",
       [](const C& c) { return !c.iptables.localhost_node_ports; }},
      {{"-v", "4"}, "", [](const C& c) { return c.log_verbosity == 4; }},
      {{"-v=4"}, "", [](const C& c) { return c.log_verbosity == 4; }},
      {{"-v4"}, "", [](const C& c) { return c.log_verbosity == 4; }},
      {{"--v=2", "--v=5"}, "", [](const C& c) { return c.log_verbosity == 5; }},
      {{"--logging-format=json"}, "", [](const C& c) { return c.log_format == LogFormat::kJson; }},
      {{"--oom-score-adj", "-998"}, "", [](const C& c) { return c.oom_score_adj == -998; }},
      {{"--conntrack-udp-timeout-stream=1m30s"},
       "",
       [](const C& c) { return c.conntrack.udp_stream_timeout == seconds(90); }},
      {{"--conntrack-max-per-core=0x10"},
       "",
       [](const C& c) { return c.conntrack.max_per_core == 16; }},
      {{"--hostname-override=  Node-A.Example "},
       "",
       [](const C& c) { return c.hostname_override == "node-a.example"; }},
      {{"--master=https://10.0.0.1:6443", "--kubeconfig", "/k"},
       "",
       [](const C& c) { return c.master == "https://10.0.0.1:6443" && c.kubeconfig == "/k"; }},
      {{"--audit-period=0"}, "", [](const C& c) { return c.audit_period == nanoseconds(0); }},
      {{"--on-config-change=ignore"},
       "",
       [](const C& c) { return c.on_config_change == OnConfigChange::kIgnore; }},
      {{"--nftables-affinity-max-entries=1000"},
       "",
       [](const C& c) { return c.nftables.affinity_max_entries == 1000; }},
  });
}

TEST(Load, Servers) {
  using C = ProxyConfig;
  expect_settings({
      {{"--healthz-bind-address="}, "", [](const C& c) { return !c.healthz_bind_address; }},
      {{"--healthz-bind-address", ""}, "", [](const C& c) { return !c.healthz_bind_address; }},
      {{"--metrics-bind-address="}, "", [](const C& c) { return !c.metrics_bind_address; }},
      {{"--metrics-bind-address=0.0.0.0"},
       "",
       [](const C& c) { return c.metrics_bind_address == at("0.0.0.0", 10249); }},
      {{"--healthz-bind-address=[fd00::1]:80"},
       "",
       [](const C& c) { return c.healthz_bind_address == at("fd00::1", 80); }},
      {{"--healthz-bind-address=127.0.0.1:0"},
       "",
       [](const C& c) { return c.healthz_bind_address == at("127.0.0.1", 0); }},
      {{"--bind-address=::"},
       "",
       [](const C& c) {
         return c.healthz_bind_address == at("::", 10256) &&
                c.metrics_bind_address == at("::1", 10249);
       }},
      {{},
       "bindAddress: 'fd00::7'",
       [](const C& c) {
         return c.healthz_bind_address == at("::", 10256) &&
                c.bind_address.to_string() == "fd00::7";
       }},
      {{"--healthz-port=0"}, "", [](const C& c) { return !c.healthz_bind_address; }},
      {{"--healthz-port=99", "--healthz-bind-address=10.0.0.1"},
       "",
       [](const C& c) { return c.healthz_bind_address == at("10.0.0.1", 99); }},
      // An empty field is an absent one: a file cannot disable a server, here as there.
      {{}, "metricsBindAddress: ''", [](const C& c) { return c.metrics_bind_address.has_value(); }},
      {{},
       "metricsBindAddress: 0.0.0.0:10249",
       [](const C& c) { return c.metrics_bind_address == at("0.0.0.0", 10249); }},
  });
}

TEST(Load, LocalTrafficAndNodePorts) {
  using C = ProxyConfig;
  expect_settings({
      {{"--cluster-cidr=10.244.0.0/16,fd00::/48"},
       "",
       [](const C& c) {
         return c.cluster_cidrs == std::vector<Prefix>{cidr("10.244.0.0/16"), cidr("fd00::/48")};
       }},
      {{"--cluster-cidr="}, "", [](const C& c) { return c.cluster_cidrs.empty(); }},
      {{"--detect-local-mode=BridgeInterface", "--pod-bridge-interface=cni0"},
       "",
       [](const C& c) {
         return c.detect_local_mode == DetectLocalMode::kBridge && c.bridge_interface == "cni0";
       }},
      {{},
       "detectLocalMode: InterfaceNamePrefix\ndetectLocal:\n  interfaceNamePrefix: veth",
       [](const C& c) { return c.interface_name_prefix == "veth"; }},
      {{},
       "detectLocalMode: NodeCIDR",
       [](const C& c) { return c.detect_local_mode == DetectLocalMode::kNodeCidr; }},
      {{"--nodeport-addresses=10.0.0.0/8,192.168.0.0/16", "--nodeport-addresses", "fd00::/8"},
       "",
       [](const C& c) { return c.node_port_addresses.prefixes.size() == 3; }},
      {{"--nodeport-addresses=primary"},
       "",
       [](const C& c) {
         return c.node_port_addresses.primary && c.node_port_addresses.prefixes.empty();
       }},
      {{},
       "nodePortAddresses: [primary, 10.1.2.3/8, 10.0.0.0/8]",
       [](const C& c) {
         return c.node_port_addresses == NodePortAddresses{true, {cidr("10.0.0.0/8")}};
       }},
      {{"--nodeport-addresses=all"},
       "",
       [](const C& c) {
         return c.node_port_addresses.prefixes ==
                std::vector<Prefix>{cidr("0.0.0.0/0"), cidr("::/0")};
       }},
      {{}, "nodePortAddresses: null", [](const C& c) { return c.node_port_addresses.empty(); }},
  });
}

TEST(Load, EachModeHasItsBlock) {
  using C = ProxyConfig;
  const std::string all =
      "iptables: {masqueradeBit: 1, masqueradeAll: true, syncPeriod: 11s, minSyncPeriod: 1100ms}\n"
      "nftables: {masqueradeBit: 2, syncPeriod: 12s, minSyncPeriod: 1200ms}\n"
      "ipvs: {syncPeriod: 13s, minSyncPeriod: 1300ms}\n";
  const auto expect = [](int bit, bool masquerade_all, int sync, int min) {
    return [=](const C& c) {
      return c.masquerade_bit == bit && c.masquerade_all == masquerade_all &&
             c.sync_period == seconds(sync) && c.min_sync_period == milliseconds(min);
    };
  };
  expect_settings({
      {{}, all + "mode: iptables", expect(1, true, 11, 1100)},
      {{}, all + "mode: nftables", expect(2, false, 12, 1200)},
      {{}, all + "mode: ipvs", expect(1, true, 13, 1300)},
      {{}, all + "mode: ''", expect(2, true, 12, 1200)},
      {{}, all + "mode: ebpf", expect(2, true, 12, 1200)},
      // A file with all of kube-proxy's defaults written out says nothing about nftables.
      {{},
       "iptables: {masqueradeBit: 1, syncPeriod: 11s, minSyncPeriod: 2s}\n"
       "nftables: {masqueradeBit: 14, masqueradeAll: false, syncPeriod: 30s, minSyncPeriod: 1s}",
       expect(1, false, 11, 2000)},
      {{},
       "iptables: {syncPeriod: 0s, minSyncPeriod: 0s, masqueradeBit: 0}",
       [](const C& c) {
         return c.sync_period == seconds(30) && !c.min_sync_period && c.masquerade_bit == 0;
       }},
      // Flags have no nftables spelling: the iptables ones speak for every mode.
      {{"--proxy-mode=nftables", "--iptables-masquerade-bit=3", "--masquerade-all",
        "--iptables-sync-period=9s", "--iptables-min-sync-period=0", "--ipvs-sync-period=8s"},
       "",
       expect(3, true, 9, 0)},
      {{"--proxy-mode=ipvs", "--iptables-sync-period=9s", "--ipvs-sync-period=8s",
        "--ipvs-min-sync-period=1s", "--iptables-masquerade-bit=3"},
       "",
       expect(3, false, 8, 1000)},
  });
}

TEST(Load, DefaultsOfNodePortAddressesFollowTheMode) {
  const ProxyConfig config;
  EXPECT_TRUE(effective_node_port_addresses(config, ProxyMode::kNftables).primary);
  EXPECT_TRUE(effective_node_port_addresses(config, ProxyMode::kEbpf).primary);
  EXPECT_EQ(effective_node_port_addresses(config, ProxyMode::kIptables).prefixes.size(), 2U);
  ProxyConfig asked;
  asked.node_port_addresses.prefixes = {cidr("10.0.0.0/8")};
  EXPECT_EQ(effective_node_port_addresses(asked, ProxyMode::kIpvs), asked.node_port_addresses);
}

TEST(Load, NodeNameIsTheOverrideOrTheHosts) {
  ProxyConfig config;
  ASSERT_TRUE(node_name(config));
  EXPECT_FALSE(node_name(config)->empty());
  config.hostname_override = "node-a";
  EXPECT_EQ(*node_name(config), "node-a");
}

TEST(Load, FileWinsButForTheFlagsThatSayOtherwise) {
  const Outcome outcome =
      run({"--proxy-mode=ipvs", "--cluster_cidr=10.0.0.0/8", "--kubeconfig=/flag", "-v=7",
           "--logging-format=json", "--hostname-override=Flag", "--master=https://m"},
          "mode: nftables\nhostnameOverride: file\nclientConnection: {kubeconfig: /file}\n"
          "logging: {verbosity: 2}\n");
  const ProxyConfig& config = outcome.loaded.config;
  EXPECT_EQ(config.mode, ProxyMode::kNftables);
  EXPECT_THAT(config.cluster_cidrs, IsEmpty());
  EXPECT_EQ(config.kubeconfig, "/file");
  EXPECT_EQ(config.log_verbosity, 7);
  EXPECT_EQ(config.log_format, LogFormat::kJson);
  EXPECT_EQ(config.hostname_override, "flag");
  EXPECT_EQ(config.master, "https://m");
  ASSERT_EQ(outcome.warnings.size(), 1U);
  for (const char* name : {"--proxy-mode", "--cluster_cidr", "--kubeconfig"}) {
    EXPECT_THAT(outcome.warnings[0], HasSubstr(name));
  }
  EXPECT_THAT(outcome.warnings[0], testing::Not(HasSubstr("--master")));
  EXPECT_EQ(run({"--hostname-override="}, "hostnameOverride: File").loaded.config.hostname_override,
            "file");
}

struct WarningCase {
  std::vector<std::string> arguments;
  std::string file;
  std::vector<std::string> warnings;
};

TEST(Load, Warnings) {
  const WarningCase cases[] = {
      {{"--profiling"},
       "",
       {"--profiling has no effect: there is no profiling endpoint; use perf"}},
      {{"--log_dir=/x"}, "", {"--log_dir has no effect: the log goes to standard error, complete"}},
      {{"--feature-gates=A=true,B=false", "--feature-gates=C=true"},
       "",
       {"--feature-gates has no effect: no behaviour depends on a feature gate"}},
      {{"--proxy-port-range=1-2"},
       "",
       {"--proxy-port-range has no effect: it belonged to kube-proxy's userspace mode"}},
      {{"--healthz-port=0"},
       "",
       {"--healthz-port is deprecated: use --healthz-bind-address; 0 still disables the server, "
        "another port counts when the address has none"}},
      {{"--ipvs-scheduler=lc", "--proxy-mode=nftables"},
       "",
       {"--ipvs-scheduler has no effect in mode nftables: it is for ipvs"}},
      {{"--ipvs-scheduler=lc"}, "", {}},
      {{},
       "clientConnection: {qps: 50, burst: 0, contentType: ''}\nenableProfiling: false",
       {"FILE: clientConnection.qps has no effect: there is one list and one watch for each "
        "resource, nothing to throttle"}},
      {{},
       "winkernel: {enableDSR: true}",
       {"FILE: winkernel.enableDSR has no effect: it is for Windows nodes"}},
      {{},
       "windowsRunAsService: true",
       {"FILE: windowsRunAsService has no effect: it is for Windows nodes"}},
      {{},
       "featureGates: {X: true}",
       {"FILE: featureGates has no effect: no behaviour depends on a feature gate"}},
      {{}, "featureGates: {}", {}},
      {{},
       "logging: {vmodule: [{filePattern: a, verbosity: 2}], flushFrequency: 5000000000, "
       "options: {json: {infoBufferSize: 0}, text: {infoBufferSize: '0'}}}",
       {"FILE: logging.vmodule has no effect: the verbosity is the same for all files",
        "FILE: logging.flushFrequency has no effect: each log line is written at once"}},
      {{},
       "clusterCIDRs: x\niptables: {syncPeriods: 1s}",
       {"FILE: clusterCIDRs: unknown field, ignored",
        "FILE: iptables.syncPeriods: unknown field, ignored"}},
      {{},
       "oomScoreAdj: 1\noomScoreAdj: 2",
       {"FILE: oomScoreAdj: is given twice; the last one counts"}},
      {{"--nodeport-addresses=localhost", "--proxy-mode=nftables"},
       "",
       {"--nodeport-addresses: node ports do not answer on loopback addresses in mode nftables"}},
      {{"--nodeport-addresses=localhost", "--proxy-mode=iptables"}, "", {}},
      {{"--detect-local-mode=ClusterCIDR"},
       "",
       {"--detect-local-mode: --cluster-cidr is empty: nothing tells pods' traffic from other "
        "traffic"}},
  };
  for (const WarningCase& c : cases) {
    const Outcome outcome = run(c.arguments, c.file);
    EXPECT_EQ(outcome.error, "");
    EXPECT_EQ(outcome.warnings, c.warnings) << testing::PrintToString(c.arguments) << c.file;
  }
  EXPECT_EQ(run({}, "oomScoreAdj: 1\noomScoreAdj: 2").loaded.config.oom_score_adj, 2);
  EXPECT_EQ(
      run({}, "\"oomScoreAdj\":1,\"oomScoreAdj\":2}",
          R"({"apiVersion":"kubeproxy.config.k8s.io/v1alpha1","kind":"KubeProxyConfiguration",)")
          .loaded.config.oom_score_adj,
      2);
}

struct ErrorCase {
  std::vector<std::string> arguments;
  std::string file;
  std::string error;
};

TEST(Load, Errors) {
  const ErrorCase cases[] = {
      {{"--cluster-cdir=10.0.0.0/8"},
       "",
       "unknown flag --cluster-cdir; did you mean --cluster-cidr?"},
      {{"--nothing-like-it-at-all", "x"}, "", "unknown flag --nothing-like-it-at-all"},
      {{"-x"}, "", "unknown flag -x"},
      {{"run"}, "", "\"run\": there are flags only, no other arguments"},
      {{"--", "run"}, "", "\"run\": there are flags only, no other arguments"},
      {{"--cluster-cidr"}, "", "--cluster-cidr: the value is missing"},
      {{"--masquerade-all=maybe"}, "", "--masquerade-all: \"maybe\" is neither true nor false"},
      {{"--conntrack-min=many"}, "", "--conntrack-min: \"many\" is not a whole number of 32 bits"},
      {{"--conntrack-min=2147483648"},
       "",
       "--conntrack-min: \"2147483648\" is not a whole number of 32 bits"},
      {{"--conntrack-min=-1"}, "", "--conntrack-min: -1 is less than 0"},
      {{"--iptables-sync-period=30"},
       "",
       "--iptables-sync-period: \"30\" is not a duration such as 30s, 1h30m or 500ms"},
      {{"--iptables-sync-period=0"}, "", "--iptables-sync-period: 0s is not greater than 0"},
      {{"--iptables-min-sync-period=31s"},
       "",
       "--iptables-min-sync-period: 31s is more than 30s of --iptables-sync-period"},
      {{"--iptables_masquerade_bit=32"}, "", "--iptables_masquerade_bit: 32 is not within 0..31"},
      {{"--oom-score-adj=-1001"}, "", "--oom-score-adj: -1001 is not within -1000..1000"},
      {{"--proxy-mode=userspace"},
       "",
       "--proxy-mode: \"userspace\" is not supported: Kubernetes has removed it in 1.26"},
      {{"--proxy-mode=nft"},
       "",
       "--proxy-mode: \"nft\" is not one of auto, nftables, iptables, ipvs, ebpf, dpdk"},
      {{"--hostname-override= "}, "", "--hostname-override: it is blank"},
      {{"--hostname-override=a/b"},
       "",
       "--hostname-override: \"a/b\" cannot be the name of a node: letters, digits, - and . only, "
       "at most 253"},
      {{"--bind-address=localhost"}, "", "--bind-address: \"localhost\" is not an IP address"},
      {{"--healthz-bind-address=:80"},
       "",
       "--healthz-bind-address: \":80\" is not an address and port such as 0.0.0.0:10256 or "
       "[::]:10256"},
      {{"--cluster-cidr=10.0.0.0/8,11.0.0.0/8"},
       "",
       "--cluster-cidr: \"10.0.0.0/8,11.0.0.0/8\" has 2 CIDRs of IPv4, at most one is allowed"},
      {{"--cluster-cidr=10.0.0.0"},
       "",
       "--cluster-cidr: \"10.0.0.0\" is not a CIDR such as 10.0.0.0/8"},
      {{"--nodeport-addresses=any"},
       "",
       "--nodeport-addresses: \"any\" is neither a CIDR nor one of primary, all, localhost"},
      {{"--detect-local-mode=BridgeInterface"},
       "",
       "--pod-bridge-interface: it is empty, but --detect-local-mode is BridgeInterface"},
      {{},
       "detectLocalMode: InterfaceNamePrefix",
       "--pod-interface-name-prefix: it is empty, but FILE: detectLocalMode is "
       "InterfaceNamePrefix"},
      {{"--detect-local-mode=Guess"},
       "",
       "--detect-local-mode: \"Guess\" is not one of ClusterCIDR, NodeCIDR, BridgeInterface, "
       "InterfaceNamePrefix"},
      {{"--pod-bridge-interface=a-very-long-interface", "--detect-local-mode=BridgeInterface"},
       "",
       "--pod-bridge-interface: \"a-very-long-interface\" cannot be an interface's name"},
      {{"--conntrack-udp-timeout=500ms"},
       "",
       "--conntrack-udp-timeout: 500ms is less than a second; the kernel counts in seconds"},
      {{"--feature-gates=X"}, "", "--feature-gates: \"X\" is not of the form gate=true"},
      {{"--feature-gates=X=perhaps"},
       "",
       "--feature-gates: gate X: \"perhaps\" is neither true nor false"},
      {{"--ipvs-exclude-cidrs=x", "--proxy-mode=ipvs"},
       "",
       "--ipvs-exclude-cidrs: \"x\" is not a CIDR such as 10.0.0.0/8"},
      {{"--logging-format=xml"}, "", "--logging-format: \"xml\" is neither text nor json"},
      {{"--audit-period=-1s"}, "", "--audit-period: -1s is less than 0"},
      {{"--nftables-affinity-max-entries=0"},
       "",
       "--nftables-affinity-max-entries: 0 is not within 1..16777216"},
      {{},
       "iptables: {masqueradeBit: '14'}",
       "FILE: iptables.masqueradeBit: expected a whole number of 32 bits, found \"14\""},
      {{}, "iptables: {masqueradeBit: 40}", "FILE: iptables.masqueradeBit: 40 is not within 0..31"},
      {{}, "iptables: [1]", "FILE: iptables: expected a block, found [1]"},
      {{}, "oomScoreAdj: 1.5", "FILE: oomScoreAdj: expected a whole number of 32 bits, found 1.5"},
      {{},
       "configSyncPeriod: 30",
       "FILE: configSyncPeriod: expected a duration such as \"30s\", found 30"},
      {{},
       "conntrack: {udpTimeout: 5x}",
       "FILE: conntrack.udpTimeout: \"5x\" is not a duration such as 30s, 1h30m or 500ms"},
      {{},
       "nodePortAddresses: 10.0.0.0/8",
       "FILE: nodePortAddresses: expected a list of strings, found \"10.0.0.0/8\""},
      {{},
       "nodePortAddresses: [10]",
       "FILE: nodePortAddresses: item 0: expected a string, found 10"},
      {{},
       "enableProfiling: 'yes'",
       "FILE: enableProfiling: expected true or false, found \"yes\""},
      {{}, "featureGates: {A: 1}", "FILE: featureGates: gate A: expected true or false, found 1"},
      {{}, "hostnameOverride: 12", "FILE: hostnameOverride: expected a string, found 12"},
      {{},
       "fairlead: {auditPeriod: -5s, onConfigChange: restart}",
       "FILE: fairlead.auditPeriod: -5s is less than 0; FILE: fairlead.onConfigChange: \"restart\" "
       "is "
       "neither exit nor ignore"},
      {{"--oom-score-adj=5000", "--oops", "--conntrack-min=-3"},
       "",
       "unknown flag --oops; --oom-score-adj: 5000 is not within -1000..1000; --conntrack-min: -3 "
       "is "
       "less than 0"},
  };
  for (const ErrorCase& c : cases) {
    EXPECT_EQ(run(c.arguments, c.file).error, c.error)
        << testing::PrintToString(c.arguments) << c.file;
  }
}

TEST(Load, TheFileMustBeWhatItSays) {
  const std::pair<const char*, const char*> cases[] = {
      {"kind: KubeProxyConfiguration\n",
       "FILE: apiVersion: missing, expected kubeproxy.config.k8s.io/v1alpha1"},
      {"apiVersion: kubeproxy.config.k8s.io/v1beta1\nkind: KubeProxyConfiguration\n",
       "FILE: apiVersion: expected kubeproxy.config.k8s.io/v1alpha1, found "
       "\"kubeproxy.config.k8s.io/v1beta1\""},
      {"apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeletConfiguration\n",
       "FILE: kind: expected KubeProxyConfiguration, found \"KubeletConfiguration\""},
      {"- a\n", "FILE: expected a KubeProxyConfiguration, found [\"a\"]"},
      {"# nothing\n", "FILE: expected a KubeProxyConfiguration, found null"},
  };
  for (const auto& [text, error] : cases) EXPECT_EQ(run({}, text, "").error, error) << text;
  EXPECT_THAT(run({}, "a: [", "").error, HasSubstr("parse YAML FILE: line"));
  EXPECT_EQ(run({"--config=/nonexistent/x"}).error,
            "--config: open /nonexistent/x: No such file or directory");
  EXPECT_THAT(run({}, "#" + std::string(1 << 20, 'x'), "").error, HasSubstr("larger than 1 MiB"));
}

TEST(Load, OneShotActions) {
  EXPECT_EQ(run({"--cleanup"}, "mode: nftables").loaded.action, Action::kCleanup);
  EXPECT_EQ(run({"--cleanup=false"}).loaded.action, Action::kRun);
  EXPECT_EQ(run({"--cleanup-iptables"}).loaded.action, Action::kCleanup);
  EXPECT_EQ(run({"--init-only"}, "mode: nftables").loaded.action, Action::kInitOnly);
  const Outcome version = run({"--version", "--unknown"});
  EXPECT_EQ(version.loaded.action, Action::kPrint);
  EXPECT_THAT(version.loaded.output, testing::StartsWith("fairlead-proxy "));
  EXPECT_EQ(run({"--version=false"}).loaded.action, Action::kRun);
  for (const char* flag : {"--help", "-h"}) {
    const Outcome help = run({flag, "--oom-score-adj=9999"});
    EXPECT_EQ(help.loaded.action, Action::kPrint);
    EXPECT_THAT(help.loaded.output, HasSubstr("--ipvs-tcpfin-timeout duration"));
    EXPECT_THAT(help.loaded.output, HasSubstr("Connection tracking:"));
  }
}

TEST(Load, TheWrittenConfigurationReadsBackAsItself) {
  const Outcome first =
      run({"--write-config-to=/out.yaml", "--proxy-mode=nftables", "--cluster-cidr=10.0.0.0/8",
           "--iptables-masquerade-bit=7", "--iptables-min-sync-period=2s", "--masquerade-all",
           "--nodeport-addresses=primary,10.0.0.0/8", "--hostname-override=ON", "-v=3",
           "--conntrack-tcp-be-liberal", "--audit-period=1m", "--oom-score-adj=-5",
           "--metrics-bind-address=[::]:1"});
  ASSERT_EQ(first.error, "");
  EXPECT_EQ(first.loaded.action, Action::kWriteConfig);
  EXPECT_EQ(first.loaded.write_config_to, "/out.yaml");
  EXPECT_THAT(first.loaded.output, HasSubstr("\nhostnameOverride: \"on\"\n"));
  EXPECT_THAT(first.loaded.output, HasSubstr("\nnftables:\n  masqueradeAll: true\n"));
  const Outcome second = run({}, first.loaded.output, "");
  ASSERT_EQ(second.error, "");
  EXPECT_THAT(second.warnings, IsEmpty());
  EXPECT_EQ(second.loaded.configz, first.loaded.configz);
  EXPECT_EQ(second.loaded.config.masquerade_bit, 7);
  EXPECT_EQ(second.loaded.config.min_sync_period, seconds(2));
  EXPECT_EQ(second.loaded.config.hostname_override, "on");
}

TEST(Load, WritesAFileThatItReads) {
  const TempDir dir;
  const std::string path = dir.write("old", std::string(100000, 'x'));
  const std::string text = run({"--write-config-to=" + path, "-v=9"}).loaded.output;
  ASSERT_TRUE(write_config_file(path, text).ok());
  EXPECT_EQ(load({"--config", path})->config.log_verbosity, 9);
  EXPECT_EQ(write_config_file(dir / "no/such", text).system_errno(), ENOENT);
  EXPECT_EQ(write_config_file("/dev/full", text).system_errno(), ENOSPC);
}

TEST(Load, ConfigzIsTheEffectiveConfiguration) {
  const std::string json = run({"--proxy-mode=nftables"}).loaded.configz;
  EXPECT_THAT(json, testing::StartsWith("{\"kubeproxy.config.k8s.io\":{"));
  EXPECT_THAT(json, HasSubstr("\"mode\":\"nftables\""));
  EXPECT_THAT(json, HasSubstr("\"healthzBindAddress\":\"0.0.0.0:10256\""));
  EXPECT_THAT(json,
              HasSubstr("\"detectLocal\":{\"bridgeInterface\":\"\",\"interfaceNamePrefix\":\"\"}"));
}

// What kubeadm 1.30 writes into the ConfigMap kube-system/kube-proxy: all fields, most of them
// zero.
constexpr char kKubeadm[] = R"(
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
)";

TEST(Load, KubeadmsConfigMapWorksAsItIs) {
  const Outcome outcome = run({"--hostname-override=worker-1"}, kKubeadm);
  ASSERT_EQ(outcome.error, "");
  EXPECT_THAT(outcome.warnings, IsEmpty());
  const ProxyConfig& config = outcome.loaded.config;
  EXPECT_EQ(config.mode, ProxyMode::kAuto);
  EXPECT_EQ(config.hostname_override, "worker-1");
  EXPECT_EQ(config.kubeconfig, "/var/lib/kube-proxy/kubeconfig.conf");
  EXPECT_THAT(config.cluster_cidrs, ElementsAre(cidr("10.244.0.0/16")));
  EXPECT_EQ(config.healthz_bind_address, at("0.0.0.0", 10256));
  EXPECT_EQ(config.masquerade_bit, 14);
  EXPECT_EQ(config.oom_score_adj, -999);
  EXPECT_EQ(config.conntrack.tcp_established_timeout, std::chrono::hours(24));
}

}  // namespace
}  // namespace fairlead::proxy
