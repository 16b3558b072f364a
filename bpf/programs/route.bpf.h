// The way out: a route lookup, remembered for a tenth of a second.
//
// bpf_fib_lookup() costs more than everything else that an established flow needs, and its answer
// changes seldom. What is remembered is one CPU's own, by source (rules may ask for it),
// destination and the device of arrival. Only full answers are kept: a missing neighbour or route
// is looked up again by every packet.
#pragma once

// A route lookup as if the packet, so rewritten, had arrived at its device.
static __noinline int look_up_route(void* ctx, const struct fl_packet* packet, __u32 length,
                                    struct fl_route* route) {
  struct bpf_fib_lookup fib = {.family = packet->family == 4 ? AF_INET : AF_INET6,
                               .l4_protocol = packet->protocol,
                               .tot_len = length < 0xffff ? length : 0xffff,
                               .ifindex = packet->device};
  if (packet->family == 4) {
    fib.ipv4_src = route->source.word[3];
    fib.ipv4_dst = route->destination.word[3];
  } else {
    __builtin_memcpy(fib.ipv6_src, &route->source, sizeof(route->source));
    __builtin_memcpy(fib.ipv6_dst, &route->destination, sizeof(route->destination));
  }
  const int result = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
  route->device = fib.ifindex;
  route->next.nh_family = fib.family;
  __builtin_memcpy(route->next.ipv6_nh, fib.ipv6_dst, sizeof(fib.ipv6_dst));
  __builtin_memcpy(route->stations, fib.dmac, 6);
  __builtin_memcpy((__u8*)route->stations + 6, fib.smac, 6);
  route->mtu = fib.mtu_result ? fib.mtu_result : 0xffff;  // the loopback device's does not fit
  const struct fl_device* device = bpf_map_lookup_elem(&fl_devices, &fib.ifindex);
  route->device_flags = device ? device->flags : 0;
  return result;
}

// Where what is remembered of the way to `destination` stands.
FL_INLINE struct fl_route* route_place(const struct fl_packet* packet, const struct fl_addr* source,
                                       const struct fl_addr* destination) {
  const __u32 number = hash_pair(source, destination, packet->device, 0) % FL_ROUTES;
  return bpf_map_lookup_elem(&fl_routes, &number);
}

// Is it a full answer for `packet` with `length` bytes to `destination`? The source is the caller's
// to compare.
FL_INLINE bool route_holds(const struct fl_config* settings, const struct fl_route* route,
                           const struct fl_packet* packet, __u32 length,
                           const struct fl_addr* destination, __u32 time) {
  return route->result == BPF_FIB_LKUP_RET_SUCCESS && time - route->found < settings->hz / 10 &&
         route->arrival == packet->device && length <= route->mtu &&
         same_address(&route->destination, destination);
}

// The route of `packet` once its addresses are these; `length` is what it has on the wire.
// `masqueraded`: the source is this node's; the route stands where masquerading_route() has it.
// Null: cannot be. route->result is BPF_FIB_LKUP_RET_*; valid until the next call.
FL_INLINE struct fl_route* find_route(void* ctx, const struct fl_config* settings,
                                      const struct fl_packet* packet, __u32 length,
                                      const struct fl_addr* source,
                                      const struct fl_addr* destination, bool masqueraded) {
  const struct fl_addr nobody = {};
  struct fl_route* route = route_place(packet, masqueraded ? &nobody : source, destination);
  if (!route) return 0;
  const __u32 time = now();
  if (route_holds(settings, route, packet, length, destination, time) &&
      same_address(&route->source, source)) {
    return route;
  }
  route->source = *source;
  route->destination = *destination;
  route->arrival = packet->device;
  route->found = time;
  route->masquerades = 0;
  route->result = look_up_route(ctx, packet, length, route);
  return route;
}

// ---- Masquerading ----

// The device that it leads to; 0 when there is no route. Without a neighbour yet it is known all
// the same.
FL_INLINE __u32 device_of(const struct fl_route* route) {
  return route && (route->result == BPF_FIB_LKUP_RET_SUCCESS ||
                   route->result == BPF_FIB_LKUP_RET_NO_NEIGH)
             ? route->device
             : 0;
}

// The address to masquerade with: that of the device towards the endpoint, else the node's.
FL_INLINE bool masquerade_source(const struct fl_config* settings, __u8 family, __u32 towards,
                                 struct fl_addr* source) {
  const struct fl_device* device = bpf_map_lookup_elem(&fl_devices, &towards);
  if (device) {
    *source = family == 4 ? device->source_v4 : device->source_v6;
    if (!is_zero(source)) return true;
  }
  *source = family == 4 ? settings->source_v4 : settings->source_v6;
  return !is_zero(source);
}

// The route of `packet` to `destination` from the address that masquerades on it: route->source,
// zero when the node has none. Which device leads there says the address, by which the route is
// asked for once more, as rules may want to know it: both together are remembered as one.
static __noinline struct fl_route* masquerading_route(void* ctx, const struct fl_packet* packet,
                                                      const struct fl_addr* destination) {
  const struct fl_config* settings = configuration();
  if (!settings) return 0;
  const struct fl_addr nobody = {};
  struct fl_route* route = route_place(packet, &nobody, destination);
  if (!route) return 0;
  const __u32 time = now();
  const __u32 length = packet->length;
  struct fl_addr source;
  // The address may have changed: who begins with an old one is never answered.
  if (route->masquerades && route_holds(settings, route, packet, length, destination, time) &&
      masquerade_source(settings, packet->family, route->device, &source) &&
      same_address(&route->source, &source)) {
    return route;
  }
  route->source = nobody;
  route->destination = *destination;
  route->arrival = packet->device;
  route->found = time;
  route->masquerades = 0;
  route->result = look_up_route(ctx, packet, length, route);
  if (!masquerade_source(settings, packet->family, device_of(route), &source)) return route;
  route->source = source;
  route->masquerades = 1;
  if (route->result == BPF_FIB_LKUP_RET_SUCCESS) {
    route->result = look_up_route(ctx, packet, length, route);
  }
  return route;
}

// Is the path that of a masqueraded packet?
FL_INLINE bool is_masqueraded(const struct fl_packet* packet, const struct fl_path* path,
                              bool returned) {
  return !returned && !same_address(&packet->source, &path->source);
}

// The route of `packet` with `length` bytes once its addresses are those of its path.
static __noinline struct fl_route* route_of_path(void* ctx, const struct fl_packet* packet,
                                                 __u32 length, const struct fl_path* path,
                                                 bool masqueraded) {
  const struct fl_config* settings = configuration();
  if (!settings) return 0;
  return find_route(ctx, settings, packet, length, &path->source, &path->destination, masqueraded);
}
