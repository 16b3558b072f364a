#include "dataplane/compile.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace fairlead::dataplane {
namespace {

using Endpoints = std::span<const Endpoint>;

bool terminating_but_serving(const Endpoint& endpoint) {
  return !endpoint.ready && endpoint.serving && endpoint.terminating;
}

// Which hints narrow the choice of ready endpoints.
enum class Topology { kEverywhere, kNode, kZone };

// Only ready endpoints are asked. Every one of them must carry the hint, and one must name us: a
// single endpoint without it means that the slice controller has not decided (KEP-2433,
// "heuristics"; PreferSameNode: KEP-3015).
Topology decide_topology(Endpoints endpoints) {
  bool all_node = true, all_zone = true, any_node = false, any_zone = false;
  for (const Endpoint& endpoint : endpoints) {
    if (!endpoint.ready) continue;
    all_node &= endpoint.node_hint != Hint::kNone;
    all_zone &= endpoint.zone_hint != Hint::kNone;
    any_node |= endpoint.node_hint == Hint::kHere;
    any_zone |= endpoint.zone_hint == Hint::kHere;
  }
  if (all_node && any_node) return Topology::kNode;
  if (all_zone && any_zone) return Topology::kZone;
  return Topology::kEverywhere;
}

bool near_enough(const Endpoint& endpoint, Topology topology) {
  switch (topology) {
    case Topology::kNode:
      return endpoint.node_hint == Hint::kHere;
    case Topology::kZone:
      return endpoint.zone_hint == Hint::kHere;
    case Topology::kEverywhere:
      return true;
  }
  return true;
}

template <typename Predicate>
std::vector<Target> select(Endpoints endpoints, Predicate wanted) {
  std::vector<Target> targets;
  targets.reserve(endpoints.size());
  for (const Endpoint& endpoint : endpoints) {
    if (wanted(endpoint)) {
      targets.push_back({endpoint.target, endpoint.local || endpoint.node_unknown});
    }
  }
  if (!std::is_sorted(targets.begin(), targets.end())) std::sort(targets.begin(), targets.end());
  targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
  return targets;
}

// Ready endpoints, narrowed by topology; when there is none, those that still serve while they
// terminate, from anywhere (KEP-1669).
std::vector<Target> cluster_targets(Endpoints endpoints) {
  const Topology topology = decide_topology(endpoints);
  std::vector<Target> targets = select(endpoints, [topology](const Endpoint& endpoint) {
    return endpoint.ready && near_enough(endpoint, topology);
  });
  if (targets.empty()) targets = select(endpoints, terminating_but_serving);
  return targets;
}

// The same for this node alone, with a fallback of its own. Topology does not apply.
std::vector<Target> local_targets(Endpoints endpoints) {
  std::vector<Target> targets =
      select(endpoints, [](const Endpoint& endpoint) { return endpoint.local && endpoint.ready; });
  if (targets.empty()) {
    targets = select(endpoints, [](const Endpoint& endpoint) {
      return endpoint.local && terminating_but_serving(endpoint);
    });
  }
  return targets;
}

using Routes = std::array<Route, kSourceClassCount>;

// Traffic to the cluster IP: sources that are not pods are masqueraded, since the answer would
// otherwise not come back through this node; without a detector nobody can tell, so nobody is.
Routes internal_routes(const Service& service, Family family, const CompileView& view) {
  const Choice choice = service.internal_traffic_local ? Choice::kLocal : Choice::kCluster;
  const bool masquerade_others = view.masquerade_all || view.detects(family);
  return {Route{choice, view.masquerade_all}, Route{choice, masquerade_others},
          Route{choice, masquerade_others}};
}

// Traffic to external addresses and node ports. Policy Local keeps the client's address and stays
// on this node; pods and the node itself are short-circuited to all endpoints, as if they had used
// the cluster IP.
Routes external_routes(const Service& service) {
  if (!service.external_traffic_local) {
    const Route everywhere{Choice::kCluster, true};
    return {everywhere, everywhere, everywhere};
  }
  return {Route{Choice::kCluster, false}, Route{Choice::kCluster, true},
          Route{Choice::kLocal, false}};
}

// loadBalancerSourceRanges of one family. When a node address is inside them, kube-proxy also
// admits the virtual address itself as a source: some load balancers deliver from it.
std::vector<Prefix> source_ranges_of(const Service& service, Family family,
                                     const CompileView& view) {
  std::vector<Prefix> ranges;
  for (const Prefix& range : service.source_ranges) {
    if (range.family() == family) ranges.push_back(range);
  }
  const bool covers_node = std::any_of(
      view.node_addresses.begin(), view.node_addresses.end(), [&](const Address& address) {
        return std::any_of(ranges.begin(), ranges.end(),
                           [&](const Prefix& range) { return range.contains(address); });
      });
  if (covers_node) {
    for (const Address& address : service.load_balancer_ips) {
      if (address.family() == family) ranges.push_back(Prefix::host(address));
    }
  }
  std::sort(ranges.begin(), ranges.end());
  ranges.erase(std::unique(ranges.begin(), ranges.end()), ranges.end());
  return ranges;
}

// One address may be given under two kinds (an external IP that is also the load balancer's). It is
// one frontend of the first kind, and restricted if either is.
void merge_same_addresses(std::vector<Frontend>& frontends) {
  std::vector<Frontend> merged;
  for (const Frontend& frontend : frontends) {
    const auto same = std::find_if(merged.begin(), merged.end(), [&](const Frontend& other) {
      return other.address == frontend.address &&
             (other.kind == FrontendKind::kNodePort) == (frontend.kind == FrontendKind::kNodePort);
    });
    if (same == merged.end()) {
      merged.push_back(frontend);
    } else {
      same->source_ranges_apply |= frontend.source_ranges_apply;
    }
  }
  frontends = std::move(merged);
}

std::vector<Frontend> frontends_of(const Service& service, const ServicePort& port, Family family,
                                   const CompileView& view) {
  const Routes internal = internal_routes(service, family, view);
  const Routes external = external_routes(service);
  // Any range at all, of whichever family, closes the load-balancer addresses of both: ranges of
  // one family must not leave the other one open to everybody.
  const bool restricted = !service.source_ranges.empty();

  std::vector<Frontend> frontends;
  const auto add = [&](FrontendKind kind, const std::vector<Address>& addresses,
                       const Routes& routes) {
    for (const Address& address : addresses) {
      if (address.family() != family) continue;
      frontends.push_back(
          {kind, {address, port.port}, routes, restricted && kind == FrontendKind::kLoadBalancer});
    }
  };
  add(FrontendKind::kClusterIp, service.cluster_ips, internal);
  // A service lives in the families of its cluster IPs; addresses of another family are not served.
  if (frontends.empty()) return frontends;
  add(FrontendKind::kExternalIp, service.external_ips, external);
  add(FrontendKind::kLoadBalancer, service.load_balancer_ips, external);
  if (port.node_port != 0) {
    const Address any = family == Family::kIPv4 ? Address() : Address::v6({});
    frontends.push_back({FrontendKind::kNodePort, {any, port.node_port}, external, false});
  }
  std::sort(frontends.begin(), frontends.end(), [](const Frontend& a, const Frontend& b) {
    return std::tie(a.kind, a.address) < std::tie(b.kind, b.address);
  });
  merge_same_addresses(frontends);
  return frontends;
}

bool any_route_uses(const std::vector<Frontend>& frontends, Choice choice) {
  return std::any_of(frontends.begin(), frontends.end(), [choice](const Frontend& frontend) {
    return std::any_of(frontend.routes.begin(), frontend.routes.end(),
                       [choice](const Route& route) { return route.choice == choice; });
  });
}

}  // namespace

