// The first packet of a flow: who may come in, who answers, under which source, and the slot that
// the answer will come back by.
#pragma once

// Where the program runs. XDP leaves everything but the plain case to tc, and makes no state
// before it knows that it can finish.
enum fl_place { FL_AT_INGRESS, FL_AT_EGRESS, FL_AT_XDP };

enum fl_verdict {
  FL_VERDICT_PASS,    // not ours, or for the next program: untouched
  FL_VERDICT_SEND,    // to be rewritten as struct fl_path says, and sent on
  FL_VERDICT_REFUSE,  // nobody to answer: the sender is told
  FL_VERDICT_DROP,    // counted already
  FL_VERDICT_TUNNEL,  // to be encapsulated between the path's addresses: see dsr.bpf.h
};

static __noinline bool goes_directly(const struct fl_packet* packet,
                                     const struct fl_frontend* frontend, __u32 place,
                                     const struct fl_selection* selection);

FL_INLINE int drop(__u32 counter) {
  count(counter);
  return FL_VERDICT_DROP;
}

FL_INLINE bool is_node_address(const struct fl_addr* address) {
  // Copied: Linux 6.1 takes no key from memory that a global function was given.
  const struct fl_addr key = *address;
  return bpf_map_lookup_elem(&fl_node_addresses, &key) != 0;
}

FL_INLINE bool comes_from_pod(const struct fl_config* settings, const struct fl_packet* packet,
                              __u32 place) {
  if (!settings->has_detector[packet->family == 6]) return false;
  if (in_domain(FL_DOMAIN_PODS, &packet->source)) return true;
  if (place == FL_AT_EGRESS) return false;
  const __u32 index = packet->device;
  const struct fl_device* device = bpf_map_lookup_elem(&fl_devices, &index);
  return device && device->flags & FL_DEVICE_PODS;
}

FL_INLINE __u32 source_class(const struct fl_config* settings, const struct fl_packet* packet,
                             __u32 place) {
  if (comes_from_pod(settings, packet, place)) return FL_SOURCE_POD;
  return is_node_address(&packet->source) ? FL_SOURCE_NODE : FL_SOURCE_OTHER;
}

// The route of `packet`, with `more` bytes of headers than now, once its addresses are these. Null
// only where the configuration is missing.
static __noinline struct fl_route* route_towards(void* ctx, const struct fl_packet* packet,
                                                 __u32 more, const struct fl_addr* source,
                                                 const struct fl_addr* destination) {
  const struct fl_config* settings = configuration();
  if (!settings) return 0;
  return find_route(ctx, settings, packet, packet->length + more, source, destination, false);
}

// May XDP send by it? Not without a neighbour, not where the packet would not fit, and only by
// devices that take packets from XDP.
FL_INLINE bool leaves_by_xdp(const struct fl_route* route) {
  return route && route->result == BPF_FIB_LKUP_RET_SUCCESS && route->device_flags & FL_DEVICE_XDP;
}

// ---- Ports ----

// Takes the slot of `flow` for it. A slot that holds this very flow already (evicted from
// `fl_new_flows`, and here again) is taken over as it is.
static __noinline bool take_slot(const struct fl_config* settings, const struct fl_packet* packet,
                                 const struct fl_flow_key* key, const struct fl_flow* flow) {
  struct fl_return* slot = bpf_map_lookup_elem(&fl_returns, &flow->slot);
  if (!slot) return false;
  const __u32 time = now();
  const __u32 claim = *(volatile __u32*)&slot->claim;
  if (claim != 0 && owns_slot(key, flow, slot) && !fl_is_closed(slot->flags)) {
    slot->last_seen = time;
    slot->endpoint_index = flow->endpoint_index;
    slot->generation = flow->generation;
    return true;
  }
  if (claim != 0 && !slot_abandoned(settings, slot, time)) return false;
  if (__sync_val_compare_and_swap(&slot->claim, claim, time | 1) != claim) return false;
  slot->last_seen = time;
  slot->flags = 0;
  slot->endpoint = flow->endpoint;
  slot->source = flow->source;
  slot->endpoint_port = flow->endpoint_port;
  slot->client_port = key->client_port;
  slot->protocol = key->protocol;
  slot->family = packet->family;
  slot->port = packet->destination_port;
  slot->frontend = key->frontend;
  slot->client = key->client;
  slot->address = packet->destination;
  slot->endpoint_index = flow->endpoint_index;
  slot->generation = flow->generation;
  return true;
}

// The search for a source port: first in this CPU's block, where no other CPU searches at the same
// time, then anywhere in the masquerading ports. In its block it goes on where the last one ended,
// for two reasons: an endpoint sees a port again as late as can be, when it has forgotten the last
// connection from it; and slots that are taken one after the other are neighbours in a large map.
#define FL_BLOCK_TRIES 32
#define FL_RANGE_TRIES 16
struct fl_port_search {
  void* ctx;
  const struct fl_packet* packet;
  struct fl_beginning* beginning;
  __u32 start;
  bool masquerade;  // the address is this node's: its sockets and node ports use ports as well
  bool found;
};

