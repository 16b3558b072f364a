// What becomes of a packet: forward to an endpoint, back to a client, refused, dropped or nothing.
// One body for tc and XDP; nothing here changes the packet.
#pragma once

enum fl_standing { FL_FLOW_GOES_ON, FL_FLOW_BEGINS_ANEW, FL_FLOW_FULL };

// The client spoke again after an answer: from here on the flow cannot be evicted, nor lose its
// slot. Until its flags say so, another CPU may find that the slot can be taken or given up, and do
// it a moment later, by an exchange with the claim that it read before: so the claim is renewed,
// and either that exchange fails or this one.
FL_INLINE int establish(const struct fl_flow_key* key, struct fl_flow* flow,
                        struct fl_return* slot) {
  struct fl_flow established = *flow;
  established.flags |= FL_FLOW_ESTABLISHED | FL_FLOW_ANSWERED;
  const long error = bpf_map_update_elem(&fl_flows, key, &established, BPF_NOEXIST);
  if (error != 0 && !bpf_map_lookup_elem(&fl_flows, key)) return FL_FLOW_FULL;
  add_flags(&slot->flags, FL_FLOW_ESTABLISHED);
  if (error == 0) {  // else another CPU was faster with this flow, and sees to the claim
    const __u32 claim = *(volatile __u32*)&slot->claim;
    const __u32 time = now() | 1;
    const __u32 renewed = time != claim ? time : time + 2;
    if (!owns_slot(key, flow, slot) ||
        __sync_val_compare_and_swap(&slot->claim, claim, renewed) != claim) {
      bpf_map_delete_elem(&fl_flows, key);
      return FL_FLOW_BEGINS_ANEW;
    }
    count(FL_COUNT_flows_established);
  }
  bpf_map_delete_elem(&fl_new_flows, key);
  return FL_FLOW_GOES_ON;
}

static __noinline int begin_direct(void* ctx, const struct fl_packet* packet, __u32 place,
                                   struct fl_path* path);
static __noinline int advance_direct(const struct fl_packet* packet, const struct fl_flow_key* key,
                                     struct fl_flow* flow, bool established);

// A packet of a flow that is not yet established, or that is closing: has it still got its slot,
// and what does this packet change? `established`: in which map the flow is.
static __noinline int advance_flow(const struct fl_packet* packet, const struct fl_flow_key* key,
                                   struct fl_flow* flow, bool established) {
  if (flow->flags & FL_FLOW_DSR) return advance_direct(packet, key, flow, established);
  struct fl_return* slot = bpf_map_lookup_elem(&fl_returns, &flow->slot);
  const struct fl_config* settings = configuration();
  if (!slot || !settings || !owns_slot(key, flow, slot)) return FL_FLOW_BEGINS_ANEW;
  touch(settings, &slot->last_seen, now());
  __u32 flags = 0;
  if (packet->tcp_flags & FL_TCP_FIN) flags = FL_FLOW_CLIENT_FIN;
  if (packet->tcp_flags & FL_TCP_RST) flags = FL_FLOW_RESET;
  if (flags) {
    add_flags(&slot->flags, flags);
    add_flags(&flow->flags, flags);
  }
  if (established || !(slot->flags & FL_FLOW_ANSWERED) || packet->tcp_flags & FL_TCP_SYN) {
    return FL_FLOW_GOES_ON;
  }
  return establish(key, flow, slot);
}

// Does the flow's endpoint have to be looked at? Datagrams, since nothing else tells their sender
// that nobody listens any more; and whoever opens a connection.
FL_INLINE bool must_still_serve(const struct fl_packet* packet) {
  return packet->protocol != IPPROTO_TCP ||
         (packet->tcp_flags & (FL_TCP_SYN | FL_TCP_ACK)) == FL_TCP_SYN;
}

