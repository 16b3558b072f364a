// A packet's addresses, ports and what else the path must know, read once.
//
// One parser for tc and XDP: it reads between `data` and `data_end`. Offsets count from `data`, so
// they hold for bpf_skb_store_bytes() and for pointers alike.
#pragma once

#define FL_TCP_FIN 0x01
#define FL_TCP_SYN 0x02
#define FL_TCP_RST 0x04
#define FL_TCP_ACK 0x10

// Of linux/in6.h: macros there, so vmlinux.h does not have them.
#ifndef IPPROTO_ICMPV6
#define IPPROTO_HOPOPTS 0
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_ICMPV6 58
#define IPPROTO_DSTOPTS 60
#endif

#define FL_ETHERNET_HEADER 14
#define FL_IPV4_HEADER 20
#define FL_IPV6_HEADER 40
#define FL_EXTENSION_HEADERS 6  // more than this in one IPv6 packet are refused
#define FL_LONGEST_HEADERS 640  // from the frame's start to the transport header's end
#define FL_PACKET_OTHERHOST 3   // skb->pkt_type: seen in promiscuous mode only

enum fl_packet_kind {
  FL_PACKET_OTHER,       // not ours to look at
  FL_PACKET_FLOW,        // TCP, UDP or SCTP; ports are known unless `later_fragment`
  FL_PACKET_ICMP_ERROR,  // about another packet: see icmp.bpf.h
  FL_PACKET_BAD,         // cannot be; `reason` is the FL_DROP_ counter
};

struct fl_packet {
  struct fl_addr source;
  struct fl_addr destination;
  __be16 source_port;
  __be16 destination_port;
  __u16 network;          // offset of the IP header
  __u16 transport;        // offset of the transport header, behind options and extension headers
  __u16 length;           // IP total length, header included
  __u16 checksum;         // of the IPv4 header, as it stands there
  __be32 identification;  // of a fragment
  __u32 reason;
  __u32 device;  // the interface it is seen at
  __u8 family;   // 4 or 6
  __u8 protocol;
  __u8 kind;       // enum fl_packet_kind
  __u8 tcp_flags;  // of the first fragment only
  __u8 hop_limit;
  __u8 later_fragment;  // no transport header: ports come from `fl_fragments`
  __u8 first_fragment;
  __u8 dont_fragment;     // always, in IPv6
  __u8 transport_header;  // its length
  __u8 segments;  // several in one buffer (offload): lengths in headers may be 0, beyond 64 KiB
  __u8 zero[2];
};

// Which way.bpf.h compares and hashes as one.
_Static_assert(__builtin_offsetof(struct fl_packet, destination) == sizeof(struct fl_addr), "");

// Both, as they stand in the header.
FL_INLINE __u32 ports_of(const struct fl_packet* packet) {
  return packet->source_port | (__u32)packet->destination_port << 16;
}

FL_INLINE __u32 bad_packet(struct fl_packet* packet, __u32 reason) {
  packet->kind = FL_PACKET_BAD;
  packet->reason = reason;
  return 0;
}

// Reads the transport header at packet->transport; `payload` is what IP says is there.
FL_INLINE void parse_transport(void* data, void* data_end, __u32 payload,
                               struct fl_packet* packet) {
  const __u8 protocol = packet->protocol;
  const bool icmp = packet->family == 4 ? protocol == IPPROTO_ICMP : protocol == IPPROTO_ICMPV6;
  if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_SCTP && !icmp) {
    return;
  }
  if (packet->later_fragment) {
    if (!icmp) packet->kind = FL_PACKET_FLOW;
    return;
  }
  __u32 offset = packet->transport;
  // clang forgets the bound that the callers proved; the verifier needs it on this very register.
  barrier_var(offset);
  if (offset > FL_LONGEST_HEADERS) {
    bad_packet(packet, FL_DROP_bad_header);
    return;
  }
  void* header = data + offset;
  const __u32 least = protocol == IPPROTO_TCP ? 20 : protocol == IPPROTO_SCTP ? 12 : 8;
  if (payload < least) {
    bad_packet(packet, FL_DROP_bad_header);
    return;
  }
  packet->transport_header = least;

  if (protocol == IPPROTO_TCP) {
    const struct tcphdr* tcp = header;
    if ((void*)(tcp + 1) > data_end) {
      bad_packet(packet, FL_DROP_truncated);
      return;
    }
    const __u32 length = tcp->doff * 4;
    if (length < sizeof(*tcp) || length > payload) {
      bad_packet(packet, FL_DROP_bad_header);
      return;
    }
    packet->transport_header = length;
    packet->tcp_flags = ((const __u8*)tcp)[13];
    packet->source_port = tcp->source;
    packet->destination_port = tcp->dest;
  } else if (protocol == IPPROTO_UDP) {
    const struct udphdr* udp = header;
    if ((void*)(udp + 1) > data_end) {
      bad_packet(packet, FL_DROP_truncated);
      return;
    }
    const __u32 length = bpf_ntohs(udp->len);
    const bool beyond = length == 0 && packet->segments;
    if (!beyond && (length < sizeof(*udp) || (length > payload && !packet->first_fragment))) {
      {
        bad_packet(packet, FL_DROP_bad_header);
        return;
      }
    }
    packet->source_port = udp->source;
    packet->destination_port = udp->dest;
  } else if (protocol == IPPROTO_SCTP) {
    const __be16* ports = header;
    if (header + 12 > data_end) {
      bad_packet(packet, FL_DROP_truncated);
      return;
    }
    packet->source_port = ports[0];
    packet->destination_port = ports[1];
  } else {
    const __u8* type = header;
    if (header + 8 > data_end) {
      bad_packet(packet, FL_DROP_truncated);
      return;
    }
    const bool error =
        packet->family == 4 ? *type == 3 || *type == 11 || *type == 12 : *type >= 1 && *type <= 4;
    if (error) packet->kind = FL_PACKET_ICMP_ERROR;
    return;
  }
  packet->kind = FL_PACKET_FLOW;
}

