// What a row cannot say of configuration, access, storage and the rest, and what their updates must
// not change.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "control/schema/names.h"
#include "control/schema/quantity.h"
#include "control/schema/validation_rules.h"

namespace fairlead::schema {

namespace {

constexpr size_t kMaxData = size_t{1} << 20;
constexpr int64_t kHighestUserPriority = 1000000000;

void config_map_checks(const Value& map, const FieldPath& path, ErrorList& errors) {
  size_t bytes = 0;
  const FieldPath data = path.child("data");
  for (const Member& member : map.get("data").members()) {
    bytes += member.value.as_string().size();
    if (map.get("binaryData").find(member.key)) {
      errors.invalid(data.key(member.key), Value::string(member.key),
                     "duplicate of key present in binaryData");
    }
  }
  for (const Member& member : map.get("binaryData").members()) {
    bytes += member.value.as_string().size() / 4 * 3;
  }
  if (bytes > kMaxData) errors.too_long(path, kMaxData);
}

struct SecretKeys {
  std::string_view type;
  std::array<std::string_view, 2> keys;
};
constexpr std::array<SecretKeys, 4> kSecretKeys = {{
    {"kubernetes.io/dockercfg", {".dockercfg", ""}},
    {"kubernetes.io/dockerconfigjson", {".dockerconfigjson", ""}},
    {"kubernetes.io/ssh-auth", {"ssh-privatekey", ""}},
    {"kubernetes.io/tls", {"tls.crt", "tls.key"}},
}};

void secret_checks(const Value& secret, const FieldPath& path, ErrorList& errors) {
  size_t bytes = 0;
  const Value& data = secret.get("data");
  for (const Member& member : data.members()) bytes += member.value.as_string().size() / 4 * 3;
  if (bytes > kMaxData) errors.too_long(path.child("data"), kMaxData);
  const std::string_view type = secret.get("type").as_string();
  const FieldPath at = path.child("data");
  for (const SecretKeys& row : kSecretKeys) {
    if (row.type != type) continue;
    for (const std::string_view key : row.keys) {
      if (!key.empty() && !data.find(key)) errors.required(at.key(key));
    }
  }
  if (type == "kubernetes.io/basic-auth" && !data.find("username") && !data.find("password")) {
    errors.required(at.key("username"));
    errors.required(at.key("password"));
  }
  if (type == "kubernetes.io/service-account-token" &&
      secret.get("metadata")
          .get("annotations")
          .get("kubernetes.io/service-account.name")
          .is_zero()) {
    const FieldPath metadata = path.child("metadata");
    const FieldPath annotations = metadata.child("annotations");
    errors.required(annotations.key("kubernetes.io/service-account.name"));
  }
}

void rule_checks(const Value& rule, const FieldPath& path, ErrorList& errors) {
  const bool urls = !rule.get("nonResourceURLs").empty();
  const bool resources = !rule.get("resources").empty();
  if (urls && (resources || !rule.get("apiGroups").empty())) {
    errors.invalid(path.child("nonResourceURLs"), rule.get("nonResourceURLs"),
                   "rules cannot apply to both regular resources and non-resource URLs");
  } else if (!urls && rule.get("apiGroups").empty()) {
    errors.required(path.child("apiGroups"), "resource rules must supply at least one api group");
  } else if (!urls && !resources) {
    errors.required(path.child("resources"), "resource rules must supply at least one resource");
  }
}

void role_ref_checks(const Value& ref, const FieldPath& path, ErrorList& errors) {
  constexpr std::string_view kKinds[] = {"Role", "ClusterRole"};
  constexpr std::string_view kGroups[] = {"rbac.authorization.k8s.io"};
  const std::string_view kind = ref.get("kind").as_string();
  if (kind != "Role" && kind != "ClusterRole") {
    errors.not_supported(path.child("kind"), ref.get("kind"), kKinds);
  }
  if (ref.get("apiGroup").as_string() != kGroups[0]) {
    errors.not_supported(path.child("apiGroup"), ref.get("apiGroup"), kGroups);
  }
}

void subject_checks(const Value& subject, const FieldPath& path, ErrorList& errors) {
  constexpr std::string_view kCore[] = {""};
  constexpr std::string_view kGroups[] = {"rbac.authorization.k8s.io"};
  const Value& group = subject.get("apiGroup");
  if (subject.get("kind").as_string() == "ServiceAccount") {
    if (!group.as_string().empty()) {
      errors.not_supported(path.child("apiGroup"), group, kCore);
    }
    if (subject.get("namespace").as_string().empty()) errors.required(path.child("namespace"));
  } else if (group.as_string() != kGroups[0]) {
    errors.not_supported(path.child("apiGroup"), group, kGroups);
  }
}

void volume_source_checks(const Value& spec, const FieldPath& path, ErrorList& errors) {
  size_t sources = 0;
  const Type* type = find_type("core.v1.PersistentVolumeSource");
  for (const Field& field : type->own_fields()) {
    if (!spec.find(field.name)) continue;
    if (++sources > 1) {
      errors.forbidden(path.child(field.name), "may not specify more than 1 volume type");
    }
  }
  if (sources == 0) errors.required(path, "must specify a volume type");
  const Value& storage = spec.at("capacity.storage");
  const auto quantity = Quantity::parse(storage.as_string());
  if (quantity && *quantity <= Quantity()) {
    const FieldPath capacity = path.child("capacity");
    errors.invalid(capacity.key("storage"), storage, "must be greater than zero");
  }
}

void claim_checks(const Value& spec, const FieldPath& path, ErrorList& errors) {
  const FieldPath resources = path.child("resources");
  const Value& storage = spec.at("resources.requests.storage");
  const auto quantity = Quantity::parse(storage.as_string());
  if (!quantity) {
    errors.required(resources.key("storage"));
  } else if (*quantity <= Quantity()) {
    errors.invalid(resources.key("storage"), storage, "must be greater than zero");
  }
}

void budget_checks(const Value& spec, const FieldPath& path, ErrorList& errors) {
  if (spec.find("minAvailable") && spec.find("maxUnavailable")) {
    errors.invalid(path, spec, "minAvailable and maxUnavailable cannot be both set");
  }
}

void autoscaler_checks(const Value& spec, const FieldPath& path, ErrorList& errors) {
  const Value& least = spec.get("minReplicas");
  if (least.is_int() && spec.get("maxReplicas").as_int() < least.as_int()) {
    errors.invalid(path.child("maxReplicas"), spec.get("maxReplicas"),
                   "must be greater than or equal to `minReplicas`");
  }
}

void priority_checks(const Value& priority, const FieldPath& path, ErrorList& errors) {
  const std::string_view name = priority.get("metadata").get("name").as_string();
  const Value& value = priority.get("value");
  if (!name.starts_with("system-") && value.as_int() > kHighestUserPriority) {
    errors.forbidden(path.child("value"),
                     fmt::format("maximum allowed value of a user defined priority is {}",
                                 kHighestUserPriority));
  }
}

void definition_checks(const Value& definition, const FieldPath& path, ErrorList& errors) {
  const Value& name = definition.get("metadata").get("name");
  const std::string expected = fmt::format("{}.{}", definition.at("spec.names.plural").as_string(),
                                           definition.at("spec.group").as_string());
  if (name.as_string() != expected) {
    const FieldPath metadata = path.child("metadata");
    errors.invalid(metadata.child("name"), name, "must be spec.names.plural+\".\"+spec.group");
  }
}

void event_checks(const Value& event, const FieldPath& path, ErrorList& errors) {
  const std::string_view own = event.get("metadata").get("namespace").as_string();
  const Value& involved = event.at("involvedObject.namespace");
  // Events of cluster-wide objects live in the namespace "default".
  const bool fits = involved.as_string() == own ||
                    (involved.as_string().empty() && (own == "default" || own == "kube-system"));
  if (fits) return;
  const FieldPath at = path.child("involvedObject");
  errors.invalid(at.child("namespace"), involved, "does not match event.namespace");
}

// Once immutable, neither the data nor that can change.
void frozen_data(const Value& object, const Value& old, ErrorList& errors) {
  if (!old.get("immutable").as_bool()) return;
  const FieldPath root;
  if (!object.get("immutable").as_bool()) {
    errors.forbidden(root.child("immutable"), "field is immutable when `immutable` is set");
  }
  for (const std::string_view field : {"data", "binaryData", "stringData"}) {
    if (!(object.get(field) == old.get(field))) {
      errors.forbidden(root.child(field), "field is immutable when `immutable` is set");
    }
  }
}

void service_update(const Value& object, const Value& old, ErrorList& errors) {
  const FieldPath root;
  const FieldPath spec = root.child("spec");
  const FieldPath list = spec.child("clusterIPs");
  const Value& before = old.at("spec.clusterIP");
  if (old.at("spec.type").as_string() == "ExternalName" ||
      object.at("spec.type").as_string() == "ExternalName") {
    return;
  }
  if (!before.is_zero() && !(object.at("spec.clusterIP") == before)) {
    errors.invalid(list.element(0), object.at("spec.clusterIP"), "may not change once set");
  }
  const Value& addresses = object.at("spec.clusterIPs");
  const Value& had = old.at("spec.clusterIPs");
  if (had.size() == 2 && addresses.size() == 2 && !(addresses.items()[1] == had.items()[1])) {
    errors.invalid(list.element(1), addresses.items()[1], "may not change once set");
  }
  const Value& policy = object.at("spec.ipFamilyPolicy");
  if (had.size() == 2 && addresses.size() == 1 && policy.as_string() != "SingleStack") {
    errors.invalid(spec.child("ipFamilyPolicy"), policy,
                   "must be set to 'SingleStack' when releasing the secondary clusterIP");
  }
  const FieldPath families = spec.child("ipFamilies");
  const auto now = object.at("spec.ipFamilies").items();
  const auto then = old.at("spec.ipFamilies").items();
  for (size_t i = 0; i < std::min(now.size(), then.size()); ++i) {
    if (!(now[i] == then[i])) {
      errors.invalid(families.element(i), now[i], "may not change once set");
    }
  }
}

void claim_update(const Value& object, const Value& old, ErrorList& errors) {
  const FieldPath root;
  const FieldPath path = root.child("spec");
  const bool bound = old.at("status.phase").as_string() == "Bound";
  bool changed = false;
  for (const Field& field : find_type("core.v1.PersistentVolumeClaimSpec")->own_fields()) {
    const Value& now = object.get("spec").get(field.name);
    const Value& before = old.get("spec").get(field.name);
    if (now == before || field.name == "volumeAttributesClassName") continue;
    // The binder says once which volume it is; a bound claim may grow.
    const bool binding = field.name == "volumeName" && before.is_zero();
    const bool resources = field.name == "resources" && bound;
    changed = changed || (!binding && !resources);
  }
  if (changed) {
    errors.forbidden(path,
                     "spec is immutable after creation except resources.requests and "
                     "volumeAttributesClassName for bound claims");
  }
  const auto now = Quantity::parse(object.at("spec.resources.requests.storage").as_string());
  const auto before = Quantity::parse(old.at("spec.resources.requests.storage").as_string());
  if (now && before && *now < *before) {
    const FieldPath resources = path.child("resources");
    const FieldPath requests = resources.child("requests");
    errors.forbidden(requests.child("storage"), "field can not be less than previous value");
  }
}

void volume_update(const Value& object, const Value& old, ErrorList& errors) {
  const FieldPath root;
  for (const Field& field : find_type("core.v1.PersistentVolumeSource")->own_fields()) {
    if (object.get("spec").get(field.name) == old.get("spec").get(field.name)) continue;
    errors.forbidden(root.child("spec"), "spec.persistentvolumesource is immutable after creation");
    return;
  }
}

constexpr ValidationHookRow kOtherHooks[] = {
    {"core.v1.ConfigMap", config_map_checks},
    {"core.v1.Secret", secret_checks},
    {"core.v1.Event", event_checks},
    {"core.v1.PersistentVolumeSpec", volume_source_checks},
    {"core.v1.PersistentVolumeClaimSpec", claim_checks},
    {"rbac.v1.PolicyRule", rule_checks},
    {"rbac.v1.RoleRef", role_ref_checks},
    {"rbac.v1.Subject", subject_checks},
    {"policy.v1.PodDisruptionBudgetSpec", budget_checks},
    {"autoscaling.v1.HorizontalPodAutoscalerSpec", autoscaler_checks},
    {"autoscaling.v2.HorizontalPodAutoscalerSpec", autoscaler_checks},
    {"scheduling.v1.PriorityClass", priority_checks},
    {"apiextensions.v1.CustomResourceDefinition", definition_checks},
};

constexpr UpdateHookRow kOtherUpdates[] = {
    {"core.v1.ConfigMap", frozen_data},          {"core.v1.Secret", frozen_data},
    {"core.v1.Service", service_update},         {"core.v1.PersistentVolumeClaim", claim_update},
    {"core.v1.PersistentVolume", volume_update},
};

}  // namespace

std::span<const ValidationHookRow> other_hooks() {
  return kOtherHooks;
}

std::span<const UpdateHookRow> other_update_hooks() {
  return kOtherUpdates;
}

}  // namespace fairlead::schema
