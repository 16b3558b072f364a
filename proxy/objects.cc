#include "proxy/objects.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/api/decode.h"

namespace fairlead::proxy {
namespace {

using api::Problem;
using dataplane::Address;
using dataplane::Family;
using dataplane::Prefix;
using dataplane::Protocol;

// kube-proxy's bound for ClientIP affinity, also the API's: a day.
constexpr int64_t kMaxAffinitySeconds = 86400;
constexpr int64_t kDefaultAffinitySeconds = 10800;

// What the API refuses as an address of a service or an endpoint.
const char* unusable(const Address& address) {
  if (address.is_unspecified()) return "is the unspecified address";
  if (address.is_loopback()) return "is a loopback address";
  if (address.is_multicast()) return "is a multicast address";
  if (address.is_link_local()) return "is a link-local address";
  return nullptr;
}

std::optional<Address> parse_address(const std::string& text, const std::string& field,
                                     std::vector<Problem>& problems) {
  const std::optional<Address> address = Address::parse(text);
  if (!address) {
    problems.push_back({field, fmt::format("\"{}\" is not an IP address", text.substr(0, 64))});
    return std::nullopt;
  }
  if (const char* reason = unusable(*address)) {
    problems.push_back({field, fmt::format("{} {}", text, reason)});
    return std::nullopt;
  }
  return address;
}

void add_unique(std::vector<Address>& addresses, const Address& address) {
  if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
    addresses.push_back(address);
  }
}

std::optional<uint16_t> parse_port(int64_t port, const std::string& field,
                                   std::vector<Problem>& problems) {
  if (port >= 1 && port <= 65535) return static_cast<uint16_t>(port);
  // The decoder has named what does not even fit the field, and left 0.
  const bool named = std::any_of(problems.begin(), problems.end(),
                                 [&](const Problem& problem) { return problem.field == field; });
  if (!named) problems.push_back({field, fmt::format("{} is not between 1 and 65535", port)});
  return std::nullopt;
}

std::optional<Protocol> parse_protocol_field(const std::string& text, const std::string& field,
                                             std::vector<Problem>& problems) {
  const std::optional<Protocol> protocol = dataplane::parse_protocol(text);
  if (!protocol) {
    problems.push_back({field, fmt::format("\"{}\" is not TCP, UDP or SCTP", text.substr(0, 64))});
  }
  return protocol;
}

std::vector<Address> parse_cluster_ips(const api::Service& object, std::vector<Problem>& problems) {
  std::vector<Address> addresses;
  std::vector<std::string> texts = object.cluster_ips;
  if (texts.empty()) texts.push_back(object.cluster_ip);  // servers before dual-stack
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string field =
        object.cluster_ips.empty() ? "spec.clusterIP" : fmt::format("spec.clusterIPs[{}]", i);
    const std::optional<Address> address = parse_address(texts[i], field, problems);
    if (!address) continue;
    const bool second_of_family =
        std::any_of(addresses.begin(), addresses.end(),
                    [&](const Address& other) { return other.family() == address->family(); });
    if (second_of_family) {
      problems.push_back({field, "is a second address of its family"});
    } else {
      addresses.push_back(*address);
    }
  }
  return addresses;
}

std::vector<dataplane::ServicePort> parse_ports(const api::Service& object,
                                                std::vector<Problem>& problems) {
  std::vector<dataplane::ServicePort> ports;
  for (size_t i = 0; i < object.ports.size(); ++i) {
    const api::ServicePort& from = object.ports[i];
    const std::string field = fmt::format("spec.ports[{}]", i);
    const std::optional<Protocol> protocol =
        parse_protocol_field(from.protocol, field + ".protocol", problems);
    const std::optional<uint16_t> port = parse_port(from.port, field + ".port", problems);
    if (!protocol || !port) continue;
    dataplane::ServicePort to{from.name, *protocol, *port, 0};
    if (from.node_port != 0) {
      to.node_port = parse_port(from.node_port, field + ".nodePort", problems).value_or(0);
    }
    const bool repeated = std::any_of(ports.begin(), ports.end(), [&](const auto& other) {
      return other.name == to.name && other.protocol == to.protocol;
    });
    if (repeated) {
      problems.push_back({field + ".name", fmt::format("\"{}\" is used twice", to.name)});
    } else {
      ports.push_back(std::move(to));
    }
  }
  return ports;
}

}  // namespace

