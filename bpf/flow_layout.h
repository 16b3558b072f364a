/* What the programs write: flows, their way back, remembered clients, fragments, sockets, counters.
 * The second half of layout.h, which includes it and says how to read it.
 */
#pragma once

#ifndef FL_LAYOUT
#error "include bpf/layout.h"
#endif

/* ---- Flows, written by the programs ---- */

/* A flow lives in `fl_new_flows` (LRU) until its client has spoken again after an answer, then in
 * `fl_flows` (plain hash, swept). One entry each; the way back is a slot of `fl_returns`. */
struct fl_flow_key {
  struct fl_addr client;
  fl_u32 frontend; /* fl_frontend.id */
  fl_be16 client_port;
  fl_u8 protocol;
  fl_u8 zero;
};
FL_LAYOUT(fl_flow_key, 24, zero, 23);

#define FL_FLOW_CLIENT_FIN 1
#define FL_FLOW_ENDPOINT_FIN 2
#define FL_FLOW_RESET 4
#define FL_FLOW_ANSWERED 8 /* the endpoint has sent something */
#define FL_FLOW_ESTABLISHED 16
#define FL_FLOW_DSR 32 /* encapsulated; no slot */

#define FL_EMBRYONIC_SECONDS 30 /* a slot without an answer, without a word from its client */

/* Both sides have closed the connection, or one has reset it. */
static inline __attribute__((always_inline)) int fl_is_closed(fl_u32 flags) {
  const fl_u32 both = FL_FLOW_CLIENT_FIN | FL_FLOW_ENDPOINT_FIN;
  return (flags & FL_FLOW_RESET) != 0 || (flags & both) == both;
}

struct fl_flow {
  struct fl_addr endpoint;
  struct fl_addr source; /* what the endpoint sees as the client */
  fl_be16 endpoint_port;
  fl_be16 source_port;
  fl_u32 slot; /* of `fl_returns` */
  fl_u32 endpoint_index;
  fl_u32 generation; /* fl_endpoint.generation when it was chosen */
  fl_u32 last_seen;
  fl_u32 flags;
};
FL_LAYOUT(fl_flow, 56, flags, 52);

/* Array `fl_returns`: how an endpoint's answer goes back to the client. The slot is found by
 * arithmetic: class = hash(endpoint, endpoint port, source, protocol) % return_classes, slot =
 * class * 65536 + source port. So the port that the endpoint sees is what resolves a collision:
 * when the client's own is taken in the class, another one is given. */
struct fl_return {
  struct fl_addr endpoint;
  struct fl_addr source;
  fl_be16 endpoint_port;
  fl_be16 client_port;
  fl_u8 protocol;
  fl_u8 family; /* 4 or 6 */
  fl_be16 port; /* of the virtual address, as the client wrote it */
  fl_u32 claim; /* 0: free; otherwise who holds it: see flow.bpf.h. Changed by compare-and-swap */
  fl_u32 last_seen;
  fl_u32 frontend;
  fl_u32 flags; /* FL_FLOW_* */
  struct fl_addr client;
  struct fl_addr address; /* the virtual address, as the client wrote it */
  fl_u32 endpoint_index;  /* as in fl_flow */
  fl_u32 generation;
};
FL_LAYOUT(fl_return, 96, generation, 92);

/* LRU `fl_affinity`. */
struct fl_affinity_key {
  struct fl_addr client; /* sockets: the netns cookie in word[2..3], the rest zero */
  fl_u32 entry;
  fl_u32 choice;
};
FL_LAYOUT(fl_affinity_key, 24, choice, 20);
struct fl_affinity {
  fl_u32 endpoint_index;
  fl_u32 generation;
  fl_u32 last_seen;
};
FL_LAYOUT(fl_affinity, 12, last_seen, 8);

/* LRU `fl_fragments`: the ports that the first fragment of a datagram had. */
struct fl_fragment_key {
  struct fl_addr source;
  struct fl_addr destination;
  fl_be32 identification;
  fl_u32 protocol;
};
FL_LAYOUT(fl_fragment_key, 40, protocol, 36);
struct fl_fragment {
  fl_be16 source_port;
  fl_be16 destination_port;
};
FL_LAYOUT(fl_fragment, 4, destination_port, 2);

/* ---- Sockets ---- */

/* One translation that a socket lives by. */
struct fl_peer {
  struct fl_addr address;  /* what the application wrote */
  struct fl_addr endpoint; /* where it went */
  fl_be16 port;
  fl_be16 endpoint_port;
  fl_u32 frontend;
  fl_u32 endpoint_index;
  fl_u32 generation;
};
FL_LAYOUT(fl_peer, 48, generation, 44);

/* Socket storage `fl_connected`, of UDP: struct fl_peer. Array `fl_tcp_peers`, of TCP, where making
 * storage would cost several times the translation: the element is the socket's cookie modulo
 * FL_TCP_PEERS. Cookies count up, so it holds the latest of them. */
#define FL_TCP_PEERS (1 << 17)
struct fl_tcp_peer {
  fl_u64 cookie; /* of the socket; 0: nobody's */
  struct fl_peer peer;
  fl_u64 zero;
};
FL_LAYOUT(fl_tcp_peer, 64, zero, 56);

/* Socket storage `fl_datagrams`: of unconnected UDP. */
#define FL_DATAGRAM_PEERS 8
struct fl_datagrams {
  struct fl_peer peer[FL_DATAGRAM_PEERS]; /* frontend 0: unused */
  fl_u32 next;                            /* the one to give up when all are in use */
  fl_u32 recent;                          /* the one sent to last */
};
FL_LAYOUT(fl_datagrams, 392, recent, 388);

/* ---- Counters: per-CPU array `fl_counters`, indexed by counters.def ---- */
enum fl_counter {
#define FL_COUNT(name, help) FL_COUNT_##name,
#define FL_DROP(name, help) FL_DROP_##name,
#include "bpf/counters.def"
#undef FL_COUNT
#undef FL_DROP
  FL_COUNTERS,
};

/* ---- Answers of the programs that the loader calls ---- */

/* Context of fl_adopt: a flow that connection tracking has translated. */
struct fl_adoption {
  struct fl_addr client;
  struct fl_addr address; /* as the client writes it */
  struct fl_addr source;  /* as the endpoint sees the client */
  struct fl_addr endpoint;
  fl_be16 client_port;
  fl_be16 port;
  fl_be16 source_port;
  fl_be16 endpoint_port;
  fl_u32 endpoint_index;
  fl_u32 generation;
  fl_u8 protocol;
  fl_u8 established;
  fl_u8 only_ask; /* whether the programs have it */
  fl_u8 zero[5];
};
FL_LAYOUT(fl_adoption, 88, zero, 83);

/* Context of the sweep: the last two are what it is asked, the rest is its answer. */
struct fl_sweep {
  fl_u64 flows;       /* left standing, in `fl_flows` */
  fl_u64 new_flows;   /* left standing, in `fl_new_flows` */
  fl_u64 expired;     /* removed from either */
  fl_u64 affinities;  /* remembered clients */
  fl_u64 jiffies;     /* the kernel's clock ... */
  fl_u64 nanoseconds; /* ... and the time since boot at the same moment */
  fl_u64 ports; /* masquerading ports in use, in the class of returns that has the fewest left */
  fl_u64 freed; /* slots of flows that are gone */
  fl_u32 first_slot; /* which slots it looks at beside */
  fl_u32 slots;
};
FL_LAYOUT(fl_sweep, 72, slots, 68);