// Does a socket of this node listen on `port`, or is one connected with it to the flow's endpoint?
static __noinline bool used_by_socket(void* ctx, const struct fl_packet* packet,
                                      const struct fl_flow* flow) {
  const __be16 port = flow->source_port;
  struct bpf_sock_tuple tuple = {};
  __u32 size;
  if (packet->family == 4) {
    tuple.ipv4.saddr = flow->endpoint.word[3];
    tuple.ipv4.daddr = flow->source.word[3];
    tuple.ipv4.sport = flow->endpoint_port;
    tuple.ipv4.dport = port;
    size = sizeof(tuple.ipv4);
  } else {
    __builtin_memcpy(tuple.ipv6.saddr, &flow->endpoint, sizeof(flow->endpoint));
    __builtin_memcpy(tuple.ipv6.daddr, &flow->source, sizeof(flow->source));
    tuple.ipv6.sport = flow->endpoint_port;
    tuple.ipv6.dport = port;
    size = sizeof(tuple.ipv6);
  }
  struct bpf_sock* socket = 0;
  if (packet->protocol == IPPROTO_TCP) {
    socket = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
  } else if (packet->protocol == IPPROTO_UDP) {
    socket = bpf_sk_lookup_udp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
  }
  if (!socket) return false;
  bpf_sk_release(socket);
  return true;
}

static __noinline bool is_node_port(const struct fl_packet* packet, __u16 port) {
  const struct fl_config* settings = configuration();
  if (!settings || port < settings->node_port_first || port > settings->node_port_last)
    return false;
  const struct fl_frontend_key key = {
      .address = {.word = {0, 0, packet->family == 4 ? bpf_htonl(0xffff) : 0, 0}},
      .port = bpf_htons(port),
      .protocol = packet->protocol};
  return bpf_map_lookup_elem(&fl_frontends, &key) != 0;
}

static long try_port(__u32 turn, struct fl_port_search* search) {
  const struct fl_config* settings = configuration();
  if (!settings) return 1;
  const __u32 first = settings->snat_first;
  const __u32 all = settings->snat_last - first + 1;
  const __u32 block = settings->cpus && settings->cpus <= all ? all / settings->cpus : all;
  __u32 port;
  if (turn < FL_BLOCK_TRIES) {
    const __u32 number = bpf_get_smp_processor_id() % (all / block);
    port = first + number * block + (search->start + turn) % block;
  } else {
    port = first + bpf_get_prandom_u32() % all;
  }
  const struct fl_flow_key* key = &search->beginning->key;
  struct fl_flow* flow = &search->beginning->flow;
  flow->source_port = bpf_htons(port);
  flow->slot = (flow->slot & 0xffff0000) | (port & 0xffff);
  if (search->masquerade && is_node_port(search->packet, port)) return 0;
  if (!take_slot(settings, search->packet, key, flow)) return 0;
  if (search->masquerade && used_by_socket(search->ctx, search->packet, flow)) {
    release_slot(key, flow);
    return 0;
  }
  search->found = true;
  return 1;
}

// Gives the flow, whose addresses are set, its source port and slot.
static __noinline bool claim_slot(void* ctx, const struct fl_packet* packet,
                                  struct fl_beginning* beginning, bool masquerade) {
  const struct fl_config* settings = configuration();
  if (!settings) return false;
  const struct fl_flow_key* key = &beginning->key;
  struct fl_flow* flow = &beginning->flow;
  flow->source_port = key->client_port;
  flow->slot = return_slot(settings, &flow->endpoint, flow->endpoint_port, &flow->source,
                           flow->source_port, key->protocol);
  // SCTP's checksum is costly to mend: its port stays if it can. No socket of this node has it.
  const bool prefer = !masquerade || packet->protocol == IPPROTO_SCTP;
  if (prefer && take_slot(settings, packet, key, flow)) return true;
  struct fl_port_search search = {
      .ctx = ctx,
      .packet = packet,
      .beginning = beginning,
      .start = beginning->next_port ? beginning->next_port : bpf_get_prandom_u32(),
      .masquerade = masquerade};
  const __u32 turns = bpf_loop(FL_BLOCK_TRIES + FL_RANGE_TRIES, try_port, &search, 0);
  beginning->next_port = search.start + (turns < FL_BLOCK_TRIES ? turns : FL_BLOCK_TRIES);
  if (!search.found) {
    count(FL_DROP_ports_exhausted);
    return false;
  }
  if (!masquerade) count(FL_COUNT_ports_rewritten);
  return true;
}

FL_INLINE void follow(const struct fl_flow* flow, struct fl_path* path) {
  path->source = flow->source;
  path->destination = flow->endpoint;
  path->source_port = flow->source_port;
  path->destination_port = flow->endpoint_port;
}

