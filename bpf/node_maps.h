// What the programs know of the node itself: its addresses, devices, settings, the ranges of pods
// and services. Of `fl_prefixes` only the domains FL_DOMAIN_PODS and FL_DOMAIN_SERVICES are its
// business; entries' source ranges are the renderer's.
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "bpf/devices.h"
#include "bpf/layout.h"
#include "bpf/options.h"
#include "bpf/table_maps.h"
#include "dataplane/forwarding.h"

namespace fairlead::bpf {

// A device as it is served now.
struct ServedDevice {
  DevicePlan plan;
  std::optional<XdpMode> xdp;
};

// The content that the maps should have; computed without the kernel.
struct NodeContent {
  struct AddressRecord {
    fl_addr address;
    fl_node_address value;
  };
  struct DeviceRecord {
    uint32_t index;
    fl_device value;
  };
  std::vector<AddressRecord> addresses;
  std::vector<DeviceRecord> devices;
  std::vector<fl_prefix_key> prefixes;
  fl_config config{};  // but for what is the renderer's and the sweeper's
};
NodeContent node_content(const NodeView& view, const dataplane::NodeRules& rules,
                         std::span<const ServedDevice> served, const Options& options);

class NodeMaps {
 public:
  // `addresses` and `devices`: descriptors of these maps; `return_classes` as `fl_returns` has
  // them. All outlive this.
  struct Descriptors {
    int addresses;
    int devices;
  };
  NodeMaps(TableMaps& maps, Descriptors descriptors, uint32_t return_classes);

  // Makes the maps so, writing differences only. How many elements were wrong. After an error some
  // may still be; doing it again is safe.
  Result<uint64_t> put(const NodeContent& content);
  uint64_t size() const { return size_; }  // elements at the last put()

 private:
  Result<uint64_t> put_prefixes(const std::vector<fl_prefix_key>& wanted);
  uint64_t put_config(const fl_config& wanted);

  TableMaps& maps_;
  const Descriptors descriptors_;
  const uint32_t return_classes_;
  uint64_t size_ = 0;
};

// Is it an address of the node? `map`: fl_node_addresses.
bool is_node_address(int map, const fl_addr& address);

// The ports that the kernel gives to this network namespace's sockets, first and last.
std::optional<std::pair<uint16_t, uint16_t>> local_port_range();

// This thread's network namespace, as the socket programs see it.
Result<uint64_t> netns_cookie();

}  // namespace fairlead::bpf
