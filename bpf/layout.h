/* What the programs in the kernel and the loader share: keys and values of every map, once.
 *
 * C for both sides: programs/ includes it after vmlinux.h, C++ as it is. Every structure has its
 * size and the offset of its last member asserted; a change of any of them, or of a map's meaning,
 * raises FL_LAYOUT_VERSION, which is part of the pin path, so that two layouts never meet.
 *
 * Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d; ports are in network order
 * wherever their type is fl_be16. Times are the low 32 bits of the kernel's jiffies, compared by
 * subtraction. Ids are 32 bits and 0 is none.
 *
 * docs/ebpf.md says how the maps work together.
 */
#pragma once

#ifndef __BPF__
#include <stdint.h>
typedef uint8_t fl_u8;
typedef uint16_t fl_u16;
typedef uint32_t fl_u32;
typedef uint64_t fl_u64;
#else
typedef __u8 fl_u8;
typedef __u16 fl_u16;
typedef __u32 fl_u32;
typedef __u64 fl_u64;
#endif
typedef fl_u16 fl_be16;
typedef fl_u32 fl_be32;

#ifdef __cplusplus
#define FL_ASSERT(condition) static_assert(condition, #condition)
#else
#define FL_ASSERT(condition) _Static_assert(condition, #condition)
#endif
#define FL_LAYOUT(type, size, last, offset) \
  FL_ASSERT(sizeof(struct type) == (size)); \
  FL_ASSERT(__builtin_offsetof(struct type, last) == (offset))

#define FL_LAYOUT_VERSION 2

struct fl_addr {
  fl_be32 word[4];
};
FL_LAYOUT(fl_addr, 16, word, 0);

/* ---- Desired state, written by the loader alone ---- */

/* Hash `fl_frontends`: a virtual address. A node port stands under the family's unspecified address
 * (::ffff:0.0.0.0 or ::). Port and protocol 0: the address is somebody's cluster IP (kind
 * FL_KIND_CLUSTER_ADDRESS), so that a port which nobody serves there is refused. */
struct fl_frontend_key {
  struct fl_addr address;
  fl_be16 port;
  fl_u8 protocol; /* IPPROTO_TCP, _UDP, _SCTP */
  fl_u8 zero;
};
FL_LAYOUT(fl_frontend_key, 20, zero, 19);

enum fl_kind {
  FL_KIND_CLUSTER_IP,
  FL_KIND_EXTERNAL_IP,
  FL_KIND_LOAD_BALANCER,
  FL_KIND_NODE_PORT,
  FL_KIND_CLUSTER_ADDRESS,
};
enum fl_source_class { FL_SOURCE_POD, FL_SOURCE_NODE, FL_SOURCE_OTHER, FL_SOURCE_CLASSES };
enum fl_choice { FL_CHOICE_CLUSTER, FL_CHOICE_LOCAL, FL_CHOICES };
#define FL_ROUTE_LOCAL 1      /* the entry's local choice; otherwise the cluster one */
#define FL_ROUTE_MASQUERADE 2 /* a new flow's source becomes an address of this node */

#define FL_FRONTEND_SOURCE_RANGES 1 /* only sources in the entry's prefixes may pass */
/* Pods' sockets are left alone: the packet path must masquerade them (--masquerade-all). */
#define FL_FRONTEND_SOCKETS_SKIP_PODS 2

struct fl_frontend {
  fl_u32 id;    /* never reused; part of every flow's key */
  fl_u32 entry; /* index into `fl_entries` */
  fl_u8 kind;
  fl_u8 flags;
  fl_u8 route[FL_SOURCE_CLASSES];
  fl_u8 zero[3];
};
FL_LAYOUT(fl_frontend, 16, zero, 13);

/* A run of slots in `fl_rings`, published by one 64-bit store. */
#define FL_RING(offset, size) ((fl_u64)(offset) | (fl_u64)(size) << 32)
#define FL_RING_OFFSET(ring) ((fl_u32)(ring))
#define FL_RING_SIZE(ring) ((fl_u32)((ring) >> 32))

enum fl_empty { FL_EMPTY_REJECT, FL_EMPTY_DROP };

/* Array `fl_entries`: one (service port, protocol, family). */
struct fl_entry {
  fl_u64 ring[FL_CHOICES]; /* size 0: nobody to answer */
  fl_u32 affinity_seconds; /* 0: none */
  fl_u8 when_empty[FL_CHOICES];
  fl_u8 live; /* 0: a free index */
  fl_u8 protocol;
};
FL_LAYOUT(fl_entry, 24, protocol, 23);

