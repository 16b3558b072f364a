// Answers that the datapath gives itself, from tc: a TCP reset or "port unreachable" where nobody
// is there to answer, "fragmentation needed" or "packet too big" where the way out is too narrow.
//
// An answer is made out of the packet that it answers, before anything of that one was rewritten:
// the quoted part is read, the packet becomes a blank of the right size, and every byte behind the
// link-layer header is written anew. A packet that arrived goes back out of the device it came
// from; what the node itself sends gets its answer from the device it was leaving by.
#pragma once

// How much of the packet an ICMP error quotes, IP header included. More than the 8 bytes behind the
// header that every receiver needs: SCTP wants its INIT chunk seen, and IPv4 may carry 40 bytes of
// options.
#define FL_QUOTED 128
#define FL_ICMP_HEADER 8
#define FL_ANSWER_HOP_LIMIT 64
#define FL_PACKET_BROADCAST 1  // of skb->pkt_type: how the link layer addressed the frame
#define FL_PACKET_MULTICAST 2
#define FL_TOS_CONTROL 0xc0  // precedence "internetwork control", as RFC 1812 4.3.2.5 has it

struct fl_answer {
  __be32 ip[10];
  __be32 body[(FL_ICMP_HEADER + FL_QUOTED) / 4];
  __u32 size;  // of the body
  __u8 protocol;
};

FL_INLINE __u16 fold(__u64 sum) {
  return fold_to_16(fold_to_32(sum));
}