// `available` counts from the IP header to the frame's end, also what is not between the pointers.
// Returns what is behind the IP header, or 0 when there is nothing to parse there.
FL_INLINE __u32 parse_ipv4(void* data, void* data_end, __u32 network, __u32 available,
                           struct fl_packet* packet) {
  const struct iphdr* ip = data + network;
  packet->family = 4;
  if ((void*)(ip + 1) > data_end) return bad_packet(packet, FL_DROP_truncated);
  packet->source = from_v4(ip->saddr);
  packet->destination = from_v4(ip->daddr);
  packet->protocol = ip->protocol;
  packet->hop_limit = ip->ttl;
  packet->checksum = ip->check;
  packet->identification = ip->id;
  const __u16 fragment = bpf_ntohs(ip->frag_off);
  packet->dont_fragment = (fragment & 0x4000) != 0;
  packet->later_fragment = (fragment & 0x1fff) != 0;
  packet->first_fragment = (fragment & 0x3fff) == 0x2000;

  const __u32 header = ip->ihl * 4;
  __u32 length = bpf_ntohs(ip->tot_len);
  if (length == 0 && packet->segments) length = available;
  packet->length = length < 0xffff ? length : 0xffff;
  packet->transport = network + header;
  if (ip->version != 4 || header < sizeof(*ip) || length < header) {
    return bad_packet(packet, FL_DROP_bad_header);
  }
  if (length > available) return bad_packet(packet, FL_DROP_truncated);
  return length - header;
}

FL_INLINE __u32 parse_ipv6(void* data, void* data_end, __u32 network, __u32 available,
                           struct fl_packet* packet) {
  const struct ipv6hdr* ip = data + network;
  packet->family = 6;
  if ((void*)(ip + 1) > data_end) return bad_packet(packet, FL_DROP_truncated);
  __builtin_memcpy(&packet->source, &ip->saddr, sizeof(packet->source));
  __builtin_memcpy(&packet->destination, &ip->daddr, sizeof(packet->destination));
  packet->protocol = ip->nexthdr;
  packet->hop_limit = ip->hop_limit;
  packet->dont_fragment = 1;
  packet->transport = network + sizeof(*ip);
  __u32 length = bpf_ntohs(ip->payload_len);
  length = length == 0 && packet->segments ? available : length + sizeof(*ip);
  packet->length = length < 0xffff ? length : 0xffff;
  if (ip->version != 6) return bad_packet(packet, FL_DROP_bad_header);
  if (length > available) return bad_packet(packet, FL_DROP_truncated);
  return length - sizeof(*ip);
}

FL_INLINE void parse_network(void* data, void* data_end, __u32 frame, __u32 network,
                             __be16 ethertype, struct fl_packet* packet) {
  packet->network = network;
  if (frame < network) return;
  __u32 payload = 0;
  if (ethertype == bpf_htons(ETH_P_IP)) {
    payload = parse_ipv4(data, data_end, network, frame - network, packet);
  } else if (ethertype == bpf_htons(ETH_P_IPV6)) {
    payload = parse_ipv6(data, data_end, network, frame - network, packet);
  }
  if (payload > 0) parse_transport(data, data_end, payload, packet);
}

FL_INLINE bool is_extension(__u8 header) {
  return header == IPPROTO_HOPOPTS || header == IPPROTO_ROUTING || header == IPPROTO_DSTOPTS ||
         header == IPPROTO_FRAGMENT;
}

