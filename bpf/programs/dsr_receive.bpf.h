// Direct server return, the receiving side: a packet in a tunnel to an endpoint of this node is
// unpacked and delivered to that endpoint, whichever the ring here would choose. The client's
// address stays, and the flow is an ordinary one: its slot gives the endpoint's answer the virtual
// address, and the answer leaves this node straight for the client.
//
// A tunnel is opened when
//   - direct server return is on here as well;
//   - it does not come from a pod;
//   - the packet inside is whole, and for an external address of a service; a node port is another
//     node's, so the address inside must be the tunnel's own source;
//   - the tunnel leads to an endpoint of that very service that may be on this node.
// Everything else passes untouched. `loadBalancerSourceRanges` hold for the packet inside.
#pragma once

static __noinline struct fl_frontend* find_direct_frontend(const struct fl_packet* packet,
                                                           const struct fl_addr* outer_source) {
  struct fl_frontend_key key = {.address = packet->destination,
                                .port = packet->destination_port,
                                .protocol = packet->protocol};
  struct fl_frontend* frontend = bpf_map_lookup_elem(&fl_frontends, &key);
  if (frontend) return is_external(frontend) ? frontend : 0;
  if (!same_address(&packet->destination, outer_source)) return 0;
  key.address = (struct fl_addr){.word = {0, 0, is_v4(outer_source) ? bpf_htonl(0xffff) : 0, 0}};
  return bpf_map_lookup_elem(&fl_frontends, &key);
}

// ---- The endpoint's record ----
//
// It is where the hash points, unless the sender went by affinity, or by another ring than ours.
// Then the ring is searched, and what is found is remembered, also that there is nothing: for a
// tenth of a second.

#define FL_SEARCHED_SLOTS 8192

struct fl_endpoint_search {
  struct fl_addr address;
  __u32 entry;
  __u32 offset;
  __u32 size;
  __u32 start;
  __u32 index;  // 0: not found
};

static long look_at_slot(__u32 turn, struct fl_endpoint_search* search) {
  const __u32 slot = search->offset + (search->start + turn) % search->size;
  const __u32 number = slot / FL_RING_BLOCK;
  const struct fl_ring_block* block = bpf_map_lookup_elem(&fl_rings, &number);
  if (!block) return 1;
  const __u32 index = block->endpoint[slot % FL_RING_BLOCK];
  const struct fl_endpoint* endpoint = bpf_map_lookup_elem(&fl_endpoints, &index);
  if (!endpoint || endpoint->entry != search->entry ||
      !(endpoint->flags & FL_ENDPOINT_MAYBE_HERE) ||
      !same_address(&endpoint->address, &search->address)) {
    return 0;
  }
  search->index = index;
  return 1;
}

FL_INLINE bool search_ring(struct fl_endpoint_search* search, __u64 ring, __u32 hash, __u32 slots) {
  search->size = FL_RING_SIZE(ring);
  if (search->size == 0) return false;
  search->offset = FL_RING_OFFSET(ring);
  search->start = (__u32)(((__u64)hash * search->size) >> 32);
  bpf_loop(slots < search->size ? slots : search->size, look_at_slot, search, 0);
  return search->index != 0;
}

FL_INLINE __u32 packet_hash(const struct fl_packet* packet) {
  return hash_pair(&packet->source, &packet->destination,
                   packet->source_port | (__u32)packet->destination_port << 16, packet->protocol);
}

static __noinline __u32 search_endpoint(const struct fl_packet* packet,
                                        const struct fl_direct_key* wanted) {
  const __u32 number = wanted->entry;
  const struct fl_entry* entry = bpf_map_lookup_elem(&fl_entries, &number);
  if (!entry || !entry->live) return 0;
  struct fl_endpoint_search search = {.address = wanted->address, .entry = wanted->entry};
  const __u64 ring = *(volatile const __u64*)&entry->ring[FL_CHOICE_CLUSTER];
  if (search_ring(&search, ring, packet_hash(packet), 1)) return search.index;
  const __u64 local = *(volatile const __u64*)&entry->ring[FL_CHOICE_LOCAL];
  if (search_ring(&search, local, 0, FL_SEARCHED_SLOTS)) return search.index;
  search_ring(&search, ring, bpf_get_prandom_u32(), FL_SEARCHED_SLOTS);
  return search.index;
}

