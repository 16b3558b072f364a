// Connections and datagrams translated where they begin: at the socket, before there is a packet.
// What is left alone here meets the packet path.
//
// One body serves both families: `v6` is a constant of each program. IPv6 sockets speak IPv4 under
// mapped addresses; the kernel brings those to the v6 programs, but for what sendmsg() writes.
#pragma once

#define FL_SOCKET_CONNECTED 1 /* bpf_sock.state of a connected UDP socket */

FL_INLINE struct fl_addr written_address(const struct bpf_sock_addr* ctx, bool v6) {
  if (!v6) return from_v4(ctx->user_ip4);
  const struct fl_addr address = {
      .word = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
  return address;
}

FL_INLINE void write_address(struct bpf_sock_addr* ctx, bool v6, const struct fl_addr* address,
                             __be16 port) {
  if (v6) {
    ctx->user_ip6[0] = address->word[0];
    ctx->user_ip6[1] = address->word[1];
    ctx->user_ip6[2] = address->word[2];
    ctx->user_ip6[3] = address->word[3];
  } else {
    ctx->user_ip4 = address->word[3];
  }
  ctx->user_port = port;
}

// Read once: left to itself, the compiler reads it in several places through a computed pointer
// into the context, which the verifier forbids.
FL_INLINE struct bpf_sock* socket_of(const struct bpf_sock_addr* ctx) {
  struct bpf_sock* sk = ctx->sk;
  barrier_var(sk);
  return sk;
}

// What the socket is bound to; unspecified while only routing will tell.
FL_INLINE struct fl_addr bound_address(const struct bpf_sock* sk, bool v6) {
  if (!v6) return from_v4(sk->src_ip4);
  const struct fl_addr address = {
      .word = {sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]}};
  return address;
}

// The same of one datagram, whose sender may have named a source with it.
FL_INLINE struct fl_addr datagram_source(const struct bpf_sock_addr* ctx, bool v6) {
  if (!v6) return from_v4(ctx->msg_src_ip4);
  const struct fl_addr address = {
      .word = {ctx->msg_src_ip6[0], ctx->msg_src_ip6[1], ctx->msg_src_ip6[2], ctx->msg_src_ip6[3]}};
  return address;
}

FL_INLINE bool is_unspecified(const struct fl_addr* address) {
  return is_zero(address) || (is_v4(address) && address->word[3] == 0);
}

// The verdict of a connect or sendmsg program that refuses.
FL_INLINE int refuse(void) {
  count(FL_COUNT_sockets_refused);
  // These programs may choose the error since 6.1; this helper tells that kernel from older ones,
  // where the application reads EPERM.
  if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_user_ringbuf_drain)) {
    bpf_set_retval(-ECONNREFUSED);
  }
  return 0;
}

enum fl_socket_way {
  FL_SOCKET_TRANSLATE,
  FL_SOCKET_LEAVE,   // the packet path must see the traffic, as it knows the source or masquerades
                     // it
  FL_SOCKET_FORBID,  // the source, which is known, may not pass: the application reads EPERM
};

FL_INLINE enum fl_socket_way socket_way(const struct fl_config* settings,
                                        const struct fl_frontend* frontend, __u32 source_class,
                                        const struct fl_addr* source,
                                        const struct fl_addr* destination) {
  if (frontend->flags & FL_FRONTEND_SOCKETS_SKIP_PODS && source_class == FL_SOURCE_POD) {
    return FL_SOCKET_LEAVE;
  }
  if (!(frontend->flags & FL_FRONTEND_SOURCE_RANGES)) return FL_SOCKET_TRANSLATE;
  struct fl_addr from = *source;
  bool certain = true;
  if (is_unspecified(source)) {
    if (source_class != FL_SOURCE_NODE) return FL_SOCKET_LEAVE;  // only routing will tell
    // To an address of the node itself it speaks from that very address, and no packet of it passes
    // a device that we see. Elsewhere from the address that it speaks to the world with, as good as
    // always. Where that may pass, an endpoint on this very node is reached as well: a packet that
    // has left could not come back in under an address of the node's own.
    certain = is_node_address(destination);
    from = certain ? *destination : is_v4(destination) ? settings->source_v4 : settings->source_v6;
  }
  if (in_domain(frontend->entry, &from)) return FL_SOCKET_TRANSLATE;
  return certain ? FL_SOCKET_FORBID : FL_SOCKET_LEAVE;
}

