// What an entry is in the maps, as far as that follows from the entry alone: endpoints, frontends,
// source ranges, the order of a ring.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "bpf/layout.h"
#include "bpf/table_maps.h"
#include "dataplane/forwarding.h"

namespace fairlead::bpf {

// The values of the maps have no padding: their bytes are what they are.
template <typename T>
bool same_bytes(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}
template <typename T>
struct BytesHash {
  size_t operator()(const T& value) const {
    return dataplane::stable_hash({reinterpret_cast<const uint8_t*>(&value), sizeof(T)});
  }
};
template <typename T>
struct BytesEqual {
  bool operator()(const T& a, const T& b) const { return same_bytes(a, b); }
};

// Where an endpoint of one entry is, and of which choices (FL_ENDPOINT_*).
struct WantedEndpoint {
  fl_addr address;
  fl_be16 port;
  uint8_t flags;
};
// Negative, zero or positive. Within one family the order is that of dataplane::SocketAddress.
int compare_places(const fl_addr& a, fl_be16 a_port, const fl_addr& b, fl_be16 b_port);

// The union of both choices, in order of place, each place once.
std::vector<WantedEndpoint> wanted_endpoints(const dataplane::ForwardingEntry& entry);

// A choice's ring: Maglev where several nodes must agree, that is for traffic from outside that any
// node may pass to any endpoint; otherwise a slot for each endpoint. `indexes` are those of
// `wanted`. Empty when the choice is.
std::vector<uint32_t> ring_of(const dataplane::ForwardingEntry& entry, dataplane::Choice choice,
                              std::span<const WantedEndpoint> wanted,
                              std::span<const uint32_t> indexes);
bool ring_is_maglev(const dataplane::ForwardingEntry& entry, dataplane::Choice choice);

// Each key once; ids are 0, the cluster addresses' markers are not among them.
std::vector<FrontendRecord> wanted_frontends(const dataplane::ForwardingEntry& entry,
                                             uint32_t index);
fl_frontend_key frontend_key(const dataplane::Frontend& frontend, dataplane::Protocol protocol);
bool has_frontend(const dataplane::ForwardingEntry& entry, const fl_frontend_key& key);

std::vector<fl_addr> cluster_addresses_of(const dataplane::ForwardingEntry& entry);
FrontendRecord cluster_address_record(const fl_addr& address);
inline bool is_cluster_address(const fl_frontend_key& key) {
  return key.port == 0 && key.protocol == 0 && key.zero == 0;
}

std::vector<fl_prefix_key> wanted_prefixes(const dataplane::ForwardingEntry& entry, uint32_t index);
fl_prefix_key prefix_key(uint32_t domain, const dataplane::Prefix& prefix);
uint32_t domain_of(const fl_prefix_key& key);

}  // namespace fairlead::bpf
