// Ends UDP sockets that are connected to an endpoint which has left its service. Nothing else would
// tell the application: it would go on sending to an address where nobody listens, or somebody
// else. Its next call answers ECONNABORTED.
//
// Run once for each network namespace (bpf/stale_sockets.h); the number that the reader finds is
// that of bytes written: one for each socket ended.
#pragma once

// Since 6.5: the loader leaves the program out where it is missing.
extern int bpf_sock_destroy(struct sock_common* sk) __ksym __weak;

FL_INLINE struct fl_addr remote_address(const struct sock_common* sk) {
  if (sk->skc_family == AF_INET) return from_v4(sk->skc_daddr);
  struct fl_addr address = {};
  if (bpf_core_field_exists(sk->skc_v6_daddr)) {
    const __be32* word = sk->skc_v6_daddr.in6_u.u6_addr32;
    address = (struct fl_addr){.word = {word[0], word[1], word[2], word[3]}};
  }
  return address;
}

SEC("iter/udp") int fl_udp_sockets(struct bpf_iter__udp* ctx) {
  struct udp_sock* socket = ctx->udp_sk;
  if (!socket) return 0;
  struct sock_common* sk = (struct sock_common*)socket;
  if (sk->skc_state != FL_SOCKET_CONNECTED) return 0;
  const struct fl_peer* peer = bpf_sk_storage_get(&fl_connected, sk, 0, 0);
  const struct fl_addr remote = remote_address(sk);
  if (!peer || !peer_endpoint_is(peer, &remote, sk->skc_dport)) return 0;
  if (endpoint_still_serves(peer->endpoint_index, peer->generation)) return 0;
  if (bpf_sock_destroy(sk) != 0) return 0;
  const char ended = '.';
  bpf_seq_write(ctx->meta->seq, &ended, sizeof(ended));
  return 0;
}
