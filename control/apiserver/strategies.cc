#include "control/apiserver/strategies.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <vector>

#include "control/schema/endpoint_subsets.h"

namespace fairlead::apiserver {

namespace {

using schema::Arena;
using schema::Document;
using schema::Value;

Value quality_of_service(const Value& pod) {
  bool any = false;
  bool guaranteed = true;
  for (const std::string_view list : {"containers", "initContainers"}) {
    for (const Value& container : pod.get("spec").get(list).items()) {
      for (const std::string_view what : {"cpu", "memory"}) {
        const Value& limit = container.at("resources.limits").get(what);
        const Value& request = container.at("resources.requests").get(what);
        const auto is_set = [](const Value& value) {
          return value.is_string() && value.as_string() != "0";
        };
        if (is_set(limit) || is_set(request)) any = true;
        if (!is_set(limit) || (is_set(request) && !(request == limit))) guaranteed = false;
      }
    }
  }
  return Value::string(!any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable");
}

void create_pod(Document& next, const auth::User&) {
  Value status = Value::object();
  status.append(next.arena, "phase", Value::string("Pending"));
  status.append(next.arena, "qosClass", quality_of_service(next.root));
  next.root.set(next.arena, "status", status);
}

template <const auto& kPhase>
void create_with_phase(Document& next, const auth::User&) {
  Value status = Value::object();
  status.append(next.arena, "phase", Value::string(kPhase));
  next.root.set(next.arena, "status", status);
}
constexpr std::string_view kPending = "Pending";
constexpr std::string_view kActive = "Active";

void create_namespace(Document& next, const auth::User& user) {
  create_with_phase<kActive>(next, user);
  Value& spec = next.root.ensure(next.arena, "spec");
  Value finalizers = spec.get("finalizers").is_array() ? spec.get("finalizers") : Value::array();
  bool found = false;
  for (const Value& each : finalizers.items()) found |= each.as_string() == "kubernetes";
  if (!found) finalizers.push(next.arena, Value::string("kubernetes"));
  spec.set(next.arena, "finalizers", finalizers);
  next.root.ensure(next.arena, "metadata.labels")
      .set(next.arena, "kubernetes.io/metadata.name", next.root.at("metadata.name"));
}

void update_namespace(Document& next, const Value& old) {
  next.root.set(next.arena, "spec", old.get("spec").clone(next.arena));
}

// https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-selector
void create_job(Document& next, const auth::User&) {
  Value& spec = next.root.ensure(next.arena, "spec");
  if (spec.get("manualSelector").as_bool()) return;
  const Value uid = next.root.at("metadata.uid");
  const Value name = next.root.at("metadata.name");
  Value& labels = spec.ensure(next.arena, "template.metadata.labels");
  for (const std::string_view key : {"controller-uid", "batch.kubernetes.io/controller-uid"}) {
    labels.set(next.arena, key, uid);
  }
  for (const std::string_view key : {"job-name", "batch.kubernetes.io/job-name"}) {
    labels.set(next.arena, key, name);
  }
  spec.ensure(next.arena, "selector.matchLabels")
      .set(next.arena, "batch.kubernetes.io/controller-uid", uid);
}

// The selector and the labels of the template are the server's where it made them.
void update_job(Document& next, const Value& old) {
  Value& spec = next.root.ensure(next.arena, "spec");
  if (spec.get("selector").is_null() && !old.at("spec.selector").is_null()) {
    spec.set(next.arena, "selector", old.at("spec.selector").clone(next.arena));
  }
  if (old.at("spec.manualSelector").as_bool()) return;
  for (const schema::Member& label : old.at("spec.template.metadata.labels").members()) {
    Value& labels = spec.ensure(next.arena, "template.metadata.labels");
    const bool generated = label.key.ends_with("controller-uid") || label.key.ends_with("job-name");
    if (generated && labels.find(label.key) == nullptr) {
      labels.set(next.arena, next.arena.copy(label.key), label.value.clone(next.arena));
    }
  }
}

void create_signing_request(Document& next, const auth::User& user) {
  Arena& arena = next.arena;
  Value& spec = next.root.ensure(arena, "spec");
  for (const std::string_view field : {"username", "uid", "groups", "extra"}) spec.erase(field);
  const auto text = [&arena](std::string_view of) { return Value::string(arena.copy(of)); };
  if (!user.name.empty()) spec.set(arena, "username", text(user.name));
  if (!user.uid.empty()) spec.set(arena, "uid", text(user.uid));
  const auto list = [&](const std::vector<std::string>& items) {
    Value array = Value::array();
    for (const std::string& item : items) array.push(arena, text(item));
    return array;
  };
  if (!user.groups.empty()) spec.set(arena, "groups", list(user.groups));
  for (const auto& [key, values] : user.extra) {
    spec.ensure(arena, "extra").set(arena, arena.copy(key), list(values));
  }
}

void update_signing_request(Document& next, const Value& old) {
  next.root.set(next.arena, "spec", old.get("spec").clone(next.arena));
}

void repack_endpoints(Document& next) {
  Value* subsets = next.root.find("subsets");
  if (subsets != nullptr) *subsets = schema::repack_subsets(next.arena, *subsets);
}

void create_endpoints(Document& next, const auth::User&) {
  repack_endpoints(next);
}

void update_endpoints(Document& next, const Value&) {
  repack_endpoints(next);
}

// Does the type have node ports?
bool wants_ports(const Value& spec) {
  const std::string_view type = spec.get("type").as_string();
  const Value& allocate = spec.get("allocateLoadBalancerNodePorts");
  return type == "NodePort" ||
         (type == "LoadBalancer" && (allocate.is_null() || allocate.as_bool()));
}

// A change of type takes along what only the old type has, where the user has not touched it: a
// patch of the type alone is enough.
void drop_what_the_type_lacks(Value& spec, const Value& before) {
  const std::string_view type = spec.get("type").as_string();
  const auto drop = [&](std::string_view field) {
    if (spec.get(field) == before.get(field)) spec.erase(field);
  };
  if (wants_ports(before) && !wants_ports(spec)) {
    Value* ports = spec.find("ports");
    for (Value& port : ports ? ports->items() : std::span<Value>()) {
      for (const Value& was : before.get("ports").items()) {
        if (was.get("nodePort") == port.get("nodePort")) port.erase("nodePort");
      }
    }
  }
  if (type == "ClusterIP" || type == "ExternalName") drop("externalTrafficPolicy");
  const bool has_check =
      type == "LoadBalancer" && spec.get("externalTrafficPolicy").as_string() == "Local";
  if (!has_check) drop("healthCheckNodePort");
  if (type != "LoadBalancer") {
    drop("allocateLoadBalancerNodePorts");
    drop("loadBalancerClass");
  }
  if (type == "ExternalName") {
    drop("clusterIP");
    drop("clusterIPs");
  }
}

// What was given out stays with the service while nobody asks for something else.
void update_service(Document& next, const Value& old) {
  Value& spec = next.root.ensure(next.arena, "spec");
  const Value& before = old.get("spec");
  drop_what_the_type_lacks(spec, before);
  const bool external = spec.get("type").as_string() == "ExternalName";
  if (external || before.get("type").as_string() == "ExternalName") return;
  for (const std::string_view field : {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"}) {
    const bool empty = spec.get(field).is_zero();
    // A new first address makes the old list wrong.
    if (field == "clusterIPs" && !(spec.get("clusterIP") == before.get("clusterIP"))) continue;
    if (empty && !before.get(field).is_zero()) {
      spec.set(next.arena, field, before.get(field).clone(next.arena));
    }
  }
  if (wants_ports(spec) && wants_ports(before)) {
    Value* ports = spec.find("ports");
    for (Value& port : ports ? ports->items() : std::span<Value>()) {
      if (port.get("nodePort").as_int() != 0) continue;
      for (const Value& was : before.get("ports").items()) {
        if (was.get("port") == port.get("port") && was.get("protocol") == port.get("protocol") &&
            was.get("nodePort").as_int() != 0) {
          port.set(next.arena, "nodePort", was.get("nodePort"));
          port.sort_members();
        }
      }
    }
  }
  const std::string_view policy = spec.get("externalTrafficPolicy").as_string();
  if (policy == "Local" && spec.get("type").as_string() == "LoadBalancer" &&
      spec.get("healthCheckNodePort").as_int() == 0 &&
      before.get("healthCheckNodePort").as_int() != 0) {
    spec.set(next.arena, "healthCheckNodePort", before.get("healthCheckNodePort"));
  }
  spec.sort_members();
}

constexpr Strategy kStrategies[] = {
    {"core.v1.Pod", kGraceful | kStatusSetsLabels, create_pod},
    {"core.v1.Namespace", 0, create_namespace, update_namespace},
    {"core.v1.Node", kKeepsStatus | kStatusSetsLabels},
    {"core.v1.PersistentVolumeClaim", kStatusSetsLabels, create_with_phase<kPending>},
    {"core.v1.PersistentVolume", kStatusSetsLabels, create_with_phase<kPending>},
    {"core.v1.Event", kCreateOnUpdate | kExpires},
    {"core.v1.Service", kCreateOnUpdate | kStatusSetsLabels, nullptr, update_service},
    {"core.v1.Endpoints", kCreateOnUpdate, create_endpoints, update_endpoints},
    {"core.v1.LimitRange", kCreateOnUpdate},
    {"core.v1.ReplicationController", kGeneration | kOrphansByDefault},
    {"apps.v1.DaemonSet", kGeneration},
    {"apps.v1.Deployment", kGeneration | kAnnotationsAreDesire},
    {"apps.v1.ReplicaSet", kGeneration},
    {"apps.v1.StatefulSet", kGeneration},
    {"batch.v1.CronJob", kGeneration},
    {"batch.v1.Job", kGeneration | kOrphansByDefault, create_job, update_job},
    {"networking.v1.Ingress", kGeneration},
    {"networking.v1.IngressClass", kGeneration},
    {"networking.v1.NetworkPolicy", kGeneration},
    {"discovery.v1.EndpointSlice", kGeneration | kLabelsAreDesire},
    {"policy.v1.PodDisruptionBudget", kGeneration | kConditionalOnly},
    {"rbac.v1.ClusterRole", kCreateOnUpdate},
    {"rbac.v1.ClusterRoleBinding", kCreateOnUpdate},
    {"rbac.v1.Role", kCreateOnUpdate},
    {"rbac.v1.RoleBinding", kCreateOnUpdate},
    {"storage.v1.CSIStorageCapacity", kConditionalOnly},
    {"storage.v1.VolumeAttachment", kConditionalOnly},
    {"coordination.v1.Lease", kCreateOnUpdate | kConditionalOnly},
    {"node.v1.RuntimeClass", kConditionalOnly},
    {"scheduling.v1.PriorityClass", kGeneration},
    {"certificates.v1.CertificateSigningRequest", 0, create_signing_request,
     update_signing_request},
    {"admissionregistration.v1.MutatingWebhookConfiguration", kGeneration | kConditionalOnly},
    {"admissionregistration.v1.ValidatingAdmissionPolicy", kGeneration | kConditionalOnly},
    {"admissionregistration.v1.ValidatingAdmissionPolicyBinding", kGeneration | kConditionalOnly},
    {"admissionregistration.v1.ValidatingWebhookConfiguration", kGeneration | kConditionalOnly},
    {"apiextensions.v1.CustomResourceDefinition", kGeneration | kConditionalOnly},
    {"apiregistration.v1.APIService", kConditionalOnly},
    {"flowcontrol.v1.FlowSchema", kGeneration},
    {"flowcontrol.v1.PriorityLevelConfiguration", kGeneration},
};

constexpr Strategy kPlain = {};

void take(Document& next, const Value& old, std::string_view parent, std::string_view field) {
  const Value& kept = old.at(parent).get(field);
  Value& owner = next.root.ensure(next.arena, parent);
  if (kept.is_null()) {
    owner.erase(field);
  } else {
    owner.set(next.arena, field, kept.clone(next.arena));
    owner.sort_members();
  }
}

}  // namespace

const Strategy& strategy_of(const schema::Resource& resource) {
  for (const Strategy& row : kStrategies) {
    if (row.type == resource.type_name) return row;
  }
  return kPlain;
}

bool has_status(const schema::Resource& resource) {
  const std::vector<std::string_view> names = schema::words(resource.subresources);
  return std::find(names.begin(), names.end(), "status") != names.end();
}

void restrict_to_subresource(Document& next, const Value& old, std::string_view subresource,
                             const Strategy& strategy) {
  Document made;
  made.root = old.clone(made.arena);
  const Value& sent = next.root;
  const auto from_sent = [&](std::string_view parent, std::string_view field) {
    take(made, sent, parent, field);
  };
  from_sent("metadata", "resourceVersion");
  from_sent("metadata", "uid");
  from_sent("metadata", "managedFields");
  if (subresource == "status") {
    from_sent("metadata", "annotations");
    if (strategy.is(kStatusSetsLabels)) from_sent("metadata", "labels");
    const Value* status = sent.find("status");
    if (status == nullptr) {
      made.root.erase("status");
    } else {
      made.root.set(made.arena, "status", status->clone(made.arena));
    }
    // Decisions on a signing request are another permission.
    if (strategy.type == "certificates.v1.CertificateSigningRequest") {
      Value conditions = Value::array();
      const auto decides = [](const Value& condition) {
        const std::string_view type = condition.get("type").as_string();
        return type == "Approved" || type == "Denied";
      };
      for (const Value& each : old.at("status.conditions").items()) {
        if (decides(each)) conditions.push(made.arena, each.clone(made.arena));
      }
      for (const Value& each : sent.at("status.conditions").items()) {
        if (!decides(each)) conditions.push(made.arena, each.clone(made.arena));
      }
      Value& shown_status = made.root.ensure(made.arena, "status");
      shown_status.erase("conditions");
      if (!conditions.empty()) shown_status.set(made.arena, "conditions", conditions);
    }
  } else if (subresource == "approval") {
    from_sent("status", "conditions");
  } else if (subresource == "finalize") {
    from_sent("spec", "finalizers");
  } else if (subresource == "ephemeralcontainers") {
    from_sent("spec", "ephemeralContainers");
  }
  made.root.sort_members();
  next = std::move(made);
}

}  // namespace fairlead::apiserver
