// Direct server return, the sending side: what comes from outside to an external address, node
// ports included, and whose endpoint is on another node, goes there IP in IP, and the endpoint's
// answer goes to the client without us. dsr_receive.bpf.h is the other end.
//
//   outer source       a node port: the node's address that the client wrote, by which the other
//                      end knows whose node port it is; otherwise this node's towards the endpoint
//   outer destination  the endpoint
//   inner packet       as it came, but for its TTL
//
// The flow (FL_FLOW_DSR) has no slot, since no answer comes by. It pins the endpoint, so that a
// change of the ring moves nobody; `source` is the outer one, zero for a node port. Without room
// for flows the ring alone decides, by the same hash on every node and for every packet.
#pragma once

#define FL_OUTER_HOP_LIMIT 64
#define FL_TOS_DSCP 0xfc  // ECN is not carried over: congestion drops, as RFC 6040 4.1 has it

FL_INLINE bool is_external(const struct fl_frontend* frontend) {
  return frontend->kind == FL_KIND_EXTERNAL_IP || frontend->kind == FL_KIND_LOAD_BALANCER ||
         frontend->kind == FL_KIND_NODE_PORT;
}

// Where a packet has no Ethernet header there is nothing to redirect by.
static __noinline bool goes_directly(const struct fl_packet* packet,
                                     const struct fl_frontend* frontend, __u32 place,
                                     const struct fl_selection* selection) {
  const struct fl_endpoint* endpoint = selection->endpoint;
  return endpoint && place != FL_AT_EGRESS && selection->source_class == FL_SOURCE_OTHER &&
         is_external(frontend) && !(endpoint->flags & FL_ENDPOINT_MAYBE_HERE) &&
         packet->network != 0 && !same_address(&endpoint->address, &packet->source) &&
         !is_node_address(&endpoint->address);
}

// What stands in the path of a node port's flow is no address: the client's word counts.
FL_INLINE void name_outer_source(const struct fl_packet* packet, struct fl_path* path) {
  if (is_zero(&path->source)) path->source = packet->destination;
}

// Goes on where begin_flow() leaves off: the flow stands in the scratch, but for its outer source.
static __noinline int begin_direct(void* ctx, const struct fl_packet* packet, __u32 place,
                                   struct fl_path* path) {
  const __u32 zero = 0;
  struct fl_beginning* beginning = bpf_map_lookup_elem(&fl_scratch, &zero);
  const struct fl_config* settings = configuration();
  if (!beginning || !settings) return FL_VERDICT_PASS;
  const struct fl_flow_key* key = &beginning->key;
  struct fl_flow* flow = &beginning->flow;
  flow->slot = 0;
  flow->source_port = key->client_port;
  if (!is_zero(&flow->source)) {
    const struct fl_route* route =
        route_towards(ctx, packet, 0, &packet->destination, &flow->endpoint);
    if (!masquerade_source(settings, packet->family, device_of(route), &flow->source)) {
      return drop(FL_DROP_no_source_address);
    }
  }
  follow(flow, path);
  name_outer_source(packet, path);
  if (place == FL_AT_XDP && !leaves_by_xdp(route_towards(ctx, packet, network_header(packet),
                                                         &path->source, &path->destination))) {
    return FL_VERDICT_PASS;
  }
  if (settings->refuse_new_flows) return FL_VERDICT_TUNNEL;
  if (bpf_map_update_elem(&fl_new_flows, key, flow, BPF_NOEXIST) == 0) {
    count(FL_COUNT_flows_created);
    return FL_VERDICT_TUNNEL;
  }
  // Another CPU was faster, perhaps by another ring; or there is no room.
  const struct fl_flow* other = find_flow(key);
  if (other && other->flags & FL_FLOW_DSR) follow(other, path);
  return FL_VERDICT_TUNNEL;
}

