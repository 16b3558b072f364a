#include "control/controllers/endpoint_slices.h"

#include <algorithm>
#include <utility>

#include "control/controllers/objects.h"

namespace fairlead::controllers {

namespace {

constexpr std::string_view kManager = "endpointslice-controller.k8s.io";

// The service's labels, but never those that say what a slice is.
Labels slice_labels(const Value& service) {
  Labels labels = labels_of(service);
  labels.erase(std::string(kHeadlessLabel));
  labels[std::string(kServiceNameLabel)] = name_of(service);
  labels[std::string(kManagedByLabel)] = kManager;
  if (is_headless(service)) labels[std::string(kHeadlessLabel)] = "";
  return labels;
}

EndpointRow endpoint_of(const Value& pod, const Value* node, const Value& service,
                        std::vector<std::string> addresses) {
  EndpointRow row;
  row.addresses = std::move(addresses);
  std::sort(row.addresses.begin(), row.addresses.end());
  row.node = pod.get("spec").get("nodeName").as_string();
  row.target = {"Pod", std::string(space_of(pod)), std::string(name_of(pod)),
                std::string(uid_of(pod))};
  const bool serving = is_pod_ready(pod);
  const bool terminating = is_terminating(pod);
  row.ready =
      service.get("spec").get("publishNotReadyAddresses").as_bool() || (serving && !terminating);
  row.serving = serving;
  row.terminating = terminating;
  row.hostname = hostname_below(pod, service);
  if (node) row.zone = node->get("metadata").get("labels").get(kZoneLabel).as_string();
  return row;
}

std::map<Ports, std::vector<EndpointRow>> desired_endpoints(const SliceInput& input, bool ipv6) {
  const Value& service = *input.service;
  const bool publish = service.get("spec").get("publishNotReadyAddresses").as_bool();
  std::map<Ports, std::vector<EndpointRow>> desired;
  for (const ObjectPtr& pod : input.pods) {
    if (!may_be_endpoint(*pod, true)) continue;
    const ObjectPtr node = input.node(pod->get("spec").get("nodeName").as_string());
    if (!node && !publish) continue;
    std::vector<std::string> addresses = pod_addresses(*pod, ipv6);
    if (addresses.empty()) continue;
    desired[endpoint_ports(*pod, service)].push_back(
        endpoint_of(*pod, node.get(), service, std::move(addresses)));
  }
  return desired;
}

}  // namespace

Plan plan_endpoint_slices(const SliceInput& input) {
  const Value& service = *input.service;
  Plan plan;
  const Value& spec = service.get("spec");
  if (spec.get("type").as_string() == "ExternalName" || spec.get("selector").empty()) return plan;
  SliceFrame frame;
  frame.owner_resource = &resource("", "v1", "services");
  frame.owner = &service;
  frame.labels = slice_labels(service);
  frame.most = input.most;
  SliceWriting writing;
  writing.trigger_time = input.trigger_time;
  // Slices that the collector removes with their owner are not made anew.
  writing.creating = !is_terminating(service);

  const std::vector<std::string> types = address_types(service);
  std::map<std::string, std::vector<Slice>> by_type;
  SliceChanges foreign;
  for (const ObjectPtr& object : input.existing) {
    if (is_terminating(*object)) continue;
    Slice slice = parse_slice(object);
    const bool wanted = std::find(types.begin(), types.end(), slice.address_type) != types.end();
    if (wanted && is_controlled_by(*object, uid_of(service))) {
      by_type[slice.address_type].push_back(std::move(slice));
    } else {
      foreign.remove.push_back(std::move(slice));
    }
  }
  for (const std::string& type : types) {
    frame.address_type = type;
    SliceChanges changes = pack_slices(frame, std::move(by_type[type]),
                                       desired_endpoints(input, type == "IPv6"), true);
    set_hints(hint_mode(service), input.shares, &changes);
    merge_replacements(frame, &changes);
    write_slices(frame, std::move(changes), writing, &plan.writes);
  }
  write_slices(frame, std::move(foreign), writing, &plan.writes);
  return plan;
}

EndpointSliceController::EndpointSliceController(Context context, ServicePods& pods)
    : Controller(context, "endpointslice"),
      pods_(pods),
      nodes_(needs(resource("", "v1", "nodes"))),
      slices_(needs(resource("discovery.k8s.io", "v1", "endpointslices"))) {
  needs(resource("", "v1", "services"));
  needs(resource("", "v1", "pods"));
  slices_by_service_ = slices_.add_index([](const Value& slice, std::vector<std::string>* keys) {
    const Value& labels = slice.get("metadata").get("labels");
    if (labels.get(kManagedByLabel).as_string() != kManager) return;
    keys->push_back(key_of(space_of(slice), labels.get(kServiceNameLabel).as_string()));
  });
  pods_.on_change([this](const std::string& service) { enqueue(service); });
  // Somebody else may have changed what this controller manages.
  slices_.add_handler([this](const ObjectPtr& before, const ObjectPtr& after) {
    for (const ObjectPtr& slice : {before, after}) {
      if (!slice) continue;
      const Value& labels = slice->get("metadata").get("labels");
      const std::string_view service = labels.get(kServiceNameLabel).as_string();
      if (labels.get(kManagedByLabel).as_string() != kManager || service.empty()) continue;
      enqueue(key_of(space_of(*slice), service));
    }
  });
  nodes_.add_handler(
      [this](const ObjectPtr& before, const ObjectPtr& after) { node_changed(before, after); });
}

void EndpointSliceController::enqueue_all() {
  pods_.services().for_each([this](const ObjectPtr& service) { enqueue(key_of(*service)); });
}

// Endpoints on the node carry its zone; shares concern the services with hints only.
void EndpointSliceController::node_changed(const ObjectPtr& before, const ObjectPtr& after) {
  if (before && after && !is_share_change(*before, *after)) return;
  shares_known_ = false;
  const auto zone = [](const ObjectPtr& node) {
    return node ? node->get("metadata").get("labels").get(kZoneLabel).as_string()
                : std::string_view();
  };
  if (!before || !after || zone(before) != zone(after)) {
    pods_.for_services_on_node(name_of(after ? *after : *before),
                               [this](const std::string& service) { enqueue(service); });
  }
  pods_.services().for_each([this](const ObjectPtr& service) {
    if (hint_mode(*service) == HintMode::kByShare) enqueue(key_of(*service));
  });
}

Plan EndpointSliceController::plan(const std::string& key) {
  const auto [space, name] = split_key(key);
  SliceInput input;
  input.service = pods_.services().get(space, name);
  if (!input.service) {
    trigger_times_.forget(key);
    return {};
  }
  if (!shares_known_) {
    std::vector<ObjectPtr> nodes;
    nodes_.for_each([&](const ObjectPtr& node) { nodes.push_back(node); });
    shares_ = zone_shares(nodes);
    shares_known_ = true;
  }
  input.pods = pods_.pods_of(*input.service);
  input.existing = slices_.by_index(slices_by_service_, key);
  input.node = [this](std::string_view node) { return nodes_.get("", node); };
  input.shares = shares_;
  input.trigger_time = trigger_times_.next(key, *input.service, input.pods);
  return plan_endpoint_slices(input);
}

}  // namespace fairlead::controllers