FL_INLINE int forbid(void) {
  count(FL_DROP_source_range);
  return 0;
}

FL_INLINE __u32 socket_class(const struct fl_config* settings, __u64 cookie,
                             const struct fl_addr* address) {
  if (cookie == settings->host_netns_cookie) return FL_SOURCE_NODE;
  return settings->has_detector[is_v4(address) ? 0 : 1] ? FL_SOURCE_POD : FL_SOURCE_OTHER;
}

// Fills `peer` but for what the application wrote; false when nobody is there to answer.
FL_INLINE bool choose_peer(const struct fl_config* settings, const struct fl_frontend* frontend,
                           __u32 source_class, __u64 cookie, struct fl_peer* peer, __u8* empty) {
  const struct fl_addr client = {.word = {0, 0, (__u32)(cookie >> 32), (__u32)cookie}};
  struct fl_selection selection = {};
  select_endpoint(settings, frontend, source_class, &client, bpf_get_prandom_u32(), &selection);
  *empty = selection.empty;
  const struct fl_endpoint* endpoint = selection.endpoint;
  if (!endpoint) return false;
  peer->endpoint = endpoint->address;
  peer->endpoint_port = endpoint->port;
  peer->frontend = frontend->id;
  peer->endpoint_index = selection.index;
  peer->generation = endpoint->generation;
  return true;
}

FL_INLINE bool peer_was_written(const struct fl_peer* peer, const struct fl_addr* address,
                                __be16 port, __u32 frontend) {
  return peer->frontend == frontend && peer->port == port && same_address(&peer->address, address);
}

FL_INLINE bool peer_endpoint_is(const struct fl_peer* peer, const struct fl_addr* address,
                                __be16 port) {
  return peer->frontend && peer->endpoint_port == port && same_address(&peer->endpoint, address);
}

FL_INLINE struct fl_peer* connected_peer(struct bpf_sock* sk) {
  return bpf_sk_storage_get(&fl_connected, sk, 0, 0);
}

FL_INLINE struct fl_tcp_peer* tcp_place(__u64 cookie) {
  const __u32 place = cookie % FL_TCP_PEERS;
  return bpf_map_lookup_elem(&fl_tcp_peers, &place);
}

// Remembers where a socket goes; false without memory.
FL_INLINE bool remember_peer(struct bpf_sock_addr* ctx, struct bpf_sock* sk, __u32 protocol,
                             const struct fl_peer* peer) {
  if (protocol == IPPROTO_UDP) {
    struct fl_peer* stored =
        bpf_sk_storage_get(&fl_connected, sk, (void*)peer, BPF_SK_STORAGE_GET_F_CREATE);
    if (stored) *stored = *peer;
    return stored != 0;
  }
  const __u64 cookie = bpf_get_socket_cookie(ctx);
  struct fl_tcp_peer* stored = tcp_place(cookie);
  if (!stored) return false;
  *(volatile __u64*)&stored->cookie = 0;  // whoever had the place before
  stored->peer = *peer;
  *(volatile __u64*)&stored->cookie = cookie;
  return true;
}

// The socket is about to be connected to what we do not translate.
FL_INLINE int leave_connect_alone(struct bpf_sock_addr* ctx, struct bpf_sock* sk, __u32 protocol) {
  if (protocol == IPPROTO_UDP) {
    struct fl_peer* peer = connected_peer(sk);
    if (peer) peer->frontend = 0;
    return 1;
  }
  const __u64 cookie = bpf_get_socket_cookie(ctx);
  struct fl_tcp_peer* stored = tcp_place(cookie);
  if (stored && stored->cookie == cookie) stored->cookie = 0;
  return 1;
}

