// The objects of a test cluster: Services and EndpointSlices in the API server, written fluently.
//
//   ServiceObject web = cluster.service("web").endpoints({"a1", "b1"}).node_port();
//   web.apply();                        // writes it and waits until the node has it
//   web.endpoints({"b1"}).apply();
//
// A service is dual stack and serves TCP and UDP on port 80 unless it says otherwise; endpoints are
// pods of topology.h. Every service gets addresses and ports that no other of the same Cluster ever
// had, so that connections remembered by the kernel cannot carry one scenario's answers into the
// next.
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "dataplane/address.h"
#include "tests/harness/probe.h"
#include "tests/harness/topology.h"

namespace fairlead::harness {

// What the cluster writes to.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;
  // `resource`: "services", "endpointslices", "nodes". Creates or replaces.
  virtual void put(std::string_view resource, std::string_view name, std::string json) = 0;
  virtual void remove(std::string_view resource, std::string_view name) = 0;
};

// The namespace of all objects that are not cluster-scoped.
inline constexpr std::string_view kNamespace = "e2e";

struct EndpointObject {
  std::string pod;  // a pod of the topology, or "node-a": a process in the node's network
  std::optional<bool> ready = true;
  std::optional<bool> serving = true;
  std::optional<bool> terminating = false;
  std::vector<std::string> zones = {};  // hints
};
EndpointObject terminating(std::string pod);  // shutting down, still serving
EndpointObject not_ready(std::string pod);    // neither ready nor serving
EndpointObject hinted(std::string pod, std::string zone);

class Cluster;

class ServiceObject {
 public:
  // Every change of the builder counts from the next write() on.
  ServiceObject& endpoints(std::initializer_list<const char*> pods);  // ready ones
  ServiceObject& endpoints(std::vector<EndpointObject> endpoints);
  ServiceObject& no_endpoints() { return endpoints(std::vector<EndpointObject>()); }
  ServiceObject& protocols(std::vector<dataplane::Protocol> protocols);
  ServiceObject& families(std::vector<dataplane::Family> families);
  ServiceObject& port(uint16_t port);
  ServiceObject& port_name(std::string prefix);  // of Service and slices alike
  ServiceObject& target_port(uint16_t port);     // the endpoints' port
  ServiceObject& node_port();                    // type NodePort
  ServiceObject& external_ip();
  ServiceObject& external_ip(DualAddress address);
  ServiceObject& load_balancer(std::string ip_mode = "");  // type LoadBalancer
  ServiceObject& external_local();
  ServiceObject& internal_local();
  ServiceObject& affinity(int seconds);
  ServiceObject& source_ranges(std::vector<std::string> ranges);
  ServiceObject& health_check_port();
  ServiceObject& created(std::string timestamp);
  ServiceObject& label(std::string key, std::string value);
  ServiceObject& annotation(std::string key, std::string value);
  ServiceObject& headless();
  ServiceObject& external_name();

  // Where clients may send, one target for each protocol.
  std::vector<Target> at_cluster_ip(dataplane::Family family) const;
  std::vector<Target> at_external_ip(dataplane::Family family) const;
  std::vector<Target> at_load_balancer(dataplane::Family family) const;
  std::vector<Target> at_node_port(dataplane::Family family) const;  // the primary address
  std::vector<Target> at_node_port_of(const DualAddress& node, dataplane::Family family) const;
  std::vector<Target> at(const std::string& address, uint16_t port) const;

  const std::string& name() const { return name_; }
  const DualAddress& cluster_ip() const { return cluster_ip_; }
  const DualAddress& external_ip_address() const { return *external_ip_; }
  const DualAddress& load_balancer_ip() const { return load_balancer_ip_; }
  uint16_t port() const { return port_; }
  uint16_t node_port_number() const { return node_port_; }
  uint16_t health_check_port_number() const { return health_check_port_; }

  void write();            // both objects
  void write_service();    // only the Service
  void write_endpoints();  // only the EndpointSlices
  void remove();           // both
  void apply();            // write(), then Cluster::settle()

  std::string service_json() const;
  std::string slice_json(dataplane::Family family) const;

 private:
  friend class Cluster;
  ServiceObject(Cluster& cluster, std::string name, int number);
  std::string port_name_of(dataplane::Protocol protocol) const;

  Cluster* cluster_;
  std::string name_;
  std::string type_ = "ClusterIP";
  std::vector<dataplane::Protocol> protocols_ = {dataplane::Protocol::kTcp,
                                                 dataplane::Protocol::kUdp};
  std::vector<dataplane::Family> families_ = {dataplane::Family::kIPv4, dataplane::Family::kIPv6};
  std::vector<EndpointObject> endpoints_;
  DualAddress cluster_ip_;
  DualAddress own_external_ip_;
  DualAddress load_balancer_ip_;
  std::optional<DualAddress> external_ip_;
  uint16_t port_ = 80;
  uint16_t target_port_ = kEchoPort;
  uint16_t own_node_port_;
  uint16_t node_port_ = 0;
  uint16_t health_check_port_ = 0;
  std::string port_prefix_ = "p";
  std::string ip_mode_;
  std::string created_ = "2026-01-01T00:00:00Z";
  bool external_local_ = false;
  bool internal_local_ = false;
  bool headless_ = false;
  std::optional<int> affinity_;
  std::vector<std::string> source_ranges_;
  std::vector<std::pair<std::string, std::string>> labels_;
  std::vector<std::pair<std::string, std::string>> annotations_;
};

class Cluster {
 public:
  // `settle` waits until the node under test has taken up all that was written. Clusters that share
  // a store begin at different numbers.
  Cluster(ObjectStore& store, std::function<void()> settle, int first_number = 1);

  // A new service; its full name is `prefix` with a number.
  ServiceObject service(const std::string& prefix);

  // node-a, with its zone "zone-a", its addresses and pod CIDRs.
  void write_node();
  // Any object, as it is: for those that no builder would write.
  void write_raw(const std::string& resource, const std::string& name, std::string json);
  void remove_raw(const std::string& resource, const std::string& name);

  void settle() { settle_(); }
  // Removes all services and slices that were written, and forgets them.
  void clear();

 private:
  ObjectStore& store_;
  std::function<void()> settle_;
  int next_number_;
  std::set<std::pair<std::string, std::string>> written_;  // resource, name
};

}  // namespace fairlead::harness
