// Enters a flow that connection tracking has translated for another mode, in one call from the
// loader: the programs go on with it as if they had begun it.
#pragma once

// 0: it is in; 1: it is not, for nobody serves its address any more, its slot is another flow's, or
// that was only asked.
SEC("syscall") int fl_adopt(struct fl_adoption* adoption) {
  const struct fl_config* settings = configuration();
  if (!settings) return 1;
  // On the stack: Linux 6.1 takes no key from a program's context.
  const struct fl_packet packet = {.source = adoption->client,
                                   .destination = adoption->address,
                                   .source_port = adoption->client_port,
                                   .destination_port = adoption->port,
                                   .protocol = adoption->protocol,
                                   .family = is_v4(&packet.source) ? 4 : 6};
  const struct fl_frontend* frontend =
      find_frontend(&packet.destination, packet.destination_port, packet.protocol);
  if (!frontend) return 1;
  const struct fl_flow_key key = {.client = packet.source,
                                  .frontend = flow_frontend(frontend, &packet.destination),
                                  .client_port = packet.source_port,
                                  .protocol = packet.protocol};
  if (adoption->only_ask) return find_flow(&key) == 0;
  struct fl_flow flow = {.endpoint = adoption->endpoint,
                         .source = adoption->source,
                         .endpoint_port = adoption->endpoint_port,
                         .source_port = adoption->source_port,
                         .endpoint_index = adoption->endpoint_index,
                         .generation = adoption->generation,
                         .last_seen = now(),
                         .flags = FL_FLOW_ANSWERED};
  if (adoption->established) flow.flags |= FL_FLOW_ESTABLISHED;
  flow.slot = return_slot(settings, &flow.endpoint, flow.endpoint_port, &flow.source,
                          flow.source_port, key.protocol);
  if (!take_slot(settings, &packet, &key, &flow)) return 1;
  struct fl_return* slot = bpf_map_lookup_elem(&fl_returns, &flow.slot);
  if (!slot) return 1;
  add_flags(&slot->flags, flow.flags);
  const long error = adoption->established
                         ? bpf_map_update_elem(&fl_flows, &key, &flow, BPF_NOEXIST)
                         : bpf_map_update_elem(&fl_new_flows, &key, &flow, BPF_NOEXIST);
  if (error != 0) {
    release_slot(&key, &flow);
    return 1;
  }
  return 0;
}