// Index of the record of the endpoint `address` of an entry, also of one that has just left every
// choice; 0: none.
FL_INLINE __u32 find_direct_endpoint(const struct fl_config* settings,
                                     const struct fl_packet* packet, __u32 entry,
                                     const struct fl_addr* address) {
  const struct fl_direct_key key = {.address = *address, .entry = entry};
  const struct fl_direct* known = bpf_map_lookup_elem(&fl_directs, &key);
  const struct fl_endpoint* endpoint;
  if (known && known->index) {
    endpoint = bpf_map_lookup_elem(&fl_endpoints, &known->index);
    if (endpoint && endpoint->entry == entry && endpoint->generation == known->generation &&
        same_address(&endpoint->address, &key.address)) {
      return known->index;
    }
  } else if (known && now() - known->found < settings->hz / 10) {
    return 0;
  }
  struct fl_direct found = {.index = search_endpoint(packet, &key), .found = now()};
  endpoint = bpf_map_lookup_elem(&fl_endpoints, &found.index);
  if (endpoint) found.generation = endpoint->generation;
  bpf_map_update_elem(&fl_directs, &key, &found, BPF_ANY);
  return found.index;
}

// ---- The flow ----
//
// In steps, one after the other for the sake of the stack: `beginning` holds the outer addresses,
// then the flow's key, then the index of the endpoint.

// The flow goes on: the sender sees to it that new ones avoid an endpoint which leaves.
FL_INLINE int judge_received(const struct fl_config* settings, const struct fl_packet* packet,
                             const struct fl_flow_key* key, struct fl_flow* flow,
                             bool established) {
  const bool opens = (packet->tcp_flags & (FL_TCP_SYN | FL_TCP_ACK)) == FL_TCP_SYN;
  if (opens && fl_is_closed(flow->flags)) return FL_FLOW_BEGINS_ANEW;
  touch(settings, &flow->last_seen, now());
  const __u32 closing = FL_FLOW_CLIENT_FIN | FL_FLOW_ENDPOINT_FIN | FL_FLOW_RESET;
  if (established && !(flow->flags & closing) && !(packet->tcp_flags & (FL_TCP_FIN | FL_TCP_RST))) {
    return FL_FLOW_GOES_ON;
  }
  return advance_flow(packet, key, flow, established);
}

// The path of a flow that stands; FL_VERDICT_TUNNEL: there is none to this endpoint.
static __noinline int follow_received(const struct fl_packet* packet, struct fl_path* path) {
  const __u32 zero = 0;
  struct fl_beginning* beginning = bpf_map_lookup_elem(&fl_scratch, &zero);
  const struct fl_config* settings = configuration();
  if (!beginning || !settings) return FL_VERDICT_PASS;
  const struct fl_frontend* frontend = find_direct_frontend(packet, &beginning->outer_source);
  if (!frontend) return FL_VERDICT_PASS;
  struct fl_flow_key* key = &beginning->key;
  key->client = packet->source;
  key->frontend = flow_frontend(frontend, &packet->destination);
  key->client_port = packet->source_port;
  key->protocol = packet->protocol;
  key->zero = 0;
  bool established;
  struct fl_flow* flow = find_flow_in(key, &established);
  if (!flow || flow->flags & FL_FLOW_DSR ||
      !same_address(&flow->endpoint, &beginning->outer_destination)) {
    return FL_VERDICT_TUNNEL;
  }
  const int standing = judge_received(settings, packet, key, flow, established);
  if (standing == FL_FLOW_FULL) return drop(FL_DROP_flows_full);
  if (standing == FL_FLOW_BEGINS_ANEW) return FL_VERDICT_TUNNEL;
  follow(flow, path);
  return FL_VERDICT_SEND;
}

static __noinline bool locate_endpoint(const struct fl_packet* packet) {
  const __u32 zero = 0;
  struct fl_beginning* beginning = bpf_map_lookup_elem(&fl_scratch, &zero);
  const struct fl_config* settings = configuration();
  if (!beginning || !settings) return false;
  const struct fl_frontend* frontend = find_direct_frontend(packet, &beginning->outer_source);
  if (!frontend) return false;
  const __u32 index =
      find_direct_endpoint(settings, packet, frontend->entry, &beginning->outer_destination);
  beginning->flow.endpoint_index = index;
  return index != 0;
}

// What this client had with another endpoint, or has closed.
static __noinline void forget_flow(const struct fl_flow_key* key) {
  bool established;
  const struct fl_flow* flow = find_flow_in(key, &established);
  if (!flow) return;
  release_slot(key, flow);
  if (established) {
    bpf_map_delete_elem(&fl_flows, key);
  } else {
    bpf_map_delete_elem(&fl_new_flows, key);
  }
}

