// Gives a packet the addresses and ports of its path.
//
// Checksums change by difference: an IPv4 address in its wide form differs from another only in its
// last word, so one sum over both addresses serves both families.
#pragma once

FL_INLINE __u64 difference(__u32 from, __u32 to) {
  return (__u64)to + (__u32)~from;
}

FL_INLINE __u32 fold_to_32(__u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  return sum;
}

FL_INLINE __u16 fold_to_16(__u32 sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

FL_INLINE __u32 path_difference(const struct fl_packet* packet, const struct fl_path* path) {
  __u64 sum = difference(packet->source.word[3], path->source.word[3]) +
              difference(packet->destination.word[3], path->destination.word[3]);
  if (packet->family == 6) {
    sum += difference(packet->source.word[0], path->source.word[0]) +
           difference(packet->source.word[1], path->source.word[1]) +
           difference(packet->source.word[2], path->source.word[2]) +
           difference(packet->destination.word[0], path->destination.word[0]) +
           difference(packet->destination.word[1], path->destination.word[1]) +
           difference(packet->destination.word[2], path->destination.word[2]);
  }
  return fold_to_32(sum);
}

// The checksum of an IPv4 header after its addresses changed by `addresses` and its TTL to `ttl`.
FL_INLINE __u16 ipv4_checksum(const struct fl_packet* packet, __u32 addresses, __u8 ttl) {
  const __u32 sum = fold_to_16(addresses) + (__u16)~packet->checksum +
                    bpf_htons((__u16)(ttl << 8)) +
                    (__u16)~bpf_htons((__u16)(packet->hop_limit << 8));
  return ~fold_to_16(sum);
}

// The part of an IPv4 header from its TTL on, and what follows it where it has no options.
struct fl_ipv4_tail {
  __u8 ttl;
  __u8 protocol;
  __u16 checksum;
  __be32 source;
  __be32 destination;
  __be32 ports;
};
#define FL_IPV4_TAIL_SIZE 12  // without the ports
#define FL_IPV4_TAIL 8
#define FL_IPV6_TAIL 7  // the hop limit, then the addresses

FL_INLINE __u32 ports_after(const struct fl_path* path) {
  return path->source_port | (__u32)path->destination_port << 16;
}

// One call to the kernel stores both, as nearly every packet has it. SCTP looks after its own.
FL_INLINE bool ports_follow(const struct fl_packet* packet) {
  return packet->family == 4 && packet->transport == packet->network + FL_IPV4_HEADER &&
         packet->kind == FL_PACKET_FLOW && !packet->later_fragment &&
         packet->protocol != IPPROTO_SCTP;
}

FL_INLINE long rewrite_network(struct __sk_buff* skb, const struct fl_packet* packet,
                               const struct fl_path* path, __u32 addresses, __u8 hop_limit) {
  if (packet->family == 4) {
    // The header's sum stays what it was, so a sum over the packet that the device made holds.
    const struct fl_ipv4_tail tail = {.ttl = hop_limit,
                                      .protocol = packet->protocol,
                                      .checksum = ipv4_checksum(packet, addresses, hop_limit),
                                      .source = path->source.word[3],
                                      .destination = path->destination.word[3],
                                      .ports = ports_after(path)};
    const __u32 offset = packet->network + FL_IPV4_TAIL;
    return ports_follow(packet) ? bpf_skb_store_bytes(skb, offset, &tail, sizeof(tail), 0)
                                : bpf_skb_store_bytes(skb, offset, &tail, FL_IPV4_TAIL_SIZE, 0);
  }
  // RECOMPUTE_CSUM makes up for what bpf_l4_csum_replace(PSEUDO_HDR) does to the device's sum on
  // the assumption that a header checksum, which IPv6 has not, changed by the same difference.
  __u8 tail[FL_IPV6_TAIL + 1 + 32];
  tail[FL_IPV6_TAIL] = hop_limit;
  __builtin_memcpy(tail + FL_IPV6_TAIL + 1, &path->source, 32);
  return bpf_skb_store_bytes(skb, packet->network + FL_IPV6_TAIL, tail + FL_IPV6_TAIL, 33,
                             BPF_F_RECOMPUTE_CSUM);
}

FL_INLINE bool ports_change(const struct fl_packet* packet, const struct fl_path* path) {
  return packet->source_port != path->source_port ||
         packet->destination_port != path->destination_port;
}

// SCTP's checksum knows nothing of addresses. Not for fragments: it covers the whole packet. Zero
// is that of a packet whose device is to finish it (FL_SCTP_UNFINISHED): the kernel sums up the
// packet with what stands in the field, which therefore stays.
static __noinline long rewrite_sctp(struct __sk_buff* skb, const struct fl_packet* packet,
                                    __u32 before, __u32 after) {
  const __u32 field = packet->transport + 8;
  const __u32 bytes = packet->length - (packet->transport - packet->network);
  __u32 checksum;
  if (bpf_skb_load_bytes(skb, field, &checksum, sizeof(checksum)) != 0) return -1;
  if (checksum != FL_SCTP_UNFINISHED) {
    checksum = sctp_crc_change(checksum, before, after, bytes & 0xffff);
  }
  return bpf_skb_store_bytes(skb, packet->transport, &after, sizeof(after), 0) == 0
             ? bpf_skb_store_bytes(skb, field, &checksum, sizeof(checksum), 0)
             : -1;
}

FL_INLINE long rewrite_transport(struct __sk_buff* skb, const struct fl_packet* packet,
                                 const struct fl_path* path, __u32 addresses) {
  if (packet->later_fragment) return 0;
  if (packet->kind == FL_PACKET_ICMP_ERROR) {
    if (packet->family == 4) return 0;
    return bpf_l4_csum_replace(skb, packet->transport + 2, 0, addresses, BPF_F_PSEUDO_HDR);
  }
  const __u32 before = ports_of(packet);
  const __u32 after = ports_after(path);
  if (packet->protocol == IPPROTO_SCTP) {
    return before == after ? 0 : rewrite_sctp(skb, packet, before, after);
  }
  const bool udp = packet->protocol == IPPROTO_UDP;
  const __u32 checksum = packet->transport + (udp ? 6 : 16);
  const __u64 none_stays_none = udp ? BPF_F_MARK_MANGLED_0 : 0;
  long error = bpf_l4_csum_replace(skb, checksum, 0, addresses, BPF_F_PSEUDO_HDR | none_stays_none);
  if (error || before == after) return error;
  // Apart from the addresses: of a checksum that the device is to finish, only those are in it yet.
  error = bpf_l4_csum_replace(skb, checksum, before, after, 4 | none_stays_none);
  if (error || ports_follow(packet)) return error;
  return bpf_skb_store_bytes(skb, packet->transport, &after, sizeof(after), 0);
}

static __noinline bool rewrite_skb(struct __sk_buff* skb, const struct fl_packet* packet,
                                   const struct fl_path* path, __u8 hop_limit) {
  const __u32 addresses = path_difference(packet, path);
  if (rewrite_network(skb, packet, path, addresses, hop_limit) == 0 &&
      rewrite_transport(skb, packet, path, addresses) == 0) {
    return true;
  }
  count(FL_DROP_rewrite_failed);
  return false;
}
