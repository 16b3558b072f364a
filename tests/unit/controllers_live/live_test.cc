// The controllers over the real registry and the embedded store: what they write is accepted, what
// they read back is what they wrote, finalizers and preconditions are the server's.
#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <thread>

#include "control/apiserver/registry_open.h"
#include "control/controllers/manager.h"
#include "control/controllers/objects.h"
#include "control/schema/json_text.h"
#include "control/server/registry_cluster.h"
#include "control/store/open.h"
#include "tests/unit/store/scratch.h"

namespace fairlead::controllers {
namespace {

class LiveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = store::open_store(scratch_.path("store"), {});
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    store_ = std::move(opened).value();
    pool_ = std::make_unique<apiserver::WorkerPool>(2);
    registry_ = apiserver::open_registry(*store_, *pool_, {});
    auth::User user;
    user.name = "system:kube-controller-manager";
    user.groups = {std::string(auth::kMasters)};
    cluster_ = std::make_unique<server::RegistryCluster>(*registry_, user);
    for (const char* space : {"default", "kube-system", "kube-node-lease", "d"}) {
      create("{apiVersion: v1, kind: Namespace, metadata: {name: " + std::string(space) + "}}");
    }
    ManagerOptions options;
    options.election.identity = "test";
    options.election.retry = std::chrono::milliseconds(20);
    options.root_ca = "PEM";
    manager_ = std::make_unique<ControllerManager>(*cluster_, options);
    manager_->start();
  }
  void TearDown() override {
    manager_ = nullptr;
    cluster_ = nullptr;
    registry_ = nullptr;
    pool_ = nullptr;
  }