// Enters the flow. Another CPU may have been faster with the same one: then that counts.
FL_INLINE int enter_flow(const struct fl_flow_key* key, const struct fl_flow* flow,
                         struct fl_path* path) {
  if (bpf_map_update_elem(&fl_new_flows, key, flow, BPF_NOEXIST) == 0) {
    count(FL_COUNT_flows_created);
    follow(flow, path);
    return FL_VERDICT_SEND;
  }
  const struct fl_flow* other = find_flow(key);
  if (!other) {
    release_slot(key, flow);
    return drop(FL_DROP_flows_full);
  }
  if (other->slot != flow->slot) release_slot(key, flow);
  follow(other, path);
  return FL_VERDICT_SEND;
}

// Who answers, and whether the source is masqueraded; the verdict when nobody does.
static __noinline int choose_endpoint(const struct fl_packet* packet,
                                      const struct fl_frontend* frontend, __u32 place,
                                      struct fl_selection* selection) {
  const struct fl_config* settings = configuration();
  if (!settings) return FL_VERDICT_PASS;
  if (packet->tcp_flags & FL_TCP_RST) return drop(FL_DROP_stray_reset);
  if (frontend->flags & FL_FRONTEND_SOURCE_RANGES && !in_domain(frontend->entry, &packet->source)) {
    return drop(FL_DROP_source_range);
  }
  const __u32 hash =
      hash_pair(&packet->source, &packet->destination, ports_of(packet), packet->protocol);
  // Where all sources go the same way, it costs several lookups to no end to know whose this is.
  const bool any = one_route_for_all(frontend) && !settings->dsr;
  const __u32 class = any ? FL_SOURCE_OTHER : source_class(settings, packet, place);
  select_endpoint(settings, frontend, class, &packet->source, hash, selection);
  const struct fl_endpoint* endpoint = selection->endpoint;
  if (!endpoint) {
    if (selection->empty == FL_EMPTY_REJECT) return FL_VERDICT_REFUSE;
    return drop(FL_DROP_no_endpoints);
  }
  if (place == FL_AT_XDP && endpoint->flags & FL_ENDPOINT_MAYBE_HERE) return FL_VERDICT_PASS;
  return FL_VERDICT_SEND;
}

// Begins the flow of `packet` to `frontend`.
static __noinline int begin_flow(void* ctx, const struct fl_packet* packet,
                                 const struct fl_frontend* frontend, __u32 place,
                                 struct fl_path* path) {
  struct fl_selection selection = {};
  const int verdict = choose_endpoint(packet, frontend, place, &selection);
  if (verdict != FL_VERDICT_SEND) return verdict;
  const struct fl_endpoint* endpoint = selection.endpoint;
  const __u32 zero = 0;
  struct fl_beginning* beginning = bpf_map_lookup_elem(&fl_scratch, &zero);
  const struct fl_config* settings = configuration();
  // Cannot be, but the verifier wants to hear it.
  if (!endpoint || !beginning || !settings) return FL_VERDICT_PASS;

  struct fl_flow_key* key = &beginning->key;
  struct fl_flow* flow = &beginning->flow;
  key->client = packet->source;
  key->frontend = flow_frontend(frontend, &packet->destination);
  key->client_port = packet->source_port;
  key->protocol = packet->protocol;
  key->zero = 0;
  flow->endpoint = endpoint->address;
  flow->source = packet->source;
  flow->endpoint_port = endpoint->port;
  flow->endpoint_index = selection.index;
  flow->generation = endpoint->generation;
  flow->last_seen = now();
  flow->flags = 0;
  if (settings->dsr && goes_directly(packet, frontend, place, &selection)) {
    flow->flags = FL_FLOW_DSR;
    if (frontend->kind == FL_KIND_NODE_PORT) flow->source = (struct fl_addr){};
    return FL_VERDICT_TUNNEL;  // begin_direct() goes on
  }
  if (settings->refuse_new_flows) return drop(FL_DROP_flows_full);
  // The answer of this node itself passes fl_egress anyway: it may see its client.
  const bool masquerade =
      (selection.masquerade || same_address(&flow->endpoint, &packet->source)) &&
      !is_node_address(&flow->endpoint);
  const struct fl_route* route = 0;
  if (masquerade) {
    route = masquerading_route(ctx, packet, &flow->endpoint);
  } else if (place == FL_AT_XDP) {
    route = route_towards(ctx, packet, 0, &flow->source, &flow->endpoint);
  }
  if (place == FL_AT_XDP && !leaves_by_xdp(route)) return FL_VERDICT_PASS;
  if (masquerade) {
    if (!route || is_zero(&route->source)) return drop(FL_DROP_no_source_address);
    flow->source = route->source;
  }
  if (!claim_slot(ctx, packet, beginning, masquerade)) return FL_VERDICT_DROP;
  return enter_flow(key, flow, path);
}
