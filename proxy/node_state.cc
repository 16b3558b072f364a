#include "proxy/node_state.h"

#include <fmt/format.h>

#include <algorithm>

namespace fairlead::proxy {

using dataplane::Address;
using dataplane::Family;
using dataplane::Prefix;

NodeState::NodeState(const ProxyConfig& config, ProxyMode mode, std::vector<Family> families)
    : config_(config),
      node_port_addresses_(effective_node_port_addresses(config, mode)),
      families_(std::move(families)) {}

std::vector<api::Problem> NodeState::set_node(const api::Node& node) {
  std::vector<api::Problem> problems;
  std::vector<Address> internal;
  std::vector<Address> external;
  for (size_t i = 0; i < node.addresses.size(); ++i) {
    const api::NodeAddress& from = node.addresses[i];
    if (from.type != "InternalIP" && from.type != "ExternalIP") continue;
    const std::optional<Address> address = Address::parse(from.address);
    if (!address) {
      problems.push_back({fmt::format("status.addresses[{}].address", i),
                          fmt::format("\"{}\" is not an IP address", from.address)});
      continue;
    }
    (from.type == "InternalIP" ? internal : external).push_back(*address);
  }
  internal.insert(internal.end(), external.begin(), external.end());
  node_addresses_ = std::move(internal);

  std::vector<Prefix> pod_cidrs;
  for (size_t i = 0; i < node.pod_cidrs.size(); ++i) {
    if (const std::optional<Prefix> prefix = Prefix::parse(node.pod_cidrs[i])) {
      pod_cidrs.push_back(*prefix);
    } else {
      problems.push_back({fmt::format("spec.podCIDRs[{}]", i),
                          fmt::format("\"{}\" is not a CIDR block", node.pod_cidrs[i])});
    }
  }
  if (config_.detect_local_mode == DetectLocalMode::kNodeCidr && !pod_cidrs_.empty() &&
      pod_cidrs != pod_cidrs_) {
    pod_cidrs_changed_ = true;
  }
  pod_cidrs_ = std::move(pod_cidrs);

  const std::string* const zone = node.meta.label("topology.kubernetes.io/zone");
  zone_ = zone != nullptr ? *zone : std::string();
  return problems;
}

void NodeState::set_node_absent() {
  node_addresses_.clear();
  zone_.clear();
}

void NodeState::set_interface_addresses(std::vector<InterfaceAddress> addresses) {
  interfaces_ = std::move(addresses);
}

std::vector<api::Problem> NodeState::set_service_cidrs(const std::vector<api::ServiceCidr>& cidrs) {
  std::vector<api::Problem> problems;
  service_prefixes_.clear();
  for (const api::ServiceCidr& cidr : cidrs) {
    for (size_t i = 0; i < cidr.cidrs.size(); ++i) {
      if (const std::optional<Prefix> prefix = Prefix::parse(cidr.cidrs[i])) {
        service_prefixes_.push_back(*prefix);
      } else {
        problems.push_back({fmt::format("{}: spec.cidrs[{}]", cidr.meta.name, i),
                            fmt::format("\"{}\" is not a CIDR block", cidr.cidrs[i])});
      }
    }
  }
  std::sort(service_prefixes_.begin(), service_prefixes_.end());
  return problems;
}

bool NodeState::complete() const {
  return config_.detect_local_mode != DetectLocalMode::kNodeCidr || !pod_cidrs_.empty();
}

std::optional<Family> NodeState::primary_family() const {
  const std::vector<Address> primary = primary_addresses();
  return primary.empty() ? std::nullopt : std::optional(primary.front().family());
}

std::vector<Address> NodeState::primary_addresses() const {
  std::vector<Address> primary;
  if (!config_.bind_address.is_unspecified()) primary.push_back(config_.bind_address);
  for (const Address& address : node_addresses_) {
    const bool known = std::any_of(primary.begin(), primary.end(), [&](const Address& other) {
      return other.family() == address.family();
    });
    if (!known) primary.push_back(address);
  }
  return primary;
}

std::vector<Address> NodeState::node_port_addresses() const {
  std::vector<Address> addresses = select_addresses(interfaces_, node_port_addresses_.prefixes);
  if (node_port_addresses_.primary) {
    const std::vector<Address> primary = primary_addresses();
    addresses.insert(addresses.end(), primary.begin(), primary.end());
  }
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  return addresses;
}

std::vector<Address> NodeState::local_addresses() const {
  std::vector<Address> addresses = node_addresses_;
  for (const InterfaceAddress& interface : interfaces_) addresses.push_back(interface.address);
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  return addresses;
}

dataplane::CompileView NodeState::view() const {
  dataplane::CompileView view;
  view.families = families_;
  view.node_addresses = primary_addresses();
  view.masquerade_all = config_.masquerade_all;
  const dataplane::SourceDetector detector = rules().detector;
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    const bool by_prefix =
        std::any_of(detector.pod_prefixes.begin(), detector.pod_prefixes.end(),
                    [family](const Prefix& prefix) { return prefix.family() == family; });
    view.detects_local_traffic[family == Family::kIPv4 ? 0 : 1] =
        by_prefix || !detector.bridge_interface.empty() || !detector.interface_name_prefix.empty();
  }
  return view;
}

dataplane::NodeRules NodeState::rules() const {
  dataplane::NodeRules rules;
  rules.families = families_;
  rules.masquerade_mark = config_.masquerade_mark();
  rules.service_prefixes = service_prefixes_;
  switch (config_.detect_local_mode) {
    case DetectLocalMode::kClusterCidr:
      rules.detector.pod_prefixes = config_.cluster_cidrs;
      break;
    case DetectLocalMode::kNodeCidr:
      rules.detector.pod_prefixes = pod_cidrs_;
      break;
    case DetectLocalMode::kBridge:
      rules.detector.bridge_interface = config_.bridge_interface;
      break;
    case DetectLocalMode::kInterfacePrefix:
      rules.detector.interface_name_prefix = config_.interface_name_prefix;
      break;
  }
  for (const Prefix& prefix : node_port_addresses_.prefixes) {
    if (prefix.length() == 0) {
      rules.node_ports_on_all_addresses[prefix.family() == Family::kIPv4 ? 0 : 1] = true;
    }
  }
  for (const Address& address : node_port_addresses()) {
    if (!rules.node_ports_everywhere(address.family())) {
      rules.node_port_addresses.push_back(address);
    }
  }
  return rules;
}

}  // namespace fairlead::proxy
