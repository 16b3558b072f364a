#include "dataplane/reference.h"

#include <algorithm>

namespace fairlead::dataplane {

ReferenceEvaluator::ReferenceEvaluator(const std::vector<EntryPointer>& entries, NodeRules rules,
                                       std::vector<Address> node_addresses)
    : rules_(std::move(rules)), node_addresses_(std::move(node_addresses)) {
  for (const EntryPointer& entry : entries) {
    for (const Frontend& frontend : entry->frontends) {
      const Match match{entry, &frontend};
      if (frontend.kind == FrontendKind::kNodePort) {
        by_node_port_.insert(
            {{entry->key.family, frontend.address.port, entry->key.protocol}, match});
      } else {
        by_address_.insert(
            {{frontend.address.address, frontend.address.port, entry->key.protocol}, match});
      }
    }
  }
}

SourceClass ReferenceEvaluator::classify(const Packet& packet) const {
  const SourceDetector& detector = rules_.detector;
  const bool pod =
      std::any_of(detector.pod_prefixes.begin(), detector.pod_prefixes.end(),
                  [&](const Prefix& prefix) { return prefix.contains(packet.source.address); }) ||
      (!packet.in_interface.empty() &&
       (packet.in_interface == detector.bridge_interface ||
        (!detector.interface_name_prefix.empty() &&
         packet.in_interface.starts_with(detector.interface_name_prefix))));
  if (pod) return SourceClass::kPod;
  const bool node = packet.source.address.is_loopback() ||
                    std::find(node_addresses_.begin(), node_addresses_.end(),
                              packet.source.address) != node_addresses_.end();
  return node ? SourceClass::kNode : SourceClass::kOther;
}

const ReferenceEvaluator::Match* ReferenceEvaluator::find(const Packet& packet) const {
  const Address& destination = packet.destination.address;
  const auto exact = by_address_.find({destination, packet.destination.port, packet.protocol});
  if (exact != by_address_.end()) return &exact->second;

  const std::vector<Address>& answering = rules_.node_ports_everywhere(destination.family())
                                              ? node_addresses_
                                              : rules_.node_port_addresses;
  // Node ports never answer on loopback: the answer's route would leave the host with a martian
  // source.
  if (destination.is_loopback() ||
      std::find(answering.begin(), answering.end(), destination) == answering.end()) {
    return nullptr;
  }
  const auto by_port =
      by_node_port_.find({destination.family(), packet.destination.port, packet.protocol});
  return by_port == by_node_port_.end() ? nullptr : &by_port->second;
}

Outcome ReferenceEvaluator::evaluate(const Packet& packet) const {
  const Match* match = find(packet);
  if (match == nullptr) {
    const Address& destination = packet.destination.address;
    const bool live_cluster_ip =
        std::any_of(by_address_.begin(), by_address_.end(), [&](const auto& item) {
          return std::get<0>(item.first) == destination &&
                 item.second.frontend->kind == FrontendKind::kClusterIp;
        });
    if (live_cluster_ip) {
      return {Fate::kRejected, nullptr, {}, false, "the cluster IP has no such port"};
    }
    const bool unallocated =
        std::any_of(rules_.service_prefixes.begin(), rules_.service_prefixes.end(),
                    [&](const Prefix& prefix) { return prefix.contains(destination); });
    if (unallocated) {
      return {Fate::kDropped, nullptr, {}, false, "no service has this address of the ServiceCIDR"};
    }
    return {Fate::kUntouched, nullptr, {}, false, "no service claims the destination"};
  }

  const ForwardingEntry& entry = *match->entry;
  const Frontend& frontend = *match->frontend;
  const Route& route = frontend.route(classify(packet));
  const EndpointChoice& choice = entry.choice(route.choice);
  if (frontend.source_ranges_apply &&
      std::none_of(entry.source_ranges.begin(), entry.source_ranges.end(),
                   [&](const Prefix& range) { return range.contains(packet.source.address); })) {
    return {Fate::kDropped, match->entry, {}, false, "the source is outside the source ranges"};
  }
  if (choice.targets.empty()) {
    const bool reject = choice.when_empty == EmptyVerdict::kReject;
    return {reject ? Fate::kRejected : Fate::kDropped,
            match->entry,
            {},
            false,
            reject ? "the service has no endpoints" : "the service has no endpoints on this node"};
  }
  return {Fate::kForwarded, match->entry, choice.targets, route.masquerade, "forwarded"};
}

}  // namespace fairlead::dataplane
