#include "proxy/mode.h"

#include <fmt/format.h>

#include <array>

#include "bpf/backend.h"
#include "iptables/backend.h"
#include "ipvs/backend.h"
#include "nftables/backend.h"
#include "proxy/ebpf_options.h"
#include "proxy/ipvs_options.h"

namespace fairlead::proxy {
namespace {

// What this build has, best first: "auto" takes the first whose probe is ok.
constexpr std::array<ModeRow, 4> kModes = {{
    {ProxyMode::kEbpf, bpf::probe,
     [](const ProxyConfig& config) { return bpf::create_backend(ebpf_options(config)); }},
    {ProxyMode::kNftables, nftables::probe,
     [](const ProxyConfig& config) {
       nftables::FamilyOptions options;
       options.affinity_limit = config.nftables.affinity_max_entries;
       return nftables::create_backend(options);
     }},
    {ProxyMode::kIptables, iptables::probe,
     [](const ProxyConfig& config) {
       iptables::TableOptions options;
       options.fixed.localhost_node_ports = config.iptables.localhost_node_ports;
       options.fixed.tcp_be_liberal = config.conntrack.tcp_be_liberal;
       return iptables::create_backend(options);
     }},
    {ProxyMode::kIpvs, ipvs::probe,
     [](const ProxyConfig& config) { return ipvs::create_backend(ipvs_options(config)); }},
}};

std::string names_of(std::span<const ModeRow> modes) {
  std::string names;
  for (const ModeRow& row : modes) {
    if (!names.empty()) names += ", ";
    names += to_string(row.mode);
  }
  return names;
}

// Everything that the mode needs is there, for one IP family at least and for the primary one.
Status try_mode(const ModeRow& row, const ProxyConfig& config, ModeChoice& choice) {
  RETURN_IF_ERROR(row.probe());
  choice.mode = row.mode;
  ASSIGN_OR_RETURN(choice.backend, row.create(config));
  // Otherwise the Node says which is the primary one, and is not known yet.
  std::optional<dataplane::Family> primary;
  if (!config.bind_address.is_unspecified()) primary = config.bind_address.family();
  ASSIGN_OR_RETURN(choice.families, choose_families(*choice.backend, kernel_families(), primary));
  return {};
}

}  // namespace

Result<ModeChoice> choose_mode(const ProxyConfig& config) {
  return choose_mode(config, kModes);
}

Result<ModeChoice> choose_mode(const ProxyConfig& config, std::span<const ModeRow> modes) {
  const ProxyMode asked = config.mode;
  std::string refused;
  for (const ModeRow& row : modes) {
    if (asked != ProxyMode::kAuto && row.mode != asked) continue;
    ModeChoice choice;
    const Status status = try_mode(row, config, choice);
    if (status) {
      choice.reason = asked != ProxyMode::kAuto ? "asked for by name"
                      : refused.empty() ? "the best mode of this build, and the kernel has it"
                                        : "the best mode that works here; " + refused;
      return choice;
    }
    if (!refused.empty()) refused += "; ";
    refused += fmt::format("{} does not: {}", to_string(row.mode), status.message());
  }
  if (refused.empty()) {
    refused = fmt::format("this build has: {}", names_of(modes));
  }
  return Status::error(StatusCode::kUnsupported, "run in proxy mode", std::string(to_string(asked)),
                       refused);
}

AllBackends create_all_backends(const ProxyConfig& config, std::optional<ProxyMode> but) {
  AllBackends all;
  for (const ModeRow& row : kModes) {
    if (row.mode == but) continue;
    const Status probed = row.probe();
    if (!probed) {
      // Any other reason says that the kernel or a tool lacks the feature.
      if (probed.code() == StatusCode::kPermission || probed.code() == StatusCode::kUnavailable) {
        all.left_out.push_back({row.mode, probed});
      }
      continue;
    }
    Result<std::unique_ptr<dataplane::Backend>> backend = row.create(config);
    if (backend) {
      all.backends.push_back(std::move(*backend));
    } else {
      all.left_out.push_back({row.mode, backend.status()});
    }
  }
  return all;
}

}  // namespace fairlead::proxy
