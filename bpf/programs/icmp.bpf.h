// ICMP errors about packets that were rewritten here: "fragmentation needed" above all, without which a
// connection hangs. The error quotes the packet as it was where it failed; whoever sent that packet knows it
// by other addresses and ports, so the quoted ones are put back, and the error is sent to that sender.
//
//   quoted                       who reports           the error goes to
//   source -> endpoint           the endpoint's side   the client, about client -> virtual address
//   virtual address -> client    the client's side     the endpoint, about endpoint -> source
//
// `source` is what the endpoint sees as its client: the client itself or a masquerading address. A router
// that reports keeps its name; an end of the flow gets the one by which the receiver knows it.
//
// Untouched (FL_NOT_OURS): errors about anything else, about later fragments, about packets quoted without
// the first 8 bytes behind their IP header or with IPv6 extension headers, and about DSR flows.
#pragma once

#define FL_NOT_OURS TC_ACT_UNSPEC
#define FL_ICMP_CHECKSUM 2
#define FL_QUOTED_TRANSPORT 8

// What an error says once it is translated.
struct fl_retold {
  struct fl_addr outer_source;
  struct fl_addr outer_destination;
  struct fl_addr source;
  struct fl_addr destination;
  __be16 source_port;
  __be16 destination_port;
};

// The quoted packet: addresses, ports, offsets, protocol and header checksum; nothing else is filled in.
FL_INLINE bool read_quoted(struct __sk_buff* skb, const struct fl_packet* packet,
                           struct fl_packet* quoted) {
  __builtin_memset(quoted, 0, sizeof(*quoted));
  const __u32 start = packet->transport + FL_ICMP_HEADER;
  __u32 header = sizeof(struct ipv6hdr);
  quoted->network = start;
  if (packet->family == 4) {
    struct iphdr ip;
    if (bpf_skb_load_bytes(skb, start, &ip, sizeof(ip)) != 0) return false;
    header = ip.ihl * 4;
    if (ip.version != 4 || header < sizeof(ip) || (ip.frag_off & bpf_htons(0x1fff))) return false;
    quoted->source = from_v4(ip.saddr);
    quoted->destination = from_v4(ip.daddr);
    quoted->protocol = ip.protocol;
    quoted->checksum = ip.check;
  } else {
    struct ipv6hdr ip;
    if (bpf_skb_load_bytes(skb, start, &ip, sizeof(ip)) != 0) return false;
    if (ip.version != 6) return false;
    __builtin_memcpy(&quoted->source, &ip.saddr, sizeof(quoted->source));
    __builtin_memcpy(&quoted->destination, &ip.daddr, sizeof(quoted->destination));
    quoted->protocol = ip.nexthdr;
  }
  if (quoted->protocol != IPPROTO_TCP && quoted->protocol != IPPROTO_UDP &&
      quoted->protocol != IPPROTO_SCTP) {
    return false;
  }
  quoted->transport = start + header;
  __be16 ports[2];
  if (quoted->transport + FL_QUOTED_TRANSPORT > packet->network + packet->length ||
      bpf_skb_load_bytes(skb, quoted->transport, ports, sizeof(ports)) != 0) {
    return false;
  }
  quoted->source_port = ports[0];
  quoted->destination_port = ports[1];
  return true;
}

// The quoted packet was on its way to an endpoint.
FL_INLINE bool retell_to_client(const struct fl_config* settings, const struct fl_packet* packet,
                                const struct fl_packet* quoted, struct fl_retold* retold) {
  const struct fl_return* back =
      find_return(settings, &quoted->destination, quoted->destination_port, &quoted->source,
                  quoted->source_port, quoted->protocol);
  if (!back) return false;
  const bool endpoint_says = same_address(&packet->source, &quoted->destination);
  retold->outer_source = endpoint_says ? back->address : packet->source;
  retold->outer_destination = back->client;
  retold->source = back->client;
  retold->source_port = back->client_port;
  retold->destination = back->address;
  retold->destination_port = back->port;
  return true;
}

// The quoted packet was on its way to a client, in the name of a virtual address.
FL_INLINE bool retell_to_endpoint(const struct fl_packet* packet, const struct fl_packet* quoted,
                                  struct fl_retold* retold) {
  const struct fl_frontend* frontend =
      find_frontend(&quoted->source, quoted->source_port, quoted->protocol);
  if (!frontend) return false;
  const struct fl_flow_key key = {.client = quoted->destination,
                                  .frontend = frontend->id,
                                  .client_port = quoted->destination_port,
                                  .protocol = quoted->protocol};
  const struct fl_flow* flow = find_flow(&key);
  if (!flow || flow->flags & FL_FLOW_DSR) return false;
  // Whoever masquerades its clients also hides the routers behind: the endpoint's network may let no
  // foreign source in.
  const bool masqueraded = !same_address(&flow->source, &quoted->destination);
  retold->outer_source = masqueraded ? flow->source : packet->source;
  retold->outer_destination = flow->endpoint;
  retold->source = flow->endpoint;
  retold->source_port = flow->endpoint_port;
  retold->destination = flow->source;
  retold->destination_port = flow->source_port;
  return true;
}

