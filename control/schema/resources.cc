#include "control/schema/resources.h"

#include <algorithm>
#include <array>

namespace fairlead::schema {

namespace {

constexpr uint16_t kReview = kCreate;
constexpr uint16_t kReadWrite = kGet | kPatch | kUpdate;
constexpr uint16_t kConnect = kCreate | kGet;
constexpr uint16_t kProxy = kCreate | kDelete | kGet | kPatch | kUpdate;

constexpr std::string_view kRegistration = "admissionregistration.k8s.io";
constexpr std::string_view kExtensions = "apiextensions.k8s.io";
constexpr std::string_view kAggregation = "apiregistration.k8s.io";
constexpr std::string_view kAuthentication = "authentication.k8s.io";
constexpr std::string_view kAuthorization = "authorization.k8s.io";
constexpr std::string_view kCertificates = "certificates.k8s.io";
constexpr std::string_view kCoordination = "coordination.k8s.io";
constexpr std::string_view kDiscovery = "discovery.k8s.io";
constexpr std::string_view kEvents = "events.k8s.io";
constexpr std::string_view kFlow = "flowcontrol.apiserver.k8s.io";
constexpr std::string_view kNetworking = "networking.k8s.io";
constexpr std::string_view kNode = "node.k8s.io";
constexpr std::string_view kRbac = "rbac.authorization.k8s.io";
constexpr std::string_view kScheduling = "scheduling.k8s.io";
constexpr std::string_view kStorage = "storage.k8s.io";

constexpr std::string_view kPodFields =
    "spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName spec.hostNetwork "
    "status.phase status.podIP status.podIPs status.nominatedNodeName";
constexpr std::string_view kPodSubresources =
    "attach binding ephemeralcontainers eviction exec log portforward proxy status";
constexpr std::string_view kEventFields =
    "involvedObject.kind involvedObject.namespace involvedObject.name involvedObject.uid "
    "involvedObject.apiVersion involvedObject.resourceVersion involvedObject.fieldPath reason "
    "reportingComponent source type";
constexpr std::string_view kRegardingFields =
    "regarding.kind regarding.namespace regarding.name regarding.uid regarding.apiVersion "
    "regarding.resourceVersion regarding.fieldPath reason reportingController type";

constexpr bool kCluster = false;
constexpr bool kNamespaced = true;

// Group, version, kind, plural, type, short names, categories, subresources, selectable fields.
constexpr Resource kResources[] = {
    // core
    {"", "v1", "Binding", "bindings", "core.v1.Binding", "", "", "", "", kNamespaced, kCreate},
    {"", "v1", "ComponentStatus", "componentstatuses", "core.v1.ComponentStatus", "cs", "", "", "",
     kCluster, kGet | kList},
    {"", "v1", "ConfigMap", "configmaps", "core.v1.ConfigMap", "cm", "", "", "", kNamespaced,
     kAllVerbs},
    {"", "v1", "Endpoints", "endpoints", "core.v1.Endpoints", "ep", "", "", "", kNamespaced,
     kAllVerbs},
    {"", "v1", "Event", "events", "core.v1.Event", "ev", "", "", kEventFields, kNamespaced,
     kAllVerbs},
    {"", "v1", "LimitRange", "limitranges", "core.v1.LimitRange", "limits", "", "", "", kNamespaced,
     kAllVerbs},
    {"", "v1", "Namespace", "namespaces", "core.v1.Namespace", "ns", "", "finalize status",
     "status.phase", kCluster, kAllVerbs & ~kDeleteCollection},
    {"", "v1", "Node", "nodes", "core.v1.Node", "no", "", "proxy status", "spec.unschedulable",
     kCluster, kAllVerbs},
    {"", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "core.v1.PersistentVolumeClaim",
     "pvc", "", "status", "", kNamespaced, kAllVerbs},
    {"", "v1", "PersistentVolume", "persistentvolumes", "core.v1.PersistentVolume", "pv", "",
     "status", "", kCluster, kAllVerbs},
    {"", "v1", "Pod", "pods", "core.v1.Pod", "po", "all", kPodSubresources, kPodFields, kNamespaced,
     kAllVerbs},
    {"", "v1", "PodTemplate", "podtemplates", "core.v1.PodTemplate", "", "", "", "", kNamespaced,
     kAllVerbs},
    {"", "v1", "ReplicationController", "replicationcontrollers", "core.v1.ReplicationController",
     "rc", "all", "scale status", "status.replicas", kNamespaced, kAllVerbs},
    {"", "v1", "ResourceQuota", "resourcequotas", "core.v1.ResourceQuota", "quota", "", "status",
     "", kNamespaced, kAllVerbs},
    {"", "v1", "Secret", "secrets", "core.v1.Secret", "", "", "", "type", kNamespaced, kAllVerbs},
    {"", "v1", "ServiceAccount", "serviceaccounts", "core.v1.ServiceAccount", "sa", "", "token", "",
     kNamespaced, kAllVerbs},
    {"", "v1", "Service", "services", "core.v1.Service", "svc", "all", "proxy status",
     "spec.clusterIP spec.type", kNamespaced, kAllVerbs},
    // apps
    {"apps", "v1", "ControllerRevision", "controllerrevisions", "apps.v1.ControllerRevision", "",
     "", "", "", kNamespaced, kAllVerbs},
    {"apps", "v1", "DaemonSet", "daemonsets", "apps.v1.DaemonSet", "ds", "all", "status", "",
     kNamespaced, kAllVerbs},
    {"apps", "v1", "Deployment", "deployments", "apps.v1.Deployment", "deploy", "all",
     "scale status", "", kNamespaced, kAllVerbs},
    {"apps", "v1", "ReplicaSet", "replicasets", "apps.v1.ReplicaSet", "rs", "all", "scale status",
     "status.replicas", kNamespaced, kAllVerbs},
    {"apps", "v1", "StatefulSet", "statefulsets", "apps.v1.StatefulSet", "sts", "all",
     "scale status", "", kNamespaced, kAllVerbs},
    // batch
    {"batch", "v1", "CronJob", "cronjobs", "batch.v1.CronJob", "cj", "all", "status", "",
     kNamespaced, kAllVerbs},
    {"batch", "v1", "Job", "jobs", "batch.v1.Job", "", "all", "status", "status.successful",
     kNamespaced, kAllVerbs},
    {"batch", "v1beta1", "CronJob", "cronjobs", "batch.v1beta1.CronJob", "cj", "all", "status", "",
     kNamespaced, kAllVerbs},
    // autoscaling
    {"autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers",
     "autoscaling.v2.HorizontalPodAutoscaler", "hpa", "all", "status", "", kNamespaced, kAllVerbs},
    {"autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers",
     "autoscaling.v1.HorizontalPodAutoscaler", "hpa", "all", "status", "", kNamespaced, kAllVerbs},
    // networking and discovery
    {kNetworking, "v1", "IngressClass", "ingressclasses", "networking.v1.IngressClass", "", "", "",
     "", kCluster, kAllVerbs},
    {kNetworking, "v1", "Ingress", "ingresses", "networking.v1.Ingress", "ing", "", "status", "",
     kNamespaced, kAllVerbs},
    {kNetworking, "v1", "IPAddress", "ipaddresses", "networking.v1.IPAddress", "ip", "", "", "",
     kCluster, kAllVerbs},
    {kNetworking, "v1", "NetworkPolicy", "networkpolicies", "networking.v1.NetworkPolicy", "netpol",
     "", "", "", kNamespaced, kAllVerbs},
    {kNetworking, "v1", "ServiceCIDR", "servicecidrs", "networking.v1.ServiceCIDR", "", "",
     "status", "", kCluster, kAllVerbs},
    {kDiscovery, "v1", "EndpointSlice", "endpointslices", "discovery.v1.EndpointSlice", "", "", "",
     "", kNamespaced, kAllVerbs},
    // policy
    {"policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "policy.v1.PodDisruptionBudget",
     "pdb", "", "status", "", kNamespaced, kAllVerbs},
    {"policy", "v1beta1", "PodDisruptionBudget", "poddisruptionbudgets",
     "policy.v1beta1.PodDisruptionBudget", "pdb", "", "status", "", kNamespaced, kAllVerbs},
    // rbac
    {kRbac, "v1", "ClusterRoleBinding", "clusterrolebindings", "rbac.v1.ClusterRoleBinding", "", "",
     "", "", kCluster, kAllVerbs},
    {kRbac, "v1", "ClusterRole", "clusterroles", "rbac.v1.ClusterRole", "", "", "", "", kCluster,
     kAllVerbs},
    {kRbac, "v1", "RoleBinding", "rolebindings", "rbac.v1.RoleBinding", "", "", "", "", kNamespaced,
     kAllVerbs},
    {kRbac, "v1", "Role", "roles", "rbac.v1.Role", "", "", "", "", kNamespaced, kAllVerbs},
    // storage
    {kStorage, "v1", "CSIDriver", "csidrivers", "storage.v1.CSIDriver", "", "", "", "", kCluster,
     kAllVerbs},
    {kStorage, "v1", "CSINode", "csinodes", "storage.v1.CSINode", "", "", "", "", kCluster,
     kAllVerbs},
    {kStorage, "v1", "CSIStorageCapacity", "csistoragecapacities", "storage.v1.CSIStorageCapacity",
     "", "", "", "", kNamespaced, kAllVerbs},
    {kStorage, "v1", "StorageClass", "storageclasses", "storage.v1.StorageClass", "sc", "", "", "",
     kCluster, kAllVerbs},
    {kStorage, "v1", "VolumeAttachment", "volumeattachments", "storage.v1.VolumeAttachment", "", "",
     "status", "", kCluster, kAllVerbs},
    // scheduling, coordination, events, node
    {kScheduling, "v1", "PriorityClass", "priorityclasses", "scheduling.v1.PriorityClass", "pc", "",
     "", "", kCluster, kAllVerbs},
    {kCoordination, "v1", "Lease", "leases", "coordination.v1.Lease", "", "", "", "", kNamespaced,
     kAllVerbs},
    {kEvents, "v1", "Event", "events", "events.v1.Event", "ev", "", "", kRegardingFields,
     kNamespaced, kAllVerbs},
    {kNode, "v1", "RuntimeClass", "runtimeclasses", "node.v1.RuntimeClass", "", "", "", "",
     kCluster, kAllVerbs},
    // certificates
    {kCertificates, "v1", "CertificateSigningRequest", "certificatesigningrequests",
     "certificates.v1.CertificateSigningRequest", "csr", "", "approval status", "spec.signerName",
     kCluster, kAllVerbs},
    // admission registration
    {kRegistration, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations",
     "admissionregistration.v1.MutatingWebhookConfiguration", "", "api-extensions", "", "",
     kCluster, kAllVerbs},
    {kRegistration, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies",
     "admissionregistration.v1.ValidatingAdmissionPolicy", "", "api-extensions", "status", "",
     kCluster, kAllVerbs},
    {kRegistration, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings",
     "admissionregistration.v1.ValidatingAdmissionPolicyBinding", "", "api-extensions", "", "",
     kCluster, kAllVerbs},
    {kRegistration, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations",
     "admissionregistration.v1.ValidatingWebhookConfiguration", "", "api-extensions", "", "",
     kCluster, kAllVerbs},
    // reviews
    {kAuthentication, "v1", "SelfSubjectReview", "selfsubjectreviews",
     "authentication.v1.SelfSubjectReview", "", "", "", "", kCluster, kReview},
    {kAuthentication, "v1", "TokenReview", "tokenreviews", "authentication.v1.TokenReview", "", "",
     "", "", kCluster, kReview},
    {kAuthorization, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews",
     "authorization.v1.LocalSubjectAccessReview", "", "", "", "", kNamespaced, kReview},
    {kAuthorization, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews",
     "authorization.v1.SelfSubjectAccessReview", "", "", "", "", kCluster, kReview},
    {kAuthorization, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews",
     "authorization.v1.SelfSubjectRulesReview", "", "", "", "", kCluster, kReview},
    {kAuthorization, "v1", "SubjectAccessReview", "subjectaccessreviews",
     "authorization.v1.SubjectAccessReview", "", "", "", "", kCluster, kReview},
    // extension and aggregation
    {kExtensions, "v1", "CustomResourceDefinition", "customresourcedefinitions",
     "apiextensions.v1.CustomResourceDefinition", "crd crds", "api-extensions", "status", "",
     kCluster, kAllVerbs},
    {kAggregation, "v1", "APIService", "apiservices", "apiregistration.v1.APIService", "",
     "api-extensions", "status", "", kCluster, kAllVerbs},
    // flow control
    {kFlow, "v1", "FlowSchema", "flowschemas", "flowcontrol.v1.FlowSchema", "", "", "status", "",
     kCluster, kAllVerbs},
    {kFlow, "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations",
     "flowcontrol.v1.PriorityLevelConfiguration", "", "", "status", "", kCluster, kAllVerbs},
};

constexpr bool kNotServed = false;  // what leads to a node, and tokens

constexpr Subresource kSubresources[] = {
    {"approval", "", "", "", "", kReadWrite},
    {"attach", "PodAttachOptions", "", "", "core.v1.PodAttachOptions", kConnect, kNotServed},
    {"binding", "Binding", "", "", "core.v1.Binding", kCreate},
    {"ephemeralcontainers", "", "", "", "", kReadWrite},
    {"eviction", "Eviction", "policy", "v1", "policy.v1.Eviction", kCreate},
    {"exec", "PodExecOptions", "", "", "core.v1.PodExecOptions", kConnect, kNotServed},
    {"finalize", "", "", "", "", kUpdate},
    {"log", "", "", "", "", kGet, kNotServed},
    {"portforward", "PodPortForwardOptions", "", "", "core.v1.PodPortForwardOptions", kConnect,
     kNotServed},
    {"scale", "Scale", "autoscaling", "v1", "autoscaling.v1.Scale", kReadWrite},
    {"status", "", "", "", "", kReadWrite},
    {"token", "TokenRequest", "authentication.k8s.io", "v1", "authentication.v1.TokenRequest",
     kCreate, kNotServed},
};

// proxy has another kind of options for each of its parents.
constexpr Subresource kPodProxy = {"proxy", "PodProxyOptions", "", "", "core.v1.PodProxyOptions",
                                   kProxy,  kNotServed};
constexpr Subresource kServiceProxy = {
    "proxy", "ServiceProxyOptions", "", "", "core.v1.ServiceProxyOptions", kProxy, kNotServed};
constexpr Subresource kNodeProxy = {"proxy", "NodeProxyOptions", "", "", "core.v1.NodeProxyOptions",
                                    kProxy,  kNotServed};

constexpr GroupVersion kGroupVersions[] = {
    {"", "v1"},
    {kAggregation, "v1"},
    {"apps", "v1"},
    {kEvents, "v1"},
    {kAuthentication, "v1"},
    {kAuthorization, "v1"},
    {"autoscaling", "v2"},
    {"autoscaling", "v1"},
    {"batch", "v1"},
    {"batch", "v1beta1"},
    {kCertificates, "v1"},
    {kNetworking, "v1"},
    {"policy", "v1"},
    {"policy", "v1beta1"},
    {kRbac, "v1"},
    {kStorage, "v1"},
    {kRegistration, "v1"},
    {kExtensions, "v1"},
    {kScheduling, "v1"},
    {kCoordination, "v1"},
    {kNode, "v1"},
    {kDiscovery, "v1"},
    {kFlow, "v1"},
};

std::string joined(std::string_view group, std::string_view version) {
  return group.empty() ? std::string(version) : std::string(group).append("/").append(version);
}

}  // namespace

const Type* Resource::list_type() const {
  return find_type(std::string(type_name) + "List");
}

std::string Resource::api_version() const {
  return joined(group, version);
}

std::string Resource::singular() const {
  std::string name(kind);
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return name;
}

std::string GroupVersion::api_version() const {
  return joined(group, version);
}

std::span<const Resource> all_resources() {
  return kResources;
}

std::span<const GroupVersion> all_group_versions() {
  return kGroupVersions;
}

const Resource* find_resource(std::string_view group, std::string_view version,
                              std::string_view plural) {
  for (const Resource& row : kResources) {
    if (row.plural == plural && row.group == group && row.version == version) return &row;
  }
  return nullptr;
}

const Resource* find_kind(std::string_view api_version, std::string_view kind) {
  const GroupVersion wanted = parse_api_version(api_version);
  for (const Resource& row : kResources) {
    if (row.kind == kind && row.group == wanted.group && row.version == wanted.version) return &row;
  }
  return nullptr;
}

const Subresource* find_subresource(const Resource& resource, std::string_view name) {
  const std::vector<std::string_view> own = words(resource.subresources);
  if (std::find(own.begin(), own.end(), name) == own.end()) return nullptr;
  if (name == "proxy") {
    if (resource.plural == "pods") return &kPodProxy;
    return resource.plural == "nodes" ? &kNodeProxy : &kServiceProxy;
  }
  for (const Subresource& row : kSubresources) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

GroupVersion parse_api_version(std::string_view api_version) {
  const size_t slash = api_version.find('/');
  if (slash == std::string_view::npos) return {"", api_version};
  return {api_version.substr(0, slash), api_version.substr(slash + 1)};
}

std::vector<std::string_view> verb_names(uint16_t verbs) {
  constexpr std::array<std::string_view, 8> kNames = {
      "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"};
  std::vector<std::string_view> names;
  for (size_t bit = 0; bit < kNames.size(); ++bit) {
    if (verbs & (1u << bit)) names.push_back(kNames[bit]);
  }
  return names;
}

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> found;
  while (true) {
    const size_t start = text.find_first_not_of(' ');
    if (start == std::string_view::npos) return found;
    text.remove_prefix(start);
    const size_t end = std::min(text.find(' '), text.size());
    found.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

}  // namespace fairlead::schema