std::optional<dataplane::Service> convert_service(const api::Service& object,
                                                  std::vector<Problem>& problems) {
  if (object.meta.label(kServiceProxyNameLabel) != nullptr ||
      object.meta.label(kHeadlessLabel) != nullptr || object.type == "ExternalName") {
    return std::nullopt;
  }
  const std::string& first_ip = object.cluster_ip.empty() && !object.cluster_ips.empty()
                                    ? object.cluster_ips[0]
                                    : object.cluster_ip;
  if (first_ip.empty() || first_ip == "None") return std::nullopt;

  dataplane::Service service;
  service.name = {object.meta.name_space, object.meta.name};
  service.created_at = object.meta.creation_timestamp;
  service.cluster_ips = parse_cluster_ips(object, problems);
  service.ports = parse_ports(object, problems);
  for (size_t i = 0; i < object.external_ips.size(); ++i) {
    const auto address =
        parse_address(object.external_ips[i], fmt::format("spec.externalIPs[{}]", i), problems);
    if (address) add_unique(service.external_ips, *address);
  }
  for (size_t i = 0; i < object.load_balancer_ingress.size(); ++i) {
    const api::LoadBalancerIngress& ingress = object.load_balancer_ingress[i];
    // A load balancer that is named, or that is a proxy (KEP-1860), is not ours to answer for.
    if (ingress.ip.empty() || ingress.ip_mode == "Proxy") continue;
    const std::string field = fmt::format("status.loadBalancer.ingress[{}].ip", i);
    const auto address = parse_address(ingress.ip, field, problems);
    if (address) add_unique(service.load_balancer_ips, *address);
  }
  if (object.session_affinity == "ClientIP") {
    const int64_t seconds = object.affinity_timeout_seconds.value_or(kDefaultAffinitySeconds);
    if (seconds >= 1 && seconds <= kMaxAffinitySeconds) {
      service.affinity_seconds = static_cast<uint32_t>(seconds);
    } else {
      problems.push_back({"spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                          fmt::format("{} is not between 1 and {}", seconds, kMaxAffinitySeconds)});
      service.affinity_seconds = kDefaultAffinitySeconds;
    }
  } else if (object.session_affinity != "None" && !object.session_affinity.empty()) {
    problems.push_back(
        {"spec.sessionAffinity",
         fmt::format("\"{}\" is not None or ClientIP", object.session_affinity.substr(0, 64))});
  }
  service.internal_traffic_local = object.internal_traffic_policy == "Local";
  service.external_traffic_local = object.external_traffic_policy == "Local";
  for (size_t i = 0; i < object.load_balancer_source_ranges.size(); ++i) {
    // The API allows surrounding space here.
    std::string text = object.load_balancer_source_ranges[i];
    text.erase(0, text.find_first_not_of(" \t"));
    text.erase(text.find_last_not_of(" \t") + 1);
    if (const std::optional<Prefix> range = Prefix::parse(text)) {
      service.source_ranges.push_back(*range);
    } else {
      problems.push_back({fmt::format("spec.loadBalancerSourceRanges[{}]", i),
                          fmt::format("\"{}\" is not a CIDR block", text.substr(0, 64))});
    }
  }
  // Whoever wrote ranges meant to restrict: when none can be read, nobody is admitted.
  if (service.source_ranges.empty() && !object.load_balancer_source_ranges.empty()) {
    service.source_ranges.push_back(Prefix::host(Address()));
  }
  if (object.health_check_node_port != 0 && service.external_traffic_local) {
    service.health_check_node_port =
        parse_port(object.health_check_node_port, "spec.healthCheckNodePort", problems).value_or(0);
  }
  return service;
}

uint32_t ZoneHints::intern(const std::vector<std::string>& zones) {
  if (zones.empty()) return 0;
  MutexLock lock(mutex_);
  const auto [position, inserted] = ids_.try_emplace(zones, static_cast<uint32_t>(lists_.size()));
  if (inserted) lists_.push_back(zones);
  return position->second;
}

dataplane::Hint ZoneHints::match(uint32_t id, std::string_view our_zone) const {
  if (id == 0) return dataplane::Hint::kNone;
  MutexLock lock(mutex_);
  const std::vector<std::string>& zones = lists_[id];
  return std::find(zones.begin(), zones.end(), our_zone) != zones.end()
             ? dataplane::Hint::kHere
             : dataplane::Hint::kElsewhere;
}

namespace {

std::vector<SlicePort> parse_slice_ports(const api::EndpointSlice& object,
                                         std::vector<Problem>& problems) {
  std::vector<SlicePort> ports;
  for (size_t i = 0; i < object.ports.size(); ++i) {
    const api::EndpointPort& from = object.ports[i];
    // Without a name it fits no service port; without a number it means every port, which only
    // network policies understand.
    if (!from.name || !from.port || *from.port == 0) continue;
    const std::string field = fmt::format("ports[{}]", i);
    const auto protocol = parse_protocol_field(from.protocol, field + ".protocol", problems);
    const auto port = parse_port(*from.port, field + ".port", problems);
    if (protocol && port) ports.push_back({*from.name, *protocol, *port});
  }
  return ports;
}

uint8_t endpoint_flags(const api::Endpoint& from, std::string_view node_name) {
  uint8_t flags = 0;
  const auto set = [&](bool condition, uint8_t flag) {
    if (condition) flags = static_cast<uint8_t>(flags | flag);
  };
  // An unknown condition counts as good, as kube-proxy takes it.
  set(from.ready.value_or(true), SliceEndpoint::kReady);
  set(from.serving.value_or(true), SliceEndpoint::kServing);
  set(from.terminating.value_or(false), SliceEndpoint::kTerminating);
  set(from.node_name && *from.node_name == node_name, SliceEndpoint::kLocal);
  set(!from.node_name, SliceEndpoint::kNodeUnknown);
  if (!from.hints_for_nodes.empty()) {
    const bool here = std::find(from.hints_for_nodes.begin(), from.hints_for_nodes.end(),
                                node_name) != from.hints_for_nodes.end();
    set(here, SliceEndpoint::kNodeHintHere);
    set(!here, SliceEndpoint::kNodeHintElsewhere);
  }
  return flags;
}

}  // namespace

std::optional<Slice> convert_slice(const api::EndpointSlice& object, std::string_view node_name,
                                   ZoneHints& hints, std::vector<Problem>& problems) {
  const std::string* const service = object.meta.label(kServiceNameLabel);
  if (service == nullptr || service->empty() || object.meta.label(kServiceProxyNameLabel) ||
      object.meta.label(kHeadlessLabel)) {
    return std::nullopt;
  }
  Slice slice;
  slice.name = object.meta.name;
  slice.service = {object.meta.name_space, *service};
  if (object.address_type == "IPv6") {
    slice.family = Family::kIPv6;
  } else if (object.address_type != "IPv4") {
    if (object.address_type != "FQDN") {
      problems.push_back({"addressType", fmt::format("\"{}\" is not IPv4, IPv6 or FQDN",
                                                     object.address_type.substr(0, 64))});
    }
    return std::nullopt;
  }
  slice.ports = parse_slice_ports(object, problems);
  slice.endpoints.reserve(object.endpoints.size());
  for (size_t i = 0; i < object.endpoints.size(); ++i) {
    const api::Endpoint& from = object.endpoints[i];
    const std::string field = fmt::format("endpoints[{}].addresses", i);
    if (from.addresses.empty()) {
      problems.push_back({field, "is empty"});
      continue;
    }
    // The others of an endpoint are the same pod again; no consumer has ever used them.
    const auto address = parse_address(from.addresses[0], field + "[0]", problems);
    if (!address) continue;
    if (address->family() != slice.family) {
      problems.push_back({field + "[0]", fmt::format("{} is not of the slice's address type {}",
                                                     from.addresses[0], object.address_type)});
      continue;
    }
    slice.endpoints.push_back(
        {*address, endpoint_flags(from, node_name), hints.intern(from.hints_for_zones)});
  }
  const std::string* const trigger =
      object.meta.annotation("endpoints.kubernetes.io/last-change-trigger-time");
  if (trigger != nullptr) {
    slice.trigger_time_micros = api::parse_rfc3339_micros(*trigger).value_or(0);
  }
  return slice;
}

}  // namespace fairlead::proxy