FL_INLINE int judge_flow(const struct fl_config* settings, const struct fl_packet* packet,
                         const struct fl_flow_key* key, struct fl_flow* flow, bool established) {
  if (must_still_serve(packet)) {
    if (packet->protocol == IPPROTO_TCP && fl_is_closed(flow->flags)) return FL_FLOW_BEGINS_ANEW;
    if (!endpoint_still_serves(flow->endpoint_index, flow->generation)) return FL_FLOW_BEGINS_ANEW;
  }
  touch(settings, &flow->last_seen, now());
  const __u32 closing = FL_FLOW_CLIENT_FIN | FL_FLOW_ENDPOINT_FIN | FL_FLOW_RESET;
  if (established && !(flow->flags & closing) && !(packet->tcp_flags & (FL_TCP_FIN | FL_TCP_RST))) {
    return FL_FLOW_GOES_ON;
  }
  return advance_flow(packet, key, flow, established);
}

// A packet to a service that belongs to no flow, while another mode's rules stand as well: does the
// network stack know what to do with it?
FL_INLINE bool is_for_other_mode(const struct fl_config* settings, const struct fl_packet* packet) {
  if (settings->handover == FL_HANDOVER_ASIDE) return true;
  // The middle of a connection that the other mode has begun. Of datagrams nobody can tell.
  return settings->handover == FL_HANDOVER_COMING && packet->protocol == IPPROTO_TCP &&
         (packet->tcp_flags & (FL_TCP_SYN | FL_TCP_ACK)) != FL_TCP_SYN;
}

FL_INLINE int forward(void* ctx, const struct fl_config* settings, const struct fl_packet* packet,
                      const struct fl_frontend* frontend, __u32 place, struct fl_path* path) {
  const struct fl_flow_key key = {.client = packet->source,
                                  .frontend = flow_frontend(frontend, &packet->destination),
                                  .client_port = packet->source_port,
                                  .protocol = packet->protocol};
  bool established;
  struct fl_flow* flow = find_flow_in(&key, &established);
  if (flow) {
    const int standing = judge_flow(settings, packet, &key, flow, established);
    if (standing == FL_FLOW_FULL) return drop(FL_DROP_flows_full);
    if (standing == FL_FLOW_GOES_ON) {
      follow(flow, path);
      return flow->flags & FL_FLOW_DSR ? FL_VERDICT_TUNNEL : FL_VERDICT_SEND;
    }
    if (place == FL_AT_XDP) return FL_VERDICT_PASS;
    release_slot(&key, flow);
    if (established) {
      bpf_map_delete_elem(&fl_flows, &key);
    } else {
      bpf_map_delete_elem(&fl_new_flows, &key);
    }
  }
  if (is_for_other_mode(settings, packet)) return FL_VERDICT_PASS;
  const int verdict = begin_flow(ctx, packet, frontend, place, path);
  if (verdict != FL_VERDICT_TUNNEL) return verdict;
  return begin_direct(ctx, packet, place, path);
}

// The endpoint closes or resets: its flow is told as well, so that the client's next packet knows.
static __noinline void mark_flow(const struct fl_return* slot, __u32 flags) {
  const struct fl_flow_key key = flow_of(slot);
  struct fl_flow* flow = find_flow(&key);
  if (flow) add_flags(&flow->flags, flags);
}

// While this mode leaves, the other one masquerades with ports of its own choice, and nobody
// sweeps: is the packet for the slot's flow, or is that over and the port somebody else's by now?
// Who takes it up is mostly seen on the way out, by forget_ended_flow().
FL_INLINE bool still_awaits(const struct fl_config* settings, const struct fl_packet* packet,
                            const struct fl_return* slot) {
  if (packet->protocol == IPPROTO_TCP) {
    return !(packet->tcp_flags & FL_TCP_SYN) || !fl_is_closed(slot->flags);
  }
  // One question and its answer; the answer may be of several datagrams. So long connection
  // tracking has been told to leave the port alone (bpf/carried_flows.h).
  return slot->flags & FL_FLOW_ESTABLISHED || !(slot->flags & FL_FLOW_ANSWERED) ||
         !older_than(slot->last_seen, now(), settings->hz);
}

