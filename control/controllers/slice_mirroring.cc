#include "control/controllers/slice_mirroring.h"

#include <algorithm>
#include <utility>

#include "control/controllers/objects.h"
#include "control/controllers/pods.h"

namespace fairlead::controllers {

namespace {

constexpr std::string_view kMirrorManager = "endpointslicemirroring-controller.k8s.io";
constexpr std::string_view kSkipLabel = "endpointslice.kubernetes.io/skip-mirror";
constexpr std::string_view kElectionAnnotation = "control-plane.alpha.kubernetes.io/leader";
constexpr std::string_view kAppliedAnnotation = "kubectl.kubernetes.io/last-applied-configuration";

bool is_mirrored(const MirrorInput& input) {
  if (!input.service || !input.endpoints || is_terminating(*input.endpoints)) return false;
  const Value& spec = input.service->get("spec");
  if (!spec.get("selector").empty() || spec.get("type").as_string() == "ExternalName") return false;
  const Value& metadata = input.endpoints->get("metadata");
  return metadata.get("labels").get(kSkipLabel).as_string() != "true" &&
         metadata.get("annotations").find(kElectionAnnotation) == nullptr;
}

EndpointRow mirrored(const Value& address, bool ready) {
  EndpointRow row;
  row.addresses.emplace_back(address.get("ip").as_string());
  row.ready = ready;
  row.hostname = address.get("hostname").as_string();
  row.node = address.get("nodeName").as_string();
  const Value& target = address.get("targetRef");
  row.target = {
      std::string(target.get("kind").as_string()), std::string(target.get("namespace").as_string()),
      std::string(target.get("name").as_string()), std::string(target.get("uid").as_string())};
  return row;
}

Ports subset_ports(const Value& subset) {
  Ports ports;
  for (const Value& port : subset.get("ports").items()) {
    PortRow row;
    row.name = port.get("name").as_string();
    const std::string_view protocol = port.get("protocol").as_string();
    row.protocol = protocol.empty() ? "TCP" : protocol;
    row.port = port.get("port").as_int();
    row.app_protocol = port.get("appProtocol").as_string();
    ports.push_back(std::move(row));
  }
  std::sort(ports.begin(), ports.end());
  return ports;
}

// Ready addresses first; of each subset no more than kMostMirrored.
std::map<Ports, std::vector<EndpointRow>> desired_mirrors(const Value& endpoints, bool ipv6) {
  std::map<Ports, std::vector<EndpointRow>> desired;
  for (const Value& subset : endpoints.get("subsets").items()) {
    size_t room = kMostMirrored;
    std::vector<EndpointRow>* rows = nullptr;
    for (const bool ready : {true, false}) {
      for (const Value& address : subset.get(ready ? "addresses" : "notReadyAddresses").items()) {
        if (room == 0) break;
        --room;
        if (is_ipv6(address.get("ip").as_string()) != ipv6) continue;
        if (!rows) rows = &desired[subset_ports(subset)];
        rows->push_back(mirrored(address, ready));
      }
    }
  }
  return desired;
}

// Owned by Endpoints that had the name before, or with annotations that these do not have: what
// pack_slices() does not look at.
bool is_stale(const Slice& slice, const Value& endpoints, const Labels& annotations) {
  Labels has;
  for (const schema::Member& annotation :
       slice.source->get("metadata").get("annotations").members()) {
    if (annotation.key == kTriggerTimeAnnotation) continue;
    has.emplace(annotation.key, annotation.value.as_string());
  }
  return has != annotations || !is_controlled_by(*slice.source, uid_of(endpoints));
}

void refresh_stale(const Value& endpoints, const Labels& annotations, SliceChanges* changes) {
  std::vector<Slice> fresh;
  for (Slice& slice : changes->keep) {
    const bool stale = is_stale(slice, endpoints, annotations);
    (stale ? changes->update : fresh).push_back(std::move(slice));
  }
  changes->keep = std::move(fresh);
}

}  // namespace

Plan plan_mirror(const MirrorInput& input) {
  Plan plan;
  std::vector<Slice> slices;
  for (const ObjectPtr& object : input.existing) {
    if (!is_terminating(*object)) slices.push_back(parse_slice(object));
  }
  SliceFrame frame;
  frame.owner_resource = &resource("", "v1", "endpoints");
  SliceWriting writing;
  if (!is_mirrored(input)) {
    SliceChanges changes;
    changes.remove = std::move(slices);
    const Value none{};
    frame.owner = changes.remove.empty() ? &none : changes.remove.front().source.get();
    write_slices(frame, std::move(changes), writing, &plan.writes);
    return plan;
  }
  frame.owner = input.endpoints.get();
  frame.most = kMostMirrored;
  frame.labels = labels_of(*input.endpoints);
  frame.labels[std::string(kServiceNameLabel)] = name_of(*input.endpoints);
  frame.labels[std::string(kManagedByLabel)] = kMirrorManager;
  const Value& annotations = input.endpoints->get("metadata").get("annotations");
  writing.trigger_time = annotations.get(kTriggerTimeAnnotation).as_string();
  writing.other_annotations.emplace();
  for (const schema::Member& annotation : annotations.members()) {
    if (annotation.key == kTriggerTimeAnnotation || annotation.key == kAppliedAnnotation) continue;
    writing.other_annotations->emplace(annotation.key, annotation.value.as_string());
  }
  for (const bool ipv6 : {false, true}) {
    frame.address_type = ipv6 ? "IPv6" : "IPv4";
    std::vector<Slice> mine;
    for (Slice& slice : slices) {
      if (slice.address_type == frame.address_type) mine.push_back(std::move(slice));
    }
    SliceChanges changes =
        pack_slices(frame, std::move(mine), desired_mirrors(*input.endpoints, ipv6), false);
    refresh_stale(*input.endpoints, *writing.other_annotations, &changes);
    merge_replacements(frame, &changes);
    write_slices(frame, std::move(changes), writing, &plan.writes);
  }
  return plan;
}

SliceMirroringController::SliceMirroringController(Context context)
    : Controller(context, "endpointslicemirroring"),
      services_(needs(resource("", "v1", "services"))),
      endpoints_(needs(resource("", "v1", "endpoints"))),
      slices_(needs(resource("discovery.k8s.io", "v1", "endpointslices"))) {
  slices_by_service_ = slices_.add_index([](const Value& slice, std::vector<std::string>* keys) {
    const Value& labels = slice.get("metadata").get("labels");
    if (labels.get(kManagedByLabel).as_string() != kMirrorManager) return;
    keys->push_back(key_of(space_of(slice), labels.get(kServiceNameLabel).as_string()));
  });
  for (Informer* informer : {&services_, &endpoints_}) {
    informer->add_handler([this](const ObjectPtr& before, const ObjectPtr& after) {
      enqueue(key_of(after ? *after : *before));
    });
  }
  slices_.add_handler([this](const ObjectPtr& before, const ObjectPtr& after) {
    for (const ObjectPtr& slice : {before, after}) {
      if (!slice) continue;
      const Value& labels = slice->get("metadata").get("labels");
      if (labels.get(kManagedByLabel).as_string() != kMirrorManager) continue;
      enqueue(key_of(space_of(*slice), labels.get(kServiceNameLabel).as_string()));
    }
  });
}

void SliceMirroringController::enqueue_all() {
  endpoints_.for_each([this](const ObjectPtr& endpoints) { enqueue(key_of(*endpoints)); });
}

Plan SliceMirroringController::plan(const std::string& key) {
  const auto [space, name] = split_key(key);
  MirrorInput input;
  input.service = services_.get(space, name);
  input.endpoints = endpoints_.get(space, name);
  input.existing = slices_.by_index(slices_by_service_, key);
  return plan_mirror(input);
}

}  // namespace fairlead::controllers
