// The packet path at the driver: what leaves the node again by a device that takes packets from
// XDP, in the cases that make up the traffic. Everything else goes on to tc as it came: what is for
// this node or its pods, fragments, ICMP, refusals, and what lacks a neighbour or does not fit.
#pragma once

FL_INLINE bool rewrite_transport_xdp(void* data, void* data_end, const struct fl_packet* packet,
                                     const struct fl_path* path, __u32 addresses) {
  __u32 offset = packet->transport;
  barrier_var(offset);
  if (offset > FL_LONGEST_HEADERS) return false;
  void* header = data + offset;
  const __u32 before = ports_of(packet);
  const __u32 after = ports_after(path);
  const __u64 change = (__u64)addresses + difference(before, after);
  if (packet->protocol == IPPROTO_TCP) {
    struct tcphdr* tcp = header;
    if ((void*)(tcp + 1) > data_end) return false;
    tcp->check = ~fold_to_16(fold_to_32((__u16)~tcp->check + change));
  } else if (packet->protocol == IPPROTO_UDP) {
    struct udphdr* udp = header;
    if ((void*)(udp + 1) > data_end) return false;
    if (udp->check != 0) {
      const __u16 sum = ~fold_to_16(fold_to_32((__u16)~udp->check + change));
      udp->check = sum ? sum : 0xffff;
    }
  } else {
    __u32* sctp = header;
    if ((void*)(sctp + 3) > data_end) return false;
    const __u32 bytes = packet->length - (offset - packet->network);
    if (before != after) sctp[2] = sctp_crc_change(sctp[2], before, after, bytes & 0xffff);
  }
  __be32* ports = header;
  if ((void*)(ports + 1) > data_end) return false;
  *ports = after;
  return true;
}

// By whole words: left to itself, the compiler takes a frame for a row of bytes.
FL_INLINE void write_stations(void* frame, const __u32* stations) {
  __u32* word = frame;
  word[0] = stations[0];
  word[1] = stations[1];
  word[2] = stations[2];
}

FL_INLINE bool rewrite_xdp(void* data, void* data_end, const struct fl_packet* packet,
                           const struct fl_path* path, const __u32* stations) {
  const __u32 addresses = path_difference(packet, path);
  struct ethhdr* ethernet = data;
  if (packet->family == 4) {
    struct iphdr* ip = data + FL_ETHERNET_HEADER;
    if ((void*)(ip + 1) > data_end) return false;
    ip->check = ipv4_checksum(packet, addresses, packet->hop_limit - 1);
    ip->ttl = packet->hop_limit - 1;
    ip->saddr = path->source.word[3];
    ip->daddr = path->destination.word[3];
  } else {
    struct ipv6hdr* ip = data + FL_ETHERNET_HEADER;
    if ((void*)(ip + 1) > data_end) return false;
    ip->hop_limit = packet->hop_limit - 1;
    __builtin_memcpy(&ip->saddr, &path->source, sizeof(path->source));
    __builtin_memcpy(&ip->daddr, &path->destination, sizeof(path->destination));
  }
  write_stations(ethernet, stations);
  return rewrite_transport_xdp(data, data_end, packet, path, addresses);
}

FL_INLINE bool for_this_station(void* data, void* data_end, const __u32* stations) {
  const __u16* here = data;
  if ((void*)(here + 3) > data_end) return false;
  const __u16* own = (const __u16*)stations + 3;
  return here[0] == own[0] && here[1] == own[1] && here[2] == own[2];
}

// Rewrites the packet and sends it by `device`.
FL_INLINE int send_xdp(struct xdp_md* xdp, const struct fl_packet* packet,
                       const struct fl_path* path, bool returned, __u32 device,
                       const __u32* stations) {
  // Read once, by volatile: clang would else keep an address inside the context, which is refused.
  void* data = (void*)(long)*(volatile __u32*)&xdp->data;
  void* data_end = (void*)(long)*(volatile __u32*)&xdp->data_end;
  const bool same = device == packet->device;
  // A frame for another station, seen in promiscuous mode, bears not the address that we send with.
  if (same && !for_this_station(data, data_end, stations)) return XDP_PASS;
  if (!rewrite_xdp(data, data_end, packet, path, stations)) {
    count(FL_DROP_rewrite_failed);
    return XDP_DROP;
  }
  count(FL_COUNT_xdp_forwarded);
  count(returned ? FL_COUNT_returned : FL_COUNT_forwarded);
  return same ? XDP_TX : bpf_redirect(device, 0);
}