FL_INLINE int answer(const struct fl_config* settings, const struct fl_packet* packet,
                     struct fl_return* slot, struct fl_path* path) {
  path->source = slot->address;
  path->destination = slot->client;
  path->source_port = slot->port;
  path->destination_port = slot->client_port;
  __u32 flags = FL_FLOW_ANSWERED;
  if (packet->tcp_flags & FL_TCP_FIN) flags |= FL_FLOW_ENDPOINT_FIN;
  if (packet->tcp_flags & FL_TCP_RST) flags |= FL_FLOW_RESET;
  add_flags(&slot->flags, flags);
  touch(settings, &slot->last_seen, now());
  if (flags != FL_FLOW_ANSWERED) mark_flow(slot, flags & ~FL_FLOW_ANSWERED);
  return FL_VERDICT_SEND;
}

static __noinline int unserved(const struct fl_packet* packet) {
  switch (judge_unserved(&packet->destination)) {
    case FL_UNSERVED_REJECT:
      return FL_VERDICT_REFUSE;
    case FL_UNSERVED_DROP:
      return drop(FL_DROP_no_such_service);
    default:
      return FL_VERDICT_PASS;
  }
}

// Somebody speaks straight to an endpoint, from a port with which a flow to it has ended: what the
// endpoint now says is not for that flow. A pod may have sockets that are translated and others,
// which come this way. Connection tracking, where another mode's rules stand as well, gives
// datagrams of the node itself masquerading ports, and any port to whatever it translates once that
// mode is in charge: they are looked at where they leave.
static __noinline int forget_ended_flow(const struct fl_packet* packet, __u32 place) {
  const bool opens = (packet->tcp_flags & (FL_TCP_SYN | FL_TCP_ACK)) == FL_TCP_SYN;
  const bool asks = packet->protocol == IPPROTO_UDP;
  if (!opens && !asks) return 0;
  const struct fl_config* settings = configuration();
  if (!settings) return 0;
  const __u32 port = bpf_ntohs(packet->source_port);
  const bool any_port = place != FL_AT_EGRESS || settings->handover == FL_HANDOVER_ASIDE;
  if (asks && !any_port && (port < settings->snat_first || port > settings->snat_last)) return 0;
  struct fl_return* slot = find_return(settings, &packet->destination, packet->destination_port,
                                       &packet->source, packet->source_port, packet->protocol);
  if (!slot) return 0;
  const __u32 claim = *(volatile __u32*)&slot->claim;
  // One question and its answer: a client that speaks again begins anew.
  const bool ended =
      asks ? (slot->flags & (FL_FLOW_ESTABLISHED | FL_FLOW_ANSWERED)) == FL_FLOW_ANSWERED
           : fl_is_closed(slot->flags);
  if (claim != 0 && ended) __sync_val_compare_and_swap(&slot->claim, claim, 0);
  return 0;
}

// `*returned`: which of the two directions the path is.
FL_INLINE int decide(void* ctx, const struct fl_packet* packet, __u32 place, struct fl_path* path,
                     bool* returned) {
  const struct fl_config* settings = configuration();
  if (!settings) return FL_VERDICT_PASS;
  const struct fl_frontend* frontend =
      find_virtual_address(&packet->destination, packet->destination_port, packet->protocol);
  if (!frontend) {
    // Before the node ports: no flow is given the source port of one, and this costs no hash
    // lookup.
    struct fl_return* slot =
        find_return(settings, &packet->source, packet->source_port, &packet->destination,
                    packet->destination_port, packet->protocol);
    if (slot && settings->handover == FL_HANDOVER_ASIDE) {
      const __u32 claim = *(volatile __u32*)&slot->claim;
      if (!still_awaits(settings, packet, slot)) {
        __sync_val_compare_and_swap(&slot->claim, claim, 0);
        return FL_VERDICT_PASS;
      }
    }
    *returned = slot != 0;
    if (slot) return answer(settings, packet, slot, path);
    frontend = find_node_port(&packet->destination, packet->destination_port, packet->protocol);
  }
  if (frontend) return forward(ctx, settings, packet, frontend, place, path);
  if (place == FL_AT_XDP) return FL_VERDICT_PASS;
  forget_ended_flow(packet, place);
  return unserved(packet);
}
