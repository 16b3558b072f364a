// Every API that kube-proxy, kube-controller-manager and kube-scheduler of 1.30 list, watch or
// create, asked of a running server as their clients ask: discovery names it with the verbs that
// they need, a list has its kind and a revision, a watch from there opens and tells where it is.
//
// The rows: client-go informers and calls in cmd/kube-proxy/app, cmd/kube-controller-manager/app
// and pkg/scheduler/eventhandlers.go. The garbage collector and the quota controller follow
// whatever discovery says can be deleted, listed and watched: the last test.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "control/schema/resources.h"
#include "tests/server/http_client.h"
#include "tests/server/server_process.h"
#include "tests/unit/store/scratch.h"

namespace fairlead::server_test {
namespace {

using schema::Document;
using schema::Value;

struct Api {
  std::string_view users;  // p: kube-proxy, c: kube-controller-manager, s: kube-scheduler
  std::string_view version;
  std::string_view resource;  // or resource/subresource
  std::string_view kind;
  std::string_view verbs;
};

constexpr std::string_view kFollow = "get list watch";
constexpr std::string_view kManage = "create delete get list patch update watch";
constexpr std::string_view kWrite = "get patch update";

constexpr Api kApis[] = {
    {"ps", "v1", "services", "Service", kFollow},
    {"c", "v1", "services", "Service", kManage},
    {"c", "v1", "services/status", "Service", kWrite},
    {"p", "discovery.k8s.io/v1", "endpointslices", "EndpointSlice", kFollow},
    {"c", "discovery.k8s.io/v1", "endpointslices", "EndpointSlice", kManage},
    {"p", "networking.k8s.io/v1", "servicecidrs", "ServiceCIDR", kFollow},
    {"ps", "v1", "nodes", "Node", kFollow},
    {"c", "v1", "nodes", "Node", kManage},
    {"c", "v1", "nodes/status", "Node", kWrite},
    {"cs", "v1", "pods", "Pod", kManage},
    {"cs", "v1", "pods/status", "Pod", kWrite},
    {"s", "v1", "pods/binding", "Binding", "create"},
    {"c", "v1", "pods/eviction", "Eviction", "create"},
    {"c", "v1", "pods/ephemeralcontainers", "Pod", kWrite},
    {"c", "v1", "endpoints", "Endpoints", kManage},
    {"cs", "v1", "namespaces", "Namespace", kFollow},
    {"c", "v1", "namespaces", "Namespace", "delete get list update watch"},
    {"c", "v1", "namespaces/finalize", "Namespace", "update"},
    {"c", "v1", "namespaces/status", "Namespace", kWrite},
    {"cs", "v1", "replicationcontrollers", "ReplicationController", kManage},
    {"c", "v1", "replicationcontrollers/scale", "Scale", kWrite},
    {"c", "v1", "replicationcontrollers/status", "ReplicationController", kWrite},
    {"c", "v1", "resourcequotas", "ResourceQuota", kFollow},
    {"c", "v1", "resourcequotas/status", "ResourceQuota", kWrite},
    {"c", "v1", "limitranges", "LimitRange", kFollow},
    {"c", "v1", "podtemplates", "PodTemplate", kFollow},
    {"cs", "v1", "persistentvolumes", "PersistentVolume", kManage},
    {"c", "v1", "persistentvolumes/status", "PersistentVolume", kWrite},
    {"cs", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", kManage},
    {"c", "v1", "persistentvolumeclaims/status", "PersistentVolumeClaim", kWrite},
    {"c", "v1", "secrets", "Secret", kManage},
    {"cs", "v1", "configmaps", "ConfigMap", kManage},
    {"c", "v1", "serviceaccounts", "ServiceAccount", kManage},
    {"c", "v1", "serviceaccounts/token", "TokenRequest", "create"},
    {"pcs", "v1", "events", "Event", "create patch"},
    {"pcs", "events.k8s.io/v1", "events", "Event", "create patch"},
    {"c", "apps/v1", "controllerrevisions", "ControllerRevision", kManage},
    {"c", "apps/v1", "daemonsets", "DaemonSet", kManage},
    {"c", "apps/v1", "daemonsets/status", "DaemonSet", kWrite},
    {"c", "apps/v1", "deployments", "Deployment", kManage},
    {"c", "apps/v1", "deployments/scale", "Scale", kWrite},
    {"c", "apps/v1", "deployments/status", "Deployment", kWrite},
    {"cs", "apps/v1", "replicasets", "ReplicaSet", kManage},
    {"c", "apps/v1", "replicasets/scale", "Scale", kWrite},
    {"c", "apps/v1", "replicasets/status", "ReplicaSet", kWrite},
    {"cs", "apps/v1", "statefulsets", "StatefulSet", kManage},
    {"c", "apps/v1", "statefulsets/scale", "Scale", kWrite},
    {"c", "apps/v1", "statefulsets/status", "StatefulSet", kWrite},
    {"c", "batch/v1", "jobs", "Job", kManage},
    {"c", "batch/v1", "jobs/status", "Job", kWrite},
    {"c", "batch/v1", "cronjobs", "CronJob", kManage},
    {"c", "batch/v1", "cronjobs/status", "CronJob", kWrite},
    {"c", "autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", kFollow},
    {"c", "autoscaling/v2", "horizontalpodautoscalers/status", "HorizontalPodAutoscaler", kWrite},
    {"c", "autoscaling/v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", kFollow},
    {"cs", "policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", kFollow},
    {"c", "policy/v1", "poddisruptionbudgets/status", "PodDisruptionBudget", kWrite},
    {"cs", "storage.k8s.io/v1", "storageclasses", "StorageClass", kFollow},
    {"cs", "storage.k8s.io/v1", "csinodes", "CSINode", kFollow},
    {"cs", "storage.k8s.io/v1", "csidrivers", "CSIDriver", kFollow},
    {"cs", "storage.k8s.io/v1", "csistoragecapacities", "CSIStorageCapacity", kFollow},
    {"c", "storage.k8s.io/v1", "volumeattachments", "VolumeAttachment", kManage},
    {"c", "storage.k8s.io/v1", "volumeattachments/status", "VolumeAttachment", kWrite},
    {"c", "certificates.k8s.io/v1", "certificatesigningrequests", "CertificateSigningRequest",
     kManage},
    {"c", "certificates.k8s.io/v1", "certificatesigningrequests/approval",
     "CertificateSigningRequest", kWrite},
    {"c", "certificates.k8s.io/v1", "certificatesigningrequests/status",
     "CertificateSigningRequest", kWrite},
    {"cs", "coordination.k8s.io/v1", "leases", "Lease", kManage},
    {"c", "rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", kManage},
    {"c", "rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", kFollow},
    {"c", "rbac.authorization.k8s.io/v1", "roles", "Role", kFollow},
    {"c", "rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", kFollow},
    {"c", "networking.k8s.io/v1", "ingresses", "Ingress", kFollow},
    {"c", "networking.k8s.io/v1", "ingressclasses", "IngressClass", kFollow},
    {"c", "networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", kFollow},
    {"c", "networking.k8s.io/v1", "servicecidrs/status", "ServiceCIDR", kWrite},
    {"c", "networking.k8s.io/v1", "ipaddresses", "IPAddress", kManage},
    {"c", "node.k8s.io/v1", "runtimeclasses", "RuntimeClass", kFollow},
    {"c", "scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", kFollow},
    {"c", "admissionregistration.k8s.io/v1", "validatingadmissionpolicies",
     "ValidatingAdmissionPolicy", kFollow},
    {"c", "admissionregistration.k8s.io/v1", "validatingadmissionpolicies/status",
     "ValidatingAdmissionPolicy", kWrite},
    {"c", "admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings",
     "ValidatingAdmissionPolicyBinding", kFollow},
    {"c", "admissionregistration.k8s.io/v1", "validatingwebhookconfigurations",
     "ValidatingWebhookConfiguration", kFollow},
    {"c", "admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations",
     "MutatingWebhookConfiguration", kFollow},
    {"c", "flowcontrol.apiserver.k8s.io/v1", "flowschemas", "FlowSchema", kFollow},
    {"c", "flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations",
     "PriorityLevelConfiguration", kFollow},
    {"c", "apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition",
     kFollow},
    {"c", "apiregistration.k8s.io/v1", "apiservices", "APIService", kFollow},
    {"cs", "authentication.k8s.io/v1", "tokenreviews", "TokenReview", "create"},
    {"cs", "authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview", "create"},
    {"c", "authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview",
     "create"},
};

std::string path_of(std::string_view version) {
  return fmt::format("/{}/{}", version.find('/') == std::string_view::npos ? "api" : "apis",
                     version);
}

class Clients : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    scratch_ = std::make_unique<store::Scratch>();
    server_ = std::make_unique<ServerProcess>(scratch_->path(""));
  }
  static void TearDownTestSuite() {
    server_.reset();
    scratch_.reset();
  }
  Document get(const std::string& path) {
    const auto answer = HttpClient(server_->port()).send("GET", path);
    EXPECT_TRUE(answer) << path;
    if (!answer) return {};
    EXPECT_EQ(answer->status, 200) << path;
    return answer->json();
  }

