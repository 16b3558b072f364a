#include "bpf/adopted_flows.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>

#include <algorithm>
#include <map>
#include <span>
#include <tuple>
#include <vector>

#include "bpf/layout.h"
#include "bpf/node_maps.h"
#include "bpf/object.h"
#include "bpf/table_maps.h"
#include "bpf/tables.h"

namespace fairlead::bpf {
namespace {

bool is_node_address(const Object& object, const fl_addr& address) {
  fl_node_address own;
  return bpf_map_lookup_elem(object.fd(Map::kNodeAddresses), &address, &own) == 0;
}

// The entry that serves what a client writes; 0 when none does.
uint32_t entry_of(const Object& object, const TrackedFlow& flow) {
  // A node port stands under its family's unspecified address.
  const auto any =
      from_wire(flow.address).is_v4() ? dataplane::Address::v4(0) : dataplane::Address::v6({});
  for (const fl_addr& at : {flow.address, to_wire(any)}) {
    const fl_frontend_key key = {at, flow.port, flow.protocol, 0};
    fl_frontend frontend;
    if (bpf_map_lookup_elem(object.fd(Map::kFrontends), &key, &frontend) == 0) {
      return frontend.entry;
    }
  }
  return 0;
}

// Which endpoints stand where, by entry, address and port.
class EndpointIndex {
 public:
  explicit EndpointIndex(std::span<const fl_endpoint> endpoints) : endpoints_(endpoints) {
    for (uint32_t i = 1; i < endpoints.size(); ++i) {
      const fl_endpoint& each = endpoints[i];
      if (each.entry != 0) at_.emplace(key(each.entry, each.address, each.port), i);
    }
  }
  uint32_t find(uint32_t entry, const fl_addr& address, fl_be16 port) const {
    const auto found = at_.find(key(entry, address, port));
    return found == at_.end() ? 0 : found->second;
  }
  uint32_t generation(uint32_t index) const { return endpoints_[index].generation; }

 private:
  using Key = std::tuple<uint32_t, dataplane::Address, fl_be16>;
  static Key key(uint32_t entry, const fl_addr& address, fl_be16 port) {
    return {entry, from_wire(address), port};
  }

  std::span<const fl_endpoint> endpoints_;
  std::map<Key, uint32_t> at_;
};

fl_adoption adoption_of(const TrackedFlow& flow) {
  return {.client = flow.client,
          .address = flow.address,
          .source = flow.source,
          .endpoint = flow.endpoint,
          .client_port = flow.client_port,
          .port = flow.port,
          .source_port = flow.source_port,
          .endpoint_port = flow.endpoint_port,
          .endpoint_index = 0,
          .generation = 0,
          .protocol = flow.protocol,
          .established = 0,
          .only_ask = 0,
          .zero = {}};
}

bool call_program(const Object& object, fl_adoption adoption) {
  LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &adoption, .ctx_size_in = sizeof adoption);
  return ::bpf_prog_test_run_opts(object.fd(Program::kAdopt), &options) == 0 && options.retval == 0;
}

bool is_adopted(const Object& object, const TrackedFlow& flow) {
  fl_adoption adoption = adoption_of(flow);
  adoption.only_ask = 1;
  return call_program(object, adoption);
}

// More than one question and its answer, as far as connection tracking can tell.
bool is_conversation(const Translated& translated) {
  return translated.flow.protocol == IPPROTO_TCP || translated.assured;
}

bool adopt(const Object& object, const Translated& translated, uint32_t endpoint,
           uint32_t generation) {
  fl_adoption adoption = adoption_of(translated.flow);
  adoption.endpoint_index = endpoint;
  adoption.generation = generation;
  adoption.established = is_conversation(translated);
  return call_program(object, adoption);
}

}  // namespace

Result<AdoptedFlows> adopt_flows(const Object& object, TableMaps& maps) {
  const auto sockets = local_port_range();
  const auto can_go_on = [&](const Translated& each) {
    const TrackedFlow& flow = each.flow;
    const uint16_t port = ntohs(flow.source_port);
    const bool masqueraded = from_wire(flow.source) != from_wire(flow.client);
    const bool shared = sockets && port >= sockets->first && port <= sockets->second;
    return !each.closing && !(masqueraded && shared) && !is_node_address(object, flow.client) &&
           !is_node_address(object, flow.endpoint);
  };
  struct Candidate {
    Translated translated;
    uint32_t entry;
  };
  std::vector<Candidate> candidates;
  AdoptedFlows count;
  RETURN_IF_ERROR(visit_translated([&](const Translated& each) {
    const uint32_t entry = entry_of(object, each.flow);
    if (entry == 0) return true;
    if (can_go_on(each)) {
      candidates.push_back({each, entry});
    } else {
      ++count.left;
    }
    return true;
  }));
  if (candidates.empty()) return count;

  // Where two need one slot, the one that lasts longer has it.
  std::stable_partition(candidates.begin(), candidates.end(),
                        [](const Candidate& each) { return is_conversation(each.translated); });
  const EndpointIndex endpoints(maps.endpoints());
  for (const auto& [translated, entry] : candidates) {
    const TrackedFlow& flow = translated.flow;
    const uint32_t endpoint = endpoints.find(entry, flow.endpoint, flow.endpoint_port);
    const bool adopted =
        endpoint != 0 && adopt(object, translated, endpoint, endpoints.generation(endpoint));
    ++(adopted ? count.adopted : count.left);
  }
  return count;
}

Result<bool> connections_are_left(const Object& object) {
  bool found = false;
  RETURN_IF_ERROR(visit_translated([&](const Translated& each) {
    found = each.flow.protocol == IPPROTO_TCP && entry_of(object, each.flow) != 0 &&
            !is_adopted(object, each.flow);
    return !found;
  }));
  return found;
}

}  // namespace fairlead::bpf
