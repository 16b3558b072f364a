#include "control/controllers/endpoints.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "control/controllers/objects.h"
#include "control/schema/endpoint_subsets.h"

namespace fairlead::controllers {

namespace {

constexpr std::string_view kOverCapacity = "endpoints.kubernetes.io/over-capacity";
constexpr std::string_view kLeaderAnnotation = "control-plane.alpha.kubernetes.io/leader";

struct AddressRow {
  std::string ip;
  std::string uid;  // orders what has the same address
  std::string hostname;
  std::string node;
  std::string space;
  std::string name;

  bool operator<(const AddressRow& other) const {
    return std::tie(ip, uid) < std::tie(other.ip, other.uid);
  }
};

struct Subset {
  Ports ports;
  std::vector<AddressRow> ready;
  std::vector<AddressRow> not_ready;
};

// Addresses that offer the same ports form a subset; all is sorted, so that equal sets are equal.
std::vector<Subset> subsets_of(const EndpointsInput& input) {
  const Value& service = *input.service;
  const bool publish = service.get("spec").get("publishNotReadyAddresses").as_bool();
  const bool ipv6 = address_types(service).front() == "IPv6";
  const bool portless = service.get("spec").get("ports").empty();
  std::map<Ports, Subset> by_ports;
  for (const ObjectPtr& pod : input.pods) {
    if (!may_be_endpoint(*pod, publish)) continue;
    const std::vector<std::string> addresses = pod_addresses(*pod, ipv6);
    if (addresses.empty()) continue;
    Ports ports = endpoint_ports(*pod, service);
    // Only a headless service may have none.
    if (ports.empty() && !(portless && is_headless(service))) continue;
    AddressRow row;
    row.ip = addresses.front();
    row.uid = uid_of(*pod);
    row.hostname = hostname_below(*pod, service);
    row.node = pod->get("spec").get("nodeName").as_string();
    row.space = space_of(*pod);
    row.name = name_of(*pod);
    Subset& subset = by_ports[ports];
    subset.ports = std::move(ports);
    (publish || is_pod_ready(*pod) ? subset.ready : subset.not_ready).push_back(std::move(row));
  }
  std::vector<Subset> subsets;
  for (auto& [ports, subset] : by_ports) {
    std::sort(subset.ready.begin(), subset.ready.end());
    std::sort(subset.not_ready.begin(), subset.not_ready.end());
    subsets.push_back(std::move(subset));
  }
  return subsets;
}

// Ready addresses before those that are not, each subset in proportion. True when any was left out.
bool truncate(std::vector<Subset>& subsets) {
  size_t ready = 0;
  size_t not_ready = 0;
  for (const Subset& subset : subsets) {
    ready += subset.ready.size();
    not_ready += subset.not_ready.size();
  }
  if (ready + not_ready <= kMostEndpoints) return false;
  const bool only_ready = ready > kMostEndpoints;
  const size_t room = only_ready ? kMostEndpoints : kMostEndpoints - ready;
  const size_t total = only_ready ? ready : not_ready;
  size_t left = room;
  for (Subset& subset : subsets) {
    std::vector<AddressRow>& addresses = only_ready ? subset.ready : subset.not_ready;
    const double part = static_cast<double>(addresses.size()) / static_cast<double>(total);
    const size_t share = static_cast<size_t>(std::ceil(part * static_cast<double>(room)));
    addresses.resize(std::min({share, left, addresses.size()}));
    if (only_ready) subset.not_ready.clear();
    left -= addresses.size();
  }
  return true;
}

Value addresses_value(Arena& arena, const std::vector<AddressRow>& rows) {
  Value made = Value::array();
  for (const AddressRow& row : rows) {
    Value& address = made.push(arena, Value::object());
    set_text(arena, address, "hostname", row.hostname);
    set_text(arena, address, "ip", row.ip);
    set_text(arena, address, "nodeName", row.node);
    Value& target = address.append(arena, "targetRef", Value::object());
    target.append(arena, "kind", Value::string("Pod"));
    set_text(arena, target, "name", row.name);
    set_text(arena, target, "namespace", row.space);
    set_text(arena, target, "uid", row.uid);
  }
  return made;
}

Value subsets_value(Arena& arena, const std::vector<Subset>& subsets) {
  Value made = Value::array();
  for (const Subset& subset : subsets) {
    if (subset.ready.empty() && subset.not_ready.empty()) continue;
    Value& row = made.push(arena, Value::object());
    if (!subset.ready.empty()) {
      row.append(arena, "addresses", addresses_value(arena, subset.ready));
    }
    if (!subset.not_ready.empty()) {
      row.append(arena, "notReadyAddresses", addresses_value(arena, subset.not_ready));
    }
    if (subset.ports.empty()) continue;
    Value& ports = row.append(arena, "ports", Value::array());
    for (const PortRow& port : subset.ports) {
      Value& item = ports.push(arena, Value::object());
      set_text(arena, item, "appProtocol", port.app_protocol);
      set_text(arena, item, "name", port.name);
      item.append(arena, "port", Value::integer(port.port.value_or(0)));
      set_text(arena, item, "protocol", port.protocol);
    }
  }
  return made;
}

Labels endpoints_labels(const Value& service) {
  Labels labels = labels_of(service);
  labels.erase(std::string(kHeadlessLabel));
  if (is_headless(service)) labels[std::string(kHeadlessLabel)] = "";
  return labels;
}

// Old clients elect leaders with Endpoints that belong to no service.
bool is_leader_record(const Value& endpoints) {
  return endpoints.get("metadata").get("annotations").find(kLeaderAnnotation) != nullptr;
}

}  // namespace

Plan plan_endpoints(const EndpointsInput& input) {
  Plan plan;
  const Value& service = *input.service;
  const Value& spec = service.get("spec");
  if (spec.get("type").as_string() == "ExternalName" || spec.get("selector").empty()) return plan;
  std::vector<Subset> subsets = subsets_of(input);
  const bool truncated = truncate(subsets);
  const Labels labels = endpoints_labels(service);

  const schema::Resource& row = resource("", "v1", "endpoints");
  Document body = input.existing ? copy_of(*input.existing)
                                 : new_object(row, space_of(service), name_of(service));
  Arena& arena = body.arena;
  const Value wanted = schema::repack_subsets(arena, subsets_value(arena, subsets));
  if (input.existing) {
    const Value& has = *input.existing;
    const bool marked =
        has.get("metadata").get("annotations").get(kOverCapacity).as_string() == "truncated";
    const bool same_subsets =
        has.get("subsets") == wanted ||
        schema::repack_subsets(arena, has.get("subsets")) == wanted;  // in another order
    if (same_subsets && labels_of(has) == labels && marked == truncated) return plan;
  }
  Value& metadata = body.root.ensure(arena, "metadata");
  Value label_map = Value::object();
  for (const auto& [key, value] : labels) {
    label_map.append(arena, arena.copy(key), text(arena, value));
  }
  metadata.set(arena, "labels", label_map);
  Value annotations = metadata.get("annotations");
  if (!annotations.is_object()) annotations = Value::object();
  annotations.erase(kOverCapacity);
  annotations.erase(kTriggerTimeAnnotation);
  if (truncated) annotations.set(arena, kOverCapacity, Value::string("truncated"));
  if (!input.trigger_time.empty()) {
    annotations.set(arena, kTriggerTimeAnnotation, text(arena, input.trigger_time));
  }
  metadata.set(arena, "annotations", annotations);
  body.root.set(arena, "subsets", wanted);

  Write write;
  write.verb = input.existing ? Write::Verb::kUpdate : Write::Verb::kCreate;
  write.what = {&row, std::string(space_of(service)), std::string(name_of(service))};
  write.body = std::move(body);
  plan.writes.push_back(std::move(write));
  return plan;
}

EndpointsController::EndpointsController(Context context, ServicePods& pods)
    : Controller(context, "endpoints"),
      pods_(pods),
      endpoints_(needs(resource("", "v1", "endpoints"))) {
  needs(resource("", "v1", "services"));
  needs(resource("", "v1", "pods"));
  pods_.on_change([this](const std::string& service) {
    const auto [space, name] = split_key(service);
    if (!pods_.services().get(space, name)) left_over_.insert(service);
    enqueue(service);
  });
  // What somebody else changed or removed, and what is there without a service from the start.
  // Later, endpoints may well be made before their service.
  endpoints_.add_handler([this](const ObjectPtr& before, const ObjectPtr& after) {
    const std::string key = key_of(after ? *after : *before);
    if (!endpoints_.synced()) left_over_.insert(key);
    enqueue(key);
  });
}

void EndpointsController::enqueue_all() {
  pods_.services().for_each([this](const ObjectPtr& service) { enqueue(key_of(*service)); });
  endpoints_.for_each([this](const ObjectPtr& endpoints) { enqueue(key_of(*endpoints)); });
}

Plan EndpointsController::plan(const std::string& key) {
  const auto [space, name] = split_key(key);
  EndpointsInput input;
  input.service = pods_.services().get(space, name);
  input.existing = endpoints_.get(space, name);
  if (input.service) {
    left_over_.erase(key);
    input.pods = pods_.pods_of(*input.service);
    input.trigger_time = trigger_times_.next(key, *input.service, input.pods);
    return plan_endpoints(input);
  }
  trigger_times_.forget(key);
  Plan plan;
  if (left_over_.count(key) == 0) return plan;
  if (!input.existing || is_terminating(*input.existing) || is_leader_record(*input.existing)) {
    left_over_.erase(key);
    return plan;
  }
  Write write;
  write.verb = Write::Verb::kRemove;
  write.what = {&endpoints_.resource(), std::string(space), std::string(name)};
  write.options.uid = uid_of(*input.existing);
  plan.writes.push_back(std::move(write));
  return plan;
}

}  // namespace fairlead::controllers