std::vector<ForwardingEntry> compile(const Service& service, std::span<const EndpointGroup> groups,
                                     const CompileView& view) {
  std::vector<ForwardingEntry> entries;
  for (const Family family : view.families) {
    for (const ServicePort& port : service.ports) {
      const bool repeated = std::any_of(entries.begin(), entries.end(), [&](const auto& known) {
        return known.key.family == family && known.key.port_name == port.name &&
               known.key.protocol == port.protocol;
      });
      if (repeated) continue;  // the API refuses it; the first one counts
      ForwardingEntry entry;
      entry.frontends = frontends_of(service, port, family, view);
      if (entry.frontends.empty()) continue;
      entry.key = {service.name, port.name, port.protocol, family};
      entry.created_at = service.created_at;
      entry.affinity_seconds = service.affinity_seconds;
      entry.source_ranges = source_ranges_of(service, family, view);
      entry.health_check_node_port = service.health_check_node_port;

      const auto group = std::find_if(groups.begin(), groups.end(), [&](const EndpointGroup& g) {
        return g.port_name == port.name && g.protocol == port.protocol && g.family == family;
      });
      const Endpoints endpoints = group == groups.end() ? Endpoints() : group->endpoints;
      const bool usable_anywhere =
          std::any_of(endpoints.begin(), endpoints.end(), [](const Endpoint& endpoint) {
            return endpoint.ready || terminating_but_serving(endpoint);
          });
      if (any_route_uses(entry.frontends, Choice::kCluster)) {
        entry.cluster.targets = cluster_targets(endpoints);
      }
      if (any_route_uses(entry.frontends, Choice::kLocal)) {
        entry.local.targets = local_targets(endpoints);
        // With endpoints elsewhere the sender should try another node: silence makes it retry, a
        // refusal would make it give up.
        entry.local.when_empty = usable_anywhere ? EmptyVerdict::kDrop : EmptyVerdict::kReject;
      }
      entries.push_back(std::move(entry));
    }
  }
  return entries;
}

size_t count_local_ready_addresses(std::span<const EndpointGroup> groups) {
  std::vector<Address> addresses;
  for (const EndpointGroup& group : groups) {
    for (const Endpoint& endpoint : group.endpoints) {
      if (endpoint.local && endpoint.ready) addresses.push_back(endpoint.target.address);
    }
  }
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  const auto of_v4 = std::count_if(addresses.begin(), addresses.end(),
                                   [](const Address& address) { return address.is_v4(); });
  return std::max(static_cast<size_t>(of_v4), addresses.size() - static_cast<size_t>(of_v4));
}

}  // namespace fairlead::dataplane
