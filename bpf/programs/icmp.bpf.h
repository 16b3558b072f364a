// ICMP errors about packets that were rewritten here: "fragmentation needed" above all, without
// which a connection hangs. The error quotes the packet as it was where it failed; whoever sent
// that packet knows it by other addresses and ports, so the quoted ones are put back, and the error
// is sent to that sender.
//
//   quoted                       who reports           the error goes to
//   source -> endpoint           the endpoint's side   the client, about client -> virtual address
//   virtual address -> client    the client's side     the endpoint, about endpoint -> source
//
// `source` is what the endpoint sees as its client: the client itself or a masquerading address. A
// router that reports keeps its name; an end of the flow gets the one by which the receiver knows
// it.
//
// Untouched (FL_NOT_OURS): errors about anything else, about later fragments, about packets quoted
// without the first 8 bytes behind their IP header or with IPv6 extension headers, and about DSR
// flows.
#pragma once

#define FL_NOT_OURS TC_ACT_UNSPEC
#define FL_ICMP_CHECKSUM 2
#define FL_QUOTED_TRANSPORT 8

// The quoted packet: addresses, ports, offsets, lengths, family, protocol and header checksum; no
// more is filled in.
FL_INLINE bool read_quoted(struct __sk_buff* skb, const struct fl_packet* packet,
                           struct fl_packet* quoted) {
  __builtin_memset(quoted, 0, sizeof(*quoted));
  const __u32 start = packet->transport + FL_ICMP_HEADER;
  __u32 header = sizeof(struct ipv6hdr);
  quoted->network = start;
  quoted->family = packet->family;
  if (packet->family == 4) {
    struct iphdr ip;
    if (bpf_skb_load_bytes(skb, start, &ip, sizeof(ip)) != 0) return false;
    header = ip.ihl * 4;
    if (ip.version != 4 || header < sizeof(ip) || (ip.frag_off & bpf_htons(0x1fff))) return false;
    quoted->source = from_v4(ip.saddr);
    quoted->destination = from_v4(ip.daddr);
    quoted->protocol = ip.protocol;
    quoted->checksum = ip.check;
    quoted->length = bpf_ntohs(ip.tot_len);
  } else {
    struct ipv6hdr ip;
    if (bpf_skb_load_bytes(skb, start, &ip, sizeof(ip)) != 0) return false;
    if (ip.version != 6) return false;
    __builtin_memcpy(&quoted->source, &ip.saddr, sizeof(quoted->source));
    __builtin_memcpy(&quoted->destination, &ip.daddr, sizeof(quoted->destination));
    quoted->protocol = ip.nexthdr;
    quoted->length = bpf_ntohs(ip.payload_len) + sizeof(ip);
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
                                const struct fl_packet* quoted, struct fl_path* outer,
                                struct fl_path* inner) {
  const struct fl_return* back =
      find_return(settings, &quoted->destination, quoted->destination_port, &quoted->source,
                  quoted->source_port, quoted->protocol);
  if (!back) return false;
  const bool endpoint_says = same_address(&packet->source, &quoted->destination);
  outer->source = endpoint_says ? back->address : packet->source;
  outer->destination = back->client;
  inner->source = back->client;
  inner->source_port = back->client_port;
  inner->destination = back->address;
  inner->destination_port = back->port;
  return true;
}

// The quoted packet was on its way to a client, in the name of a virtual address.
FL_INLINE bool retell_to_endpoint(const struct fl_packet* packet, const struct fl_packet* quoted,
                                  struct fl_path* outer, struct fl_path* inner) {
  const struct fl_frontend* frontend =
      find_frontend(&quoted->source, quoted->source_port, quoted->protocol);
  if (!frontend) return false;
  const struct fl_flow_key key = {.client = quoted->destination,
                                  .frontend = flow_frontend(frontend, &quoted->source),
                                  .client_port = quoted->destination_port,
                                  .protocol = quoted->protocol};
  const struct fl_flow* flow = find_flow(&key);
  if (!flow || flow->flags & FL_FLOW_DSR) return false;
  // Whoever masquerades its clients also hides the routers behind: the endpoint's network may let
  // no foreign source in.
  const bool masqueraded = !same_address(&flow->source, &quoted->destination);
  outer->source = masqueraded ? flow->source : packet->source;
  outer->destination = flow->endpoint;
  inner->source = flow->endpoint;
  inner->source_port = flow->endpoint_port;
  inner->destination = flow->source;
  inner->destination_port = flow->source_port;
  return true;
}

// What the error says, and to whom, once it is translated; an error has no ports of its own. By
// itself, as the stack is short.
static __noinline bool retell(const struct fl_packet* packet, const struct fl_packet* quoted,
                              struct fl_path* outer, struct fl_path* inner) {
  const struct fl_config* settings = configuration();
  return settings && (retell_to_client(settings, packet, quoted, outer, inner) ||
                      retell_to_endpoint(packet, quoted, outer, inner));
}

// RFC 1624: the checksum `old` after its data has changed by `change`.
FL_INLINE __u16 changed_checksum(__u16 old, __u64 change) {
  return ~fold((__u16)~old + change);
}

FL_INLINE bool store_quoted_network(struct __sk_buff* skb, const struct fl_packet* quoted,
                                    const struct fl_path* inner, __u16 checksum) {
  if (quoted->family == 4) {
    const __be32 words[2] = {inner->source.word[3], inner->destination.word[3]};
    return bpf_skb_store_bytes(skb, quoted->network + 10, &checksum, sizeof(checksum), 0) == 0 &&
           bpf_skb_store_bytes(skb, quoted->network + 12, words, sizeof(words), 0) == 0;
  }
  return bpf_skb_store_bytes(skb, quoted->network + 8, &inner->source, 2 * sizeof(struct fl_addr),
                             0) == 0;
}

// The quoted segment's own checksum, where that much of it is quoted. `difference`: of its
// addresses and ports; `change` grows by what it changes itself.
FL_INLINE bool rewrite_quoted_checksum(struct __sk_buff* skb, const struct fl_packet* packet,
                                       const struct fl_packet* quoted, const __be16* ports,
                                       __u64 difference, __u64* change) {
  const bool sctp = quoted->protocol == IPPROTO_SCTP;
  const __u32 field = quoted->transport + (quoted->protocol == IPPROTO_TCP ? 16 : sctp ? 8 : 6);
  if (field + (sctp ? 4 : 2) > packet->network + packet->length) return true;
  if (sctp) {
    __u32 before;
    if (bpf_skb_load_bytes(skb, field, &before, sizeof(before)) != 0) return false;
    const __u32 after =
        sctp_crc_change(before, quoted->source_port | (__u32)quoted->destination_port << 16,
                        ports[0] | (__u32)ports[1] << 16,
                        (__u16)(quoted->length - (quoted->transport - quoted->network)));
    *change += (__u64)after + (__u32)~before;
    return bpf_skb_store_bytes(skb, field, &after, sizeof(after), 0) == 0;
  }
  __u16 before;
  if (bpf_skb_load_bytes(skb, field, &before, sizeof(before)) != 0) return false;
  const bool udp = quoted->protocol == IPPROTO_UDP;
  if (udp && before == 0) return true;  // sent without one
  __u16 after = changed_checksum(before, difference);
  if (udp && after == 0) after = 0xffff;
  *change += after + (__u16)~before;
  return bpf_skb_store_bytes(skb, field, &after, sizeof(after), 0) == 0;
}

// Gives the quoted packet its other addresses and ports; the outer ones are for send_on(). The sum
// over the ICMP message stays what it was, since its checksum makes up for the change: a sum that
// the device took over the packet holds on.
FL_INLINE bool rewrite_quoted(struct __sk_buff* skb, const struct fl_packet* packet,
                              const struct fl_packet* quoted, const struct fl_path* inner) {
  const __u32 addresses = path_difference(quoted, inner);
  const __be16 ports[2] = {inner->source_port, inner->destination_port};
  const __u64 transport = (__u64)addresses + (__u16)~quoted->source_port +
                          (__u16)~quoted->destination_port + ports[0] + ports[1];
  __u64 change = transport;  // of the message

  __u16 header_checksum = 0;
  if (quoted->family == 4) {
    header_checksum = changed_checksum(quoted->checksum, addresses);
    change += header_checksum + (__u16)~quoted->checksum;
  }

  if (!rewrite_quoted_checksum(skb, packet, quoted, ports, transport, &change)) return false;

  const __u32 own = packet->transport + FL_ICMP_CHECKSUM;
  __u16 checksum;
  if (bpf_skb_load_bytes(skb, own, &checksum, sizeof(checksum)) != 0) return false;
  checksum = changed_checksum(checksum, change);
  return bpf_skb_store_bytes(skb, own, &checksum, sizeof(checksum), 0) == 0 &&
         bpf_skb_store_bytes(skb, quoted->transport, ports, sizeof(ports), 0) == 0 &&
         store_quoted_network(skb, quoted, inner, header_checksum);
}

enum fl_telling { FL_TELL_NOTHING, FL_TELL_ON, FL_TELL_BROKEN };

// By itself, so that its structures are off the stack when the packet is sent on.
static __noinline int translate_icmp_error(struct __sk_buff* skb, const struct fl_packet* packet,
                                           struct fl_path* outer) {
  struct fl_packet quoted;
  struct fl_path inner = {};
  if (packet->first_fragment || !read_quoted(skb, packet, &quoted) ||
      !retell(packet, &quoted, outer, &inner)) {
    return FL_TELL_NOTHING;
  }
  return rewrite_quoted(skb, packet, &quoted, &inner) ? FL_TELL_ON : FL_TELL_BROKEN;
}

static __noinline int send_on(struct __sk_buff* skb, const struct fl_packet* packet,
                              const struct fl_path* path, __u32 how);

// The verdict about an ICMP error, or FL_NOT_OURS. Not static: verified once, for every packet.
__noinline int icmp_error_skb(struct __sk_buff* skb, const struct fl_packet* packet, int egress) {
  if (!packet) return FL_NOT_OURS;
  struct fl_path outer = {};
  const int telling = translate_icmp_error(skb, packet, &outer);
  if (telling == FL_TELL_NOTHING) return FL_NOT_OURS;
  if (telling == FL_TELL_BROKEN) {
    count(FL_DROP_rewrite_failed);
    return TC_ACT_SHOT;
  }
  count(FL_COUNT_icmp_errors_translated);
  return send_on(skb, packet, &outer, egress);
}
