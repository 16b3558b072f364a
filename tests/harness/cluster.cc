#include "tests/harness/cluster.h"

#include <algorithm>
#include <utility>

#include "control/api/json_writer.h"

namespace fairlead::harness {
namespace {

using api::JsonWriter;
using dataplane::Family;
using dataplane::Protocol;

void write_text(JsonWriter& json, std::string_view key, std::string_view value) {
  json.key(key).string(value);
}

void write_texts(JsonWriter& json, std::string_view key, const std::vector<std::string>& values) {
  json.key(key).begin_array();
  for (const std::string& value : values) json.string(value);
  json.end_array();
}

void write_map(JsonWriter& json, std::string_view key,
               const std::vector<std::pair<std::string, std::string>>& values) {
  json.key(key).begin_object();
  for (const auto& [name, value] : values) write_text(json, name, value);
  json.end_object();
}

void write_optional(JsonWriter& json, std::string_view key, std::optional<bool> value) {
  if (value) json.key(key).boolean(*value);
}

std::vector<std::string> in_families(const DualAddress& address,
                                     const std::vector<Family>& families) {
  std::vector<std::string> addresses;
  for (const Family family : families) addresses.push_back(address.of(family));
  return addresses;
}

std::string slice_name(const std::string& service, Family family) {
  return service + (family == Family::kIPv4 ? "-v4" : "-v6");
}

std::string address_of(const std::string& pod, Family family) {
  return (pod == "node-a" ? Topology::node_a() : Topology::pod(pod)).of(family);
}

void write_endpoint(JsonWriter& json, const EndpointObject& endpoint, Family family) {
  json.begin_object();
  write_texts(json, "addresses", {address_of(endpoint.pod, family)});
  json.key("conditions").begin_object();
  write_optional(json, "ready", endpoint.ready);
  write_optional(json, "serving", endpoint.serving);
  write_optional(json, "terminating", endpoint.terminating);
  json.end_object();
  const std::string_view node =
      endpoint.pod == "node-a" ? "node-a" : Topology::node_of(endpoint.pod);
  write_text(json, "nodeName", node);
  if (!endpoint.zones.empty()) {
    json.key("hints").begin_object().key("forZones").begin_array();
    for (const std::string& zone : endpoint.zones) {
      json.begin_object().key("name").string(zone).end_object();
    }
    json.end_array().end_object();
  }
  json.end_object();
}

}  // namespace

EndpointObject terminating(std::string pod) {
  return {std::move(pod), false, true, true, {}};
}
EndpointObject not_ready(std::string pod) {
  return {std::move(pod), false, false, false, {}};
}
EndpointObject hinted(std::string pod, std::string zone) {
  return {std::move(pod), true, true, false, {std::move(zone)}};
}

ServiceObject::ServiceObject(Cluster& cluster, std::string name, int number)
    : cluster_(&cluster),
      name_(std::move(name)),
      cluster_ip_(Topology::service_ip(number)),
      own_external_ip_(Topology::external_ip(number)),
      load_balancer_ip_(Topology::load_balancer_ip(number)),
      own_node_port_(static_cast<uint16_t>(30000 + 2 * number)) {}

ServiceObject& ServiceObject::endpoints(std::initializer_list<const char*> pods) {
  endpoints_.clear();
  for (const char* pod : pods) endpoints_.push_back({pod, true, true, false, {}});
  return *this;
}
ServiceObject& ServiceObject::endpoints(std::vector<EndpointObject> endpoints) {
  endpoints_ = std::move(endpoints);
  return *this;
}
ServiceObject& ServiceObject::protocols(std::vector<Protocol> protocols) {
  protocols_ = std::move(protocols);
  return *this;
}
ServiceObject& ServiceObject::families(std::vector<Family> families) {
  families_ = std::move(families);
  return *this;
}
ServiceObject& ServiceObject::port(uint16_t port) {
  port_ = port;
  return *this;
}
ServiceObject& ServiceObject::port_name(std::string prefix) {
  port_prefix_ = std::move(prefix);
  return *this;
}
ServiceObject& ServiceObject::target_port(uint16_t port) {
  target_port_ = port;
  return *this;
}
ServiceObject& ServiceObject::node_port() {
  if (type_ == "ClusterIP") type_ = "NodePort";
  node_port_ = own_node_port_;
  return *this;
}
ServiceObject& ServiceObject::external_ip() {
  return external_ip(own_external_ip_);
}
ServiceObject& ServiceObject::external_ip(DualAddress address) {
  external_ip_ = std::move(address);
  return *this;
}
ServiceObject& ServiceObject::load_balancer(std::string ip_mode) {
  type_ = "LoadBalancer";
  ip_mode_ = std::move(ip_mode);
  return *this;
}
ServiceObject& ServiceObject::external_local() {
  external_local_ = true;
  return *this;
}
ServiceObject& ServiceObject::internal_local() {
  internal_local_ = true;
  return *this;
}
ServiceObject& ServiceObject::affinity(int seconds) {
  affinity_ = seconds;
  return *this;
}
ServiceObject& ServiceObject::source_ranges(std::vector<std::string> ranges) {
  source_ranges_ = std::move(ranges);
  return *this;
}
ServiceObject& ServiceObject::health_check_port() {
  health_check_port_ = static_cast<uint16_t>(own_node_port_ + 1);
  return *this;
}
ServiceObject& ServiceObject::created(std::string timestamp) {
  created_ = std::move(timestamp);
  return *this;
}
ServiceObject& ServiceObject::label(std::string key, std::string value) {
  labels_.emplace_back(std::move(key), std::move(value));
  return *this;
}
ServiceObject& ServiceObject::annotation(std::string key, std::string value) {
  annotations_.emplace_back(std::move(key), std::move(value));
  return *this;
}
ServiceObject& ServiceObject::headless() {
  headless_ = true;
  return *this;
}
ServiceObject& ServiceObject::external_name() {
  type_ = "ExternalName";
  return *this;
}

std::vector<Target> ServiceObject::at(const std::string& address, uint16_t port) const {
  std::vector<Target> targets;
  for (const Protocol protocol : protocols_) targets.push_back({protocol, address, port});
  return targets;
}
std::vector<Target> ServiceObject::at_cluster_ip(Family family) const {
  return at(cluster_ip_.of(family), port_);
}
std::vector<Target> ServiceObject::at_external_ip(Family family) const {
  return at(external_ip_->of(family), port_);
}
std::vector<Target> ServiceObject::at_load_balancer(Family family) const {
  return at(load_balancer_ip_.of(family), port_);
}
std::vector<Target> ServiceObject::at_node_port(Family family) const {
  return at_node_port_of(Topology::node_a(), family);
}
std::vector<Target> ServiceObject::at_node_port_of(const DualAddress& node, Family family) const {
  return at(node.of(family), own_node_port_);
}

std::string ServiceObject::port_name_of(Protocol protocol) const {
  return port_prefix_ + (protocol == Protocol::kTcp   ? "-tcp"
                         : protocol == Protocol::kUdp ? "-udp"
                                                      : "-sctp");
}

std::string ServiceObject::service_json() const {
  JsonWriter json;
  json.begin_object();
  write_text(json, "apiVersion", "v1");
  write_text(json, "kind", "Service");
  json.key("metadata").begin_object();
  write_text(json, "namespace", kNamespace);
  write_text(json, "name", name_);
  write_text(json, "uid", "uid-of-" + name_);
  write_text(json, "creationTimestamp", created_);
  write_map(json, "labels", labels_);
  write_map(json, "annotations", annotations_);
  json.end_object();

  json.key("spec").begin_object();
  write_text(json, "type", type_);
  if (type_ == "ExternalName") {
    write_text(json, "externalName", "example.com");
  } else {
    std::vector<std::string> ips = in_families(cluster_ip_, families_);
    if (headless_) ips = {"None"};
    write_text(json, "clusterIP", ips.front());
    write_texts(json, "clusterIPs", ips);
    json.key("ipFamilies").begin_array();
    for (const Family family : families_) json.string(dataplane::to_string(family));
    json.end_array();
    write_text(json, "ipFamilyPolicy", families_.size() > 1 ? "RequireDualStack" : "SingleStack");
  }
  if (external_ip_) write_texts(json, "externalIPs", in_families(*external_ip_, families_));
  json.key("ports").begin_array();
  for (const Protocol protocol : protocols_) {
    json.begin_object();
    write_text(json, "name", port_name_of(protocol));
    write_text(json, "protocol", dataplane::to_string(protocol));
    json.key("port").number(int64_t{port_}).key("targetPort").number(int64_t{target_port_});
    if (node_port_ != 0) json.key("nodePort").number(int64_t{node_port_});
    json.end_object();
  }
  json.end_array();
  write_text(json, "internalTrafficPolicy", internal_local_ ? "Local" : "Cluster");
  if (type_ == "NodePort" || type_ == "LoadBalancer" || external_ip_) {
    write_text(json, "externalTrafficPolicy", external_local_ ? "Local" : "Cluster");
  }
  write_text(json, "sessionAffinity", affinity_ ? "ClientIP" : "None");
  if (affinity_) {
    json.key("sessionAffinityConfig").begin_object().key("clientIP").begin_object();
    json.key("timeoutSeconds").number(int64_t{*affinity_}).end_object().end_object();
  }
  if (!source_ranges_.empty()) write_texts(json, "loadBalancerSourceRanges", source_ranges_);
  if (health_check_port_ != 0) {
    json.key("healthCheckNodePort").number(int64_t{health_check_port_});
  }
  json.end_object();

  json.key("status").begin_object().key("loadBalancer").begin_object();
  if (type_ == "LoadBalancer") {
    json.key("ingress").begin_array();
    for (const std::string& address : in_families(load_balancer_ip_, families_)) {
      json.begin_object();
      write_text(json, "ip", address);
      if (!ip_mode_.empty()) write_text(json, "ipMode", ip_mode_);
      json.end_object();
    }
    json.end_array();
  }
  json.end_object().end_object().end_object();
  return json.take();
}

std::string ServiceObject::slice_json(Family family) const {
  JsonWriter json;
  json.begin_object();
  write_text(json, "apiVersion", "discovery.k8s.io/v1");
  write_text(json, "kind", "EndpointSlice");
  json.key("metadata").begin_object();
  write_text(json, "namespace", kNamespace);
  write_text(json, "name", slice_name(name_, family));
  write_text(json, "uid", "uid-of-" + slice_name(name_, family));
  auto labels = labels_;
  labels.emplace_back("kubernetes.io/service-name", name_);
  write_map(json, "labels", labels);
  json.end_object();
  write_text(json, "addressType", dataplane::to_string(family));
  json.key("endpoints").begin_array();
  for (const EndpointObject& endpoint : endpoints_) write_endpoint(json, endpoint, family);
  json.end_array();
  json.key("ports").begin_array();
  for (const Protocol protocol : protocols_) {
    json.begin_object();
    write_text(json, "name", port_name_of(protocol));
    write_text(json, "protocol", dataplane::to_string(protocol));
    json.key("port").number(int64_t{target_port_}).end_object();
  }
  json.end_array().end_object();
  return json.take();
}

void ServiceObject::write_service() {
  cluster_->write_raw("services", name_, service_json());
}

void ServiceObject::write_endpoints() {
  for (const Family family : families_) {
    cluster_->write_raw("endpointslices", slice_name(name_, family), slice_json(family));
  }
}

void ServiceObject::write() {
  write_service();
  write_endpoints();
}

void ServiceObject::apply() {
  write();
  cluster_->settle();
}

void ServiceObject::remove() {
  cluster_->remove_raw("services", name_);
  for (const Family family : families_) {
    cluster_->remove_raw("endpointslices", slice_name(name_, family));
  }
}

Cluster::Cluster(ObjectStore& store, std::function<void()> settle, int first_number)
    : store_(store), settle_(std::move(settle)), next_number_(first_number) {}

ServiceObject Cluster::service(const std::string& prefix) {
  const int number = next_number_++;
  return ServiceObject(*this, prefix + "-" + std::to_string(number), number);
}

void Cluster::write_node() {
  JsonWriter json;
  json.begin_object();
  write_text(json, "apiVersion", "v1");
  write_text(json, "kind", "Node");
  json.key("metadata").begin_object();
  write_text(json, "name", "node-a");
  write_text(json, "uid", "uid-of-node-a");
  write_map(json, "labels",
            {{"topology.kubernetes.io/zone", "zone-a"}, {"kubernetes.io/hostname", "node-a"}});
  json.end_object();
  json.key("spec").begin_object();
  write_text(json, "podCIDR", "10.244.1.0/24");
  write_texts(json, "podCIDRs", {"10.244.1.0/24", "fd00:10:244:1::/64"});
  json.end_object();
  json.key("status").begin_object().key("addresses").begin_array();
  for (const std::string& address : {Topology::node_a().v4, Topology::node_a().v6}) {
    json.begin_object();
    write_text(json, "type", "InternalIP");
    write_text(json, "address", address);
    json.end_object();
  }
  json.end_array().end_object().end_object();
  store_.put("nodes", "node-a", json.take());
}

void Cluster::write_raw(const std::string& resource, const std::string& name, std::string json) {
  written_.emplace(resource, name);
  store_.put(resource, name, std::move(json));
}

void Cluster::remove_raw(const std::string& resource, const std::string& name) {
  if (written_.erase({resource, name}) > 0) store_.remove(resource, name);
}

void Cluster::clear() {
  for (const auto& [resource, name] : written_) store_.remove(resource, name);
  written_.clear();
}

}  // namespace fairlead::harness