FL_INLINE int connect(struct bpf_sock_addr* ctx, bool v6) {
  const __u32 protocol = ctx->protocol;
  if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) return 1;
  struct bpf_sock* sk = socket_of(ctx);
  if (is_aside()) return leave_connect_alone(ctx, sk, protocol);
  struct fl_peer peer = {.address = written_address(ctx, v6), .port = (__be16)ctx->user_port};
  const struct fl_frontend* frontend = find_frontend(&peer.address, peer.port, protocol);
  if (!frontend) {
    return is_cluster_address(&peer.address) ? refuse() : leave_connect_alone(ctx, sk, protocol);
  }

  const struct fl_config* settings = configuration();
  if (!settings) return 1;
  const __u64 cookie = bpf_get_netns_cookie(ctx);
  const __u32 source_class = socket_class(settings, cookie, &peer.address);
  const struct fl_addr source = bound_address(sk, v6);
  const enum fl_socket_way way =
      socket_way(settings, frontend, source_class, &source, &peer.address);
  if (way == FL_SOCKET_FORBID) return forbid();
  if (way == FL_SOCKET_LEAVE) return leave_connect_alone(ctx, sk, protocol);
  __u8 empty;
  if (!choose_peer(settings, frontend, source_class, cookie, &peer, &empty)) {
    return empty == FL_EMPTY_REJECT ? refuse() : leave_connect_alone(ctx, sk, protocol);
  }

  if (!remember_peer(ctx, sk, protocol, &peer)) return 1;  // the packet path needs no memory
  write_address(ctx, v6, &peer.endpoint, peer.endpoint_port);
  count(FL_COUNT_sockets_translated);
  return 1;
}

// A datagram straight to an endpoint: its answer is nobody else's.
FL_INLINE int leave_datagram_alone(struct bpf_sock* sk, const struct fl_addr* address,
                                   __be16 port) {
  struct fl_datagrams* known = bpf_sk_storage_get(&fl_datagrams, sk, 0, 0);
  if (!known) return 1;
  for (__u32 i = 0; i < FL_DATAGRAM_PEERS; i++) {
    if (peer_endpoint_is(&known->peer[i], address, port)) known->peer[i].frontend = 0;
  }
  return 1;
}

// Where `peer` shall be kept: over what the socket had for the same address, else in the first
// unused place, else in turn.
FL_INLINE __u32 datagram_place(struct fl_datagrams* known, const struct fl_addr* address,
                               __be16 port) {
  __u32 place = FL_DATAGRAM_PEERS;
  for (__u32 i = 0; i < FL_DATAGRAM_PEERS; i++) {
    const struct fl_peer* peer = &known->peer[i];
    if (peer->port == port && same_address(&peer->address, address)) return i;
    if (!peer->frontend && place == FL_DATAGRAM_PEERS) place = i;
  }
  return place < FL_DATAGRAM_PEERS ? place : known->next++ % FL_DATAGRAM_PEERS;
}