/* Array `fl_rings`: slot s is endpoint[s % 16] of block s / 16; each names an index of
 * `fl_endpoints`. */
#define FL_RING_BLOCK 16
struct fl_ring_block {
  fl_u32 endpoint[FL_RING_BLOCK];
};
FL_LAYOUT(fl_ring_block, 64, endpoint, 0);

#define FL_ENDPOINT_CLUSTER 1    /* in the entry's cluster choice */
#define FL_ENDPOINT_LOCAL 2      /* in the entry's local choice */
#define FL_ENDPOINT_MAYBE_HERE 4 /* may be a pod of this node */

/* Array `fl_endpoints`: belongs to one entry. Written in full before a ring names it; taken out of
 * every choice (flags) when it leaves; its index is used again only when no reader can still see
 * it, under the next generation. */
struct fl_endpoint {
  struct fl_addr address;
  fl_u32 entry;
  fl_u32 generation;
  fl_be16 port;
  fl_u8 flags;
  fl_u8 zero[5];
};
FL_LAYOUT(fl_endpoint, 32, zero, 27);

/* Trie `fl_prefixes`: domain is an entry's index (its source ranges) or one of these. */
#define FL_DOMAIN_PODS 0xffffffffU     /* sources that are pods */
#define FL_DOMAIN_SERVICES 0xfffffffeU /* ServiceCIDRs: what is unserved there is dropped */
#define FL_PREFIX_FIXED_BITS 32        /* of the domain, in prefix_bits; IPv4 adds 96 more */
struct fl_prefix_key {
  fl_u32 prefix_bits;
  fl_be32 domain;
  struct fl_addr address;
};
FL_LAYOUT(fl_prefix_key, 24, address, 8);

/* Hash `fl_node_addresses`: every address of this node but loopback, keyed by fl_addr. */
#define FL_NODE_ADDRESS_NODE_PORTS 1 /* node ports answer here */
struct fl_node_address {
  fl_u32 flags;
};
FL_LAYOUT(fl_node_address, 4, flags, 0);

/* Hash `fl_devices`, keyed by interface index (fl_u32). */
#define FL_DEVICE_PODS 1 /* the source detector takes what arrives here for a pod's */
#define FL_DEVICE_XDP 2  /* may be sent to from XDP */
struct fl_device {
  struct fl_addr source_v4; /* masquerading address; all zero: the node's */
  struct fl_addr source_v6;
  fl_u32 flags;
  fl_u32 mtu;
};
FL_LAYOUT(fl_device, 40, mtu, 36);

#define FL_DSR_OFF 0
#define FL_DSR_IPIP 1

/* Beside another mode, whose rules translate in the network stack. */
enum fl_handover {
  FL_HANDOVER_NONE,
  FL_HANDOVER_COMING, /* the other's connections are its own: a flow begins with its first packet */
  /* Not in charge yet, or no more: flows go on, none begins, and what begins is the other's. */
  FL_HANDOVER_ASIDE,
};

/* Array `fl_config`, one element. */
struct fl_config {
  struct fl_addr source_v4; /* masquerading where the device has no address */
  struct fl_addr source_v6;
  fl_u64 host_netns_cookie;
  fl_u32 hz;             /* jiffies in a second */
  fl_u32 return_classes; /* power of two; `fl_returns` has this many times 65,536 slots */
  fl_u32 cpus;           /* that may run: the masquerading ports are divided by it */
  fl_u32 tcp_established_seconds;
  fl_u32 tcp_closing_seconds;
  fl_u32 udp_seconds;        /* the client has not spoken again after an answer */
  fl_u32 udp_stream_seconds; /* it has */
  fl_u32 next_frontend_id;   /* the loader's; kept here to outlive it */
  fl_u16 snat_first;         /* masquerading ports, host order, both included */
  fl_u16 snat_last;
  fl_u8 has_detector[2];  /* pods can be told from others: IPv4, IPv6 */
  fl_u8 refuse_new_flows; /* `fl_flows` is nearly full */
  fl_u8 dsr;
  fl_u8 handover; /* enum fl_handover */
  fl_u8 zero;
  fl_u16
      node_port_first; /* every node port lies between these, host order; 0 and 0: there is none */
  fl_u16 node_port_last;
  fl_u16 zero_more;
};
FL_LAYOUT(fl_config, 88, zero_more, 86);

#include "bpf/flow_layout.h"
