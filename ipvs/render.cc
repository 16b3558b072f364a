#include "ipvs/render.h"

#include <algorithm>

namespace fairlead::ipvs {
namespace {

using dataplane::Address;
using dataplane::Choice;
using dataplane::EmptyVerdict;
using dataplane::EndpointChoice;
using dataplane::Family;
using dataplane::ForwardingEntry;
using dataplane::Frontend;
using dataplane::FrontendKind;
using dataplane::Prefix;
using dataplane::Protocol;
using dataplane::SocketAddress;
using dataplane::SourceClass;
using dataplane::Target;

bool is_split(const Frontend& frontend) {
  return frontend.route(SourceClass::kPod).choice != frontend.route(SourceClass::kOther).choice;
}

// Pods and the node must share a choice: a packet has one mark.
Status check_routes(const ForwardingEntry& entry, const Frontend& frontend) {
  const auto& pod = frontend.route(SourceClass::kPod);
  const auto& node = frontend.route(SourceClass::kNode);
  const auto& other = frontend.route(SourceClass::kOther);
  const char* problem = nullptr;
  if (pod.choice != node.choice) {
    problem = "pods and the node have different endpoints";
  } else if (is_split(frontend) && pod.choice != Choice::kCluster) {
    problem = "only pods and the node are kept to local endpoints";
  } else if (pod.masquerade && !other.masquerade) {
    problem = "pods are masqueraded and others not";
  } else if (frontend.kind != FrontendKind::kClusterIp && !pod.masquerade && other.masquerade) {
    problem = "pods keep their address at an external address and others do not";
  }
  if (problem == nullptr) return {};
  return Status::error(StatusCode::kUnsupported, "render", entry.key.to_string(),
                       std::string(to_string(frontend.kind)) + " " + frontend.address.to_string() +
                           ": " + problem + ", which IPVS cannot do");
}

class Renderer {
 public:
  Renderer(const ForwardingEntry& entry, const View& view, uint32_t mark)
      : entry_(entry), view_(view), mark_(mark) {}

  Result<Rendering> run();

 private:
  Protocol protocol() const { return entry_.key.protocol; }
  SetElement element(const SocketAddress& address) const {
    SetElement made;
    made.address = address.address;
    made.port = address.port;
    made.protocol = protocol();
    return made;
  }
  void put(SetId set, const SetElement& element) { out_.elements.emplace_back(set, element); }

  void put_virtual_address(const Frontend& frontend);
  void put_node_port(const Frontend& frontend);
  void put_source_ranges(const SocketAddress& address);
  void put_server(const Frontend& frontend, const SocketAddress& address);
  void put_marked_server();
  void put_hairpins();
  bool local_policy(const Frontend& frontend) const {
    return !frontend.route(SourceClass::kOther).masquerade;
  }

