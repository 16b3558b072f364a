#include "proxy/ebpf_options.h"

namespace fairlead::proxy {
namespace {

bpf::XdpChoice xdp_choice(EbpfConfig::Xdp xdp) {
  switch (xdp) {
    case EbpfConfig::Xdp::kAuto:
      return bpf::XdpChoice::kAuto;
    case EbpfConfig::Xdp::kNative:
      return bpf::XdpChoice::kNative;
    case EbpfConfig::Xdp::kGeneric:
      return bpf::XdpChoice::kGeneric;
    case EbpfConfig::Xdp::kOff:
      return bpf::XdpChoice::kOff;
  }
  return bpf::XdpChoice::kAuto;
}

void set_unless_zero(std::chrono::seconds& timeout, std::chrono::nanoseconds given) {
  if (given.count() != 0) timeout = std::chrono::duration_cast<std::chrono::seconds>(given);
}

}  // namespace

bpf::Options ebpf_options(const ProxyConfig& config) {
  const EbpfConfig& ebpf = config.ebpf;
  bpf::Options options;
  options.pin_path = ebpf.pin_path;
  options.cgroup = ebpf.cgroup;
  options.devices = ebpf.devices;
  options.xdp = xdp_choice(ebpf.xdp);
  options.dsr = ebpf.dsr == EbpfConfig::Dsr::kIpip ? bpf::Dsr::kIpip : bpf::Dsr::kOff;
  options.snat_first = ebpf.masquerade_first;
  options.snat_last = ebpf.masquerade_last;
  set_unless_zero(options.tcp_established, config.conntrack.tcp_established_timeout);
  set_unless_zero(options.udp, config.conntrack.udp_timeout);
  set_unless_zero(options.udp_stream, config.conntrack.udp_stream_timeout);
  options.audit_period = config.audit_period;
  options.sizes.frontends = ebpf.max_frontends;
  options.sizes.entries = ebpf.max_service_ports;
  options.sizes.endpoints = ebpf.max_endpoints;
  options.sizes.ring_slots = ebpf.max_ring_slots;
  options.sizes.prefixes = ebpf.max_source_ranges;
  options.sizes.flows = ebpf.max_flows;
  options.sizes.new_flows = ebpf.max_new_flows;
  options.sizes.return_classes = ebpf.return_classes;
  options.sizes.affinity = ebpf.max_affinity;
  options.sizes.fragments = ebpf.max_fragments;
  return options;
}

}  // namespace fairlead::proxy
