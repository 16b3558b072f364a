// Flows: how a packet finds its own, and how the way back finds it.
//
// A slot of `fl_returns` belongs to the flow whose identity it holds (owns_slot). Its `claim` is
//   0            free;
//   otherwise    the clock (lowest bit set) when it was taken, or when its flow was established, by
//                compare-and-swap from the value read before: of two that take a slot at once, one
//                wins.
// A slot may also be taken while claimed, once it is abandoned (slot_abandoned): its flow was
// evicted from `fl_new_flows` or closed. Both the claim and last_seen must be old for that, so a
// slot that somebody is filling at this moment is never taken. A flow that may have lost its slot
// (still in `fl_new_flows`, or closing) therefore looks whether it still owns it before it sends;
// one that is established and open cannot lose it.
// Whoever removes a flow calls release_slot(); slots whose flow is lost without a word are found by
// the sweep.
#pragma once

#define FL_CLOSED_SECONDS 2  // a slot whose flow both sides closed, or one side reset

// What a flow's key has for `frontend` when its client speaks to `address`. A node port is one
// frontend at all addresses of the node, but a client that speaks to two of them from one port has
// two flows, and each answer bears the address that was asked. Ids of frontends count up from 1 and
// never come that far.
FL_INLINE __u32 flow_frontend(const struct fl_frontend* frontend, const struct fl_addr* address) {
  if (frontend->kind != FL_KIND_NODE_PORT) return frontend->id;
  return hash_address(address, frontend->id) | 0x80000000;
}

// The flow of `key`, established or new; `*established` says which map it is in.
FL_INLINE struct fl_flow* find_flow_in(const struct fl_flow_key* key, bool* established) {
  struct fl_flow* flow = bpf_map_lookup_elem(&fl_flows, key);
  *established = flow != 0;
  return flow ? flow : bpf_map_lookup_elem(&fl_new_flows, key);
}

FL_INLINE struct fl_flow* find_flow(const struct fl_flow_key* key) {
  bool established;
  return find_flow_in(key, &established);
}

// Multilinear over all words: the products are independent of each other, and every bit of the
// upper half depends on every word. Constant over nodes and time: nodes agree by it.
FL_INLINE __u32 hash_pair(const struct fl_addr* a, const struct fl_addr* b, __u32 ports,
                          __u32 protocol) {
  const __u64 sum = a->word[0] * 0x9e3779b97f4a7c15ULL + a->word[1] * 0xbf58476d1ce4e5b9ULL +
                    a->word[2] * 0x94d049bb133111ebULL + a->word[3] * 0xd6e8feb86659fd93ULL +
                    b->word[0] * 0xa0761d6478bd642fULL + b->word[1] * 0xe7037ed1a0b428dbULL +
                    b->word[2] * 0x8ebc6af09c88c6e3ULL + b->word[3] * 0x589965cc75374cc3ULL +
                    ports * 0x1d8e4e27c47d124fULL + protocol * 0xeb44accab455d165ULL;
  return sum >> 32;
}

// Where the answer that `endpoint` sends to `source`:`source_port` finds its way back.
FL_INLINE __u32 return_slot(const struct fl_config* settings, const struct fl_addr* endpoint,
                            __be16 endpoint_port, const struct fl_addr* source, __be16 source_port,
                            __u8 protocol) {
  const __u32 class =
      hash_pair(endpoint, source, endpoint_port, protocol) & (settings->return_classes - 1);
  return class << 16 | bpf_ntohs(source_port);
}

// The slot of the flow that a packet from `endpoint` to `source` answers; null when it answers
// none.
FL_INLINE struct fl_return* find_return(const struct fl_config* settings,
                                        const struct fl_addr* endpoint, __be16 endpoint_port,
                                        const struct fl_addr* source, __be16 source_port,
                                        __u8 protocol) {
  const __u32 slot = return_slot(settings, endpoint, endpoint_port, source, source_port, protocol);
  struct fl_return* back = bpf_map_lookup_elem(&fl_returns, &slot);
  if (!back || back->claim == 0 || back->protocol != protocol ||
      back->endpoint_port != endpoint_port || !same_address(&back->endpoint, endpoint) ||
      !same_address(&back->source, source)) {
    return 0;
  }
  return back;
}

// ---- Slots ----

FL_INLINE bool older_than(__u32 stamp, __u32 time, __u32 age) {
  // Another CPU may have read the clock a tick later: a stamp of the near future is new.
  const __u32 slack = 1 << 10;
  return time - stamp + slack > age + slack;
}

// Nobody lives by this claimed slot any more: closed, or begun and never established (its flow may
// have been evicted from `fl_new_flows` without a word).
FL_INLINE bool slot_abandoned(const struct fl_config* settings, const struct fl_return* slot,
                              __u32 time) {
  __u32 seconds = FL_EMBRYONIC_SECONDS;
  if (fl_is_closed(slot->flags)) {
    seconds = FL_CLOSED_SECONDS;
  } else if (slot->flags & FL_FLOW_ESTABLISHED) {
    return false;
  } else if (slot->protocol != IPPROTO_TCP && settings->udp_seconds > seconds) {
    seconds = settings->udp_seconds;
  }
  const __u32 age = seconds * settings->hz;
  return older_than(slot->last_seen, time, age) && older_than(slot->claim, time, age);
}

FL_INLINE bool owns_slot(const struct fl_flow_key* key, const struct fl_flow* flow,
                         const struct fl_return* slot) {
  return slot->claim != 0 && slot->frontend == key->frontend && slot->protocol == key->protocol &&
         slot->client_port == key->client_port && slot->endpoint_port == flow->endpoint_port &&
         same_address(&slot->client, &key->client) &&
         same_address(&slot->endpoint, &flow->endpoint) &&
         same_address(&slot->source, &flow->source);
}

// The key of the flow that the slot belongs to.
FL_INLINE struct fl_flow_key flow_of(const struct fl_return* slot) {
  const struct fl_flow_key key = {.client = slot->client,
                                  .frontend = slot->frontend,
                                  .client_port = slot->client_port,
                                  .protocol = slot->protocol};
  return key;
}

// Gives back the slot of a flow that is being removed, if it is still the flow's. The claim is read
// before the identity: if another flow takes the slot in between, the exchange fails.
FL_INLINE void release_slot(const struct fl_flow_key* key, const struct fl_flow* flow) {
  if (flow->flags & FL_FLOW_DSR) return;
  struct fl_return* slot = bpf_map_lookup_elem(&fl_returns, &flow->slot);
  if (!slot) return;
  const __u32 claim = *(volatile __u32*)&slot->claim;
  if (claim != 0 && owns_slot(key, flow, slot)) __sync_val_compare_and_swap(&slot->claim, claim, 0);
}

// Written at most four times a second: a line that all CPUs read stays shared between them.
FL_INLINE void touch(const struct fl_config* settings, __u32* last_seen, __u32 time) {
  if (time - *last_seen >= settings->hz / 4) *last_seen = time;
}

FL_INLINE void add_flags(__u32* flags, __u32 more) {
  if ((*flags & more) != more) __sync_fetch_and_or(flags, more);
}
