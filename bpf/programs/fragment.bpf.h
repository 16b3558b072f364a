// A fragmented datagram has its ports in the first fragment alone; the later ones find them here.
//
// Who calls when: `fragment_ports` right after parsing, for every later fragment, before any look
// at frontends or slots: it makes the fragment look like the datagram it is part of.
// `remember_fragment` for a first fragment once it is known to be ours, forward or return, and
// before the packet is rewritten: the record stands under the addresses as they arrive here, since
// that is how the later fragments arrive too. What is nobody's of ours leaves no record; a later
// fragment without one is judged like any packet that cannot be read.
#pragma once

FL_INLINE struct fl_fragment_key fragment_key(const struct fl_packet* packet) {
  const struct fl_fragment_key key = {.source = packet->source,
                                      .destination = packet->destination,
                                      .identification = packet->identification,
                                      .protocol = packet->protocol};
  return key;
}

FL_INLINE bool remember_fragment(const struct fl_packet* packet) {
  const struct fl_fragment_key key = fragment_key(packet);
  const struct fl_fragment ports = {.source_port = packet->source_port,
                                    .destination_port = packet->destination_port};
  return bpf_map_update_elem(&fl_fragments, &key, &ports, BPF_ANY) == 0;
}

// Fills the ports of a later fragment. False: its first one has not passed here as ours.
FL_INLINE bool fragment_ports(struct fl_packet* packet) {
  const struct fl_fragment_key key = fragment_key(packet);
  const struct fl_fragment* ports = bpf_map_lookup_elem(&fl_fragments, &key);
  if (!ports) return false;
  packet->source_port = ports->source_port;
  packet->destination_port = ports->destination_port;
  count(FL_COUNT_fragments_tracked);
  return true;
}