FL_INLINE bool is_group(const struct fl_addr* address) {
  if (!is_v4(address)) return (address->word[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
  // 224/4 and everything above it, the limited broadcast address included.
  return bpf_ntohl(address->word[3]) >= 0xe0000000;
}

FL_INLINE bool is_nobody(const struct fl_addr* address) {
  return is_v4(address) ? address->word[3] == 0 : is_zero(address);
}

// RFC 1122 3.2.2 and RFC 4443 2.4: no answer to groups, to later fragments, or to who is no single
// host.
FL_INLINE bool may_answer(const struct __sk_buff* skb, const struct fl_packet* packet) {
  return packet->kind == FL_PACKET_FLOW && !packet->later_fragment &&
         skb->pkt_type != FL_PACKET_BROADCAST && skb->pkt_type != FL_PACKET_MULTICAST &&
         !is_group(&packet->destination) && !is_group(&packet->source) &&
         !is_nobody(&packet->source);
}

// The sum that a transport checksum starts from. An IPv4 address in its wide form adds 0xffff,
// which is zero in this arithmetic, so both families are one. The order of the two addresses does
// not matter.
FL_INLINE __u32 pseudo_header(const struct fl_packet* packet, __u32 protocol, __u32 size) {
  return bpf_csum_diff(0, 0, (__be32*)&packet->source, 2 * sizeof(struct fl_addr),
                       bpf_htonl(protocol + size));
}

// Makes the packet one of `size` bytes behind its link-layer header, all to be written. No offload
// survives, whatever the packet came with: shortening and lengthening end GSO and a checksum that
// the device computed, and taking out the headers up to where a checksum was still to be filled in
// ends that.
FL_INLINE bool make_blank(struct __sk_buff* skb, const struct fl_packet* packet, __u32 size) {
  const __u32 cut = (packet->transport & 0x7ff) + 2;
  const __u32 length = packet->network + size + cut;
  return bpf_skb_change_tail(skb, length - 2, 0) == 0 && bpf_skb_change_tail(skb, length, 0) == 0 &&
         bpf_skb_adjust_room(skb, -(__s32)cut, BPF_ADJ_ROOM_MAC, 0) == 0;
}

FL_INLINE bool swap_stations(struct __sk_buff* skb) {
  __u8 before[12], after[12];
  if (bpf_skb_load_bytes(skb, 0, before, sizeof(before)) != 0) return false;
  __builtin_memcpy(after, before + 6, 6);
  __builtin_memcpy(after + 6, before, 6);
  return bpf_skb_store_bytes(skb, 0, after, sizeof(after), 0) == 0;
}

FL_INLINE bool store_body(struct __sk_buff* skb, __u32 offset, const struct fl_answer* answer) {
  // The bound is for the verifier, on the very register that it looks at; 64 bits for Linux 6.1.
  __u64 size = answer->size;
  asm volatile("" : "+r"(size));
  if (size < 20 || size > sizeof(answer->body)) return false;
  return bpf_skb_store_bytes(skb, offset, answer->body, size, 0) == 0;
}

// Sends `answer` to who sent the packet, in the name of the address that was asked.
static __noinline int send_answer(struct __sk_buff* skb, const struct fl_packet* packet,
                                  struct fl_answer* answer) {
  const __u32 header = packet->family == 4 ? 20 : 40;
  const __u32 tos = answer->protocol == IPPROTO_TCP ? 0 : FL_TOS_CONTROL;
  const __u32 size = answer->size;
  if (packet->family == 4) {
    answer->ip[0] = bpf_htonl(0x45000000 | tos << 16 | (header + size));
    answer->ip[1] = bpf_htonl(0x4000);  // don't fragment
    answer->ip[2] = bpf_htonl(FL_ANSWER_HOP_LIMIT << 24 | answer->protocol << 16);
    answer->ip[3] = packet->destination.word[3];
    answer->ip[4] = packet->source.word[3];
    const __u16 sum = ~fold(bpf_csum_diff(0, 0, answer->ip, 20, 0));
    ((__u16*)answer->ip)[5] = sum;
  } else {
    answer->ip[0] = bpf_htonl(0x60000000 | tos << 20);
    answer->ip[1] = bpf_htonl(size << 16 | answer->protocol << 8 | FL_ANSWER_HOP_LIMIT);
    __builtin_memcpy(answer->ip + 2, &packet->destination, sizeof(struct fl_addr));
    __builtin_memcpy(answer->ip + 6, &packet->source, sizeof(struct fl_addr));
  }
  const bool own = skb->ingress_ifindex == 0;
  if (!make_blank(skb, packet, header + size) || (packet->network >= 14 && !swap_stations(skb)) ||
      bpf_skb_store_bytes(skb, packet->network, answer->ip, header, 0) != 0 ||
      !store_body(skb, packet->network + header, answer)) {
    count(FL_DROP_rewrite_failed);
    return TC_ACT_SHOT;
  }
  bpf_set_hash_invalid(skb);
  return bpf_redirect(skb->ifindex, own ? BPF_F_INGRESS : 0);
}

// RFC 9293 3.10.7.1: what a closed port says.
FL_INLINE bool write_reset(struct __sk_buff* skb, const struct fl_packet* packet,
                           struct fl_answer* answer) {
  __be32 tcp[5];
  if (bpf_skb_load_bytes(skb, packet->transport, tcp, sizeof(tcp)) != 0) return false;
  const __u32 word = bpf_ntohl(tcp[3]);
  const __u32 flags = word >> 16;
  const __u32 headers = packet->transport - packet->network + (word >> 28) * 4;
  __u32 length = packet->length > headers ? packet->length - headers : 0;
  if (flags & FL_TCP_SYN) length++;
  if (flags & FL_TCP_FIN) length++;
  const bool acknowledges = flags & FL_TCP_ACK;
  __be32* body = answer->body;
  body[0] = tcp[0] << 16 | tcp[0] >> 16;
  body[1] = acknowledges ? tcp[2] : 0;
  body[2] = acknowledges ? 0 : bpf_htonl(bpf_ntohl(tcp[1]) + length);
  body[3] = bpf_htonl(5U << 28 | (FL_TCP_RST | (acknowledges ? 0 : FL_TCP_ACK)) << 16);
  body[4] = 0;
  answer->size = 20;
  answer->protocol = IPPROTO_TCP;
  const __u16 sum = ~fold(bpf_csum_diff(0, 0, body, 20, pseudo_header(packet, IPPROTO_TCP, 20)));
  ((__u16*)body)[8] = sum;
  return true;
}

FL_INLINE bool write_icmp(struct __sk_buff* skb, const struct fl_packet* packet,
                          struct fl_answer* answer, __u8 type, __u8 code, __u32 extra) {
  __u64 quoted = packet->length < FL_QUOTED ? packet->length : FL_QUOTED;
  asm volatile("" : "+r"(quoted));
  if (quoted < 28 || quoted > FL_QUOTED) return false;
  __be32* body = answer->body;
  if (bpf_skb_load_bytes(skb, packet->network, body + 2, quoted) != 0) return false;
  body[0] = bpf_htonl((__u32)type << 24 | (__u32)code << 16);
  body[1] = bpf_htonl(extra);
  answer->size = FL_ICMP_HEADER + quoted;
  answer->protocol = packet->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
  // Over the whole buffer: what lies behind the quoted part is zero.
  const __u32 seed = packet->family == 4 ? 0 : pseudo_header(packet, IPPROTO_ICMPV6, answer->size);
  const __u16 sum = ~fold(bpf_csum_diff(0, 0, body, sizeof(answer->body), seed));
  ((__u16*)body)[1] = sum;
  return true;
}

// Says to the sender of a packet, not yet changed, that nobody is there. The verdict is the
// program's; the packet is gone either way.
static __noinline int refuse_skb(struct __sk_buff* skb, const struct fl_packet* packet) {
  const bool tcp = packet->protocol == IPPROTO_TCP;
  const bool stray = tcp && packet->tcp_flags & FL_TCP_RST;
  if (stray || !may_answer(skb, packet)) {
    count(stray ? FL_DROP_stray_reset : FL_DROP_no_endpoints);
    return TC_ACT_SHOT;
  }
  struct fl_answer answer = {};
  bool written;
  if (tcp) {
    written = write_reset(skb, packet, &answer);
  } else {
    const bool v4 = packet->family == 4;
    written = write_icmp(skb, packet, &answer, v4 ? 3 : 1, v4 ? 3 : 4, 0);
  }
  if (!written) {
    count(FL_DROP_truncated);
    return TC_ACT_SHOT;
  }
  count(FL_COUNT_rejected);
  return send_answer(skb, packet, &answer);
}

// Says to the sender of a packet, not yet changed, that `mtu` bytes are all that fit through the
// way on. Only for packets that must not be fragmented (`dont_fragment`).
static __noinline int too_big_skb(struct __sk_buff* skb, const struct fl_packet* packet,
                                  __u32 mtu) {
  const bool v4 = packet->family == 4;
  struct fl_answer answer = {};
  if (!may_answer(skb, packet)) {
    count(FL_DROP_too_big);
    return TC_ACT_SHOT;
  }
  if (!write_icmp(skb, packet, &answer, v4 ? 3 : 2, v4 ? 4 : 0, v4 ? mtu & 0xffff : mtu)) {
    count(FL_DROP_truncated);
    return TC_ACT_SHOT;
  }
  count(FL_COUNT_too_big_sent);
  return send_answer(skb, packet, &answer);
}