  // As a reflector does.
  void follow(const std::string& path, std::string_view version, std::string_view kind) {
    const Document list = get(path);
    EXPECT_EQ(list.root.get("kind").as_string(), fmt::format("{}List", kind)) << path;
    EXPECT_EQ(list.root.get("apiVersion").as_string(), version) << path;
    const std::string revision(list.root.at("metadata.resourceVersion").as_string());
    EXPECT_FALSE(revision.empty()) << path;
    WatchClient watch(
        server_->port(),
        fmt::format("{}?watch=true&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds=1",
                    path, revision));
    EXPECT_EQ(watch.status(), 200) << path;
    // What there is, then a bookmark that says so.
    WatchClient initial(server_->port(),
                        path +
                            "?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&"
                            "resourceVersionMatch=NotOlderThan");
    EXPECT_EQ(initial.status(), 200) << path;
    while (true) {
      const auto line = initial.next(std::chrono::seconds(10));
      ASSERT_TRUE(line) << path << ": no bookmark";
      const auto event = schema::parse_json(*line);
      ASSERT_TRUE(event) << *line;
      const Value& object = event->root.get("object");
      EXPECT_EQ(object.get("kind").as_string(), kind) << *line;
      EXPECT_EQ(object.get("apiVersion").as_string(), version) << *line;
      if (event->root.get("type").as_string() == "BOOKMARK") break;
      EXPECT_EQ(event->root.get("type").as_string(), "ADDED") << *line;
    }
  }