FL_INLINE int send_datagram(struct bpf_sock_addr* ctx, bool v6) {
  if (ctx->protocol != IPPROTO_UDP) return 1;
  struct bpf_sock* sk = socket_of(ctx);
  struct fl_peer peer = {.address = written_address(ctx, v6), .port = (__be16)ctx->user_port};
  if (is_aside()) return leave_datagram_alone(sk, &peer.address, peer.port);
  const struct fl_frontend* frontend = find_frontend(&peer.address, peer.port, IPPROTO_UDP);
  if (!frontend) {
    return is_cluster_address(&peer.address) ? refuse()
                                             : leave_datagram_alone(sk, &peer.address, peer.port);
  }

  const struct fl_config* settings = configuration();
  if (!settings) return 1;
  const __u64 cookie = bpf_get_netns_cookie(ctx);
  const __u32 source_class = socket_class(settings, cookie, &peer.address);
  const struct fl_addr source = datagram_source(ctx, v6);
  const enum fl_socket_way way =
      socket_way(settings, frontend, source_class, &source, &peer.address);
  if (way == FL_SOCKET_FORBID) return forbid();
  if (way == FL_SOCKET_LEAVE) return 1;

  // A connected socket that names its peer again hears only the endpoint it is connected to.
  if (sk->state == FL_SOCKET_CONNECTED) {
    const struct fl_peer* own = connected_peer(sk);
    if (own && peer_was_written(own, &peer.address, peer.port, frontend->id)) {
      write_address(ctx, v6, &own->endpoint, own->endpoint_port);
      count(FL_COUNT_sockets_translated);
      return 1;
    }
  }

  struct fl_datagrams* known =
      bpf_sk_storage_get(&fl_datagrams, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  if (!known) return 1;
  const __u32 place = datagram_place(known, &peer.address, peer.port);
  if (place >= FL_DATAGRAM_PEERS) return 1;
  struct fl_peer* stored = &known->peer[place];
  if (!peer_was_written(stored, &peer.address, peer.port, frontend->id) ||
      !endpoint_still_serves(stored->endpoint_index, stored->generation)) {
    __u8 empty;
    if (!choose_peer(settings, frontend, source_class, cookie, &peer, &empty)) {
      return empty == FL_EMPTY_REJECT ? refuse() : 1;
    }
    *stored = peer;
  }
  known->recent = place;
  write_address(ctx, v6, &stored->endpoint, stored->endpoint_port);
  count(FL_COUNT_sockets_translated);
  return 1;
}

FL_INLINE int show_sender(struct bpf_sock_addr* ctx, bool v6) {
  if (ctx->protocol != IPPROTO_UDP) return 1;
  struct bpf_sock* sk = socket_of(ctx);
  const struct fl_addr address = written_address(ctx, v6);
  const __be16 port = (__be16)ctx->user_port;
  if (sk->state == FL_SOCKET_CONNECTED) {
    const struct fl_peer* own = connected_peer(sk);
    if (own && peer_endpoint_is(own, &address, port)) {
      write_address(ctx, v6, &own->address, own->port);
      return 1;
    }
  }

  struct fl_datagrams* known = bpf_sk_storage_get(&fl_datagrams, sk, 0, 0);
  if (!known) return 1;
  // Two virtual addresses may have led to one endpoint: the one spoken to last is answered first.
  const __u32 recent = known->recent % FL_DATAGRAM_PEERS;
  for (__u32 i = 0; i < FL_DATAGRAM_PEERS; i++) {
    const struct fl_peer* peer = &known->peer[(recent + i) % FL_DATAGRAM_PEERS];
    if (!peer_endpoint_is(peer, &address, port)) continue;
    write_address(ctx, v6, &peer->address, peer->port);
    return 1;
  }
  return 1;
}

FL_INLINE int show_peer(struct bpf_sock_addr* ctx, bool v6) {
  const struct fl_peer* own = 0;
  if (ctx->protocol == IPPROTO_UDP) {
    own = connected_peer(socket_of(ctx));
  } else if (ctx->protocol == IPPROTO_TCP) {
    const __u64 cookie = bpf_get_socket_cookie(ctx);
    const struct fl_tcp_peer* stored = tcp_place(cookie);
    if (stored && stored->cookie == cookie) own = &stored->peer;
  }
  if (!own) return 1;
  const struct fl_addr address = written_address(ctx, v6);
  if (peer_endpoint_is(own, &address, (__be16)ctx->user_port)) {
    write_address(ctx, v6, &own->address, own->port);
  }
  return 1;
}

SEC("cgroup/connect4") int fl_connect4(struct bpf_sock_addr* ctx) {
  return connect(ctx, false);
}
SEC("cgroup/connect6") int fl_connect6(struct bpf_sock_addr* ctx) {
  return connect(ctx, true);
}
SEC("cgroup/sendmsg4") int fl_sendmsg4(struct bpf_sock_addr* ctx) {
  return send_datagram(ctx, false);
}
SEC("cgroup/sendmsg6") int fl_sendmsg6(struct bpf_sock_addr* ctx) {
  return send_datagram(ctx, true);
}
SEC("cgroup/recvmsg4") int fl_recvmsg4(struct bpf_sock_addr* ctx) {
  return show_sender(ctx, false);
}
SEC("cgroup/recvmsg6") int fl_recvmsg6(struct bpf_sock_addr* ctx) {
  return show_sender(ctx, true);
}
SEC("cgroup/getpeername4") int fl_getpeername4(struct bpf_sock_addr* ctx) {
  return show_peer(ctx, false);
}
SEC("cgroup/getpeername6") int fl_getpeername6(struct bpf_sock_addr* ctx) {
  return show_peer(ctx, true);
}
