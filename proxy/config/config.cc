#include "proxy/config/config.h"

#include <unistd.h>

#include <array>
#include <cerrno>

#include "proxy/config/text.h"

namespace fairlead::proxy {
namespace {

using dataplane::Address;
using dataplane::Prefix;

struct ModeName {
  ProxyMode mode;
  std::string_view name;
};
constexpr std::array<ModeName, 6> kModes = {{{ProxyMode::kAuto, "auto"},
                                             {ProxyMode::kNftables, "nftables"},
                                             {ProxyMode::kIptables, "iptables"},
                                             {ProxyMode::kIpvs, "ipvs"},
                                             {ProxyMode::kEbpf, "ebpf"},
                                             {ProxyMode::kDpdk, "dpdk"}}};

}  // namespace

std::string_view to_string(ProxyMode mode) {
  for (const ModeName& known : kModes) {
    if (known.mode == mode) return known.name;
  }
  return "unknown";
}

std::optional<ProxyMode> parse_proxy_mode(std::string_view text) {
  if (text.empty()) return ProxyMode::kAuto;
  for (const ModeName& known : kModes) {
    if (known.name == text) return known.mode;
  }
  return std::nullopt;
}

std::string_view to_string(DetectLocalMode mode) {
  switch (mode) {
    case DetectLocalMode::kClusterCidr:
      return "ClusterCIDR";
    case DetectLocalMode::kNodeCidr:
      return "NodeCIDR";
    case DetectLocalMode::kBridge:
      return "BridgeInterface";
    case DetectLocalMode::kInterfacePrefix:
      return "InterfaceNamePrefix";
  }
  return "unknown";
}

NodePortAddresses effective_node_port_addresses(const ProxyConfig& config, ProxyMode chosen) {
  if (!config.node_port_addresses.empty()) return config.node_port_addresses;
  NodePortAddresses result;
  if (chosen == ProxyMode::kIptables || chosen == ProxyMode::kIpvs) {
    result.prefixes = {Prefix(Address(), 0), Prefix(Address::v6({}), 0)};
  } else {
    result.primary = true;
  }
  return result;
}

Result<std::string> node_name(const ProxyConfig& config) {
  if (!config.hostname_override.empty()) return config.hostname_override;
  std::array<char, 256> buffer{};
  // One byte stays zero: gethostname need not end a name that it cuts off.
  if (::gethostname(buffer.data(), buffer.size() - 1) != 0) {
    return Status::from_errno(errno, "read", "host name");
  }
  std::string name = lower_case(trim(buffer.data()));
  if (name.empty()) {
    return Status::error(StatusCode::kInvalid, "read", "host name",
                         "it is empty; give --hostname-override");
  }
  return name;
}

}  // namespace fairlead::proxy
