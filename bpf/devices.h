// The node's devices and addresses as rtnetlink tells them, kept current, and which of the devices
// get the programs.
//
//   auto watcher = DeviceWatcher::open();         // subscribed and listed
//   watcher->process() -> true when view() changed
//
// Threads: one owner. A watcher looks at the network namespace of the thread that opened it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "bpf/options.h"
#include "dataplane/forwarding.h"

namespace fairlead::bpf {

struct Device {
  uint32_t index = 0;
  std::string name;
  std::string kind;    // "veth", "bridge", ...; empty: hardware
  uint32_t flags = 0;  // IFF_UP and IFF_LOOPBACK, no others
  uint16_t type = 0;   // ARPHRD_...
  uint32_t mtu = 0;
  uint32_t master = 0;  // of which it is a port or slave
  uint32_t parent = 0;  // on which it is stacked, such as a VLAN

  bool up() const;
  bool loopback() const;
  bool ethernet() const;  // frames start with an Ethernet header
  friend bool operator==(const Device&, const Device&) = default;
};

struct HeldAddress {
  uint32_t device = 0;
  dataplane::Address address;
  uint8_t prefix_length = 0;
  bool global = false;   // usable beyond the link
  bool primary = false;  // not secondary, temporary, deprecated or tentative

  friend bool operator==(const HeldAddress&, const HeldAddress&) = default;
};

struct NodeView {
  std::map<uint32_t, Device> devices;
  std::vector<HeldAddress> addresses;  // in the kernel's order
  // With which address the node speaks to the world (IPv4, IPv6): its default route's.
  std::array<std::optional<dataplane::Address>, 2> preferred;

  const Device* find(uint32_t index) const;  // null when there is none
  // The address to speak with from `device`, if it has one that is usable beyond the link.
  std::optional<dataplane::Address> source(uint32_t device, dataplane::Family family) const;
  // The one for the node: the preferred one, else the first that any device has.
  std::optional<dataplane::Address> source(dataplane::Family family) const;
  friend bool operator==(const NodeView&, const NodeView&) = default;
};

class DeviceWatcher {
 public:
  // `receive_buffer`: bytes for notifications that wait; fewer mean more lists, never a loss.
  static Result<std::unique_ptr<DeviceWatcher>> open(int receive_buffer = 1 << 20);
  virtual ~DeviceWatcher() = default;

  virtual int fd() const = 0;  // readable when process() has something to do
  // Reads what the kernel has to say, without blocking; lists afresh when some of it was lost. An
  // error leaves the view as it was, and the next call lists.
  virtual Result<bool> process() = 0;
  virtual const NodeView& view() const = 0;
};

enum class XdpMode : uint8_t { kNative, kGeneric };
std::string_view to_string(XdpMode mode);  // "native", "generic"

// What one device gets.
struct DevicePlan {
  uint32_t index = 0;
  std::string name;
  bool egress = true;        // ingress always
  std::vector<XdpMode> xdp;  // to be tried in this order; none: off
  std::string xdp_off;       // then why
  bool pods = false;         // what arrives here is a pod's

  friend bool operator==(const DevicePlan&, const DevicePlan&) = default;
};

// docs/ebpf.md has the rules. Ordered by index.
std::vector<DevicePlan> plan_devices(const NodeView& view, const Options& options,
                                     const dataplane::SourceDetector& detector);

}  // namespace fairlead::bpf
