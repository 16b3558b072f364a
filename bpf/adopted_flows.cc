#include "bpf/adopted_flows.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>

#include <algorithm>
#include <vector>

#include "bpf/node_maps.h"
#include "bpf/object.h"

namespace fairlead::bpf {
namespace {

uint32_t entry_of(const Tables& tables, const TrackedFlow& flow) {
  return tables.entry_at(flow.address, flow.port, flow.protocol);
}

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

bool adopt(const Object& object, const Translated& translated,
           const Tables::EndpointPlace& endpoint) {
  fl_adoption adoption = adoption_of(translated.flow);
  adoption.endpoint_index = endpoint.index;
  adoption.generation = endpoint.generation;
  adoption.established = is_conversation(translated);
  return call_program(object, adoption);
}

}  // namespace

Result<AdoptedFlows> adopt_flows(const Object& object, const Tables& tables) {
  const auto sockets = local_port_range();
  const int addresses = object.fd(Map::kNodeAddresses);
  const auto can_go_on = [&](const Translated& each) {
    const TrackedFlow& flow = each.flow;
    const uint16_t port = ntohs(flow.source_port);
    const bool masqueraded = from_wire(flow.source) != from_wire(flow.client);
    const bool shared = sockets && port >= sockets->first && port <= sockets->second;
    return !each.closing && !(masqueraded && shared) && !is_node_address(addresses, flow.client) &&
           !is_node_address(addresses, flow.endpoint);
  };
  struct Candidate {
    Translated translated;
    uint32_t entry;
  };
  std::vector<Candidate> candidates;
  AdoptedFlows count;
  RETURN_IF_ERROR(visit_translated([&](const Translated& each) {
    const uint32_t entry = entry_of(tables, each.flow);
    if (entry == 0) return true;
    if (can_go_on(each)) {
      candidates.push_back({each, entry});
    } else {
      ++count.left;
    }
    return true;
  }));
  // Where two need one slot, the one that lasts longer has it.
  std::stable_partition(candidates.begin(), candidates.end(),
                        [](const Candidate& each) { return is_conversation(each.translated); });
  for (const auto& [translated, entry] : candidates) {
    const TrackedFlow& flow = translated.flow;
    const auto endpoint = tables.endpoint_at(entry, flow.endpoint, flow.endpoint_port);
    const bool adopted = endpoint && adopt(object, translated, *endpoint);
    ++(adopted ? count.adopted : count.left);
  }
  return count;
}

Result<bool> connections_are_left(const Object& object, const Tables& tables) {
  bool found = false;
  RETURN_IF_ERROR(visit_translated([&](const Translated& each) {
    found = each.flow.protocol == IPPROTO_TCP && entry_of(tables, each.flow) != 0 &&
            !is_adopted(object, each.flow);
    return !found;
  }));
  return found;
}

}  // namespace fairlead::bpf
