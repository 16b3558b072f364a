// A packet's addresses, ports and what else the path must know, read once.
#pragma once

#define FL_TCP_FIN 0x01
#define FL_TCP_SYN 0x02
#define FL_TCP_RST 0x04
#define FL_TCP_ACK 0x10

enum fl_packet_kind {
  FL_PACKET_OTHER,       // not ours to look at
  FL_PACKET_FLOW,        // TCP, UDP or SCTP with its ports known
  FL_PACKET_ICMP_ERROR,  // about another packet: see icmp.bpf.h
  FL_PACKET_BAD,         // cannot be; `reason` is the FL_DROP_ counter
};

struct fl_packet {
  struct fl_addr source;
  struct fl_addr destination;
  __be16 source_port;
  __be16 destination_port;
  __u16 network;    // offset of the IP header
  __u16 transport;  // offset of the transport header, behind options and extension headers
  __u16 length;     // IP total length, header included
  __u8 family;      // 4 or 6
  __u8 protocol;
  __u8 kind;       // enum fl_packet_kind
  __u8 tcp_flags;  // of the first fragment only
  __u8 hop_limit;
  __u8 later_fragment;  // no transport header: ports come from `fragments`
  __u8 first_fragment;
  __u8 dont_fragment;  // always, in IPv6
  __u32 reason;
};