  template <typename T>
  Result<T> wait(const std::function<void(Cluster::Done<T>)>& ask) {
    auto answer = std::make_shared<std::promise<Result<T>>>();
    std::future<Result<T>> future = answer->get_future();
    ask([answer](Result<T> result) { answer->set_value(std::move(result)); });
    return future.get();
  }
  static Document parsed(const std::string& yaml) {
    auto document = schema::parse_yaml(yaml);
    EXPECT_TRUE(document.ok()) << yaml;
    return document.ok() ? std::move(document).value() : Document();
  }
  ObjectPtr create(const std::string& yaml) {
    Document body = parsed(yaml);
    const schema::Resource* row = schema::find_kind(body.root.get("apiVersion").as_string(),
                                                    body.root.get("kind").as_string());
    const Reference where{row, std::string(space_of(body.root)), std::string(name_of(body.root))};
    const auto made = wait<ObjectPtr>([&](Cluster::Done<ObjectPtr> done) {
      cluster_->create(where, std::move(body), std::move(done));
    });
    EXPECT_TRUE(made.ok()) << yaml << ": " << made.status().message();
    return made.ok() ? *made : nullptr;
  }
  void patch(const Reference& what, const std::string& subresource, const std::string& yaml) {
    const auto made = wait<ObjectPtr>([&](Cluster::Done<ObjectPtr> done) {
      cluster_->merge_patch(what, subresource, parsed(yaml), std::move(done));
    });
    EXPECT_TRUE(made.ok()) << made.status().message();
  }
  ObjectPtr get(const Reference& what) {
    const auto found = wait<ObjectPtr>(
        [&](Cluster::Done<ObjectPtr> done) { cluster_->get(what, std::move(done)); });
    return found.ok() ? *found : nullptr;
  }
  void remove(const Reference& what, Propagation how = Propagation::kDefault) {
    const auto gone = wait<ObjectPtr>([&](Cluster::Done<ObjectPtr> done) {
      cluster_->remove(what, {"", "", how}, std::move(done));
    });
    EXPECT_TRUE(gone.ok()) << gone.status().message();
  }
  size_t count(const schema::Resource& row, std::string_view space = "d") {
    const auto found = wait<Listing>([&](Cluster::Done<Listing> done) {
      cluster_->list({&row, std::string(space), ""}, std::move(done));
    });
    return found.ok() ? found->objects.size() : 999;
  }
  // "10.1.0.1 10.1.0.2": ready addresses of all of the service's slices.
  std::string ready(const std::string& service) {
    const auto found = wait<Listing>([&](Cluster::Done<Listing> done) {
      cluster_->list({&slices_, "d", "kubernetes.io/service-name=" + service}, std::move(done));
    });
    std::string made;
    if (!found) return "?";
    for (const ObjectPtr& slice : found->objects) {
      for (const Value& endpoint : slice->get("endpoints").items()) {
        if (!endpoint.get("conditions").get("ready").as_bool()) continue;
        made += made.empty() ? "" : " ";
        made += endpoint.get("addresses").items()[0].as_string();
      }
    }
    return made;
  }
  static bool eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 2000; ++i) {
      if (holds()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  void put_ready(const std::string& pod, const std::string& address, const std::string& status) {
    patch({&pods_, "d", pod}, "status",
          "{status: {podIP: " + address + ", podIPs: [{ip: " + address +
              "}], conditions: [{type: Ready, status: '" + status + "'}]}}");
  }

  const schema::Resource& pods_ = resource("", "v1", "pods");
  const schema::Resource& spaces_ = resource("", "v1", "namespaces");
  const schema::Resource& slices_ = resource("discovery.k8s.io", "v1", "endpointslices");
  const schema::Resource& config_maps_ = resource("", "v1", "configmaps");
  const schema::Resource& deployments_ = resource("apps", "v1", "deployments");

  store::Scratch scratch_ = store::Scratch::in_memory();
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<apiserver::WorkerPool> pool_;
  std::unique_ptr<apiserver::Registry> registry_;
  std::unique_ptr<server::RegistryCluster> cluster_;
  std::unique_ptr<ControllerManager> manager_;
};

TEST_F(LiveTest, EndpointsFollowPods) {
  create("{apiVersion: v1, kind: Node, metadata: {name: n1}}");
  create(
      "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: d}, spec: {clusterIP: "
      "10.96.0.9, selector: {app: web}, ports: [{name: http, port: 80}]}}");
  for (const std::string name : {"p1", "p2"}) {
    create("{apiVersion: v1, kind: Pod, metadata: {name: " + name +
           ", namespace: d, labels: {app: web}}, spec: {nodeName: n1, containers: [{name: c, "
           "image: x}]}}");
  }
  put_ready("p1", "10.1.0.1", "True");
  put_ready("p2", "10.1.0.2", "True");
  EXPECT_TRUE(eventually([&] { return ready("web") == "10.1.0.1 10.1.0.2"; })) << ready("web");
  put_ready("p1", "10.1.0.1", "False");
  EXPECT_TRUE(eventually([&] { return ready("web") == "10.1.0.2"; })) << ready("web");
  remove({&resource("", "v1", "services"), "d", "web"});
  EXPECT_TRUE(eventually(
      [&] { return count(slices_) == 0 && count(resource("", "v1", "endpoints")) == 0; }));
  for (const ControllerMetrics& row : manager_->metrics().controllers) {
    EXPECT_LT(row.writes, 50u) << row.name << " writes what it wrote: " << row.last_error;
  }
}

TEST_F(LiveTest, OwnersAndTheirs) {
  for (const Propagation how :
       {Propagation::kBackground, Propagation::kForeground, Propagation::kOrphan}) {
    const ObjectPtr owner = create(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: o, namespace: d}, spec: "
        "{selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: "
        "{containers: [{name: c, image: x}]}}}}");
    ASSERT_NE(owner, nullptr);
    create(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: mine, namespace: d, "
        "ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: o, uid: " +
        std::string(uid_of(*owner)) + ", blockOwnerDeletion: true}]}}");
    remove({&deployments_, "d", "o"}, how);
    const Reference mine{&config_maps_, "d", "mine"};
    EXPECT_TRUE(eventually([&] { return get({&deployments_, "d", "o"}) == nullptr; }));
    if (how == Propagation::kOrphan) {
      const ObjectPtr left = get(mine);
      ASSERT_NE(left, nullptr);
      EXPECT_TRUE(left->at("metadata.ownerReferences").empty());
    } else {
      EXPECT_TRUE(eventually([&] { return get(mine) == nullptr; }));
    }
  }
}

TEST_F(LiveTest, ANamespaceEndsWhenItsContentHas) {
  const Reference space{&spaces_, "", "d"};
  EXPECT_TRUE(eventually([&] { return count(config_maps_) == 1; })) << "kube-root-ca.crt";
  create(
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: held, namespace: d, finalizers: "
      "[a.io/b]}}");
  remove(space);
  EXPECT_TRUE(eventually([&] {
    const ObjectPtr held = get(space);
    return held && condition_status(*held, "NamespaceFinalizersRemaining") == "True";
  }));
  patch({&config_maps_, "d", "held"}, "", "{metadata: {finalizers: null}}");
  EXPECT_TRUE(eventually([&] { return get(space) == nullptr; }));
  EXPECT_EQ(count(config_maps_), 0u);
}

}  // namespace
}  // namespace fairlead::controllers
