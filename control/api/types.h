// The Kubernetes objects that the node daemon reads, decoded: names as in the API, values as they
// came.
//
// Only fields that Fairlead uses are kept, so that a megabyte of annotations costs nothing. Strings
// stay unparsed (addresses, protocols): what they mean is decided where they are used. Absent
// optional fields are nullopt or empty. decode.h fills these.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fairlead::api {

struct ObjectMeta {
  std::string name_space;  // empty for cluster-scoped objects
  std::string name;
  std::string uid;
  std::string resource_version;
  int64_t creation_timestamp = 0;             // seconds since 1970, 0 when absent
  std::optional<int64_t> deletion_timestamp;  // seconds since 1970
  std::vector<std::pair<std::string, std::string>> labels;
  // Only annotations that decode.h lists; all others are skipped unread.
  std::vector<std::pair<std::string, std::string>> annotations;

  const std::string* label(std::string_view key) const;       // null when absent
  const std::string* annotation(std::string_view key) const;  // null when absent
};

struct ServicePort {
  std::string name;
  std::string protocol = "TCP";
  int64_t port = 0;
  int64_t node_port = 0;
};

struct LoadBalancerIngress {
  std::string ip;
  std::string ip_mode;  // "VIP", "Proxy" or empty
};

struct Service {
  ObjectMeta meta;
  std::string type = "ClusterIP";
  std::string cluster_ip;
  std::vector<std::string> cluster_ips;
  std::vector<std::string> external_ips;
  std::vector<ServicePort> ports;
  std::string session_affinity = "None";
  std::optional<int64_t> affinity_timeout_seconds;
  std::string external_traffic_policy;
  std::string internal_traffic_policy;
  std::vector<std::string> load_balancer_source_ranges;
  std::vector<LoadBalancerIngress> load_balancer_ingress;
  int64_t health_check_node_port = 0;
};

struct EndpointPort {
  std::optional<std::string> name;  // absent and empty differ: an absent name is ignored
  std::string protocol = "TCP";
  std::optional<int64_t> port;
};

struct Endpoint {
  std::vector<std::string> addresses;
  std::optional<bool> ready;
  std::optional<bool> serving;
  std::optional<bool> terminating;
  std::optional<std::string> node_name;
  std::vector<std::string> hints_for_zones;
  std::vector<std::string> hints_for_nodes;  // since 1.33
};

struct EndpointSlice {
  ObjectMeta meta;
  std::string address_type;  // "IPv4", "IPv6", "FQDN"
  std::vector<Endpoint> endpoints;
  std::vector<EndpointPort> ports;
};

struct NodeTaint {
  std::string key;
  std::string value;
  std::string effect;
};

struct NodeAddress {
  std::string type;  // "InternalIP", "ExternalIP", "Hostname", ...
  std::string address;
};

struct Node {
  ObjectMeta meta;
  std::vector<std::string> pod_cidrs;
  std::vector<NodeTaint> taints;
  std::vector<NodeAddress> addresses;
};

struct ServiceCidr {  // networking.k8s.io
  ObjectMeta meta;
  std::vector<std::string> cidrs;
};

// Something wrong in one object: which field, and why. Never a reason to skip the others.
struct Problem {
  std::string field;   // "spec.ports[2].port"
  std::string reason;  // "70000 is not a port"

  friend bool operator==(const Problem&, const Problem&) = default;
};

}  // namespace fairlead::api
