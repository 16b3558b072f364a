// The packet path at tc: what arrives at a device, and what the node itself sends.
#pragma once

// To whatever other program is attached behind, then to the stack.
#define FL_ACT_PASS TC_ACT_UNSPEC
#define FL_LOOPBACK 1               // ifindex of the loopback device in every network namespace
#define FL_GSO_BY_FRAGMENTS 0xffff  // skb->gso_size: no size, segments differ

// The longest packet on the wire that this one becomes, IP header included.
FL_INLINE __u32 wire_length(const struct __sk_buff* skb, const struct fl_packet* packet) {
  if (skb->gso_size == 0) return packet->length;
  // SCTP's come as a list of packets, each of which its association has made to fit.
  if (skb->gso_size == FL_GSO_BY_FRAGMENTS) return packet->transport - packet->network;
  return packet->transport - packet->network + packet->transport_header + skb->gso_size;
}

// What send_on() and serve_flow() return beside a TC action: answers are made by their caller, for
// the sake of the stack that a chain of calls may use.
#define FL_ACT_REFUSE 0x100
#define FL_ACT_NONE 0x101       // not decided
#define FL_ACT_TOO_BIG 0x10000  // plus the MTU

enum fl_passage { FL_PASSAGE_AWAY, FL_PASSAGE_STACK, FL_PASSAGE_TOO_NARROW, FL_PASSAGE_CLOSED };

FL_INLINE int judge_route(const struct fl_route* route, const struct fl_path* path, bool egress) {
  switch (route->result) {
    case BPF_FIB_LKUP_RET_SUCCESS:
    case BPF_FIB_LKUP_RET_NO_NEIGH:
      return FL_PASSAGE_AWAY;
    case BPF_FIB_LKUP_RET_FRAG_NEEDED:
      return FL_PASSAGE_TOO_NARROW;
    case BPF_FIB_LKUP_RET_NOT_FWDED:
      // The kernel's word for a local address and for no route at all.
      return is_node_address(&path->destination) ? FL_PASSAGE_STACK : FL_PASSAGE_CLOSED;
    case BPF_FIB_LKUP_RET_FWD_DISABLED:
    case BPF_FIB_LKUP_RET_UNSUPP_LWT:
      // Its own routing knows these, but takes nothing from outside that bears an address of its
      // own.
      return !egress && is_node_address(&path->source) ? FL_PASSAGE_CLOSED : FL_PASSAGE_STACK;
    default:
      return FL_PASSAGE_CLOSED;
  }
}

FL_INLINE int drop_skb(__u32 counter) {
  count(counter);
  return TC_ACT_SHOT;
}

// Rewrites the packet and leaves it to the stack, which routes it or takes it in.
FL_INLINE int give_to_stack(struct __sk_buff* skb, const struct fl_packet* packet,
                            const struct fl_path* path, bool egress) {
  if (!rewrite_skb(skb, packet, path, packet->hop_limit)) return TC_ACT_SHOT;
  // On its way out the packet has passed routing: to come back in, it takes the loopback device.
  return egress ? bpf_redirect(FL_LOOPBACK, BPF_F_INGRESS) : FL_ACT_PASS;
}

#define FL_SEND_EGRESS 1       // it is the node's own
#define FL_SEND_RETURNED 2     // it is an endpoint's answer
#define FL_SEND_UNTUNNELLED 4  // it came by a tunnel
#define FL_SEND_MASQUERADED 8  // it bears an address of this node

static __noinline int send_on(struct __sk_buff* skb, const struct fl_packet* packet,
                              const struct fl_path* path, __u32 how) {
  const bool egress = how & FL_SEND_EGRESS;
  // Same destination on the way out: the route is right as it is.
  if (egress && same_address(&packet->destination, &path->destination)) {
    return rewrite_skb(skb, packet, path, packet->hop_limit) ? FL_ACT_PASS : TC_ACT_SHOT;
  }
  struct fl_route* route =
      route_of_path(skb, packet, wire_length(skb, packet), path, (how & FL_SEND_MASQUERADED) != 0);
  const int passage = route ? judge_route(route, path, egress) : FL_PASSAGE_CLOSED;
  if (!route || passage == FL_PASSAGE_CLOSED) return drop_skb(FL_DROP_no_route);
  if (passage == FL_PASSAGE_TOO_NARROW) {
    // The stack fragments, but takes no packet from outside that bears an address of its own.
    if (!packet->dont_fragment && !egress && same_address(&packet->source, &path->source)) {
      return give_to_stack(skb, packet, path, egress);
    }
    return FL_ACT_TOO_BIG + route->mtu;
  }
  if (passage == FL_PASSAGE_STACK) return give_to_stack(skb, packet, path, egress);
  __u8 hop_limit = packet->hop_limit;
  if (!egress) {
    if (hop_limit <= 1) return drop_skb(FL_DROP_hop_limit);
    --hop_limit;
  }
  if (!rewrite_skb(skb, packet, path, hop_limit)) return TC_ACT_SHOT;
  if (!(how & (FL_SEND_EGRESS | FL_SEND_UNTUNNELLED))) {
    struct fl_way* way = remember_way(packet, FL_AT_INGRESS, path, how & FL_SEND_RETURNED, route);
    if (way) way->next = route->next;
  }
  // bpf_redirect_neigh() replaces an Ethernet header: a packet of a tunnel's device gets an empty
  // one. Not left to the stack, which takes nothing from outside that bears an address of its own.
  if (packet->network == 0 && bpf_skb_change_head(skb, FL_ETHERNET_HEADER, 0) != 0) {
    return drop_skb(FL_DROP_rewrite_failed);
  }
  return bpf_redirect_neigh(route->device, &route->next, sizeof(route->next), 0);
}

