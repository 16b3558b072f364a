// What an operator may choose of the eBPF mode. The flag that sets each member is named beside it:
// a refusal for want of room names the same flag.
//
// Threads: values.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace fairlead::bpf {

enum class XdpChoice : uint8_t {
  kAuto,     // native where the driver can, else generic; not on veth, which XDP would slow down
  kNative,   // or the device goes without
  kGeneric,  // or the device goes without
  kOff,
};

enum class Dsr : uint8_t { kOff, kIpip };

// A map whose size an operator sets.
struct Sizes {
  uint32_t frontends = 1 << 17;   // --ebpf-max-frontends: virtual addresses and ports
  uint32_t entries = 1 << 16;     // --ebpf-max-service-ports
  uint32_t endpoints = 1 << 18;   // --ebpf-max-endpoints
  uint32_t ring_slots = 1 << 21;  // --ebpf-max-ring-slots, in slots (16 to a map element)
  uint32_t prefixes = 1 << 16;    // --ebpf-max-source-ranges
  uint32_t flows = 1 << 18;       // --ebpf-max-flows: established flows
  uint32_t new_flows = 1 << 16;   // --ebpf-max-new-flows
  uint32_t return_classes = 4;    // --ebpf-return-classes: power of two
  uint32_t affinity = 1 << 16;    // --ebpf-max-affinity: remembered clients
  uint32_t fragments = 8192;      // --ebpf-max-fragments
};

struct Options {
  std::string pin_path = "/sys/fs/bpf/fairlead";  // --ebpf-pin-path
  std::string cgroup;  // --ebpf-cgroup: empty: the root of the cgroup2 hierarchy
  // --devices: interface names, a trailing + as a wildcard; empty: every device that carries
  // traffic of others (docs/ebpf.md says which).
  std::vector<std::string> devices;
  XdpChoice xdp = XdpChoice::kAuto;  // --ebpf-xdp
  Dsr dsr = Dsr::kOff;               // --ebpf-dsr
  uint16_t snat_first = 10000;       // --ebpf-masquerade-ports=10000-29999
  uint16_t snat_last = 29999;
  std::chrono::seconds tcp_established{24 * 3600};  // --conntrack-tcp-timeout-established
  std::chrono::seconds tcp_closing{60};             // after FIN or RST
  std::chrono::seconds udp{30};                     // --conntrack-udp-timeout
  std::chrono::seconds udp_stream{180};             // --conntrack-udp-timeout-stream
  std::chrono::seconds sweep_period{10};
  // --audit-period: how often the maps are compared with what they should be, since nobody says
  // when somebody else wrote into them; 0: only together with a program that somebody took away.
  std::chrono::nanoseconds audit_period = std::chrono::seconds(30);
  // For how long after the takeover connections are looked out for that another mode has begun: as
  // long as its rules stand beside ours, and a little more. From then on, as long as connection
  // tracking translates one, which is asked this often.
  std::chrono::seconds coming{10};
  std::chrono::seconds coming_period{30};
  Sizes sizes;
};

}  // namespace fairlead::bpf
