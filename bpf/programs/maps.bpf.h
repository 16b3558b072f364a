// Every map of the datapath. Sizes are defaults: the loader sets them before it loads (options of
// bpf/options.h), and pins each map by its name.
#pragma once

#define FL_HASH(name, map_type, key_type, value_type, entries, how) \
  struct {                                                          \
    __uint(type, map_type);                                         \
    __uint(max_entries, entries);                                   \
    __uint(map_flags, fl_flags_##how);                              \
    __type(key, key_type);                                          \
    __type(value, value_type);                                      \
  } name SEC(".maps")
#define fl_flags_preallocated 0
#define fl_flags_on_demand BPF_F_NO_PREALLOC
#define fl_flags_mapped BPF_F_MMAPABLE

FL_HASH(fl_frontends, BPF_MAP_TYPE_HASH, struct fl_frontend_key, struct fl_frontend, 1 << 18,
        on_demand);
FL_HASH(fl_entries, BPF_MAP_TYPE_ARRAY, __u32, struct fl_entry, 1 << 17, mapped);
FL_HASH(fl_rings, BPF_MAP_TYPE_ARRAY, __u32, struct fl_ring_block, 1 << 18, mapped);
FL_HASH(fl_endpoints, BPF_MAP_TYPE_ARRAY, __u32, struct fl_endpoint, 1 << 20, mapped);
FL_HASH(fl_prefixes, BPF_MAP_TYPE_LPM_TRIE, struct fl_prefix_key, __u32, 1 << 16, on_demand);
// Mode ipvs, which this one may follow, gives the node every virtual address.
FL_HASH(fl_node_addresses, BPF_MAP_TYPE_HASH, struct fl_addr, struct fl_node_address, 1 << 17,
        on_demand);
FL_HASH(fl_devices, BPF_MAP_TYPE_HASH, __u32, struct fl_device, 1 << 14, on_demand);
FL_HASH(fl_config, BPF_MAP_TYPE_ARRAY, __u32, struct fl_config, 1, mapped);

FL_HASH(fl_flows, BPF_MAP_TYPE_HASH, struct fl_flow_key, struct fl_flow, 1 << 18, preallocated);
FL_HASH(fl_new_flows, BPF_MAP_TYPE_LRU_HASH, struct fl_flow_key, struct fl_flow, 1 << 16,
        preallocated);
FL_HASH(fl_returns, BPF_MAP_TYPE_ARRAY, __u32, struct fl_return, 4 << 16, preallocated);
FL_HASH(fl_affinity, BPF_MAP_TYPE_LRU_HASH, struct fl_affinity_key, struct fl_affinity, 1 << 16,
        preallocated);
FL_HASH(fl_fragments, BPF_MAP_TYPE_LRU_HASH, struct fl_fragment_key, struct fl_fragment, 8192,
        preallocated);
FL_HASH(fl_counters, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, FL_COUNTERS, preallocated);

FL_HASH(fl_connected, BPF_MAP_TYPE_SK_STORAGE, int, struct fl_peer, 0, on_demand);
FL_HASH(fl_tcp_peers, BPF_MAP_TYPE_ARRAY, __u32, struct fl_tcp_peer, FL_TCP_PEERS, preallocated);
FL_HASH(fl_datagrams, BPF_MAP_TYPE_SK_STORAGE, int, struct fl_datagrams, 0, on_demand);

// What is too much for the 512 bytes of stack that a program and all it calls share.
struct fl_beginning {
  struct fl_flow_key key;
  struct fl_flow flow;
  struct fl_addr outer_source;  // of the tunnel that the packet came by: see dsr_receive.bpf.h
  struct fl_addr outer_destination;
  __u32 next_port;  // where this CPU's next search for a port begins: see begin.bpf.h
};
FL_HASH(fl_scratch, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct fl_beginning, 1, preallocated);

// See route.bpf.h. Zeros are no route: no packet arrives at device 0.
struct fl_route {
  struct fl_addr source;
  struct fl_addr destination;
  struct bpf_redir_neigh next;
  __u32 arrival;
  __u32 device;
  __u32 device_flags;
  __u32 mtu;
  __u32 found;  // when
  __u32 result;
  __u32 masquerades;  // the source is the address to masquerade with on this route
  __u32 stations[3];  // destination and source of the Ethernet header
};
#define FL_ROUTES 2048
FL_HASH(fl_routes, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct fl_route, FL_ROUTES, preallocated);

// Where the endpoints that tunnels lead to stand in `fl_endpoints`: see dsr_receive.bpf.h.
struct fl_direct_key {
  struct fl_addr address;
  __u32 entry;
};
struct fl_direct {
  __u32 index;  // 0: there was none, when it was looked for
  __u32 generation;
  __u32 found;  // when
};
FL_HASH(fl_directs, BPF_MAP_TYPE_LRU_HASH, struct fl_direct_key, struct fl_direct, 4096,
        preallocated);

// What a packet's addresses and ports become.
struct fl_path {
  struct fl_addr source;  // the two addresses adjacent, as in the header
  struct fl_addr destination;
  __be16 source_port;
  __be16 destination_port;
};

// See way.bpf.h. Zeros are no way: no packet arrives at device 0.
struct fl_way {
  struct fl_addr source;  // of the packet, as it arrives; the two addresses adjacent
  struct fl_addr destination;
  __u32 ports;
  __u32 arrival;
  __u32 kind;   // protocol, and the place of the program
  __u32 until;  // when it is to be found anew
  __u32 slot;   // of the flow, and ...
  __u32 claim;  // ... who held it
  struct fl_path path;
  __u32 device;
  __u32 returned;
  __u32 mtu;
  union {
    struct bpf_redir_neigh next;  // tc
    __u32 stations[3];            // XDP
  };
};
#define FL_WAY_BITS 12
FL_HASH(fl_ways, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct fl_way, 1 << FL_WAY_BITS, preallocated);
