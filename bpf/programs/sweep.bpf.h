// Removes flows and remembered clients whose time is over, and frees slots that nobody's flow leads
// to, in one call from the loader.
//
// A callback may delete the element that it is called with. What packets add meanwhile may be
// missed until the next sweep.
#pragma once

#define FL_COUNTED_CLASSES 32  // where there are more, several are counted together

struct fl_sweeping {
  const struct fl_config* settings;
  __u32 ports[FL_COUNTED_CLASSES];  // masquerading ports in use
  __u32 time;
  __u64 standing;
  __u64 expired;
};

FL_INLINE __u32 lifetime_of(const struct fl_config* settings, __u8 protocol, __u32 flags) {
  // Encapsulated flows are answered past us: the client's side is all there is to judge by.
  if (flags & FL_FLOW_DSR) {
    flags |= FL_FLOW_ANSWERED | FL_FLOW_ESTABLISHED;
    if (flags & FL_FLOW_CLIENT_FIN) flags |= FL_FLOW_ENDPOINT_FIN;
  }
  if (protocol != IPPROTO_TCP) {
    // One question and its answer are no stream: to keep each for long would use up the ports.
    return flags & FL_FLOW_ESTABLISHED ? settings->udp_stream_seconds : settings->udp_seconds;
  }
  if (fl_is_closed(flags)) return settings->tcp_closing_seconds;
  return flags & FL_FLOW_ESTABLISHED ? settings->tcp_established_seconds : FL_EMBRYONIC_SECONDS;
}

FL_INLINE bool flow_is_over(const struct fl_sweeping* sweeping, const struct fl_flow_key* key,
                            const struct fl_flow* flow) {
  const struct fl_config* settings = sweeping->settings;
  const __u32 time = sweeping->time;
  __u32 last_seen = flow->last_seen;
  __u32 flags = flow->flags;
  // The slot may say that the flow was seen later, or how it ended: nothing that matters to one
  // seen within the shortest of all times. It is far away in memory.
  __u32 least = FL_EMBRYONIC_SECONDS;
  if (settings->tcp_closing_seconds < least) least = settings->tcp_closing_seconds;
  if (settings->udp_seconds < least) least = settings->udp_seconds;
  if (settings->udp_stream_seconds < least) least = settings->udp_stream_seconds;
  if (!older_than(last_seen, time, least * settings->hz)) return false;

  if (!(flags & FL_FLOW_DSR)) {
    const struct fl_return* slot = bpf_map_lookup_elem(&fl_returns, &flow->slot);
    if (slot && owns_slot(key, flow, slot)) {
      flags |= slot->flags;
      if ((__s32)(slot->last_seen - last_seen) > 0) last_seen = slot->last_seen;
    }
  }
  // 2^31 ticks are 24 days at 1000 Hz: a timeout beyond that is that.
  const __u64 ticks = (__u64)lifetime_of(settings, key->protocol, flags) * settings->hz;
  return older_than(last_seen, time, ticks < 1U << 31 ? ticks : 1U << 31);
}

FL_INLINE void count_port(struct fl_sweeping* sweeping, const struct fl_flow* flow) {
  const __u32 port = flow->slot & 0xffff;
  if (flow->flags & FL_FLOW_DSR || port < sweeping->settings->snat_first ||
      port > sweeping->settings->snat_last) {
    return;
  }
  sweeping->ports[(flow->slot >> 16) % FL_COUNTED_CLASSES]++;
}

static long sweep_flow(struct bpf_map* map, const struct fl_flow_key* key, struct fl_flow* flow,
                       struct fl_sweeping* sweeping) {
  if (!flow_is_over(sweeping, key, flow)) {
    sweeping->standing++;
    count_port(sweeping, flow);
    return 0;
  }
  release_slot(key, flow);
  bpf_map_delete_elem(map, key);
  sweeping->expired++;
  return 0;
}

static long sweep_affinity(struct bpf_map* map, const struct fl_affinity_key* key,
                           const struct fl_affinity* affinity, struct fl_sweeping* sweeping) {
  const struct fl_entry* entry = bpf_map_lookup_elem(&fl_entries, &key->entry);
  const __u64 ticks =
      entry && entry->live ? (__u64)entry->affinity_seconds * sweeping->settings->hz : 0;
  if (older_than(affinity->last_seen, sweeping->time, ticks < 1U << 31 ? ticks : 1U << 31)) {
    bpf_map_delete_elem(map, key);
  } else {
    sweeping->standing++;
  }
  return 0;
}

// ---- Slots ----

struct fl_slot_sweeping {
  const struct fl_config* settings;
  __u32 first;
  __u32 time;
  __u64 freed;
};

// A slot whose flow was established can be taken by nobody else, so it must not outlive its flow:
// one that found no room in a map of another size, or that programs entered into a map which was
// replaced. Both its times are old, so nobody is about to enter its flow.
static long sweep_slot(__u32 turn, struct fl_slot_sweeping* sweeping) {
  const __u32 number = sweeping->first + turn;
  struct fl_return* slot = bpf_map_lookup_elem(&fl_returns, &number);
  if (!slot) return 1;
  const __u32 claim = *(volatile __u32*)&slot->claim;
  const __u32 age = FL_EMBRYONIC_SECONDS * sweeping->settings->hz;
  if (claim == 0 || !(slot->flags & FL_FLOW_ESTABLISHED) ||
      !older_than(slot->last_seen, sweeping->time, age) ||
      !older_than(claim, sweeping->time, age)) {
    return 0;
  }
  const struct fl_flow_key key = flow_of(slot);
  const struct fl_flow* flow = find_flow(&key);
  if (flow && !(flow->flags & FL_FLOW_DSR) && flow->slot == number) return 0;
  if (__sync_val_compare_and_swap(&slot->claim, claim, 0) == claim) sweeping->freed++;
  return 0;
}

SEC("syscall") int fl_sweep(struct fl_sweep* result) {
  const struct fl_config* settings = configuration();
  if (!settings) return 1;
  struct fl_sweeping sweeping = {.settings = settings, .time = now()};
  bpf_for_each_map_elem(&fl_flows, sweep_flow, &sweeping, 0);
  result->flows = sweeping.standing;

  sweeping.standing = 0;
  bpf_for_each_map_elem(&fl_new_flows, sweep_flow, &sweeping, 0);
  result->new_flows = sweeping.standing;
  result->expired = sweeping.expired;
  __u32 most = 0;
  for (int i = 0; i < FL_COUNTED_CLASSES; i++) {
    if (sweeping.ports[i] > most) most = sweeping.ports[i];
  }
  const __u32 together = settings->return_classes / FL_COUNTED_CLASSES;
  result->ports = together > 1 ? most / together : most;

  sweeping.standing = 0;
  bpf_for_each_map_elem(&fl_affinity, sweep_affinity, &sweeping, 0);
  result->affinities = sweeping.standing;

  struct fl_slot_sweeping slots = {
      .settings = settings, .first = result->first_slot, .time = sweeping.time};
  bpf_loop(result->slots, sweep_slot, &slots, 0);
  result->freed = slots.freed;
  result->jiffies = bpf_jiffies64();
  result->nanoseconds = bpf_ktime_get_ns();
  return 0;
}
