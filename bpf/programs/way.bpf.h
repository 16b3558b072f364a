// Ways: what was decided about an established flow's packets, remembered for a tenth of a second.
//
// The whole of it: from addresses and ports as they arrive to those that they become, and to the
// device and the station that the packet leaves by. Such a packet costs no hash lookup: its way is
// in an array of this CPU's own, and the flow's slot in another.
//
// A way holds as long as the slot says that the flow is the same and open, and for datagrams as
// long as the endpoint serves: at once, wherever that changes. Routes, neighbours, devices and
// frontends are seen after a tenth of a second at the latest, and then the flow is touched as well.
// What opens or closes a connection, fragments, and what does not fit go the long way.
//
// A place in the array is given to another flow once a tick at most: where there are more flows
// than places, most packets go the long way, and do not pay for remembering as well.
#pragma once

// Read before a way is relied on, and before one is remembered.
FL_INLINE bool is_open(const struct fl_return* slot) {
  const __u32 open = FL_FLOW_ESTABLISHED | FL_FLOW_ANSWERED;
  return (slot->flags & (open | FL_FLOW_CLIENT_FIN | FL_FLOW_ENDPOINT_FIN | FL_FLOW_RESET)) == open;
}

FL_INLINE bool may_have_way(const struct fl_packet* packet) {
  return packet->kind == FL_PACKET_FLOW &&
         !(packet->tcp_flags & (FL_TCP_SYN | FL_TCP_FIN | FL_TCP_RST)) && packet->hop_limit > 1 &&
         packet->network != 0 && !packet->first_fragment && !packet->later_fragment;
}

// Two adjacent addresses as 64-bit words: this is where a packet of an established flow spends its
// time.
typedef __u64 __attribute__((may_alias)) fl_words;

// The upper bits of the sum depend on every bit that went into it.
FL_INLINE struct fl_way* way_of(const struct fl_packet* packet, __u32 kind) {
  const fl_words* word = (const fl_words*)&packet->source;
  const __u64 rest = (__u64)kind << 32 | ports_of(packet);
  const __u64 sum = word[0] * 0x9e3779b97f4a7c15ULL + word[1] * 0xbf58476d1ce4e5b9ULL +
                    word[2] * 0x94d049bb133111ebULL + word[3] * 0xd6e8feb86659fd93ULL +
                    rest * 0xa0761d6478bd642fULL;
  const __u32 number = sum >> (64 - FL_WAY_BITS);
  return bpf_map_lookup_elem(&fl_ways, &number);
}

FL_INLINE bool is_way_of(const struct fl_way* way, const struct fl_packet* packet, __u32 kind) {
  const fl_words* a = (const fl_words*)&way->source;
  const fl_words* b = (const fl_words*)&packet->source;
  const __u64 other = (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) |
                      (way->ports ^ ports_of(packet)) | (way->arrival ^ packet->device) |
                      (way->kind ^ kind);
  return other == 0;
}

FL_INLINE __u32 way_kind(const struct fl_packet* packet, __u32 place) {
  return packet->protocol | place << 8;
}

// The way of a packet that may have one and has `length` bytes on the wire; null when it has none
// that holds.
FL_INLINE struct fl_way* find_way(const struct fl_packet* packet, __u32 place, __u32 length) {
  const __u32 kind = way_kind(packet, place);
  struct fl_way* way = way_of(packet, kind);
  if (!way || !is_way_of(way, packet, kind)) return 0;
  if ((__s32)(way->until - now()) <= 0 || length > way->mtu) return 0;
  const __u32 number = way->slot;
  const struct fl_return* slot = bpf_map_lookup_elem(&fl_returns, &number);
  if (!slot || slot->claim != way->claim || !is_open(slot)) return 0;
  if (packet->protocol != IPPROTO_TCP && !way->returned &&
      !endpoint_still_serves(slot->endpoint_index, slot->generation)) {
    return 0;
  }
  return way;
}

// Remembers what became of a packet; null when it is not to be remembered. The caller adds where it
// went from the device on. By itself, as the stack is short.
static __noinline struct fl_way* remember_way(const struct fl_packet* packet, __u32 place,
                                              const struct fl_path* path, bool returned,
                                              const struct fl_route* route) {
  const struct fl_config* settings = configuration();
  if (!settings || !may_have_way(packet) || route->result != BPF_FIB_LKUP_RET_SUCCESS) return 0;
  const __u32 kind = way_kind(packet, place);
  struct fl_way* way = way_of(packet, kind);
  const __u32 until = now() + settings->hz / 10;
  if (!way || way->until == until) return 0;
  const __u32 number =
      returned ? return_slot(settings, &packet->source, packet->source_port, &packet->destination,
                             packet->destination_port, packet->protocol)
               : return_slot(settings, &path->destination, path->destination_port, &path->source,
                             path->source_port, packet->protocol);
  const struct fl_return* slot = bpf_map_lookup_elem(&fl_returns, &number);
  if (!slot || slot->claim == 0 || !is_open(slot) || slot->protocol != packet->protocol ||
      !same_address(&slot->client, returned ? &path->destination : &packet->source) ||
      !same_address(&slot->endpoint, returned ? &packet->source : &path->destination) ||
      slot->client_port != (returned ? path->destination_port : packet->source_port) ||
      slot->endpoint_port != (returned ? packet->source_port : path->destination_port)) {
    return 0;  // a flow without a slot, which goes directly
  }
  way->source = packet->source;
  way->destination = packet->destination;
  way->ports = ports_of(packet);
  way->arrival = packet->device;
  way->kind = kind;
  way->until = until;
  way->slot = number;
  way->claim = slot->claim;
  way->path = *path;
  way->returned = returned;
  way->device = route->device;
  way->mtu = route->mtu;
  return way;
}
