#include "proxy/config/validate.h"

#include <algorithm>

#include "proxy/config/checker.h"
#include "proxy/config/text.h"

namespace fairlead::proxy {

using dataplane::Address;
using dataplane::Family;
using dataplane::Prefix;
using dataplane::SocketAddress;

std::vector<Prefix> check_prefixes(Checker& check, std::string_view option,
                                   const std::vector<std::string>& texts) {
  std::vector<Prefix> prefixes;
  for (const std::string& text : texts) {
    if (const std::optional<Prefix> prefix = Prefix::parse(trim(text))) {
      prefixes.push_back(*prefix);
    } else {
      check.fail(option, fmt::format("\"{}\" is not a CIDR such as 10.0.0.0/8", text));
    }
  }
  return prefixes;
}

namespace {

void check_mode(Checker& check) {
  std::string& text = check.settings().mode;
  if (const std::optional<ProxyMode> mode = parse_proxy_mode(text)) {
    check.config().mode = *mode;
    if (*mode == ProxyMode::kAuto) text.clear();  // as kube-proxy writes it
  } else if (text == "userspace" || text == "kernelspace") {
    check.fail("mode", fmt::format("\"{}\" is not supported: {}", text,
                                   text == "userspace" ? "Kubernetes has removed it in 1.26"
                                                       : "it is for Windows nodes"));
  } else {
    check.fail(
        "mode",
        fmt::format("\"{}\" is not one of auto, nftables, iptables, ipvs, ebpf, dpdk", text));
  }
}

void check_hostname(Checker& check) {
  std::string& text = check.settings().hostname_override;
  const std::string name = lower_case(trim(text));
  if (!text.empty() && name.empty()) return check.fail("hostname-override", "it is blank");
  const bool valid = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
  constexpr size_t kLongest = 253;
  if (!valid || name.size() > kLongest) {
    return check.fail("hostname-override",
                      fmt::format("\"{}\" cannot be the name of a node: letters, digits, - and . "
                                  "only, at most {}",
                                  name, kLongest));
  }
  check.config().hostname_override = text = name;
}

// One server's address; `wildcard` says where it listens when nobody gave one.
std::optional<SocketAddress> check_server(Checker& check, std::string_view option,
                                          std::string_view port_flag, std::string& text,
                                          int32_t port, uint16_t default_port, bool wildcard) {
  const bool disabled_by_port = check.layer.gave(port_flag) && port == 0;
  if (port < 0 || port > 65535) {
    check.fail(port_flag, fmt::format("{} is not within 0..65535", port));
    port = default_port;
  }
  if (disabled_by_port || (text.empty() && check.layer.gave(option))) {
    text.clear();
    return std::nullopt;
  }
  if (text.empty()) {
    const bool v6 = check.config().bind_address.family() == Family::kIPv6;
    text = wildcard ? (v6 ? "[::]" : "0.0.0.0") : (v6 ? "[::1]" : "127.0.0.1");
  }
  const std::optional<SocketAddress> address =
      parse_bind_address(text, static_cast<uint16_t>(port));
  if (!address) {
    check.fail(option,
               fmt::format("\"{}\" is not an address and port such as 0.0.0.0:{} or [::]:{}", text,
                           default_port, default_port));
    return std::nullopt;
  }
  text = address->to_string();
  return address;
}

void check_addresses(Checker& check) {
  Settings& settings = check.settings();
  ProxyConfig& config = check.config();
  if (settings.bind_address.empty()) settings.bind_address = "0.0.0.0";
  if (const std::optional<Address> address = Address::parse(settings.bind_address)) {
    config.bind_address = *address;
  } else {
    check.fail("bindAddress", fmt::format("\"{}\" is not an IP address", settings.bind_address));
  }
  constexpr uint16_t kHealthzPort = 10256;
  constexpr uint16_t kMetricsPort = 10249;
  config.healthz_bind_address =
      check_server(check, "healthzBindAddress", "healthz-port", settings.healthz_bind_address,
                   settings.healthz_port, kHealthzPort, true);
  config.metrics_bind_address =
      check_server(check, "metricsBindAddress", "metrics-port", settings.metrics_bind_address,
                   settings.metrics_port, kMetricsPort, false);
  config.bind_address_hard_fail = settings.bind_address_hard_fail;
}

void check_node_port_addresses(Checker& check) {
  NodePortAddresses& wanted = check.config().node_port_addresses;
  const auto add = [&](const Prefix& prefix) {
    if (std::find(wanted.prefixes.begin(), wanted.prefixes.end(), prefix) ==
        wanted.prefixes.end()) {
      wanted.prefixes.push_back(prefix);
    }
  };
  const auto add_text = [&](std::string_view text) { add(*Prefix::parse(text)); };
  bool loopback = false;
  for (const std::string& text : check.settings().node_port_addresses) {
    if (text == "primary") {
      wanted.primary = true;
    } else if (text == "all") {
      add_text("0.0.0.0/0");
      add_text("::/0");
    } else if (text == "localhost") {
      add_text("127.0.0.0/8");
      add_text("::1/128");
      loopback = true;
    } else if (const std::optional<Prefix> prefix = Prefix::parse(trim(text))) {
      add(*prefix);
      loopback |= prefix->base().is_loopback();
    } else {
      check.fail("nodePortAddresses",
                 fmt::format("\"{}\" is neither a CIDR nor one of primary, all, localhost", text));
    }
  }
  if (loopback && !check.may_be(ProxyMode::kIptables)) {
    check.warn("nodePortAddresses",
               fmt::format("node ports do not answer on loopback addresses in mode {}",
                           to_string(check.config().mode)));
  }
}

void check_cluster_cidrs(Checker& check) {
  std::vector<std::string> texts;
  std::string_view rest = check.settings().cluster_cidr;
  if (rest.empty()) return;
  for (;;) {
    const size_t comma = rest.find(',');
    texts.emplace_back(rest.substr(0, comma));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  std::vector<Prefix> prefixes = check_prefixes(check, "clusterCIDR", texts);
  for (Family family : {Family::kIPv4, Family::kIPv6}) {
    const auto count = std::count_if(prefixes.begin(), prefixes.end(), [&](const Prefix& prefix) {
      return prefix.family() == family;
    });
    if (count > 1) {
      check.fail("clusterCIDR",
                 fmt::format("\"{}\" has {} CIDRs of {}, at most one is allowed",
                             check.settings().cluster_cidr, count, dataplane::to_string(family)));
    }
  }
  check.config().cluster_cidrs = std::move(prefixes);
}

void check_interface(Checker& check, std::string_view option, const std::string& name) {
  constexpr size_t kLongest = 15;
  if (name.empty()) {
    check.fail(option, fmt::format("it is empty, but {} is {}", check.layer.name("detectLocalMode"),
                                   to_string(check.config().detect_local_mode)));
    return;
  }
  const bool valid =
      name.size() <= kLongest && name.find_first_of("/: \t\r\n\"\\") == std::string::npos;
  if (!valid) check.fail(option, fmt::format("\"{}\" cannot be an interface's name", name));
}

void check_local_traffic(Checker& check) {
  const Settings& settings = check.settings();
  ProxyConfig& config = check.config();
  check_cluster_cidrs(check);
  config.bridge_interface = settings.bridge_interface;
  config.interface_name_prefix = settings.interface_name_prefix;

  const std::string& text = settings.detect_local_mode;
  if (text.empty() || text == "ClusterCIDR") {
    config.detect_local_mode = DetectLocalMode::kClusterCidr;
    if (settings.cluster_cidr.empty() && !text.empty()) {
      check.warn("detectLocalMode",
                 fmt::format("{} is empty: nothing tells pods' traffic from other traffic",
                             check.layer.name("clusterCIDR")));
    }
  } else if (text == "NodeCIDR") {
    config.detect_local_mode = DetectLocalMode::kNodeCidr;
  } else if (text == "BridgeInterface") {
    config.detect_local_mode = DetectLocalMode::kBridge;
    check_interface(check, "detectLocal.bridgeInterface", settings.bridge_interface);
  } else if (text == "InterfaceNamePrefix") {
    config.detect_local_mode = DetectLocalMode::kInterfacePrefix;
    check_interface(check, "detectLocal.interfaceNamePrefix", settings.interface_name_prefix);
  } else {
    check.fail("detectLocalMode", fmt::format("\"{}\" is not one of ClusterCIDR, NodeCIDR, "
                                              "BridgeInterface, InterfaceNamePrefix",
                                              text));
  }
}

void check_process(Checker& check) {
  const Settings& settings = check.settings();
  ProxyConfig& config = check.config();
  if (settings.oom_score_adj < -1000 || settings.oom_score_adj > 1000) {
    check.fail("oomScoreAdj", fmt::format("{} is not within -1000..1000", settings.oom_score_adj));
  }
  config.oom_score_adj = settings.oom_score_adj;

  if (settings.verbosity < 0) check.fail("v", fmt::format("{} is less than 0", settings.verbosity));
  config.log_verbosity = settings.verbosity;
  if (settings.log_format == "json") {
    config.log_format = LogFormat::kJson;
  } else if (settings.log_format != "text") {
    check.fail("logging-format",
               fmt::format("\"{}\" is neither text nor json", settings.log_format));
  }

  if (settings.audit_period.count() < 0) {
    check.fail("audit-period",
               fmt::format("{} is less than 0", format_duration(settings.audit_period)));
  }
  config.audit_period = settings.audit_period;
  if (settings.on_config_change == "ignore") {
    config.on_config_change = OnConfigChange::kIgnore;
  } else if (settings.on_config_change != "exit") {
    check.fail("on-config-change",
               fmt::format("\"{}\" is neither exit nor ignore", settings.on_config_change));
  }
  config.config_file = settings.config;
  config.kubeconfig = settings.kubeconfig;
  config.master = settings.master;
}

}  // namespace

Validated validate(Layer& layer) {
  Validated result;
  Checker check{layer, result};
  check_mode(check);
  check_hostname(check);
  check_addresses(check);
  check_node_port_addresses(check);
  check_local_traffic(check);
  check_process(check);
  check_blocks(check);
  return result;
}

}  // namespace fairlead::proxy