// advance_flow() for a flow without a slot: that the client speaks again is all there is to see.
static __noinline int advance_direct(const struct fl_packet* packet, const struct fl_flow_key* key,
                                     struct fl_flow* flow, bool established) {
  const bool opens = (packet->tcp_flags & (FL_TCP_SYN | FL_TCP_ACK)) == FL_TCP_SYN;
  if (opens && flow->flags & FL_FLOW_CLIENT_FIN) return FL_FLOW_BEGINS_ANEW;
  __u32 flags = 0;
  if (packet->tcp_flags & FL_TCP_FIN) flags = FL_FLOW_CLIENT_FIN;
  if (packet->tcp_flags & FL_TCP_RST) flags = FL_FLOW_RESET;
  if (flags) add_flags(&flow->flags, flags);
  if (established || opens) return FL_FLOW_GOES_ON;
  struct fl_flow stays = *flow;
  stays.flags |= FL_FLOW_ESTABLISHED | FL_FLOW_ANSWERED;
  const long error = bpf_map_update_elem(&fl_flows, key, &stays, BPF_NOEXIST);
  if (error == 0) count(FL_COUNT_flows_established);
  // Without room it stays where it is, and follows the ring if it is evicted.
  if (error == 0 || bpf_map_lookup_elem(&fl_flows, key)) bpf_map_delete_elem(&fl_new_flows, key);
  return FL_FLOW_GOES_ON;
}

// ---- The outer header ----

struct fl_outer {
  __be32 ip[10];
};

// `first`: the first 32 bits of the inner header. A length of 0 is for several segments in one
// buffer that together are too long for it; each one's is set when they are taken apart.
FL_INLINE void write_outer(struct fl_outer* outer, const struct fl_packet* packet,
                           const struct fl_path* path, __be32 first) {
  __be32* ip = outer->ip;
  if (packet->family == 4) {
    const __u32 tos = bpf_ntohl(first) >> 16 & FL_TOS_DSCP;
    const __u32 length = packet->length + FL_IPV4_HEADER;
    ip[0] = bpf_htonl(0x45000000 | tos << 16 | (length <= 0xffff ? length : 0));
    ip[1] = bpf_htonl(0x4000);  // don't fragment
    ip[2] = bpf_htonl(FL_OUTER_HOP_LIMIT << 24 | IPPROTO_IPIP << 16);
    ip[3] = path->source.word[3];
    ip[4] = path->destination.word[3];
    __u64 sum = 0;
    for (int i = 0; i < 5; ++i) sum += ip[i];
    ip[2] |= bpf_htonl(bpf_ntohs((__u16)~fold_to_16(fold_to_32(sum))));
  } else {
    const __u32 tos = bpf_ntohl(first) >> 20 & FL_TOS_DSCP;
    const __u32 length = packet->length < 0xffff ? packet->length : 0;
    ip[0] = bpf_htonl(0x60000000 | tos << 20);
    ip[1] = bpf_htonl(length << 16 | IPPROTO_IPV6 << 8 | FL_OUTER_HOP_LIMIT);
    __builtin_memcpy(ip + 2, &path->source, 2 * sizeof(struct fl_addr));
  }
}

// What of the inner IPv4 header changes: TTL, protocol and checksum.
FL_INLINE __be32 aged_ipv4(const struct fl_packet* packet) {
  const __u8 ttl = packet->hop_limit - 1;
  return ttl | packet->protocol << 8 | (__u32)ipv4_checksum(packet, 0, ttl) << 16;
}

// ---- tc ----

static __noinline bool encapsulate_skb(struct __sk_buff* skb, const struct fl_packet* packet,
                                       const struct fl_path* path, bool ages) {
  const bool v4 = packet->family == 4;
  const __u32 at = packet->network;
  const __u32 header = network_header(packet);
  __be32 first;
  if (bpf_skb_load_bytes(skb, at, &first, sizeof(first)) != 0) return false;
  if (ages && v4) {
    const __be32 aged = aged_ipv4(packet);
    if (bpf_skb_store_bytes(skb, at + 8, &aged, sizeof(aged), 0) != 0) return false;
  } else if (ages) {
    const __u8 hop_limit = packet->hop_limit - 1;
    if (bpf_skb_store_bytes(skb, at + 7, &hop_limit, 1, BPF_F_RECOMPUTE_CSUM) != 0) return false;
  }
  const __u64 kind = v4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
  if (bpf_skb_adjust_room(skb, header, BPF_ADJ_ROOM_MAC, kind | BPF_F_ADJ_ROOM_FIXED_GSO) != 0) {
    return false;
  }
  struct fl_outer outer = {};
  write_outer(&outer, packet, path, first);
  return bpf_skb_store_bytes(skb, at, &outer, v4 ? FL_IPV4_HEADER : FL_IPV6_HEADER,
                             v4 ? 0 : BPF_F_RECOMPUTE_CSUM) == 0;
}

