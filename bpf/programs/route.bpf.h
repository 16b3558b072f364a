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

// The route of `packet` once its addresses are these; `length` is what it has on the wire. Null:
// cannot be. route->result is BPF_FIB_LKUP_RET_*; valid until the next call.
FL_INLINE struct fl_route* find_route(void* ctx, const struct fl_config* settings,
                                      const struct fl_packet* packet, __u32 length,
                                      const struct fl_addr* source,
                                      const struct fl_addr* destination) {
  const __u32 number = hash_pair(source, destination, packet->device, 0) % FL_ROUTES;
  struct fl_route* route = bpf_map_lookup_elem(&fl_routes, &number);
  if (!route) return 0;
  const __u32 time = now();
  if (route->result == BPF_FIB_LKUP_RET_SUCCESS && time - route->found < settings->hz / 10 &&
      route->arrival == packet->device && same_address(&route->destination, destination) &&
      same_address(&route->source, source)) {
    if (length <= route->mtu) return route;
  }
  route->source = *source;
  route->destination = *destination;
  route->arrival = packet->device;
  route->found = time;
  route->result = look_up_route(ctx, packet, length, route);
  return route;
}
