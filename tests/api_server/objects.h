// JSON of the objects that a service dataplane watches, as a cluster's own controllers write them:
// parameter structs with the usual defaults, so that a test names only what it is about.
//
//   service_json({.name = "web", .cluster_ips = {"10.96.0.10"}, .ports = {{.port = 80}}})
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fairlead::api_server {

using StringMap = std::map<std::string, std::string>;

struct ServicePortSpec {
  std::string name = {};
  std::string protocol = "TCP";
  int port = 80;
  int target_port = 8080;
  int node_port = 0;
};

struct ServiceSpec {
  std::string name_space = "default";
  std::string name = "web";
  std::string type = "ClusterIP";
  std::vector<std::string> cluster_ips = {};  // {"None"}: headless
  std::vector<ServicePortSpec> ports = {{}};
  std::vector<std::string> external_ips = {};
  std::vector<std::string> load_balancer_ips = {};  // status
  std::string load_balancer_ip_mode = "VIP";
  std::vector<std::string> source_ranges = {};
  int affinity_seconds = 0;                  // not 0: ClientIP affinity
  std::string external_traffic_policy = {};  // empty: "Cluster" where the type has one
  std::string internal_traffic_policy = "Cluster";
  int health_check_node_port = 0;
  StringMap labels = {};
  StringMap annotations = {};
  std::string created_at = {};  // RFC 3339; empty: when it is stored
};
std::string service_json(const ServiceSpec& spec);

struct EndpointSpec {
  std::string address = {};
  bool ready = true;
  std::optional<bool> serving = {};  // as ready
  bool terminating = false;
  std::string node = {};  // empty: none
  std::string zone = {};
  std::vector<std::string> hint_zones = {};
  std::vector<std::string> hint_nodes = {};
  std::string pod = {};  // of the target reference; empty: none
};

struct EndpointPortSpec {
  std::string name = {};
  std::string protocol = "TCP";
  int port = 8080;
};

struct EndpointSliceSpec {
  std::string name_space = "default";
  std::string service = "web";
  std::string name = {};  // empty: "<service>-1"
  std::string address_type = "IPv4";
  std::vector<EndpointSpec> endpoints = {};
  std::vector<EndpointPortSpec> ports = {{}};
  StringMap labels = {};  // beside those that name the service and its manager
  StringMap annotations = {};
};
std::string endpoint_slice_json(const EndpointSliceSpec& spec);

struct TaintSpec {
  std::string key = {};
  std::string value = {};
  std::string effect = "NoSchedule";
};

struct NodeSpec {
  std::string name = "node-a";
  std::vector<std::string> internal_ips = {};
  std::vector<std::string> pod_cidrs = {};
  std::string zone = {};
  StringMap labels = {};
  std::vector<TaintSpec> taints = {};
  bool ready = true;
};
std::string node_json(const NodeSpec& spec);

struct ServiceCidrSpec {
  std::string name = "kubernetes";
  std::vector<std::string> cidrs = {"10.96.0.0/16"};
};
std::string service_cidr_json(const ServiceCidrSpec& spec);

}  // namespace fairlead::api_server