// Is the checksum one that a device is still to finish? Then it holds the sum of the pseudo header
// alone (SCTP: nothing), which must change by other rules than a whole one. The socket buffer
// knows, if there is one (generic XDP, veth, tap); here it is told by its value, and of the whole
// ones one in 65,536 is taken for such as well.
FL_INLINE bool is_unfinished(const void* data, const void* data_end,
                             const struct fl_packet* packet) {
  const bool sctp = packet->protocol == IPPROTO_SCTP;
  __u32 offset = packet->transport + (packet->protocol == IPPROTO_TCP ? 16 : sctp ? 8 : 6);
  barrier_var(offset);
  if (offset > FL_LONGEST_HEADERS) return false;
  const __u16* field = data + offset;
  if ((void*)(field + 1) > data_end) return false;
  if (sctp) {
    return (void*)(field + 2) <= data_end && field[0] == FL_SCTP_UNFINISHED &&
           field[1] == FL_SCTP_UNFINISHED;
  }
  const __u16 length = packet->length - (packet->transport - packet->network);
  __u64 sum = (__u64)packet->source.word[3] + packet->destination.word[3] +
              bpf_htons(packet->protocol) + bpf_htons(length);
  if (packet->family == 6) {
    sum += (__u64)packet->source.word[0] + packet->source.word[1] + packet->source.word[2] +
           packet->destination.word[0] + packet->destination.word[1] + packet->destination.word[2];
  }
  return *field == fold_to_16(fold_to_32(sum));
}

#define FL_XDP_NONE 0x101  // not decided

// The verdict about a packet whose way is known, else FL_XDP_NONE.
__noinline int send_by_way_xdp(struct xdp_md* xdp, const struct fl_packet* packet) {
  if (!packet) return FL_XDP_NONE;
  const struct fl_way* way = find_way(packet, FL_AT_XDP, packet->length);
  if (!way) return FL_XDP_NONE;
  return send_xdp(xdp, packet, &way->path, way->returned, way->device, way->stations);
}

static __noinline int tunnel_xdp(struct xdp_md* xdp, const struct fl_packet* packet,
                                 struct fl_path* path);

// The verdict about a flow's packet. By itself for the verifier's sake, like serve_flow().
__noinline int serve_flow_xdp(struct xdp_md* xdp, const struct fl_packet* packet) {
  if (!packet) return XDP_PASS;
  struct fl_path path = {};
  bool returned = false;
  const int verdict = decide(xdp, packet, FL_AT_XDP, &path, &returned);
  if (verdict == FL_VERDICT_DROP) return XDP_DROP;
  if (verdict == FL_VERDICT_TUNNEL) return tunnel_xdp(xdp, packet, &path);
  if (verdict != FL_VERDICT_SEND) return XDP_PASS;
  const struct fl_route* route =
      route_of_path(xdp, packet, packet->length, &path, is_masqueraded(packet, &path, returned));
  if (!leaves_by_xdp(route)) return XDP_PASS;
  struct fl_way* fresh = remember_way(packet, FL_AT_XDP, &path, returned, route);
  if (fresh) __builtin_memcpy(fresh->stations, route->stations, sizeof(route->stations));
  return send_xdp(xdp, packet, &path, returned, route->device, route->stations);
}

SEC("xdp") int fl_xdp(struct xdp_md* xdp) {
  struct fl_packet packet;
  parse_xdp(xdp, &packet);
  if (packet.kind != FL_PACKET_FLOW || packet.first_fragment || packet.later_fragment ||
      packet.hop_limit <= 1) {
    return XDP_PASS;
  }
  if (is_unfinished((void*)(long)xdp->data, (void*)(long)xdp->data_end, &packet)) return XDP_PASS;
  if (may_have_way(&packet)) {
    const int action = send_by_way_xdp(xdp, &packet);
    if (action != FL_XDP_NONE) return action;
  }
  return serve_flow_xdp(xdp, &packet);
}