// What lies in front of the IP header: 14, or 0 on a device that has no Ethernet header. The socket
// buffer knows which protocol it carries; an Ethernet header says so at its end.
FL_INLINE __u32 link_header(void* data, void* data_end, __be16 protocol) {
  const struct ethhdr* ethernet = data;
  if ((void*)(ethernet + 1) > data_end) return FL_ETHERNET_HEADER;
  if (ethernet->h_proto == protocol) return FL_ETHERNET_HEADER;
  const __u8 version = *(const __u8*)data >> 4;
  return version == (protocol == bpf_htons(ETH_P_IP) ? 4 : 6) ? 0 : FL_ETHERNET_HEADER;
}

FL_INLINE void parse_linear(struct __sk_buff* skb, struct fl_packet* packet) {
  void* data = (void*)(long)skb->data;
  void* data_end = (void*)(long)skb->data_end;
  const __u32 length = skb->len;
  const __be16 protocol = *(volatile __u32*)&skb->protocol;
  parse_network(data, data_end, length, link_header(data, data_end, protocol), protocol, packet);
}

// Steps over the extension headers of an IPv6 packet and reads what is behind them. Rare, and so
// neither fast nor verified more than once: bpf_skb_load_bytes() and a function of its own.
__noinline int parse_extensions(struct __sk_buff* skb, struct fl_packet* packet) {
  if (!packet) return 0;
  __u32 offset = packet->transport;
  const __u32 end = packet->network + packet->length;
  for (int i = 0; i < FL_EXTENSION_HEADERS && is_extension(packet->protocol); ++i) {
    __u8 header[8];
    if (offset > FL_LONGEST_HEADERS) break;
    if (bpf_skb_load_bytes(skb, offset, header, sizeof(header)) != 0) {
      return bad_packet(packet, FL_DROP_truncated);
    }
    if (packet->protocol == IPPROTO_FRAGMENT) {
      const __u32 position = header[2] << 8 | header[3];
      packet->later_fragment = (position & 0xfff8) != 0;
      packet->first_fragment = (position & 0xfff9) == 1;
      __builtin_memcpy(&packet->identification, header + 4, 4);
      offset += 8;
    } else {
      offset += (header[1] + 1) * 8;
    }
    packet->protocol = header[0];
    packet->transport = offset;
    if (packet->later_fragment) break;
  }
  // More of them than anybody sends, or a length that leads out of the packet.
  if (offset > end || (is_extension(packet->protocol) && !packet->later_fragment)) {
    return bad_packet(packet, FL_DROP_bad_header);
  }
  parse_transport((void*)(long)skb->data, (void*)(long)skb->data_end, end - offset, packet);
  return 0;
}

FL_INLINE void parse_all(struct __sk_buff* skb, struct fl_packet* packet) {
  *packet = (struct fl_packet){.device = skb->ifindex, .segments = skb->gso_size != 0};
  parse_linear(skb, packet);
  if (packet->family == 6 && packet->kind == FL_PACKET_OTHER && is_extension(packet->protocol)) {
    parse_extensions(skb, packet);
  }
}

// Headers that lie in pages of the buffer are drawn in first.
__noinline int parse_paged(struct __sk_buff* skb, struct fl_packet* packet) {
  if (!packet) return 0;
  const __u32 length = skb->len < FL_LONGEST_HEADERS ? skb->len : FL_LONGEST_HEADERS;
  if (bpf_skb_pull_data(skb, length) == 0) parse_all(skb, packet);
  return 0;
}

FL_INLINE __u32 network_header(const struct fl_packet* packet) {
  return packet->family == 4 ? FL_IPV4_HEADER : FL_IPV6_HEADER;
}

// A packet of the same family right behind a bare IP header.
FL_INLINE bool is_tunnel(const struct fl_packet* packet) {
  return packet->kind == FL_PACKET_OTHER &&
         packet->protocol == (packet->family == 4 ? IPPROTO_IPIP : IPPROTO_IPV6) &&
         packet->transport == packet->network + network_header(packet) && !packet->first_fragment &&
         !packet->later_fragment;
}

// Packets of a VLAN are the VLAN device's to look at.
FL_INLINE void parse_skb(struct __sk_buff* skb, struct fl_packet* packet) {
  if (skb->vlan_present) {
    *packet = (struct fl_packet){};
    return;
  }
  parse_all(skb, packet);
  if (packet->kind == FL_PACKET_BAD && packet->reason == FL_DROP_truncated &&
      skb->data_end - skb->data < skb->len) {
    parse_paged(skb, packet);
  }
}

// IPv6 extension headers are left to tc.
FL_INLINE void parse_xdp(struct xdp_md* xdp, struct fl_packet* packet) {
  *packet = (struct fl_packet){.device = xdp->ingress_ifindex};
  void* data = (void*)(long)xdp->data;
  void* data_end = (void*)(long)xdp->data_end;
  const struct ethhdr* ethernet = data;
  if ((void*)(ethernet + 1) > data_end) return;
  parse_network(data, data_end, data_end - data, FL_ETHERNET_HEADER, ethernet->h_proto, packet);
}
