// What a row cannot say of the kinds that make pods.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "control/schema/selector.h"
#include "control/schema/validation_rules.h"

namespace fairlead::schema {

namespace {

// The pods that a template makes must be those that the selector finds.
void selector_and_template(const Value& spec, const FieldPath& path, ErrorList& errors) {
  const Value& selector = spec.get("selector");
  if (!selector.is_object()) return;
  const FieldPath labels_owner = path.child("template");
  const FieldPath metadata = labels_owner.child("metadata");
  const Value& labels = spec.at("template.metadata.labels");
  if (selector.get("matchLabels").empty() && selector.get("matchExpressions").empty()) {
    errors.invalid(path.child("selector"), selector, "empty selector is invalid for deployment");
    return;
  }
  const Result<LabelSelector> parsed = LabelSelector::from_object(selector);
  if (parsed.ok() && !parsed->matches(labels)) {
    errors.invalid(metadata.child("labels"), labels, "`selector` does not match template `labels`");
  }
}

void always_restarts(const Value& spec, const FieldPath& path, ErrorList& errors) {
  constexpr std::string_view kAlways[] = {"Always"};
  const Value& policy = spec.at("template.spec.restartPolicy");
  if (policy.as_string().empty() || policy.as_string() == "Always") return;
  const FieldPath pod_template = path.child("template");
  const FieldPath pod = pod_template.child("spec");
  errors.not_supported(pod.child("restartPolicy"), policy, kAlways);
}

void workload_checks(const Value& spec, const FieldPath& path, ErrorList& errors) {
  selector_and_template(spec, path, errors);
  always_restarts(spec, path, errors);
}

bool zero(const Value& value) {
  return (value.is_int() && value.as_int() == 0) || value.as_string() == "0%";
}

void deployment_checks(const Value& spec, const FieldPath& path, ErrorList& errors) {
  workload_checks(spec, path, errors);
  const Value& strategy = spec.get("strategy");
  const FieldPath at = path.child("strategy");
  const FieldPath rolling = at.child("rollingUpdate");
  const Value* update = strategy.find("rollingUpdate");
  if (strategy.get("type").as_string() == "Recreate" && update) {
    errors.forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'");
  }
  if (update && zero(update->get("maxUnavailable")) && zero(update->get("maxSurge"))) {
    errors.invalid(rolling.child("maxUnavailable"), update->get("maxUnavailable"),
                   "may not be 0 when `maxSurge` is 0");
  }
  const int64_t ready = spec.get("minReadySeconds").as_int();
  const Value& deadline = spec.get("progressDeadlineSeconds");
  if (deadline.is_int() && deadline.as_int() <= ready) {
    errors.invalid(path.child("progressDeadlineSeconds"), deadline,
                   "must be greater than minReadySeconds");
  }
}

void daemon_set_checks(const Value& spec, const FieldPath& path, ErrorList& errors) {
  workload_checks(spec, path, errors);
  const FieldPath strategy = path.child("updateStrategy");
  const FieldPath rolling = strategy.child("rollingUpdate");
  const Value& update = spec.at("updateStrategy.rollingUpdate");
  if (!update.is_object()) return;
  const bool no_unavailable = zero(update.get("maxUnavailable"));
  const bool no_surge = zero(update.get("maxSurge")) || update.get("maxSurge").is_null();
  if (no_unavailable && no_surge) {
    errors.required(rolling.child("maxUnavailable"), "cannot be 0 when maxSurge is not set");
  } else if (!no_unavailable && !no_surge) {
    errors.invalid(rolling.child("maxSurge"), update.get("maxSurge"),
                   "may not be set when maxUnavailable is non-zero");
  }
}

void finite_pods(const Value& spec, const FieldPath& path, ErrorList& errors) {
  constexpr std::string_view kFinite[] = {"OnFailure", "Never"};
  const Value& policy = spec.at("template.spec.restartPolicy");
  const FieldPath pod_template = path.child("template");
  const FieldPath pod = pod_template.child("spec");
  if (policy.as_string().empty() || policy.as_string() == "Always") {
    errors.required(pod.child("restartPolicy"), "valid values: \"OnFailure\", \"Never\"");
  } else if (policy.as_string() != "OnFailure" && policy.as_string() != "Never") {
    errors.not_supported(pod.child("restartPolicy"), policy, kFinite);
  }
}

void job_checks(const Value& spec, const FieldPath& path, ErrorList& errors) {
  finite_pods(spec, path, errors);
  const bool indexed = spec.get("completionMode").as_string() == "Indexed";
  if (indexed && !spec.find("completions")) {
    errors.required(path.child("completions"), "when completion mode is Indexed");
  }
}

constexpr std::array<std::string_view, 6> kStatefulSetMayChange = {
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds"};

void stateful_set_update(const Value& object, const Value& old, ErrorList& errors) {
  const FieldPath root;
  const auto may_change = [](std::string_view field) {
    return std::find(kStatefulSetMayChange.begin(), kStatefulSetMayChange.end(), field) !=
           kStatefulSetMayChange.end();
  };
  const Value& spec = object.get("spec");
  const Value& before = old.get("spec");
  bool changed = false;
  for (const Member& member : spec.members()) {
    const bool free = may_change(member.key) || member.key == "revisionHistoryLimit";
    changed = changed || (!free && !(member.value == before.get(member.key)));
  }
  for (const Member& member : before.members()) {
    changed = changed || (!may_change(member.key) && !spec.find(member.key));
  }
  if (!changed) return;
  errors.forbidden(root.child("spec"),
                   "updates to statefulset spec for fields other than 'replicas', 'ordinals', "
                   "'template', 'updateStrategy', 'persistentVolumeClaimRetentionPolicy' and "
                   "'minReadySeconds' are forbidden");
}

void job_update(const Value& object, const Value& old, ErrorList& errors) {
  const FieldPath root;
  const FieldPath spec = root.child("spec");
  const bool indexed = object.at("spec.completionMode").as_string() == "Indexed";
  const bool suspended = old.at("spec.suspend").as_bool() && old.at("status.startTime").is_null();
  if (!(object.at("spec.completions") == old.at("spec.completions")) && !indexed) {
    errors.invalid(spec.child("completions"), object.at("spec.completions"), "field is immutable");
  }
  // A job that has not begun may still be told where to run.
  if (!(object.at("spec.template") == old.at("spec.template")) && !suspended) {
    errors.invalid(spec.child("template"), object.at("spec.template"), "field is immutable");
  }
}

constexpr std::string_view kPodMessage =
    "pod updates may not change fields other than "
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

// The containers but for their images.
bool same_but_images(const Value& now, const Value& before) {
  if (now.size() != before.size()) return false;
  for (size_t i = 0; i < now.size(); ++i) {
    const Value& a = now.items()[i];
    const Value& b = before.items()[i];
    if (a.size() != b.size()) return false;
    for (const Member& member : a.members()) {
      if (member.key != "image" && !(member.value == b.get(member.key))) return false;
    }
  }
  return true;
}

bool only_adds(const Value& now, const Value& before) {
  return std::all_of(before.items().begin(), before.items().end(), [&now](const Value& old) {
    return std::any_of(now.items().begin(), now.items().end(), [&old](const Value& each) {
      if (each == old) return true;
      // How long may change, nothing else.
      return each.get("key") == old.get("key") && each.get("operator") == old.get("operator") &&
             each.get("value") == old.get("value") && each.get("effect") == old.get("effect");
    });
  });
}

const Value* named_like(const Value& wanted, const Value& list) {
  for (const Value& each : list.items()) {
    if (each.get("name") == wanted.get("name")) return &each;
  }
  return nullptr;
}

// https://kubernetes.io/docs/concepts/scheduling-eviction/pod-scheduling-readiness/
void only_takes_gates_away(const Value& spec, const Value& before, const FieldPath& path,
                           ErrorList& errors) {
  size_t index = 0;
  for (const Value& gate : spec.get("schedulingGates").items()) {
    const FieldPath here = path.element(index++);
    if (named_like(gate, before.get("schedulingGates"))) continue;
    errors.forbidden(here, fmt::format("only deletion is allowed, but found new scheduling gate "
                                       "'{}'",
                                       gate.get("name").as_string()));
  }
}

// Containers are only ever added to a running pod.
// https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/
void ephemeral_update(const Value& object, const Value& old, ErrorList& errors) {
  const FieldPath root;
  const FieldPath spec = root.child("spec");
  const FieldPath path = spec.child("ephemeralContainers");
  const Value& now = object.at("spec.ephemeralContainers");
  for (const Value& before : old.at("spec.ephemeralContainers").items()) {
    const Value* kept = named_like(before, now);
    if (kept && *kept == before) continue;
    errors.forbidden(path,
                     fmt::format("existing ephemeral containers \"{}\" may not be {}",
                                 before.get("name").as_string(), kept ? "changed" : "removed"));
  }
}

void pod_update(const Value& object, const Value& old, ErrorList& errors) {
  const FieldPath root;
  const FieldPath path = root.child("spec");
  const Value& spec = object.get("spec");
  const Value& before = old.get("spec");
  const auto same = [&](std::string_view field) {
    const Value& a = spec.get(field);
    const Value& b = before.get(field);
    if (field == "containers" || field == "initContainers") return same_but_images(a, b);
    if (field == "tolerations") return only_adds(a, b);
    if (field == "activeDeadlineSeconds") return true;  // checked below
    if (field == "terminationGracePeriodSeconds") {
      return a == b || (b.as_int() < 0 && a.as_int() == 1);
    }
    if (field == "schedulingGates") return true;  // checked below
    if (field == "nodeSelector" || field == "affinity") {
      return a == b || !before.get("schedulingGates").empty();
    }
    return a == b;
  };
  bool changed = false;
  for (const Member& member : spec.members()) changed = changed || !same(member.key);
  for (const Member& member : before.members()) {
    changed = changed || (!spec.find(member.key) && !same(member.key));
  }
  if (changed) errors.forbidden(path, kPodMessage);
  only_takes_gates_away(spec, before, path.child("schedulingGates"), errors);
  const Value& deadline = spec.get("activeDeadlineSeconds");
  const Value& old_deadline = before.get("activeDeadlineSeconds");
  if (old_deadline.is_int() && deadline.is_null()) {
    errors.invalid(path.child("activeDeadlineSeconds"), deadline,
                   "must not update from a positive integer to nil value");
  } else if (old_deadline.is_int() && deadline.as_int() > old_deadline.as_int()) {
    errors.invalid(path.child("activeDeadlineSeconds"), deadline,
                   "must be less than or equal to previous value");
  }
}

constexpr ValidationHookRow kWorkloadHooks[] = {
    {"apps.v1.DeploymentSpec", deployment_checks},
    {"apps.v1.ReplicaSetSpec", workload_checks},
    {"apps.v1.StatefulSetSpec", workload_checks},
    {"apps.v1.DaemonSetSpec", daemon_set_checks},
    {"batch.v1.JobSpec", job_checks},
};

// What an update of the other kinds must not change is in validation_other.cc.
constexpr UpdateHookRow kUpdateHooks[] = {
    {"apps.v1.StatefulSet", stateful_set_update},
    {"batch.v1.Job", job_update},
    {"core.v1.Pod", pod_update, ""},
    {"core.v1.Pod", ephemeral_update, "ephemeralcontainers"},
};

}  // namespace

std::span<const ValidationHookRow> workload_hooks() {
  return kWorkloadHooks;
}

std::span<const UpdateHookRow> workload_update_hooks() {
  return kUpdateHooks;
}

}  // namespace fairlead::schema