  const ForwardingEntry& entry_;
  const View& view_;
  const uint32_t mark_;
  Rendering out_;
};

void Renderer::put_server(const Frontend& frontend, const SocketAddress& address) {
  const EndpointChoice& choice = entry_.choice(frontend.route(SourceClass::kOther).choice);
  if (is_split(frontend)) {
    SetElement marked = element(address);
    marked.mark = mark_;
    put(SetId::kMarks, marked);
  }
  // An empty server refuses by itself; where packets are to vanish none that is new may come to it.
  const bool vanishing = choice.targets.empty() && choice.when_empty == EmptyVerdict::kDrop;
  if (vanishing) put(SetId::kNoLocal, element(address));
  WantedServer server;
  server.key = ServerKey::at(protocol(), address);
  // An external IP that is the node's own may be the same as a node port of the service.
  for (const WantedServer& other : out_.servers) {
    if (other.key == server.key) return;
  }
  server.settings.scheduler = view_.scheduler;
  // As kube-proxy: without it one client would always reach one endpoint.
  if (view_.scheduler == "mh") server.settings.flags |= kHashSourcePort;
  if (entry_.affinity_seconds != 0) {
    server.settings.flags |= kPersistent;
    server.settings.persistence_seconds = entry_.affinity_seconds;
  }
  server.targets = &choice.targets;
  server.graceful = protocol() == Protocol::kTcp;
  server.ending = vanishing;
  out_.servers.push_back(std::move(server));
}

// The server of pods and the node, with endpoints or, to refuse and for what has begun, without.
// IPVS's persistence would not translate ports here (a server by
// mark has none), so affinity is by hashing the client's address.
void Renderer::put_marked_server() {
  WantedServer server;
  server.key = ServerKey::marked(view_.family, mark_);
  server.settings.scheduler = view_.scheduler;
  if (view_.scheduler == "mh") server.settings.flags |= kHashSourcePort;
  if (entry_.affinity_seconds != 0) {
    server.settings.scheduler = kAffinityScheduler;
    server.settings.flags = kHashFallback;
  }
  server.targets = &entry_.cluster.targets;
  server.graceful = protocol() == Protocol::kTcp;
  out_.servers.push_back(std::move(server));
}

void Renderer::put_source_ranges(const SocketAddress& address) {
  put(SetId::kLoadBalancerFirewall, element(address));
  for (const Prefix& range : entry_.source_ranges) {
    SetElement admitted = element(address);
    admitted.second = range.base();
    const bool is_frontend =
        range == Prefix::host(range.base()) &&
        std::any_of(entry_.frontends.begin(), entry_.frontends.end(), [&](const Frontend& each) {
          return each.kind == FrontendKind::kLoadBalancer && each.address.address == range.base();
        });
    if (is_frontend) {
      put(SetId::kLoadBalancerSourceIp, admitted);
      continue;
    }
    if (range.length() != 0) {
      admitted.length = range.length();
      put(SetId::kLoadBalancerSourceCidr, admitted);
      continue;
    }
    // Sets know no prefix of length 0: two halves.
    admitted.length = 1;
    put(SetId::kLoadBalancerSourceCidr, admitted);
    admitted.second = view_.family == Family::kIPv4 ? Address::v4(0x80000000) : Address::v6({0x80});
    put(SetId::kLoadBalancerSourceCidr, admitted);
  }
}

void Renderer::put_virtual_address(const Frontend& frontend) {
  const SocketAddress& address = frontend.address;
  switch (frontend.kind) {
    case FrontendKind::kClusterIp:
      put(SetId::kClusterIp, element(address));
      if (frontend.route(SourceClass::kPod).masquerade) {
        put(SetId::kMasqueradeAll, element(address));
      }
      break;
    case FrontendKind::kExternalIp:
      put(local_policy(frontend) ? SetId::kExternalIpLocal : SetId::kExternalIp, element(address));
      break;
    case FrontendKind::kLoadBalancer:
      put(SetId::kLoadBalancer, element(address));
      if (local_policy(frontend)) put(SetId::kLoadBalancerLocal, element(address));
      break;
    case FrontendKind::kNodePort:
      return;
  }
  if (frontend.source_ranges_apply) put_source_ranges(address);
  out_.addresses.push_back(address.address);
  put_server(frontend, address);
}

void Renderer::put_node_port(const Frontend& frontend) {
  if (view_.node_port_addresses.empty()) return;
  SetElement port;
  port.port = frontend.address.port;
  const bool local = local_policy(frontend);
  switch (protocol()) {
    case Protocol::kTcp:
      put(SetId::kNodePortTcp, port);
      if (local) put(SetId::kNodePortLocalTcp, port);
      break;
    case Protocol::kUdp:
      put(SetId::kNodePortUdp, port);
      if (local) put(SetId::kNodePortLocalUdp, port);
      break;
    case Protocol::kSctp:
      break;
  }
  for (const Address& address : view_.node_port_addresses) {
    const SocketAddress here{address, frontend.address.port};
    if (protocol() == Protocol::kSctp) {
      put(SetId::kNodePortSctp, element(here));
      if (local) put(SetId::kNodePortLocalSctp, element(here));
    } else {
      put(SetId::kNodePortServers, element(here));
    }
    put_server(frontend, here);
  }
}

void Renderer::put_hairpins() {
  std::vector<Target> targets;
  for (const EndpointChoice* choice : {&entry_.cluster, &entry_.local}) {
    for (const Target& target : choice->targets) {
      if (target.maybe_local) targets.push_back(target);
    }
  }
  std::sort(targets.begin(), targets.end());
  targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
  for (const Target& target : targets) {
    SetElement itself = element(target.address);
    itself.second = target.address.address;
    put(SetId::kLoopBack, itself);
  }
}

Result<Rendering> Renderer::run() {
  for (const Frontend& frontend : entry_.frontends) {
    RETURN_IF_ERROR(check_routes(entry_, frontend));
  }
  put_hairpins();
  if (entry_.health_check_node_port != 0) {
    SetElement port;
    port.port = entry_.health_check_node_port;
    put(SetId::kHealthCheckNodePort, port);
  }
  for (const Frontend& frontend : entry_.frontends) {
    if (frontend.kind == FrontendKind::kNodePort) {
      put_node_port(frontend);
    } else {
      put_virtual_address(frontend);
    }
  }
  std::sort(out_.addresses.begin(), out_.addresses.end());
  out_.addresses.erase(std::unique(out_.addresses.begin(), out_.addresses.end()),
                       out_.addresses.end());
  const bool marked = std::any_of(out_.elements.begin(), out_.elements.end(),
                                  [](const auto& each) { return each.first == SetId::kMarks; });
  if (marked) put_marked_server();
  return std::move(out_);
}

}  // namespace

bool needs_mark(const ForwardingEntry& entry) {
  return std::any_of(entry.frontends.begin(), entry.frontends.end(), is_split);
}

Result<Rendering> render(const ForwardingEntry& entry, const View& view, uint32_t mark) {
  return Renderer(entry, view, mark).run();
}

}  // namespace fairlead::ipvs
