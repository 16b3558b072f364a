#include "tests/api_server/objects.h"

#include "control/api/json_writer.h"

namespace fairlead::api_server {
namespace {

using api::JsonWriter;

void write_map(JsonWriter& json, const char* key, const StringMap& map) {
  if (map.empty()) return;
  json.key(key).begin_object();
  for (const auto& [name, value] : map) json.key(name).string(value);
  json.end_object();
}

void write_strings(JsonWriter& json, const char* key, const std::vector<std::string>& values) {
  if (values.empty()) return;
  json.key(key).begin_array();
  for (const std::string& value : values) json.string(value);
  json.end_array();
}

void write_names(JsonWriter& json, const char* key, const std::vector<std::string>& names) {
  if (names.empty()) return;
  json.key(key).begin_array();
  for (const std::string& name : names) json.begin_object().key("name").string(name).end_object();
  json.end_array();
}

void begin(JsonWriter& json, const char* api_version, const char* kind) {
  json.begin_object().key("apiVersion").string(api_version).key("kind").string(kind);
}

void begin_metadata(JsonWriter& json, const std::string& name_space, const std::string& name) {
  json.key("metadata").begin_object();
  if (!name_space.empty()) json.key("namespace").string(name_space);
  json.key("name").string(name);
}

bool is_ipv6(const std::string& address) {
  return address.find(':') != std::string::npos;
}

void write_service_port(JsonWriter& json, const ServicePortSpec& port) {
  json.begin_object();
  if (!port.name.empty()) json.key("name").string(port.name);
  json.key("protocol").string(port.protocol).key("port").number(port.port);
  json.key("targetPort").number(port.target_port);
  if (port.node_port != 0) json.key("nodePort").number(port.node_port);
  json.end_object();
}

void write_service_spec(JsonWriter& json, const ServiceSpec& spec) {
  json.key("spec").begin_object();
  json.key("ports").begin_array();
  for (const ServicePortSpec& port : spec.ports) write_service_port(json, port);
  json.end_array();
  json.key("selector").begin_object().key("app").string(spec.name).end_object();
  if (!spec.cluster_ips.empty()) {
    json.key("clusterIP").string(spec.cluster_ips.front());
    write_strings(json, "clusterIPs", spec.cluster_ips);
    std::vector<std::string> families;
    for (const std::string& ip : spec.cluster_ips) {
      if (ip != "None") families.push_back(is_ipv6(ip) ? "IPv6" : "IPv4");
    }
    write_strings(json, "ipFamilies", families);
    json.key("ipFamilyPolicy").string(families.size() > 1 ? "RequireDualStack" : "SingleStack");
  }
  json.key("type").string(spec.type);
  write_strings(json, "externalIPs", spec.external_ips);
  json.key("sessionAffinity").string(spec.affinity_seconds != 0 ? "ClientIP" : "None");
  if (spec.affinity_seconds != 0) {
    json.key("sessionAffinityConfig").begin_object().key("clientIP").begin_object();
    json.key("timeoutSeconds").number(spec.affinity_seconds).end_object().end_object();
  }
  write_strings(json, "loadBalancerSourceRanges", spec.source_ranges);
  std::string policy = spec.external_traffic_policy;
  const bool reachable_from_outside = spec.type == "NodePort" || spec.type == "LoadBalancer";
  if (policy.empty() && reachable_from_outside) policy = "Cluster";
  if (!policy.empty()) json.key("externalTrafficPolicy").string(policy);
  if (!spec.internal_traffic_policy.empty()) {
    json.key("internalTrafficPolicy").string(spec.internal_traffic_policy);
  }
  if (spec.health_check_node_port != 0) {
    json.key("healthCheckNodePort").number(spec.health_check_node_port);
  }
  json.end_object();
}

void write_endpoint(JsonWriter& json, const std::string& name_space, const EndpointSpec& endpoint) {
  json.begin_object().key("addresses").begin_array().string(endpoint.address).end_array();
  json.key("conditions").begin_object().key("ready").boolean(endpoint.ready);
  json.key("serving").boolean(endpoint.serving.value_or(endpoint.ready));
  json.key("terminating").boolean(endpoint.terminating).end_object();
  if (!endpoint.node.empty()) json.key("nodeName").string(endpoint.node);
  if (!endpoint.zone.empty()) json.key("zone").string(endpoint.zone);
  if (!endpoint.hint_zones.empty() || !endpoint.hint_nodes.empty()) {
    json.key("hints").begin_object();
    write_names(json, "forZones", endpoint.hint_zones);
    write_names(json, "forNodes", endpoint.hint_nodes);
    json.end_object();
  }
  if (!endpoint.pod.empty()) {
    json.key("targetRef").begin_object().key("kind").string("Pod");
    json.key("namespace").string(name_space).key("name").string(endpoint.pod).end_object();
  }
  json.end_object();
}

}  // namespace

std::string service_json(const ServiceSpec& spec) {
  JsonWriter json;
  begin(json, "v1", "Service");
  begin_metadata(json, spec.name_space, spec.name);
  if (!spec.created_at.empty()) json.key("creationTimestamp").string(spec.created_at);
  write_map(json, "labels", spec.labels);
  write_map(json, "annotations", spec.annotations);
  json.end_object();
  write_service_spec(json, spec);
  json.key("status").begin_object().key("loadBalancer").begin_object();
  if (!spec.load_balancer_ips.empty()) {
    json.key("ingress").begin_array();
    for (const std::string& ip : spec.load_balancer_ips) {
      json.begin_object().key("ip").string(ip);
      if (!spec.load_balancer_ip_mode.empty())
        json.key("ipMode").string(spec.load_balancer_ip_mode);
      json.end_object();
    }
    json.end_array();
  }
  json.end_object().end_object().end_object();
  return json.take();
}

std::string endpoint_slice_json(const EndpointSliceSpec& spec) {
  JsonWriter json;
  begin(json, "discovery.k8s.io/v1", "EndpointSlice");
  begin_metadata(json, spec.name_space, spec.name.empty() ? spec.service + "-1" : spec.name);
  StringMap labels = spec.labels;
  labels.emplace("kubernetes.io/service-name", spec.service);
  labels.emplace("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
  write_map(json, "labels", labels);
  write_map(json, "annotations", spec.annotations);
  json.end_object();
  json.key("addressType").string(spec.address_type).key("endpoints").begin_array();
  for (const EndpointSpec& endpoint : spec.endpoints) {
    write_endpoint(json, spec.name_space, endpoint);
  }
  json.end_array().key("ports").begin_array();
  for (const EndpointPortSpec& port : spec.ports) {
    json.begin_object().key("name").string(port.name).key("protocol").string(port.protocol);
    json.key("port").number(port.port).end_object();
  }
  json.end_array().end_object();
  return json.take();
}

std::string node_json(const NodeSpec& spec) {
  JsonWriter json;
  begin(json, "v1", "Node");
  begin_metadata(json, {}, spec.name);
  StringMap labels = spec.labels;
  labels.emplace("kubernetes.io/hostname", spec.name);
  if (!spec.zone.empty()) labels.emplace("topology.kubernetes.io/zone", spec.zone);
  write_map(json, "labels", labels);
  json.end_object().key("spec").begin_object();
  if (!spec.pod_cidrs.empty()) json.key("podCIDR").string(spec.pod_cidrs.front());
  write_strings(json, "podCIDRs", spec.pod_cidrs);
  if (!spec.taints.empty()) {
    json.key("taints").begin_array();
    for (const TaintSpec& taint : spec.taints) {
      json.begin_object().key("key").string(taint.key);
      if (!taint.value.empty()) json.key("value").string(taint.value);
      json.key("effect").string(taint.effect).end_object();
    }
    json.end_array();
  }
  json.end_object().key("status").begin_object().key("addresses").begin_array();
  for (const std::string& ip : spec.internal_ips) {
    json.begin_object().key("type").string("InternalIP").key("address").string(ip).end_object();
  }
  json.begin_object().key("type").string("Hostname").key("address").string(spec.name).end_object();
  json.end_array().key("conditions").begin_array().begin_object().key("type").string("Ready");
  json.key("status").string(spec.ready ? "True" : "False").end_object().end_array();
  json.end_object().end_object();
  return json.take();
}

std::string service_cidr_json(const ServiceCidrSpec& spec) {
  JsonWriter json;
  begin(json, "networking.k8s.io/v1", "ServiceCIDR");
  begin_metadata(json, {}, spec.name);
  json.end_object().key("spec").begin_object();
  write_strings(json, "cidrs", spec.cidrs);
  json.end_object().end_object();
  return json.take();
}

}  // namespace fairlead::api_server
