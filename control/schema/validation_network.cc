// What a row cannot say of services, endpoints, ingresses and policies.
#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "control/schema/names.h"
#include "control/schema/validation_rules.h"

namespace fairlead::schema {

namespace {

constexpr size_t kMaxEndpoints = 1000;
constexpr size_t kMaxAddresses = 100;
constexpr size_t kMaxSlicePorts = 20000;

void service_ports(const Value& spec, const FieldPath& path, ErrorList& errors) {
  const Value& ports = spec.get("ports");
  const FieldPath list = path.child("ports");
  const std::string_view type = spec.get("type").as_string();
  std::set<std::tuple<int64_t, std::string_view>> seen;
  std::set<std::tuple<int64_t, std::string_view>> node_ports;
  size_t index = 0;
  for (const Value& port : ports.items()) {
    const FieldPath here = list.element(index++);
    if (ports.size() > 1 && port.get("name").as_string().empty()) {
      errors.required(here.child("name"));
    }
    const std::string_view protocol = port.get("protocol").as_string();
    if (!seen.emplace(port.get("port").as_int(), protocol).second) errors.duplicate(here, port);
    const Value& node_port = port.get("nodePort");
    if (node_port.as_int() == 0) continue;
    if (type == "ClusterIP" || type == "ExternalName") {
      errors.forbidden(here.child("nodePort"),
                       fmt::format("may not be used when `type` is '{}'", type));
    } else if (!node_ports.emplace(node_port.as_int(), protocol).second) {
      errors.duplicate(here.child("nodePort"), node_port);
    }
  }
}

// One address, one of each family, or None alone.
void address_list(const Value& all, const FieldPath& list, ErrorList& errors) {
  constexpr size_t kMostFamilies = 2;
  if (all.size() > kMostFamilies) return errors.invalid(list, all, "may only hold up to 2 values");
  const bool headless = !all.empty() && all.items()[0].as_string() == "None";
  if (headless && all.size() > 1) {
    return errors.invalid(list, all, "'None' must be the first and only value");
  }
  size_t sixes = 0;
  bool valid = true;
  for (size_t i = 0; !headless && i < all.size(); ++i) {
    const Value& each = all.items()[i];
    const std::string wrong = check_ip(each.as_string());
    errors.check(list.element(i), each, wrong);
    valid = valid && wrong.empty();
    if (each.as_string().find(':') != std::string_view::npos) ++sixes;
  }
  if (valid && all.size() == kMostFamilies && sixes != 1) {
    errors.invalid(list, all, "may specify no more than one IP for each IP family");
  }
}

void service_addresses(const Value& spec, const FieldPath& path, ErrorList& errors) {
  const Value& address = spec.get("clusterIP");
  const std::string_view text = address.as_string();
  const std::string_view type = spec.get("type").as_string();
  const FieldPath list = path.child("clusterIPs");
  const FieldPath first = list.element(0);
  const Value& all = spec.get("clusterIPs");
  if (!all.empty() && !(all.items()[0] == address)) {
    errors.invalid(list, all, "first value must match `clusterIP`");
  }
  address_list(all, list, errors);
  if (all.empty() && !text.empty() && text != "None") {
    errors.check(first, address, check_ip(text));
  }
  if (text == "None" && (type == "NodePort" || type == "LoadBalancer")) {
    errors.invalid(first, address, fmt::format("may not be set to 'None' for {} services", type));
  }
  if (type == "ExternalName" && (!text.empty() || !all.empty())) {
    errors.forbidden(list, "may not be set when type is 'ExternalName'");
  }
}

void service_checks(const Value& spec, const FieldPath& path, ErrorList& errors) {
  const std::string_view type = spec.get("type").as_string();
  const bool headless = spec.get("clusterIP").as_string() == "None";
  if (spec.get("ports").empty() && !headless && type != "ExternalName") {
    errors.required(path.child("ports"));
  }
  service_ports(spec, path, errors);
  service_addresses(spec, path, errors);
  if (type == "ExternalName") {
    std::string_view name = spec.get("externalName").as_string();
    if (name.ends_with('.')) name.remove_suffix(1);
    if (name.empty()) {
      errors.required(path.child("externalName"));
    } else {
      errors.check(path.child("externalName"), spec.get("externalName"), check_dns_subdomain(name));
    }
  }
  const bool external =
      type == "NodePort" || type == "LoadBalancer" || !spec.get("externalIPs").empty();
  if (spec.find("externalTrafficPolicy") && !external) {
    errors.invalid(path.child("externalTrafficPolicy"), spec.get("externalTrafficPolicy"),
                   "may only be set for externally-accessible services");
  }
  if (spec.get("healthCheckNodePort").as_int() != 0 &&
      (type != "LoadBalancer" || spec.get("externalTrafficPolicy").as_string() != "Local")) {
    errors.invalid(path.child("healthCheckNodePort"), spec.get("healthCheckNodePort"),
                   "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is "
                   "'Local'");
  }
  for (const std::string_view field : {"allocateLoadBalancerNodePorts", "loadBalancerClass"}) {
    if (spec.find(field) && type != "LoadBalancer") {
      errors.forbidden(path.child(field), "may only be used when `type` is 'LoadBalancer'");
    }
  }
  if (!spec.get("loadBalancerSourceRanges").empty() && type != "LoadBalancer") {
    errors.forbidden(path.child("loadBalancerSourceRanges"),
                     "may only be used when `type` is 'LoadBalancer'");
  }
  if (spec.get("sessionAffinity").as_string() == "None" && spec.find("sessionAffinityConfig")) {
    errors.forbidden(path.child("sessionAffinityConfig"),
                     "must not be set when session affinity is None");
  }
}

void slice_checks(const Value& slice, const FieldPath& path, ErrorList& errors) {
  const std::string_view type = slice.get("addressType").as_string();
  const Value& endpoints = slice.get("endpoints");
  const FieldPath list = path.child("endpoints");
  if (endpoints.size() > kMaxEndpoints) errors.too_many(list, endpoints.size(), kMaxEndpoints);
  if (slice.get("ports").size() > kMaxSlicePorts) {
    errors.too_many(path.child("ports"), slice.get("ports").size(), kMaxSlicePorts);
  }
  size_t index = 0;
  for (const Value& endpoint : endpoints.items()) {
    const FieldPath here = list.element(index++);
    const FieldPath addresses = here.child("addresses");
    if (endpoint.get("addresses").size() > kMaxAddresses) {
      errors.too_many(addresses, endpoint.get("addresses").size(), kMaxAddresses);
    }
    size_t at = 0;
    for (const Value& address : endpoint.get("addresses").items()) {
      const std::string_view text = address.as_string();
      errors.check(addresses.element(at++), address,
                   type == "IPv4"   ? check_ipv4(text)
                   : type == "IPv6" ? check_ipv6(text)
                   : type == "FQDN" ? check_dns_subdomain(text)
                                    : std::string());
    }
  }
}

void subset_checks(const Value& subset, const FieldPath& path, ErrorList& errors) {
  if (subset.get("addresses").empty() && subset.get("notReadyAddresses").empty()) {
    errors.required(path, "must specify `addresses` or `notReadyAddresses`");
  }
  const Value& ports = subset.get("ports");
  const FieldPath list = path.child("ports");
  size_t index = 0;
  for (const Value& port : ports.items()) {
    const FieldPath here = list.element(index++);
    if (ports.size() > 1 && port.get("name").as_string().empty()) {
      errors.required(here.child("name"));
    }
  }
}

void ingress_checks(const Value& spec, const FieldPath& path, ErrorList& errors) {
  if (spec.get("rules").empty() && !spec.find("defaultBackend")) {
    errors.invalid(path, spec, "either `defaultBackend` or `rules` must be specified");
  }
  const FieldPath rules = path.child("rules");
  size_t index = 0;
  for (const Value& rule : spec.get("rules").items()) {
    const FieldPath here = rules.element(index++);
    const Value& host = rule.get("host");
    const std::string_view text = host.as_string();
    if (text.empty()) continue;
    if (check_ip(text).empty()) {
      errors.invalid(here.child("host"), host, "must be a DNS name, not an IP address");
    } else {
      errors.check(here.child("host"), host,
                   text.find('*') != std::string_view::npos ? check_wildcard_subdomain(text)
                                                            : check_dns_subdomain(text));
    }
  }
}

void ingress_path_checks(const Value& rule, const FieldPath& path, ErrorList& errors) {
  const std::string_view type = rule.get("pathType").as_string();
  const std::string_view text = rule.get("path").as_string();
  if ((type == "Exact" || type == "Prefix") && !text.starts_with('/')) {
    errors.invalid(path.child("path"), rule.get("path"), "must be an absolute path");
  }
}

void backend_checks(const Value& backend, const FieldPath& path, ErrorList& errors) {
  const Value* service = backend.find("service");
  if (service && backend.find("resource")) {
    errors.invalid(path, Value::string(""), "cannot set both resource and service backends");
  } else if (!service && !backend.find("resource")) {
    errors.required(path, "port name or number is required");
  }
  if (!service) return;
  const Value& port = service->get("port");
  const FieldPath at = path.child("service");
  const FieldPath here = at.child("port");
  const bool named = !port.get("name").as_string().empty();
  const int64_t number = port.get("number").as_int();
  if (named && number != 0) {
    errors.invalid(path, Value::string(""), "cannot set both port name & port number");
  } else if (!named && number == 0) {
    errors.required(path, "port name or number is required");
  } else if (named) {
    errors.check(here.child("name"), port.get("name"),
                 check_port_name(port.get("name").as_string()));
  } else {
    errors.check(here.child("number"), port.get("number"), check_port(number));
  }
}

void policy_peer_checks(const Value& peer, const FieldPath& path, ErrorList& errors) {
  const bool block = peer.find("ipBlock") != nullptr;
  if (block && peer.size() > 1) {
    errors.forbidden(path, "may not specify both ipBlock and another peer");
  } else if (peer.empty()) {
    errors.required(path, "must specify a peer");
  }
}

void policy_port_checks(const Value& port, const FieldPath& path, ErrorList& errors) {
  const Value* end = port.find("endPort");
  if (!end) return;
  const Value& first = port.get("port");
  if (!first.is_int()) {
    errors.forbidden(path.child("endPort"),
                     first.is_null() ? "may not be specified when `port` is not specified"
                                     : "may not be specified when `port` is non-numeric");
  } else if (end->as_int() < first.as_int()) {
    errors.invalid(path.child("endPort"), *end, "must be greater than or equal to `port`");
  }
}

// An exception must lie inside of its block.
void block_checks(const Value& block, const FieldPath& path, ErrorList& errors) {
  struct Prefix {
    int family = 0;
    unsigned char bytes[16] = {};
    int length = 0;
  };
  const auto parse = [](std::string_view text, Prefix* prefix) {
    if (!check_cidr(text).empty()) return false;
    const size_t slash = text.find('/');
    const std::string address(text.substr(0, slash));
    prefix->family = address.find(':') == std::string::npos ? AF_INET : AF_INET6;
    prefix->length = std::stoi(std::string(text.substr(slash + 1)));
    return inet_pton(prefix->family, address.c_str(), prefix->bytes) == 1;
  };
  Prefix outer;
  if (!parse(block.get("cidr").as_string(), &outer)) return;
  const FieldPath list = path.child("except");
  size_t index = 0;
  for (const Value& item : block.get("except").items()) {
    const FieldPath here = list.element(index++);
    Prefix inner;
    if (!parse(item.as_string(), &inner)) continue;
    bool inside = inner.family == outer.family && inner.length > outer.length;
    for (int bit = 0; inside && bit < outer.length; ++bit) {
      const int mask = 0x80 >> (bit % 8);
      inside = (inner.bytes[bit / 8] & mask) == (outer.bytes[bit / 8] & mask);
    }
    if (!inside) {
      errors.invalid(here, item,
                     fmt::format("must be a strict subset of `{}`", block.get("cidr").as_string()));
    }
  }
}

constexpr ValidationHookRow kNetworkHooks[] = {
    {"core.v1.ServiceSpec", service_checks},
    {"core.v1.EndpointSubset", subset_checks},
    {"discovery.v1.EndpointSlice", slice_checks},
    {"networking.v1.IngressSpec", ingress_checks},
    {"networking.v1.HTTPIngressPath", ingress_path_checks},
    {"networking.v1.IngressBackend", backend_checks},
    {"networking.v1.NetworkPolicyPeer", policy_peer_checks},
    {"networking.v1.NetworkPolicyPort", policy_port_checks},
    {"networking.v1.IPBlock", block_checks},
};

}  // namespace

std::span<const ValidationHookRow> network_hooks() {
  return kNetworkHooks;
}

}  // namespace fairlead::schema