  static std::unique_ptr<store::Scratch> scratch_;
  static std::unique_ptr<ServerProcess> server_;
};
std::unique_ptr<store::Scratch> Clients::scratch_;
std::unique_ptr<ServerProcess> Clients::server_;

TEST_F(Clients, DiscoveryHasEveryApiWithItsVerbs) {
  for (const Api& api : kApis) {
    const Document resources = get(path_of(api.version));
    const Value* found = nullptr;
    for (const Value& each : resources.root.get("resources").items()) {
      if (each.get("name").as_string() == api.resource) found = &each;
    }
    ASSERT_NE(found, nullptr) << api.version << " " << api.resource;
    EXPECT_EQ(found->get("kind").as_string(), api.kind) << api.resource;
    for (const std::string_view verb : schema::words(api.verbs)) {
      const auto verbs = found->get("verbs").items();
      EXPECT_TRUE(std::any_of(verbs.begin(), verbs.end(),
                              [verb](const Value& each) { return each.as_string() == verb; }))
          << api.version << " " << api.resource << " lacks " << verb;
    }
  }
}

TEST_F(Clients, ListsAndWatchesOpen) {
  for (const Api& api : kApis) {
    if (api.verbs.find("watch") == std::string_view::npos) continue;
    follow(fmt::format("{}/{}", path_of(api.version), api.resource), api.version, api.kind);
  }
}

// What typed clients ask for, which is protobuf, and what clients of metadata do.
TEST_F(Clients, ListsInTheFormsOfClientGo) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kForms = {{
      {"application/vnd.kubernetes.protobuf,application/json",
       "application/vnd.kubernetes.protobuf"},
      {"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,"
       "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
       "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"},
  }};
  for (const Api& api : kApis) {
    if (api.verbs.find("list") == std::string_view::npos) continue;
    for (const auto& [accept, type] : kForms) {
      HttpClient client(server_->port());
      client.send_bytes(fmt::format("GET {}/{} HTTP/1.1\r\nHost: localhost\r\nAccept: {}\r\n\r\n",
                                    path_of(api.version), api.resource, accept));
      const auto answer = client.read_answer();
      ASSERT_TRUE(answer);
      EXPECT_EQ(answer->status, 200) << api.resource;
      EXPECT_NE(answer->head.find(fmt::format("content-type: {}\r\n", type)), std::string::npos)
          << api.resource << ": " << answer->head;
    }
  }
}