static __noinline int begin_received(void* ctx, const struct fl_packet* packet,
                                     struct fl_path* path) {
  const __u32 zero = 0;
  struct fl_beginning* beginning = bpf_map_lookup_elem(&fl_scratch, &zero);
  const struct fl_config* settings = configuration();
  if (!beginning || !settings) return FL_VERDICT_PASS;
  struct fl_flow* flow = &beginning->flow;
  const struct fl_endpoint* endpoint = bpf_map_lookup_elem(&fl_endpoints, &flow->endpoint_index);
  const struct fl_frontend* frontend = find_direct_frontend(packet, &beginning->outer_source);
  if (!endpoint || !frontend) return FL_VERDICT_PASS;
  if (packet->tcp_flags & FL_TCP_RST) return drop(FL_DROP_stray_reset);
  if (frontend->flags & FL_FRONTEND_SOURCE_RANGES && !in_domain(frontend->entry, &packet->source)) {
    return drop(FL_DROP_source_range);
  }
  if (settings->refuse_new_flows) return drop(FL_DROP_flows_full);
  forget_flow(&beginning->key);
  flow->endpoint = endpoint->address;
  flow->endpoint_port = endpoint->port;
  flow->generation = endpoint->generation;
  flow->source = packet->source;
  flow->last_seen = now();
  flow->flags = 0;
  if (!claim_slot(ctx, packet, beginning, false)) return FL_VERDICT_DROP;
  return enter_flow(&beginning->key, flow, path);
}

// ---- The packet ----

static __noinline void parse_inner(struct __sk_buff* skb, __u32 network, __be16 protocol,
                                   struct fl_packet* packet) {
  *packet = (struct fl_packet){.device = skb->ifindex, .segments = skb->gso_size != 0};
  if (network > FL_LONGEST_HEADERS) return;
  parse_network((void*)(long)skb->data, (void*)(long)skb->data_end, skb->len, network, protocol,
                packet);
  if (packet->family == 6 && packet->kind == FL_PACKET_OTHER && is_extension(packet->protocol)) {
    parse_extensions(skb, packet);
  }
}

// Puts the inner packet in the place of the outer one in `packet`; the bytes stay as they are.
static __noinline bool look_inside(struct __sk_buff* skb, struct fl_packet* packet) {
  const __u32 zero = 0;
  struct fl_beginning* beginning = bpf_map_lookup_elem(&fl_scratch, &zero);
  if (!beginning) return false;
  beginning->outer_source = packet->source;
  beginning->outer_destination = packet->destination;
  const __u32 network = packet->transport;
  const __be16 protocol = bpf_htons(packet->family == 4 ? ETH_P_IP : ETH_P_IPV6);
  const __u32 inside = packet->length - network_header(packet);
  parse_inner(skb, network, protocol, packet);
  if (packet->kind == FL_PACKET_BAD && packet->reason == FL_DROP_truncated &&
      skb->data_end - skb->data < skb->len) {
    const __u32 length = skb->len < FL_LONGEST_HEADERS ? skb->len : FL_LONGEST_HEADERS;
    if (bpf_skb_pull_data(skb, length) == 0) parse_inner(skb, network, protocol, packet);
  }
  return packet->kind == FL_PACKET_FLOW && (packet->length == inside || packet->segments) &&
         (!packet->later_fragment || complete_fragment(packet));
}

// `packet`: is_tunnel(). Afterwards it is the one inside, if that is ours. By itself for the
// verifier's sake, like serve_flow().
__noinline int serve_tunnel(struct __sk_buff* skb, struct fl_packet* packet) {
  if (!packet) return FL_ACT_PASS;
  const struct fl_config* settings = configuration();
  if (!settings || settings->dsr != FL_DSR_IPIP ||
      comes_from_pod(settings, packet, FL_AT_INGRESS)) {
    return FL_ACT_PASS;
  }
  const __u32 header = network_header(packet);
  if (!look_inside(skb, packet)) return FL_ACT_PASS;
  struct fl_path path = {};
  int verdict = follow_received(packet, &path);
  if (verdict == FL_VERDICT_TUNNEL) {
    verdict = locate_endpoint(packet) ? begin_received(skb, packet, &path) : FL_VERDICT_PASS;
  }
  if (verdict == FL_VERDICT_DROP) return TC_ACT_SHOT;
  if (verdict != FL_VERDICT_SEND) return FL_ACT_PASS;
  if (packet->first_fragment) {
    if (packet->protocol == IPPROTO_SCTP && ports_change(packet, &path)) {
      return drop_skb(FL_DROP_unserved_protocol);
    }
    remember_fragment(packet);
  }
  if (bpf_skb_adjust_room(skb, -(__s32)header, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO) != 0) {
    return drop_skb(FL_DROP_rewrite_failed);
  }
  packet->network -= header;
  packet->transport -= header;
  count(FL_COUNT_forwarded);
  count(FL_COUNT_untunnelled);
  return send_on(skb, packet, &path, FL_SEND_UNTUNNELLED);
}
