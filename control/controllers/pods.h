// What endpoints are made of: pods, their services, their nodes.
//
// Threads: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/controllers/slices.h"

namespace fairlead::controllers {

inline constexpr std::string_view kZoneLabel = "topology.kubernetes.io/zone";

bool is_headless(const schema::Value& service);  // clusterIP None, or none yet
bool is_pod_ready(const schema::Value& pod);
// The pod may be an endpoint: has an address, has not ended, and is not being removed unless
// `terminating` pods count.
bool may_be_endpoint(const schema::Value& pod, bool terminating);
bool is_ipv6(std::string_view address);
// The pod's addresses of a family, in order.
std::vector<std::string> pod_addresses(const schema::Value& pod, bool ipv6);
// The pod's hostname where it is one below the service's name.
std::string hostname_below(const schema::Value& pod, const schema::Value& service);
// The number behind a service's port; nothing when the pod has no port of that name.
std::optional<int64_t> target_port(const schema::Value& pod, const schema::Value& service_port);
// All ports that the pod has for the service, sorted.
Ports endpoint_ports(const schema::Value& pod, const schema::Value& service);
// The families of the service's endpoints: "IPv4", "IPv6", in order of preference.
std::vector<std::string> address_types(const schema::Value& service);
// Whether a change of a pod may change endpoints.
bool is_endpoint_change(const schema::Value& before, const schema::Value& after);

// When what endpoints are made of changed last, for last-change-trigger-time: remembers, for each
// service, what has been seen of its pods and of itself.
class TriggerTimes {
 public:
  // The earliest of the times that are new since the last call; empty when there is none.
  std::string next(const std::string& service_key, const schema::Value& service,
                   const std::vector<ObjectPtr>& pods);
  void forget(const std::string& service_key) { seen_.erase(service_key); }

 private:
  struct Seen {
    std::string service;
    std::map<std::string, std::string, std::less<>> pods;  // name to the time of its Ready
  };
  std::map<std::string, Seen, std::less<>> seen_;
};

}  // namespace fairlead::controllers