// What the controllers ask to be made for them.
TEST_F(Clients, ReviewsAndTokensAreAnswered) {
  struct Case {
    std::string_view path;
    std::string_view body;
    std::string_view answer;  // a field of status that is there
  };
  constexpr Case kCases[] = {
      {"/apis/authentication.k8s.io/v1/tokenreviews",
       R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"x"}})",
       "error"},
      {"/apis/authorization.k8s.io/v1/subjectaccessreviews",
       R"({"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"user":"ann",)"
       R"("groups":["system:authenticated"],"resourceAttributes":{"verb":"get","resource":"pods"}}})",
       "allowed"},
      {"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
       R"({"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":)"
       R"({"resourceAttributes":{"verb":"get","resource":"pods"}}})",
       "allowed"},
  };
  for (const Case& each : kCases) {
    const auto answer = HttpClient(server_->port()).send("POST", each.path, each.body);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 201) << answer->body;
    EXPECT_NE(answer->json().root.get("status").find(each.answer), nullptr) << answer->body;
  }
}

// Where their own ports learn whom to let in.
TEST_F(Clients, TheClientAuthorityIsPublished) {
  const Document found =
      get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication");
  EXPECT_TRUE(found.root.at("data.client-ca-file").as_string().starts_with("-----BEGIN CERT"));
}

TEST_F(Clients, WhateverCanBeDeletedAndFollowedIsFollowed) {
  std::vector<std::string> versions = {"v1"};
  const Document groups = get("/apis");
  for (const Value& group : groups.root.get("groups").items()) {
    versions.emplace_back(group.at("preferredVersion.groupVersion").as_string());
  }
  int followed = 0;
  for (const std::string& version : versions) {
    const Document resources = get(path_of(version));
    for (const Value& each : resources.root.get("resources").items()) {
      const std::string verbs = schema::to_json(each.get("verbs"));
      const auto has = [&verbs](const char* verb) { return verbs.find(verb) != std::string::npos; };
      if (!has("\"delete\"") || !has("\"list\"") || !has("\"watch\"")) continue;
      follow(fmt::format("{}/{}", path_of(version), each.get("name").as_string()), version,
             each.get("kind").as_string());
      ++followed;
    }
  }
  EXPECT_GT(followed, 45);
}

}  // namespace
}  // namespace fairlead::server_test
