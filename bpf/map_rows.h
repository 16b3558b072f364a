// Every map as data: how an operator sizes it, and what becomes of its content when a pinned map
// has another size than the one that is wanted now.
//
// Threads: constants.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "bpf/layout.h"
#include "bpf/object.h"

namespace fairlead::bpf {

enum class Carry : uint8_t {
  kElements,  // copied one by one, as many as fit
  kIndexes,   // a mapped array whose indexes others hold: copied in place, as far as it reaches
  kNothing,   // starts empty: short-lived, or its places mean something else in another size
};

struct MapRow {
  Map map;
  std::string_view name;
  Carry carry;
  std::string_view flag = {};  // empty: a fixed size
  uint32_t Sizes::*size = nullptr;
  uint32_t multiply = 1;  // what the flag counts, to elements of the map
  uint32_t divide = 1;
};

inline constexpr std::array<MapRow, kMapCount> kMapRows = {{
    {Map::kFrontends, "fl_frontends", Carry::kElements, "--ebpf-max-frontends", &Sizes::frontends},
    {Map::kEntries, "fl_entries", Carry::kIndexes, "--ebpf-max-service-ports", &Sizes::entries},
    {Map::kRings, "fl_rings", Carry::kIndexes, "--ebpf-max-ring-slots", &Sizes::ring_slots, 1,
     FL_RING_BLOCK},
    {Map::kEndpoints, "fl_endpoints", Carry::kIndexes, "--ebpf-max-endpoints", &Sizes::endpoints},
    {Map::kPrefixes, "fl_prefixes", Carry::kElements, "--ebpf-max-source-ranges", &Sizes::prefixes},
    {Map::kNodeAddresses, "fl_node_addresses", Carry::kElements},
    {Map::kDevices, "fl_devices", Carry::kElements},
    {Map::kConfig, "fl_config", Carry::kIndexes},
    {Map::kFlows, "fl_flows", Carry::kElements, "--ebpf-max-flows", &Sizes::flows},
    {Map::kNewFlows, "fl_new_flows", Carry::kElements, "--ebpf-max-new-flows", &Sizes::new_flows},
    {Map::kReturns, "fl_returns", Carry::kNothing, "--ebpf-return-classes", &Sizes::return_classes,
     1 << 16},
    {Map::kAffinity, "fl_affinity", Carry::kElements, "--ebpf-max-affinity", &Sizes::affinity},
    {Map::kFragments, "fl_fragments", Carry::kNothing, "--ebpf-max-fragments", &Sizes::fragments},
    {Map::kCounters, "fl_counters", Carry::kNothing},
    {Map::kConnected, "fl_connected", Carry::kNothing},
    {Map::kTcpPeers, "fl_tcp_peers", Carry::kNothing},
    {Map::kDatagrams, "fl_datagrams", Carry::kNothing},
}};

constexpr const MapRow& row_of(Map map) {
  return kMapRows[static_cast<size_t>(map)];
}

consteval bool rows_are_in_order() {
  for (size_t i = 0; i < kMapCount; ++i) {
    if (kMapRows[i].map != static_cast<Map>(i)) return false;
  }
  return true;
}
static_assert(rows_are_in_order());

}  // namespace fairlead::bpf
