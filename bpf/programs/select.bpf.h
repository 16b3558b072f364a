// Whom a new connection goes to: frontend, source class, route, affinity, ring. Used by the socket
// programs and the packet path alike.
#pragma once

// The frontend that has `address`:`port` to itself; null when none has.
FL_INLINE struct fl_frontend* find_virtual_address(const struct fl_addr* address, __be16 port,
                                                   __u8 protocol) {
  const struct fl_frontend_key key = {.address = *address, .port = port, .protocol = protocol};
  return bpf_map_lookup_elem(&fl_frontends, &key);
}

// The frontend whose node port `port` at `address` is; null when it is none's.
FL_INLINE struct fl_frontend* find_node_port(const struct fl_addr* address, __be16 port,
                                             __u8 protocol) {
  // A node port stands under the unspecified address of its family; looked up first, since a port
  // that is nobody's node port spares the look at the node's addresses.
  struct fl_frontend_key key = {
      .address = {.word = {0, 0, is_v4(address) ? bpf_htonl(0xffff) : 0, 0}},
      .port = port,
      .protocol = protocol};
  struct fl_frontend* frontend = bpf_map_lookup_elem(&fl_frontends, &key);
  if (!frontend) return 0;
  // Copied: Linux 6.1 takes no key from memory that a global function was given.
  key.address = *address;
  const struct fl_node_address* own = bpf_map_lookup_elem(&fl_node_addresses, &key.address);
  return own && own->flags & FL_NODE_ADDRESS_NODE_PORTS ? frontend : 0;
}

// The frontend that serves `address`:`port`, a node port's included; null when none does.
FL_INLINE struct fl_frontend* find_frontend(const struct fl_addr* address, __be16 port,
                                            __u8 protocol) {
  struct fl_frontend* frontend = find_virtual_address(address, port, protocol);
  return frontend ? frontend : find_node_port(address, port, protocol);
}

FL_INLINE bool in_domain(__u32 domain, const struct fl_addr* address) {
  const struct fl_prefix_key key = {
      .prefix_bits = FL_PREFIX_FIXED_BITS + 128, .domain = bpf_htonl(domain), .address = *address};
  return bpf_map_lookup_elem(&fl_prefixes, &key) != 0;
}

FL_INLINE bool is_cluster_address(const struct fl_addr* address) {
  const struct fl_frontend_key key = {.address = *address};
  return bpf_map_lookup_elem(&fl_frontends, &key) != 0;
}

enum fl_unserved { FL_UNSERVED_PASS, FL_UNSERVED_REJECT, FL_UNSERVED_DROP };

// What becomes of a packet to `address` that find_frontend() knows nothing of.
FL_INLINE enum fl_unserved judge_unserved(const struct fl_addr* address) {
  const struct fl_config* settings = configuration();
  if (!settings || settings->handover == FL_HANDOVER_ASIDE) return FL_UNSERVED_PASS;
  if (is_cluster_address(address)) return FL_UNSERVED_REJECT;
  return in_domain(FL_DOMAIN_SERVICES, address) ? FL_UNSERVED_DROP : FL_UNSERVED_PASS;
}

FL_INLINE bool one_route_for_all(const struct fl_frontend* frontend) {
  return frontend->route[FL_SOURCE_POD] == frontend->route[FL_SOURCE_NODE] &&
         frontend->route[FL_SOURCE_NODE] == frontend->route[FL_SOURCE_OTHER];
}

struct fl_selection {
  struct fl_endpoint* endpoint;  // null: nobody, see `empty`
  __u32 index;                   // of `endpoints`
  __u8 choice;                   // enum fl_choice
  __u8 empty;                    // enum fl_empty
  __u8 masquerade;
  __u8 source_class;  // enum fl_source_class
};

FL_INLINE struct fl_endpoint* endpoint_in_ring(__u64 ring, __u32 hash, __u32* index) {
  const __u32 size = FL_RING_SIZE(ring);
  if (size == 0) return 0;
  const __u32 slot = FL_RING_OFFSET(ring) + (__u32)(((__u64)hash * size) >> 32);
  const __u32 number = slot / FL_RING_BLOCK;
  const struct fl_ring_block* block = bpf_map_lookup_elem(&fl_rings, &number);
  if (!block) return 0;
  *index = block->endpoint[slot % FL_RING_BLOCK];
  return bpf_map_lookup_elem(&fl_endpoints, index);
}

// Chooses an endpoint for a new connection. `client` is what affinity remembers; `hash` spreads
// connections over the ring, all 32 bits of it. A remembered endpoint counts while it is in the
// choice and the memory is younger than the entry's affinity_seconds, and is remembered anew.
FL_INLINE void select_endpoint(const struct fl_config* settings, const struct fl_frontend* frontend,
                               __u32 source_class, const struct fl_addr* client, __u32 hash,
                               struct fl_selection* selection) {
  const __u8 route = frontend->route[source_class < FL_SOURCE_CLASSES ? source_class : 0];
  selection->choice = route & FL_ROUTE_LOCAL ? FL_CHOICE_LOCAL : FL_CHOICE_CLUSTER;
  selection->masquerade = (route & FL_ROUTE_MASQUERADE) != 0;
  selection->source_class = source_class;
  selection->empty = FL_EMPTY_REJECT;
  selection->endpoint = 0;

  const struct fl_entry* entry = bpf_map_lookup_elem(&fl_entries, &frontend->entry);
  if (!entry || !entry->live) return;
  const __u8 choice = selection->choice & 1;
  selection->empty = entry->when_empty[choice];
  const __u64 ring = *(volatile const __u64*)&entry->ring[choice];
  if (entry->affinity_seconds == 0) {
    selection->endpoint = endpoint_in_ring(ring, hash, &selection->index);
    return;
  }

  struct fl_affinity_key key = {.client = *client, .entry = frontend->entry, .choice = choice};
  const struct fl_affinity* known = bpf_map_lookup_elem(&fl_affinity, &key);
  const __u32 time = now();
  if (known && FL_RING_SIZE(ring) != 0 &&
      (__u64)(time - known->last_seen) < (__u64)entry->affinity_seconds * settings->hz) {
    struct fl_endpoint* endpoint = bpf_map_lookup_elem(&fl_endpoints, &known->endpoint_index);
    const __u8 member = choice == FL_CHOICE_LOCAL ? FL_ENDPOINT_LOCAL : FL_ENDPOINT_CLUSTER;
    if (endpoint && endpoint->entry == frontend->entry &&
        endpoint->generation == known->generation && endpoint->flags & member) {
      selection->endpoint = endpoint;
      selection->index = known->endpoint_index;
    }
  }
  if (!selection->endpoint) selection->endpoint = endpoint_in_ring(ring, hash, &selection->index);
  if (!selection->endpoint) return;
  const struct fl_affinity fresh = {.endpoint_index = selection->index,
                                    .generation = selection->endpoint->generation,
                                    .last_seen = time};
  bpf_map_update_elem(&fl_affinity, &key, &fresh, BPF_ANY);
}

// False once the endpoint that a flow or a socket was given has left its service. Asked for UDP,
// where nothing else tells a client that nobody listens any more.
FL_INLINE bool endpoint_still_serves(__u32 index, __u32 generation) {
  const struct fl_endpoint* endpoint = bpf_map_lookup_elem(&fl_endpoints, &index);
  return endpoint && endpoint->generation == generation &&
         endpoint->flags & (FL_ENDPOINT_CLUSTER | FL_ENDPOINT_LOCAL);
}
