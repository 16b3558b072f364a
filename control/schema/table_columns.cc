// What each kind's table shows, in the order of kube-apiserver's printers.
#include <array>

#include "control/schema/scalars.h"
#include "control/schema/table_cells.h"

namespace fairlead::schema {

namespace {

Cell object_age(const Value& object, int64_t now) {
  return age_of(object.at("metadata.creationTimestamp"), now);
}

constexpr ColumnRow kName = {"Name", "string", nullptr, "metadata.name", 0, "name"};
constexpr ColumnRow kAge = {"Age", "string", object_age};
constexpr ColumnRow kCreated = {"Created At", "date", nullptr, "metadata.creationTimestamp"};
constexpr ColumnRow kContainers = {"Containers", "string", template_containers, {}, 1};
constexpr ColumnRow kImages = {"Images", "string", template_images, {}, 1};

Cell selector_cell(const Value& object, int64_t) {
  const Value& selector = object.at("spec.selector");
  const bool plain = !selector.find("matchLabels") && !selector.find("matchExpressions");
  return plain ? format_labels(selector) : format_selector(selector);
}
constexpr ColumnRow kSelector = {"Selector", "string", selector_cell, {}, 1};

Cell pod_selector(const Value& policy, int64_t) {
  return format_selector(policy.at("spec.podSelector"));
}

Cell cidrs(const Value& range, int64_t) {
  std::string text;
  for (const Value& each : range.at("spec.cidrs").items()) {
    text.append(text.empty() ? "" : ",").append(each.as_string());
  }
  return text;
}

// "services/default/web", "ingresses.networking.k8s.io/default/web"
Cell parent_reference(const Value& address, int64_t) {
  const Value& parent = address.at("spec.parentRef");
  std::string text(parent.get("resource").as_string());
  const auto add = [&](char separator, std::string_view field) {
    const std::string_view word = parent.get(field).as_string();
    if (!word.empty()) text.append(1, separator).append(word);
  };
  add('.', "group");
  add('/', "namespace");
  add('/', "name");
  return text;
}

Cell cron_suspend(const Value& job, int64_t) {
  return job.at("spec.suspend").as_bool() ? "True" : "False";
}

Cell budget(const Value& value) {
  if (value.is_null()) return "N/A";
  return value.is_int() ? Cell(std::to_string(value.as_int())) : Cell(value.as_string());
}
Cell budget_least(const Value& object, int64_t) {
  return budget(object.at("spec.minAvailable"));
}
Cell budget_most(const Value& object, int64_t) {
  return budget(object.at("spec.maxUnavailable"));
}

Cell data_count(const Value& object, int64_t) {
  return static_cast<int64_t>(object.get("data").size() + object.get("binaryData").size());
}

Cell reclaim_policy(const Value& object, int64_t) {
  const std::string_view policy = object.get("reclaimPolicy").as_string();
  return policy.empty() ? "Delete" : policy;
}

Cell empty_or(const Value& value) {
  return value.as_string();
}
Cell holder(const Value& lease, int64_t) {
  return empty_or(lease.at("spec.holderIdentity"));
}
Cell claim_volume(const Value& claim, int64_t) {
  return empty_or(claim.at("spec.volumeName"));
}
Cell attributes_class(const Value& object, int64_t) {
  const std::string_view name = object.at("spec.volumeAttributesClassName").as_string();
  return name.empty() ? "<unset>" : name;
}
Cell class_of(const Value& object, int64_t) {
  return empty_or(object.at("spec.storageClassName"));
}
Cell volume_reason(const Value& volume, int64_t) {
  return empty_or(volume.at("status.reason"));
}
Cell volume_status(const Value& volume, int64_t) {
  if (volume.at("metadata.deletionTimestamp").is_string()) return "Terminating";
  return empty_or(volume.at("status.phase"));
}
Cell subobject(const Value& event, int64_t) {
  const Value& involved =
      event.find("involvedObject") ? event.get("involvedObject") : event.get("regarding");
  return empty_or(involved.get("fieldPath"));
}
Cell event_message(const Value& event, int64_t) {
  return empty_or(event.find("message") ? event.get("message") : event.get("note"));
}
Cell global_default(const Value& object, int64_t) {
  return object.get("globalDefault").as_bool() ? "true" : "false";
}

constexpr ColumnRow kPods[] = {kName,
                               {"Ready", "string", pod_ready},
                               {"Status", "string", pod_status},
                               {"Restarts", "string", pod_restarts},
                               kAge,
                               {"IP", "string", nullptr, "status.podIP", 1},
                               {"Node", "string", nullptr, "spec.nodeName", 1},
                               {"Nominated Node", "string", nullptr, "status.nominatedNodeName", 1},
                               {"Readiness Gates", "string", pod_readiness_gates, {}, 1}};
constexpr ColumnRow kNodes[] = {
    kName,
    {"Status", "string", node_status},
    {"Roles", "string", node_roles},
    kAge,
    {"Version", "string", nullptr, "status.nodeInfo.kubeletVersion"},
    {"Internal-IP", "string", node_internal_ip, {}, 1},
    {"External-IP", "string", node_external_ip, {}, 1},
    {"OS-Image", "string", nullptr, "status.nodeInfo.osImage", 1},
    {"Kernel-Version", "string", nullptr, "status.nodeInfo.kernelVersion", 1},
    {"Container-Runtime", "string", nullptr, "status.nodeInfo.containerRuntimeVersion", 1}};
constexpr ColumnRow kReplicaSets[] = {kName,
                                      {"Desired", "integer", nullptr, "spec.replicas"},
                                      {"Current", "integer", nullptr, "status.replicas"},
                                      {"Ready", "integer", nullptr, "status.readyReplicas"},
                                      kAge,
                                      kContainers,
                                      kImages,
                                      kSelector};
constexpr ColumnRow kDeployments[] = {kName,
                                      {"Ready", "string", ready_of_replicas},
                                      {"Up-to-date", "integer", nullptr, "status.updatedReplicas"},
                                      {"Available", "integer", nullptr, "status.availableReplicas"},
                                      kAge,
                                      kContainers,
                                      kImages,
                                      kSelector};
constexpr ColumnRow kStatefulSets[] = {
    kName, {"Ready", "string", ready_of_replicas}, kAge, kContainers, kImages};
constexpr ColumnRow kDaemonSets[] = {
    kName,
    {"Desired", "integer", nullptr, "status.desiredNumberScheduled"},
    {"Current", "integer", nullptr, "status.currentNumberScheduled"},
    {"Ready", "integer", nullptr, "status.numberReady"},
    {"Up-to-date", "integer", nullptr, "status.updatedNumberScheduled"},
    {"Available", "integer", nullptr, "status.numberAvailable"},
    {"Node Selector", "string", nullptr, "spec.template.spec.nodeSelector"},
    kAge,
    kContainers,
    kImages,
    kSelector};
constexpr ColumnRow kJobs[] = {kName,
                               {"Completions", "string", job_completions},
                               {"Duration", "string", job_duration},
                               kAge,
                               kContainers,
                               kImages,
                               kSelector};
constexpr ColumnRow kCronJobs[] = {kName,
                                   {"Schedule", "string", nullptr, "spec.schedule"},
                                   {"Timezone", "string", nullptr, "spec.timeZone"},
                                   {"Suspend", "boolean", cron_suspend},
                                   {"Active", "integer", nullptr, "status.active"},
                                   {"Last Schedule", "string", cron_job_last},
                                   kAge};
constexpr ColumnRow kServices[] = {kName,
                                   {"Type", "string", nullptr, "spec.type"},
                                   {"Cluster-IP", "string", service_cluster_ip},
                                   {"External-IP", "string", service_external_ip},
                                   {"Port(s)", "string", service_ports_cell},
                                   kAge,
                                   {"Selector", "string", nullptr, "spec.selector", 1}};
constexpr ColumnRow kEndpoints[] = {kName, {"Endpoints", "string", endpoints_cell}, kAge};
constexpr ColumnRow kSlices[] = {kName,
                                 {"AddressType", "string", nullptr, "addressType"},
                                 {"Ports", "string", slice_ports},
                                 {"Endpoints", "string", slice_endpoints},
                                 kAge};
constexpr ColumnRow kIngresses[] = {kName,
                                    {"Class", "string", nullptr, "spec.ingressClassName"},
                                    {"Hosts", "string", ingress_hosts},
                                    {"Address", "string", ingress_address},
                                    {"Ports", "string", ingress_ports},
                                    kAge};
constexpr ColumnRow kIngressClasses[] = {kName,
                                         {"Controller", "string", nullptr, "spec.controller"},
                                         {"Parameters", "string", ingress_class_parameters},
                                         kAge};
constexpr ColumnRow kServiceCidrs[] = {kName, {"CIDRs", "string", cidrs}, kAge};
constexpr ColumnRow kAddresses[] = {kName, {"ParentRef", "string", parent_reference}, kAge};
constexpr ColumnRow kPolicies[] = {kName, {"Pod-Selector", "string", pod_selector}, kAge};
constexpr ColumnRow kEventColumns[] = {{"Last Seen", "string", event_last_seen},
                                       {"Type", "string", nullptr, "type"},
                                       {"Reason", "string", nullptr, "reason"},
                                       {"Object", "string", event_object},
                                       {"Subobject", "string", subobject, {}, 1},
                                       {"Source", "string", event_source, {}, 1},
                                       {"Message", "string", event_message},
                                       {"First Seen", "string", event_first_seen, {}, 1},
                                       {"Count", "string", event_count, {}, 1},
                                       {"Name", "string", nullptr, "metadata.name", 1, "name"}};
constexpr ColumnRow kNamespaces[] = {kName, {"Status", "string", nullptr, "status.phase"}, kAge};
constexpr ColumnRow kSecrets[] = {
    kName, {"Type", "string", nullptr, "type"}, {"Data", "integer", data_count}, kAge};
constexpr ColumnRow kConfigMaps[] = {kName, {"Data", "integer", data_count}, kAge};
constexpr ColumnRow kAccounts[] = {kName, {"Secrets", "integer", nullptr, "secrets"}, kAge};
constexpr ColumnRow kVolumes[] = {
    kName,
    {"Capacity", "string", nullptr, "spec.capacity.storage"},
    {"Access Modes", "string", access_modes},
    {"Reclaim Policy", "string", nullptr, "spec.persistentVolumeReclaimPolicy"},
    {"Status", "string", volume_status},
    {"Claim", "string", volume_claim},
    {"StorageClass", "string", class_of},
    {"VolumeAttributesClass", "string", attributes_class},
    {"Reason", "string", volume_reason},
    kAge,
    {"VolumeMode", "string", nullptr, "spec.volumeMode", 1}};
constexpr ColumnRow kClaims[] = {kName,
                                 {"Status", "string", claim_status},
                                 {"Volume", "string", claim_volume},
                                 {"Capacity", "string", claim_capacity},
                                 {"Access Modes", "string", access_modes},
                                 {"StorageClass", "string", class_of},
                                 {"VolumeAttributesClass", "string", attributes_class},
                                 kAge,
                                 {"VolumeMode", "string", nullptr, "spec.volumeMode", 1}};
constexpr ColumnRow kClasses[] = {
    {"Name", "string", storage_class_name, {}, 0, "name"},
    {"Provisioner", "string", nullptr, "provisioner"},
    {"ReclaimPolicy", "string", reclaim_policy},
    {"VolumeBindingMode", "string", nullptr, "volumeBindingMode"},
    {"AllowVolumeExpansion", "boolean", nullptr, "allowVolumeExpansion"},
    kAge};
constexpr ColumnRow kAttachments[] = {kName,
                                      {"Attacher", "string", nullptr, "spec.attacher"},
                                      {"PV", "string", nullptr, "spec.source.persistentVolumeName"},
                                      {"Node", "string", nullptr, "spec.nodeName"},
                                      {"Attached", "boolean", nullptr, "status.attached"},
                                      kAge};
constexpr ColumnRow kBindings[] = {kName,
                                   {"Role", "string", role_of_binding},
                                   kAge,
                                   {"Users", "string", subject_users, {}, 1},
                                   {"Groups", "string", subject_groups, {}, 1},
                                   {"ServiceAccounts", "string", subject_accounts, {}, 1}};
constexpr ColumnRow kSigning[] = {kName,
                                  kAge,
                                  {"SignerName", "string", nullptr, "spec.signerName"},
                                  {"Requestor", "string", nullptr, "spec.username"},
                                  {"RequestedDuration", "string", signing_duration},
                                  {"Condition", "string", signing_condition}};
constexpr ColumnRow kLeases[] = {kName, {"Holder", "string", holder}, kAge};
constexpr ColumnRow kScalers[] = {kName,
                                  {"Reference", "string", autoscaler_reference},
                                  {"Targets", "string", autoscaler_targets},
                                  {"MinPods", "string", nullptr, "spec.minReplicas"},
                                  {"MaxPods", "string", nullptr, "spec.maxReplicas"},
                                  {"Replicas", "string", nullptr, "status.currentReplicas"},
                                  kAge};
constexpr ColumnRow kBudgets[] = {
    kName,
    {"Min Available", "string", budget_least},
    {"Max Unavailable", "string", budget_most},
    {"Allowed Disruptions", "integer", nullptr, "status.disruptionsAllowed"},
    kAge};
constexpr ColumnRow kQuotas[] = {
    kName, kAge, {"Request", "string", quota_requests}, {"Limit", "string", quota_limits}};
constexpr ColumnRow kPriorities[] = {kName,
                                     {"Value", "integer", nullptr, "value"},
                                     {"Global-Default", "boolean", global_default},
                                     kAge};
constexpr ColumnRow kRuntimes[] = {kName, {"Handler", "string", nullptr, "handler"}, kAge};
constexpr ColumnRow kRevisions[] = {kName,
                                    {"Controller", "string", controller_of},
                                    {"Revision", "integer", nullptr, "revision"},
                                    kAge};
constexpr ColumnRow kWebhooks[] = {kName, {"Webhooks", "integer", nullptr, "webhooks"}, kAge};
constexpr ColumnRow kNodeDrivers[] = {kName, {"Drivers", "integer", nullptr, "spec.drivers"}, kAge};
constexpr ColumnRow kApiServices[] = {
    kName, {"Service", "string", service_of_api}, {"Available", "string", api_available}, kAge};
constexpr ColumnRow kPodTemplates[] = {
    kName,
    {"Containers", "string", template_containers},
    {"Images", "string", template_images},
    {"Pod Labels", "string", nullptr, "template.metadata.labels"}};
constexpr ColumnRow kNamed[] = {kName, kCreated};

constexpr std::string_view kNetworkingGroup = "networking.k8s.io";
constexpr std::string_view kRbacGroup = "rbac.authorization.k8s.io";
constexpr std::string_view kStorageGroup = "storage.k8s.io";
constexpr std::string_view kRegistrationGroup = "admissionregistration.k8s.io";

constexpr TableColumns kTables[] = {
    {"", "pods", kPods},
    {"", "nodes", kNodes},
    {"", "services", kServices},
    {"", "endpoints", kEndpoints},
    {"", "events", kEventColumns},
    {"", "namespaces", kNamespaces},
    {"", "secrets", kSecrets},
    {"", "configmaps", kConfigMaps},
    {"", "serviceaccounts", kAccounts},
    {"", "persistentvolumes", kVolumes},
    {"", "persistentvolumeclaims", kClaims},
    {"", "replicationcontrollers", kReplicaSets},
    {"", "resourcequotas", kQuotas},
    {"", "podtemplates", kPodTemplates},
    {"apps", "replicasets", kReplicaSets},
    {"apps", "deployments", kDeployments},
    {"apps", "statefulsets", kStatefulSets},
    {"apps", "daemonsets", kDaemonSets},
    {"apps", "controllerrevisions", kRevisions},
    {"batch", "jobs", kJobs},
    {"batch", "cronjobs", kCronJobs},
    {"autoscaling", "horizontalpodautoscalers", kScalers},
    {"policy", "poddisruptionbudgets", kBudgets},
    {"discovery.k8s.io", "endpointslices", kSlices},
    {"events.k8s.io", "events", kEventColumns},
    {kNetworkingGroup, "ingresses", kIngresses},
    {kNetworkingGroup, "ingressclasses", kIngressClasses},
    {kNetworkingGroup, "ipaddresses", kAddresses},
    {kNetworkingGroup, "networkpolicies", kPolicies},
    {kNetworkingGroup, "servicecidrs", kServiceCidrs},
    {kRbacGroup, "rolebindings", kBindings},
    {kRbacGroup, "clusterrolebindings", kBindings},
    {kStorageGroup, "storageclasses", kClasses},
    {kStorageGroup, "volumeattachments", kAttachments},
    {kStorageGroup, "csinodes", kNodeDrivers},
    {"scheduling.k8s.io", "priorityclasses", kPriorities},
    {"coordination.k8s.io", "leases", kLeases},
    {"node.k8s.io", "runtimeclasses", kRuntimes},
    {"certificates.k8s.io", "certificatesigningrequests", kSigning},
    {kRegistrationGroup, "mutatingwebhookconfigurations", kWebhooks},
    {kRegistrationGroup, "validatingwebhookconfigurations", kWebhooks},
    {"apiregistration.k8s.io", "apiservices", kApiServices},
};

}  // namespace

std::span<const ColumnRow> columns_of(const Resource& resource) {
  for (const TableColumns& table : kTables) {
    if (table.plural == resource.plural && table.group == resource.group) return table.columns;
  }
  return kNamed;
}

}  // namespace fairlead::schema
