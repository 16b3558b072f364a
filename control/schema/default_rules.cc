#include "control/schema/default_rules.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string>

namespace fairlead::schema {

namespace {

// A container's rows, for each of the two types that containers have.
#define CONTAINER_ROWS(type)                                      \
  {type, "terminationMessagePath", "/dev/termination-log", ""}, { \
    type, "terminationMessagePolicy", "File", ""                  \
  }

constexpr DefaultRow kRows[] = {
    // core: pods
    CONTAINER_ROWS("core.v1.Container"),
    CONTAINER_ROWS("core.v1.EphemeralContainer"),
    {"core.v1.ContainerPort", "protocol", "TCP", ""},
    {"core.v1.Probe", "timeoutSeconds", "1", ""},
    {"core.v1.Probe", "periodSeconds", "10", ""},
    {"core.v1.Probe", "successThreshold", "1", ""},
    {"core.v1.Probe", "failureThreshold", "3", ""},
    {"core.v1.HTTPGetAction", "path", "/", ""},
    {"core.v1.HTTPGetAction", "scheme", "HTTP", ""},
    {"core.v1.GRPCAction", "service", "", ""},
    {"core.v1.PodSpec", "restartPolicy", "Always", ""},
    {"core.v1.PodSpec", "dnsPolicy", "ClusterFirst", ""},
    {"core.v1.PodSpec", "terminationGracePeriodSeconds", "30", ""},
    {"core.v1.PodSpec", "securityContext", "{}", ""},
    {"core.v1.PodSpec", "schedulerName", "default-scheduler", ""},
    {"core.v1.Pod", "spec.enableServiceLinks", "true", ""},
    {"core.v1.SecretVolumeSource", "defaultMode", "420", ""},
    {"core.v1.ConfigMapVolumeSource", "defaultMode", "420", ""},
    {"core.v1.DownwardAPIVolumeSource", "defaultMode", "420", ""},
    {"core.v1.ProjectedVolumeSource", "defaultMode", "420", ""},
    {"core.v1.ServiceAccountTokenProjection", "expirationSeconds", "3600", ""},
    {"core.v1.HostPathVolumeSource", "type", "", ""},
    {"core.v1.ISCSIVolumeSource", "iscsiInterface", "default", ""},
    {"core.v1.ISCSIPersistentVolumeSource", "iscsiInterface", "default", ""},
    {"core.v1.RBDVolumeSource", "pool", "rbd", ""},
    {"core.v1.RBDVolumeSource", "user", "admin", ""},
    {"core.v1.RBDVolumeSource", "keyring", "/etc/ceph/keyring", ""},
    {"core.v1.RBDPersistentVolumeSource", "pool", "rbd", ""},
    {"core.v1.RBDPersistentVolumeSource", "user", "admin", ""},
    {"core.v1.RBDPersistentVolumeSource", "keyring", "/etc/ceph/keyring", ""},
    {"core.v1.AzureDiskVolumeSource", "cachingMode", "ReadWrite", ""},
    {"core.v1.AzureDiskVolumeSource", "kind", "Shared", ""},
    {"core.v1.AzureDiskVolumeSource", "fsType", "ext4", ""},
    {"core.v1.AzureDiskVolumeSource", "readOnly", "false", ""},
    {"core.v1.ScaleIOVolumeSource", "storageMode", "ThinProvisioned", ""},
    {"core.v1.ScaleIOVolumeSource", "fsType", "xfs", ""},
    {"core.v1.ObjectFieldSelector", "apiVersion", "v1", ""},
    {"core.v1.Pod", "status.phase", "Pending", ""},
    // core: services and the rest
    {"core.v1.ServiceSpec", "sessionAffinity", "None", ""},
    {"core.v1.ServiceSpec", "type", "ClusterIP", ""},
    {"core.v1.ServiceSpec", "sessionAffinityConfig.clientIP.timeoutSeconds", "10800",
     "sessionAffinity=ClientIP"},
    {"core.v1.ServiceSpec", "internalTrafficPolicy", "Cluster", "type!=ExternalName"},
    {"core.v1.ServiceSpec", "externalTrafficPolicy", "Cluster", "type=NodePort"},
    {"core.v1.ServiceSpec", "externalTrafficPolicy", "Cluster", "type=LoadBalancer"},
    {"core.v1.ServiceSpec", "externalTrafficPolicy", "Cluster", "externalIPs"},
    {"core.v1.ServiceSpec", "allocateLoadBalancerNodePorts", "true", "type=LoadBalancer"},
    {"core.v1.ServicePort", "protocol", "TCP", ""},
    {"core.v1.LoadBalancerIngress", "ipMode", "VIP", "ip"},
    {"core.v1.EndpointPort", "protocol", "TCP", ""},
    {"core.v1.Secret", "type", "Opaque", ""},
    {"core.v1.NamespaceStatus", "phase", "Active", ""},
    {"core.v1.PersistentVolumeClaimSpec", "volumeMode", "Filesystem", ""},
    {"core.v1.PersistentVolumeClaimStatus", "phase", "Pending", ""},
    {"core.v1.PersistentVolumeSpec", "volumeMode", "Filesystem", ""},
    {"core.v1.PersistentVolumeSpec", "persistentVolumeReclaimPolicy", "Retain", ""},
    {"core.v1.PersistentVolumeStatus", "phase", "Pending", ""},
    {"core.v1.ReplicationControllerSpec", "replicas", "1", ""},
    // apps
    {"apps.v1.DeploymentSpec", "replicas", "1", ""},
    {"apps.v1.DeploymentSpec", "strategy.type", "RollingUpdate", ""},
    {"apps.v1.DeploymentSpec", "strategy.rollingUpdate.maxUnavailable", "25%",
     "strategy.type=RollingUpdate"},
    {"apps.v1.DeploymentSpec", "strategy.rollingUpdate.maxSurge", "25%",
     "strategy.type=RollingUpdate"},
    {"apps.v1.DeploymentSpec", "revisionHistoryLimit", "10", ""},
    {"apps.v1.DeploymentSpec", "progressDeadlineSeconds", "600", ""},
    {"apps.v1.DaemonSetSpec", "updateStrategy.type", "RollingUpdate", ""},
    {"apps.v1.DaemonSetSpec", "updateStrategy.rollingUpdate.maxUnavailable", "1",
     "updateStrategy.type=RollingUpdate"},
    {"apps.v1.DaemonSetSpec", "updateStrategy.rollingUpdate.maxSurge", "0",
     "updateStrategy.type=RollingUpdate"},
    {"apps.v1.DaemonSetSpec", "revisionHistoryLimit", "10", ""},
    {"apps.v1.ReplicaSetSpec", "replicas", "1", ""},
    {"apps.v1.StatefulSetSpec", "podManagementPolicy", "OrderedReady", ""},
    {"apps.v1.StatefulSetSpec", "updateStrategy.type", "RollingUpdate", ""},
    {"apps.v1.StatefulSetSpec", "updateStrategy.rollingUpdate.partition", "0",
     "updateStrategy.type=RollingUpdate"},
    {"apps.v1.StatefulSetSpec", "persistentVolumeClaimRetentionPolicy.whenDeleted", "Retain", ""},
    {"apps.v1.StatefulSetSpec", "persistentVolumeClaimRetentionPolicy.whenScaled", "Retain", ""},
    {"apps.v1.StatefulSetSpec", "replicas", "1", ""},
    {"apps.v1.StatefulSetSpec", "revisionHistoryLimit", "10", ""},
    // batch; a CronJob's template is left for the Job that is made of it
    {"batch.v1.Job", "spec.backoffLimit", "6", "!spec.backoffLimitPerIndex"},
    {"batch.v1.Job", "spec.backoffLimit", "2147483647", "spec.backoffLimitPerIndex"},
    {"batch.v1.Job", "spec.completionMode", "NonIndexed", ""},
    {"batch.v1.Job", "spec.suspend", "false", ""},
    {"batch.v1.Job", "spec.manualSelector", "false", "!spec.selector"},
    {"batch.v1.Job", "spec.podReplacementPolicy", "Failed", "spec.podFailurePolicy"},
    {"batch.v1.Job", "spec.podReplacementPolicy", "TerminatingOrFailed", ""},
    {"batch.v1.PodFailurePolicyOnPodConditionsPattern", "status", "True", "", true},
    {"batch.v1.CronJobSpec", "concurrencyPolicy", "Allow", ""},
    {"batch.v1.CronJobSpec", "suspend", "false", ""},
    {"batch.v1.CronJobSpec", "successfulJobsHistoryLimit", "3", ""},
    {"batch.v1.CronJobSpec", "failedJobsHistoryLimit", "1", ""},
    {"batch.v1beta1.CronJobSpec", "concurrencyPolicy", "Allow", ""},
    {"batch.v1beta1.CronJobSpec", "suspend", "false", ""},
    {"batch.v1beta1.CronJobSpec", "successfulJobsHistoryLimit", "3", ""},
    {"batch.v1beta1.CronJobSpec", "failedJobsHistoryLimit", "1", ""},
    // autoscaling
    {"autoscaling.v1.HorizontalPodAutoscalerSpec", "minReplicas", "1", ""},
    {"autoscaling.v2.HorizontalPodAutoscalerSpec", "minReplicas", "1", ""},
    // networking, discovery
    {"networking.v1.NetworkPolicyPort", "protocol", "TCP", ""},
    {"networking.v1.IngressClassParametersReference", "scope", "Cluster", ""},
    {"discovery.v1.EndpointPort", "name", "", ""},
    {"discovery.v1.EndpointPort", "protocol", "TCP", ""},
    // rbac
    {"rbac.v1.RoleRef", "apiGroup", "rbac.authorization.k8s.io", "", true},
    {"rbac.v1.Subject", "apiGroup", "rbac.authorization.k8s.io", "kind=User"},
    {"rbac.v1.Subject", "apiGroup", "rbac.authorization.k8s.io", "kind=Group"},
    // storage, scheduling
    {"storage.v1.StorageClass", "reclaimPolicy", "Delete", ""},
    {"storage.v1.StorageClass", "volumeBindingMode", "Immediate", ""},
    {"storage.v1.CSIDriverSpec", "attachRequired", "true", ""},
    {"storage.v1.CSIDriverSpec", "podInfoOnMount", "false", ""},
    {"storage.v1.CSIDriverSpec", "storageCapacity", "false", ""},
    {"storage.v1.CSIDriverSpec", "requiresRepublish", "false", ""},
    {"storage.v1.CSIDriverSpec", "fsGroupPolicy", "ReadWriteOnceWithFSType", ""},
    {"storage.v1.CSIDriverSpec", "seLinuxMount", "false", ""},
    {"scheduling.v1.PriorityClass", "preemptionPolicy", "PreemptLowerPriority", ""},
    // admission registration
    {"admissionregistration.v1.MutatingWebhook", "failurePolicy", "Fail", ""},
    {"admissionregistration.v1.MutatingWebhook", "matchPolicy", "Equivalent", ""},
    {"admissionregistration.v1.MutatingWebhook", "namespaceSelector", "{}", ""},
    {"admissionregistration.v1.MutatingWebhook", "objectSelector", "{}", ""},
    {"admissionregistration.v1.MutatingWebhook", "timeoutSeconds", "10", ""},
    {"admissionregistration.v1.MutatingWebhook", "reinvocationPolicy", "Never", ""},
    {"admissionregistration.v1.ValidatingWebhook", "failurePolicy", "Fail", ""},
    {"admissionregistration.v1.ValidatingWebhook", "matchPolicy", "Equivalent", ""},
    {"admissionregistration.v1.ValidatingWebhook", "namespaceSelector", "{}", ""},
    {"admissionregistration.v1.ValidatingWebhook", "objectSelector", "{}", ""},
    {"admissionregistration.v1.ValidatingWebhook", "timeoutSeconds", "10", ""},
    {"admissionregistration.v1.Rule", "scope", "*", ""},
    {"admissionregistration.v1.RuleWithOperations", "scope", "*", ""},
    {"admissionregistration.v1.NamedRuleWithOperations", "scope", "*", ""},
    {"admissionregistration.v1.ServiceReference", "port", "443", ""},
    {"admissionregistration.v1.ValidatingAdmissionPolicySpec", "failurePolicy", "Fail", ""},
    {"admissionregistration.v1.MatchResources", "matchPolicy", "Equivalent", ""},
    {"admissionregistration.v1.MatchResources", "namespaceSelector", "{}", ""},
    {"admissionregistration.v1.MatchResources", "objectSelector", "{}", ""},
    // extension and aggregation
    {"apiextensions.v1.ServiceReference", "port", "443", ""},
    {"apiextensions.v1.CustomResourceDefinitionSpec", "conversion.strategy", "None", ""},
    {"apiregistration.v1.ServiceReference", "port", "443", ""},
    // reviews
    {"authentication.v1.TokenRequestSpec", "expirationSeconds", "3600", ""},
};
#undef CONTAINER_ROWS

bool latest(std::string_view image) {
  // A digest or a tag behind the last slash; a port belongs to what stands before it.
  const size_t slash = image.rfind('/');
  std::string_view name = slash == std::string_view::npos ? image : image.substr(slash + 1);
  if (name.find('@') != std::string_view::npos) return false;
  const size_t colon = name.find(':');
  return colon == std::string_view::npos || name.substr(colon + 1) == "latest";
}

void pull_policy(Value& container, Arena& arena) {
  if (container.find("imagePullPolicy")) return;
  const bool always = latest(container.get("image").as_string());
  container.append(arena, "imagePullPolicy", Value::string(always ? "Always" : "IfNotPresent"));
}

void volume_source(Value& volume, Arena& arena) {
  if (volume.size() > 1 || !volume.find("name")) return;
  volume.append(arena, "emptyDir", Value::object());
}

void pod_spec(Value& spec, Arena& arena) {
  // The old name of the field says what the new one says.
  const std::string_view account = spec.get("serviceAccountName").as_string();
  const std::string_view old = spec.get("serviceAccount").as_string();
  if (!account.empty()) spec.set(arena, "serviceAccount", Value::string(account));
  if (account.empty() && !old.empty()) spec.set(arena, "serviceAccountName", Value::string(old));
  if (!spec.get("hostNetwork").as_bool()) return;
  for (const std::string_view list : {"containers", "initContainers"}) {
    Value* containers = spec.find(list);
    if (!containers) continue;
    for (Value& container : containers->items()) {
      Value* ports = container.find("ports");
      if (!ports) continue;
      for (Value& port : ports->items()) {
        if (!port.find("hostPort")) port.set(arena, "hostPort", port.get("containerPort"));
      }
    }
  }
}

// What a pod may use at most is what it asks for, unless it asks for something else.
void pod_requests(Value& pod, Arena& arena) {
  Value* spec = pod.find("spec");
  if (!spec) return;
  for (const std::string_view list : {"containers", "initContainers"}) {
    Value* containers = spec->find(list);
    if (!containers) continue;
    for (Value& container : containers->items()) {
      Value* resources = container.find("resources");
      const Value* limits = resources ? resources->find("limits") : nullptr;
      if (!limits || limits->empty()) continue;
      const Value limit_values = *limits;
      Value& requests = resources->ensure(arena, "requests");
      for (const Member& limit : limit_values.members()) {
        if (!requests.find(limit.key)) requests.append(arena, limit.key, limit.value);
      }
      requests.sort_members();
      resources->sort_members();
    }
  }
}

void target_port(Value& port, Arena& arena) {
  if (port.get("targetPort").is_zero()) port.set(arena, "targetPort", port.get("port"));
}

void namespace_label(Value& object, Arena& arena) {
  const std::string_view name = object.at("metadata.name").as_string();
  if (name.empty()) return;
  Value& labels = object.ensure(arena, "metadata.labels");
  labels.set(arena, "kubernetes.io/metadata.name", Value::string(name));
  labels.sort_members();
  object.find("metadata")->sort_members();
}

void node_allocatable(Value& status, Arena& arena) {
  const Value* capacity = status.find("capacity");
  if (capacity && !status.find("allocatable")) {
    status.append(arena, "allocatable", capacity->clone(arena));
  }
}

void controller_selector(Value& controller, Arena& arena) {
  const Value labels = controller.at("spec.template.metadata.labels");
  if (labels.empty()) return;
  Value& spec = *controller.find("spec");
  if (!spec.find("selector"))
    spec.append(arena, "selector", labels.clone(arena)), spec.sort_members();
  Value& metadata = controller.ensure(arena, "metadata");
  if (!metadata.find("labels")) {
    metadata.append(arena, "labels", labels.clone(arena));
    metadata.sort_members();
  }
}

void limit_range_item(Value& item, Arena& arena) {
  if (item.get("type").as_string() != "Container") return;
  // Limits come from the maximum; requests from the limits, else from the minimum.
  const auto inherit = [&](std::string_view to, std::string_view from) {
    const Value source = item.get(from);
    if (source.empty()) return;
    Value& target = item.ensure(arena, to);
    for (const Member& member : source.members()) {
      if (!target.find(member.key)) target.append(arena, member.key, member.value);
    }
    target.sort_members();
  };
  inherit("default", "max");
  inherit("defaultRequest", "default");
  inherit("defaultRequest", "min");
}

void job_counts(Value& job, Arena& arena) {
  Value* spec = job.find("spec");
  if (!spec) return;
  if (!spec->find("completions") && !spec->find("parallelism")) {
    spec->append(arena, "completions", Value::integer(1));
  }
  if (!spec->find("parallelism")) spec->append(arena, "parallelism", Value::integer(1));
  spec->sort_members();
}

void policy_types(Value& spec, Arena& arena) {
  if (spec.find("policyTypes")) return;
  Value types = Value::array();
  types.push(arena, Value::string("Ingress"));
  if (!spec.get("egress").empty()) types.push(arena, Value::string("Egress"));
  spec.append(arena, "policyTypes", types);
}

void autoscaler_metrics(Value& spec, Arena& arena) {
  if (spec.find("metrics")) return;
  Value metric = Value::object();
  metric.append(arena, "type", Value::string("Resource"));
  Value& resource = metric.ensure(arena, "resource");
  resource.append(arena, "name", Value::string("cpu"));
  Value& target = resource.ensure(arena, "target");
  target.append(arena, "averageUtilization", Value::integer(80));
  target.append(arena, "type", Value::string("Utilization"));
  metric.sort_members();
  Value metrics = Value::array();
  metrics.push(arena, metric);
  spec.append(arena, "metrics", metrics);
}

void lifecycle_modes(Value& spec, Arena& arena) {
  if (spec.find("volumeLifecycleModes")) return;
  Value modes = Value::array();
  modes.push(arena, Value::string("Persistent"));
  spec.append(arena, "volumeLifecycleModes", modes);
}

void resource_names(Value& spec, Arena& arena) {
  Value* names = spec.find("names");
  if (!names || names->get("kind").is_zero()) return;
  const std::string kind(names->get("kind").as_string());
  std::string singular = kind;
  for (char& c : singular) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (names->get("singular").is_zero()) {
    names->set(arena, "singular", Value::string(arena.copy(singular)));
  }
  if (names->get("listKind").is_zero()) {
    names->set(arena, "listKind", Value::string(arena.copy(kind + "List")));
  }
  names->sort_members();
}

constexpr DefaultHookRow kHooks[] = {
    {"core.v1.Container", pull_policy},
    {"core.v1.EphemeralContainer", pull_policy},
    {"core.v1.Volume", volume_source},
    {"core.v1.PodSpec", pod_spec},
    {"core.v1.Pod", pod_requests},
    {"core.v1.ServicePort", target_port},
    {"core.v1.Namespace", namespace_label},
    {"core.v1.NodeStatus", node_allocatable},
    {"core.v1.ReplicationController", controller_selector},
    {"core.v1.LimitRangeItem", limit_range_item},
    {"batch.v1.Job", job_counts},
    {"networking.v1.NetworkPolicySpec", policy_types},
    {"autoscaling.v2.HorizontalPodAutoscalerSpec", autoscaler_metrics},
    {"storage.v1.CSIDriverSpec", lifecycle_modes},
    {"apiextensions.v1.CustomResourceDefinitionSpec", resource_names},
};

}  // namespace

std::span<const DefaultRow> default_rows() {
  return kRows;
}

std::span<const DefaultHookRow> default_hooks() {
  return kHooks;
}

}  // namespace fairlead::schema