// The action for a packet whose way is known, else FL_ACT_NONE. Not static, like serve_flow().
__noinline int send_by_way(struct __sk_buff* skb, const struct fl_packet* packet) {
  if (!packet) return FL_ACT_NONE;
  struct fl_way* way = find_way(packet, FL_AT_INGRESS, wire_length(skb, packet));
  if (!way) return FL_ACT_NONE;
  if (!rewrite_skb(skb, packet, &way->path, packet->hop_limit - 1)) return TC_ACT_SHOT;
  count(way->returned ? FL_COUNT_returned : FL_COUNT_forwarded);
  return bpf_redirect_neigh(way->device, &way->next, sizeof(way->next), 0);
}

static __noinline int tunnel_skb(struct __sk_buff* skb, const struct fl_packet* packet,
                                 struct fl_path* path, bool egress);
int serve_tunnel(struct __sk_buff* skb, struct fl_packet* packet);

// Not static: the verifier then looks at it once, for every packet, and not once for each way
// through the parser.
__noinline int serve_flow(struct __sk_buff* skb, const struct fl_packet* packet, int egress) {
  if (!packet) return FL_ACT_PASS;
  struct fl_path path = {};
  bool returned = false;
  const int verdict = decide(skb, packet, egress ? FL_AT_EGRESS : FL_AT_INGRESS, &path, &returned);
  if (verdict == FL_VERDICT_PASS) return FL_ACT_PASS;
  if (verdict == FL_VERDICT_DROP) return TC_ACT_SHOT;
  if (verdict == FL_VERDICT_REFUSE) return FL_ACT_REFUSE;
  if (verdict == FL_VERDICT_TUNNEL) return tunnel_skb(skb, packet, &path, egress);
  if (packet->first_fragment) {
    // A part of the packet does not suffice to mend SCTP's checksum.
    if (packet->protocol == IPPROTO_SCTP && ports_change(packet, &path)) {
      return drop_skb(FL_DROP_unserved_protocol);
    }
    remember_fragment(packet);
  }
  const __u32 how = (egress ? FL_SEND_EGRESS : 0) | (returned ? FL_SEND_RETURNED : 0) |
                    (is_masqueraded(packet, &path, returned) ? FL_SEND_MASQUERADED : 0);
  count(returned ? FL_COUNT_returned : FL_COUNT_forwarded);
  return send_on(skb, packet, &path, how);
}

// What is not ours may be as broken as it likes.
static __noinline int judge_bad(const struct fl_packet* packet) {
  return judge_unserved(&packet->destination) == FL_UNSERVED_PASS ? FL_ACT_PASS
                                                                  : drop_skb(packet->reason);
}

static __noinline bool complete_fragment(struct fl_packet* packet) {
  return fragment_ports(packet);
}

// The packet in work, not on the stack: what is called from here needs all of that, on kernels that
// round every frame up.
FL_HASH(fl_packets, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct fl_packet, 1, preallocated);

FL_INLINE int serve_skb(struct __sk_buff* skb, bool egress) {
  const __u32 zero = 0;
  struct fl_packet* packet = bpf_map_lookup_elem(&fl_packets, &zero);
  if (!packet) return FL_ACT_PASS;
  parse_skb(skb, packet);
  if (!egress && may_have_way(packet)) {
    const int action = send_by_way(skb, packet);
    if (action != FL_ACT_NONE) return action;
  }
  if (egress && skb->ingress_ifindex != 0) {
    if (packet->kind == FL_PACKET_FLOW && !packet->later_fragment) {
      forget_ended_flow(packet, FL_AT_EGRESS);
    }
    return FL_ACT_PASS;
  }
  if (packet->kind == FL_PACKET_OTHER) {
    if (egress || !is_tunnel(packet)) return FL_ACT_PASS;
    const int action = serve_tunnel(skb, packet);
    if (action >= FL_ACT_TOO_BIG) return too_big_skb(skb, packet, action - FL_ACT_TOO_BIG);
    return action;
  }
  if (packet->kind == FL_PACKET_BAD) return judge_bad(packet);
  if (packet->kind == FL_PACKET_ICMP_ERROR) {
    const int verdict = icmp_error_skb(skb, packet, egress);
    return verdict == FL_NOT_OURS ? FL_ACT_PASS : verdict;
  }
  if (packet->later_fragment && !complete_fragment(packet)) {
    packet->reason = FL_DROP_fragment_without_first;
    return judge_bad(packet);
  }
  const int action = packet->kind == FL_PACKET_ICMP_ERROR ? icmp_error_skb(skb, packet, egress)
                                                          : serve_flow(skb, packet, egress);
  if (action == FL_ACT_REFUSE) return refuse_skb(skb, packet);
  if (action >= FL_ACT_TOO_BIG) return too_big_skb(skb, packet, action - FL_ACT_TOO_BIG);
  return action;
}

SEC("tc") int fl_ingress(struct __sk_buff* skb) {
  if (skb->pkt_type == FL_PACKET_OTHERHOST) return FL_ACT_PASS;
  return serve_skb(skb, false);
}

SEC("tc") int fl_egress(struct __sk_buff* skb) {
  // What came in by a device has been looked at there. Another mode may have translated it since.
  if (skb->ingress_ifindex != 0 && !is_aside()) return FL_ACT_PASS;
  return serve_skb(skb, true);
}