// RFC 1624: the checksum `old` after its data has changed by `difference`.
FL_INLINE __u16 changed_checksum(__u16 old, __u64 difference) {
  return ~fold((__u16)~old + difference);
}

FL_INLINE __u64 address_difference(const struct fl_addr* old_pair, const struct fl_addr* new_pair) {
  return (__u32)bpf_csum_diff((__be32*)old_pair, 2 * sizeof(*old_pair), (__be32*)new_pair,
                              2 * sizeof(*new_pair), 0);
}

FL_INLINE bool store_addresses(struct __sk_buff* skb, __u8 family, __u32 network,
                               const struct fl_addr* pair, __u16 checksum) {
  if (family == 4) {
    const __be32 words[2] = {pair[0].word[3], pair[1].word[3]};
    return bpf_skb_store_bytes(skb, network + 12, words, sizeof(words), 0) == 0 &&
           bpf_skb_store_bytes(skb, network + 10, &checksum, sizeof(checksum), 0) == 0;
  }
  return bpf_skb_store_bytes(skb, network + 8, pair, 2 * sizeof(*pair), 0) == 0;
}

// Writes what `retold` says into the packet. The sum over the whole packet stays what it was, as every
// changed part carries a checksum of its own or belongs to one: a checksum that the device took holds on.
FL_INLINE bool write_retold(struct __sk_buff* skb, struct fl_packet* packet,
                            const struct fl_packet* quoted, const struct fl_retold* retold) {
  const __u64 outer = address_difference(&packet->source, &retold->outer_source);
  const __u64 inner = address_difference(&quoted->source, &retold->source);
  const __be16 ports[2] = {retold->source_port, retold->destination_port};
  const __u64 transport =
      inner + (__u16)~quoted->source_port + (__u16)~quoted->destination_port + ports[0] + ports[1];
  __u64 difference = transport;  // of all that the ICMP checksum covers

  __u16 header_checksum = 0;
  if (packet->family == 4) {
    header_checksum = changed_checksum(quoted->checksum, inner);
    difference += header_checksum + (__u64)(__u16)~quoted->checksum;
    packet->checksum = changed_checksum(packet->checksum, outer);
  } else {
    difference += outer;  // the pseudo header
  }

  // The quoted segment's own checksum, where that much of it is quoted. SCTP's is left: nobody can check
  // it on a part of the packet.
  const __u32 field = quoted->transport + (quoted->protocol == IPPROTO_TCP ? 16 : 6);
  __u16 checksum = 0;
  if (quoted->protocol != IPPROTO_SCTP && field + 2 <= packet->network + packet->length &&
      bpf_skb_load_bytes(skb, field, &checksum, sizeof(checksum)) == 0 &&
      (quoted->protocol == IPPROTO_TCP || checksum != 0)) {
    __u16 after = changed_checksum(checksum, transport);
    if (quoted->protocol == IPPROTO_UDP && after == 0) after = 0xffff;
    difference += after + (__u64)(__u16)~checksum;
    if (bpf_skb_store_bytes(skb, field, &after, sizeof(after), 0) != 0) return false;
  }

  const __u32 own = packet->transport + FL_ICMP_CHECKSUM;
  if (bpf_skb_load_bytes(skb, own, &checksum, sizeof(checksum)) != 0) return false;
  checksum = changed_checksum(checksum, difference);
  if (bpf_skb_store_bytes(skb, own, &checksum, sizeof(checksum), 0) != 0 ||
      bpf_skb_store_bytes(skb, quoted->transport, ports, sizeof(ports), 0) != 0 ||
      !store_addresses(skb, packet->family, quoted->network, &retold->source, header_checksum) ||
      !store_addresses(skb, packet->family, packet->network, &retold->outer_source,
                       packet->checksum)) {
    return false;
  }
  packet->source = retold->outer_source;
  packet->destination = retold->outer_destination;
  return true;
}

// False: not about anything of ours, and untouched. Otherwise the error is translated and `packet` says
// where it goes; or it is not, and packet->reason says why it must be dropped.
static __noinline bool translate_icmp_error(struct __sk_buff* skb, struct fl_packet* packet) {
  const struct fl_config* settings = configuration();
  struct fl_packet quoted;
  struct fl_retold retold;
  if (!settings || packet->first_fragment || !read_quoted(skb, packet, &quoted) ||
      (!retell_to_client(settings, packet, &quoted, &retold) &&
       !retell_to_endpoint(packet, &quoted, &retold))) {
    return false;
  }
  if (!write_retold(skb, packet, &quoted, &retold)) packet->reason = FL_DROP_rewrite_failed;
  return true;
}

// The verdict about an ICMP error, or FL_NOT_OURS.
FL_INLINE int icmp_error_skb(struct __sk_buff* skb, struct fl_packet* packet, bool egress) {
  const struct fl_addr before = packet->destination;
  if (!translate_icmp_error(skb, packet)) return FL_NOT_OURS;
  if (packet->reason != 0) {
    count(packet->reason);
    return TC_ACT_SHOT;
  }
  count(FL_COUNT_icmp_errors_translated);
  bpf_set_hash_invalid(skb);
  if (!egress || same_address(&before, &packet->destination)) return TC_ACT_OK;
  if (packet->network >= 14 && !swap_stations(skb)) return TC_ACT_SHOT;
  return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}
