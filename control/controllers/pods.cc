#include "control/controllers/pods.h"

#include <algorithm>
#include <utility>

#include "control/controllers/objects.h"

namespace fairlead::controllers {

namespace {

std::string_view pod_trigger_time(const Value& pod) {
  const Value* ready = find_by(pod.get("status").get("conditions"), "type", "Ready");
  return ready ? ready->get("lastTransitionTime").as_string() : std::string_view();
}

std::optional<int64_t> named_port(const Value& containers, std::string_view name,
                                  std::string_view protocol, bool only_restarting) {
  for (const Value& container : containers.items()) {
    if (only_restarting && container.get("restartPolicy").as_string() != "Always") continue;
    for (const Value& port : container.get("ports").items()) {
      const std::string_view has = port.get("protocol").as_string();
      if (port.get("name").as_string() == name && (has.empty() ? "TCP" : has) == protocol) {
        return port.get("containerPort").as_int();
      }
    }
  }
  return std::nullopt;
}

std::string_view protocol_of(const Value& port) {
  const std::string_view protocol = port.get("protocol").as_string();
  return protocol.empty() ? "TCP" : protocol;
}

}  // namespace

bool is_headless(const Value& service) {
  const std::string_view address = service.get("spec").get("clusterIP").as_string();
  return address.empty() || address == "None";
}

bool is_pod_ready(const Value& pod) {
  return condition_status(pod, "Ready") == "True";
}

bool may_be_endpoint(const Value& pod, bool terminating) {
  const Value& status = pod.get("status");
  const std::string_view phase = status.get("phase").as_string();
  if (phase == "Failed" || phase == "Succeeded") return false;
  if (status.get("podIP").as_string().empty() && status.get("podIPs").empty()) return false;
  return terminating || !is_terminating(pod);
}

bool is_ipv6(std::string_view address) {
  return address.find(':') != std::string_view::npos;
}

std::vector<std::string> pod_addresses(const Value& pod, bool ipv6) {
  std::vector<std::string> found;
  for (const Value& item : pod.get("status").get("podIPs").items()) {
    const std::string_view address = item.get("ip").as_string();
    if (!address.empty() && is_ipv6(address) == ipv6) found.emplace_back(address);
  }
  const std::string_view single = pod.get("status").get("podIP").as_string();
  if (found.empty() && !single.empty() && is_ipv6(single) == ipv6) found.emplace_back(single);
  return found;
}

std::string hostname_below(const Value& pod, const Value& service) {
  const Value& spec = pod.get("spec");
  if (spec.get("subdomain").as_string() != name_of(service)) return {};
  return std::string(spec.get("hostname").as_string());
}

std::optional<int64_t> target_port(const Value& pod, const Value& service_port) {
  const Value& target = service_port.get("targetPort");
  if (target.is_string()) {
    const Value& spec = pod.get("spec");
    const std::string_view name = target.as_string();
    const std::string_view protocol = protocol_of(service_port);
    if (auto port = named_port(spec.get("containers"), name, protocol, false)) return port;
    return named_port(spec.get("initContainers"), name, protocol, true);
  }
  if (target.is_int() && target.as_int() != 0) return target.as_int();
  return service_port.get("port").as_int();
}

Ports endpoint_ports(const Value& pod, const Value& service) {
  Ports ports;
  for (const Value& port : service.get("spec").get("ports").items()) {
    const std::optional<int64_t> number = target_port(pod, port);
    if (!number) continue;
    PortRow row;
    row.name = port.get("name").as_string();
    row.protocol = protocol_of(port);
    row.port = number;
    row.app_protocol = port.get("appProtocol").as_string();
    ports.push_back(std::move(row));
  }
  std::sort(ports.begin(), ports.end());
  return ports;
}

std::vector<std::string> address_types(const Value& service) {
  std::vector<std::string> found;
  for (const Value& family : service.get("spec").get("ipFamilies").items()) {
    if (std::find(found.begin(), found.end(), family.as_string()) == found.end()) {
      found.emplace_back(family.as_string());
    }
  }
  if (!found.empty()) return found;
  if (is_headless(service)) return {"IPv4", "IPv6"};
  return {is_ipv6(service.get("spec").get("clusterIP").as_string()) ? "IPv6" : "IPv4"};
}

bool is_endpoint_change(const Value& before, const Value& after) {
  for (const char* path :
       {"metadata.labels", "metadata.deletionTimestamp", "metadata.uid", "spec.nodeName",
        "spec.hostname", "spec.subdomain", "status.phase", "status.podIP", "status.podIPs"}) {
    if (!(before.at(path) == after.at(path))) return true;
  }
  return is_pod_ready(before) != is_pod_ready(after);
}

// RFC 3339 in UTC sorts as text.
std::string TriggerTimes::next(const std::string& service_key, const Value& service,
                               const std::vector<ObjectPtr>& pods) {
  Seen& seen = seen_[service_key];
  std::string earliest;
  const auto consider = [&](std::string_view time) {
    if (earliest.empty() || time < earliest) earliest = time;
  };
  const std::string_view created = service.get("metadata").get("creationTimestamp").as_string();
  if (created > seen.service) {
    consider(created);
    seen.service = created;
  }
  std::map<std::string, std::string, std::less<>> now;
  for (const ObjectPtr& pod : pods) {
    const std::string_view time = pod_trigger_time(*pod);
    if (time.empty()) continue;
    const auto known = seen.pods.find(name_of(*pod));
    if (known == seen.pods.end() || known->second < time) consider(time);
    now.emplace(name_of(*pod), time);
  }
  seen.pods = std::move(now);
  return earliest;
}

}  // namespace fairlead::controllers