// Too big with its outer header: who sent it hears so, even where it allows fragments, since those
// of the outer packet would not be put together at the other end.
static __noinline int tunnel_skb(struct __sk_buff* skb, const struct fl_packet* packet,
                                 struct fl_path* path, bool egress) {
  const struct fl_config* settings = configuration();
  if (!settings) return FL_ACT_PASS;
  name_outer_source(packet, path);
  const __u32 header = network_header(packet);
  if (packet->first_fragment) remember_fragment(packet);
  struct fl_route* route = find_route(skb, settings, packet, wire_length(skb, packet) + header,
                                      &path->source, &path->destination, false);
  const int passage = route ? judge_route(route, path, egress) : FL_PASSAGE_CLOSED;
  if (route && passage == FL_PASSAGE_TOO_NARROW) return FL_ACT_TOO_BIG + route->mtu - header;
  if (!route || passage != FL_PASSAGE_AWAY) return drop_skb(FL_DROP_no_route);
  if (!egress && packet->hop_limit <= 1) return drop_skb(FL_DROP_hop_limit);
  if (!encapsulate_skb(skb, packet, path, !egress)) return drop_skb(FL_DROP_rewrite_failed);
  count(FL_COUNT_forwarded);
  count(FL_COUNT_tunnelled);
  return bpf_redirect_neigh(route->device, &route->next, sizeof(route->next), 0);
}

// ---- XDP ----

FL_INLINE bool encapsulate_xdp(struct xdp_md* xdp, const struct fl_packet* packet,
                               const struct fl_path* path, const struct fl_route* route) {
  void* data = (void*)(long)*(volatile __u32*)&xdp->data;
  void* data_end = (void*)(long)*(volatile __u32*)&xdp->data_end;
  struct ethhdr* ethernet = data;
  __be32* ip = (void*)(ethernet + 1);
  const bool v4 = packet->family == 4;
  struct fl_outer outer;
  if (v4) {
    if ((void*)(ip + 10) > data_end) return false;
    write_outer(&outer, packet, path, ip[5]);
    __builtin_memcpy(ip, &outer, FL_IPV4_HEADER);
    ip[7] = aged_ipv4(packet);
  } else {
    if ((void*)(ip + 20) > data_end) return false;
    write_outer(&outer, packet, path, ip[10]);
    __builtin_memcpy(ip, &outer, FL_IPV6_HEADER);
    ((__u8*)(ip + 11))[3] = packet->hop_limit - 1;
  }
  write_stations(ethernet, route->stations);
  ethernet->h_proto = bpf_htons(v4 ? ETH_P_IP : ETH_P_IPV6);
  return true;
}

static __noinline int tunnel_xdp(struct xdp_md* xdp, const struct fl_packet* packet,
                                 struct fl_path* path) {
  name_outer_source(packet, path);
  const struct fl_route* route =
      route_towards(xdp, packet, network_header(packet), &path->source, &path->destination);
  if (!leaves_by_xdp(route)) return XDP_PASS;
  void* data = (void*)(long)*(volatile __u32*)&xdp->data;
  void* data_end = (void*)(long)*(volatile __u32*)&xdp->data_end;
  const bool same = route->device == packet->device;
  if (same && !for_this_station(data, data_end, route->stations)) return XDP_PASS;
  // No room in front of the packet: tc finds some.
  if (bpf_xdp_adjust_head(xdp, -(int)network_header(packet)) != 0) return XDP_PASS;
  if (!encapsulate_xdp(xdp, packet, path, route)) {
    count(FL_DROP_rewrite_failed);
    return XDP_DROP;
  }
  count(FL_COUNT_xdp_forwarded);
  count(FL_COUNT_forwarded);
  count(FL_COUNT_tunnelled);
  return same ? XDP_TX : bpf_redirect(route->device, 0);
}
