// Whatever happens and in whatever order, with requests that fail and watches that are lost: once
// the world is quiet, endpoints are what the pods say, and what has no owner is gone.
#include <random>

#include "control/controllers/manager.h"
#include "control/controllers/pods.h"
#include "fake_cluster.h"
#include "manual_loop.h"
#include "support.h"

namespace fairlead::controllers {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class RandomWorld : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    random_.seed(static_cast<unsigned>(GetParam()));
    options_.resync = std::chrono::hours(1000);  // nothing is repaired by looking again
    cluster_.put(
        "{apiVersion: v1, kind: Namespace, metadata: {name: d}, spec: {finalizers: "
        "[kubernetes]}}");
    cluster_.fault = [this](const std::string&) {
      if (quiet_ || pick(5) != 0) return Status();
      constexpr StatusCode kCodes[] = {StatusCode::kConflict, StatusCode::kUnavailable,
                                       StatusCode::kInternal};
      return Status::error(kCodes[pick(3)], "ask", "cluster", "at random");
    };
    set_ = std::make_unique<ControllerSet>(cluster_, loop_, options_);
    set_->start();
  }

  int pick(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }

  // Time, late events, lost watches.
  void disturb() {
    constexpr std::string_view kPlurals[] = {"pods",      "services",       "nodes",
                                             "endpoints", "endpointslices", "replicasets"};
    switch (pick(12)) {
      case 0:
        cluster_.pause(kPlurals[pick(6)]);
        break;
      case 1:
        cluster_.resume();
        break;
      case 2:
        cluster_.lose_watches(Status::error(StatusCode::kExpired, "watch", "all", "at random"));
        break;
      default:
        ASSERT_TRUE(loop_->advance(milliseconds(pick(300))));
    }
  }
  void calm() {
    quiet_ = true;
    cluster_.resume();
    ASSERT_TRUE(loop_->advance(seconds(4000)));
    cluster_.take_writes();
    ASSERT_TRUE(loop_->advance(seconds(10)));
    EXPECT_TRUE(cluster_.take_writes().empty()) << "quiet, and still writing";
  }

  std::mt19937 random_;
  bool quiet_ = false;
  FakeCluster cluster_;
  std::shared_ptr<ManualLoop> loop_ = std::make_shared<ManualLoop>();
  ManagerOptions options_;
  std::unique_ptr<ControllerSet> set_;
};

class RandomEndpoints : public RandomWorld {
 protected:
  void change() {
    const int number = pick(25);
    switch (pick(8)) {
      case 0:
        cluster_.put(
            fmt::format("{{apiVersion: v1, kind: Service, metadata: {{name: s{}, "
                        "namespace: d}}, spec: {{clusterIP: 10.0.0.1, selector: {{app: "
                        "a{}}}, ports: [{{port: 80, targetPort: {}, protocol: TCP}}]}}}}",
                        pick(4), pick(4), pick(2) ? "8080" : "9090"));
        break;
      case 1:
        if (pick(3) == 0) cluster_.erase("services", "d", fmt::format("s{}", pick(4)));
        break;
      case 2:
        cluster_.put(
            fmt::format("{{apiVersion: v1, kind: Node, metadata: {{name: n{}, labels: "
                        "{{topology.kubernetes.io/zone: z{}}}}}}}",
                        pick(3), pick(2)));
        break;
      case 3:
        if (pick(4) == 0) cluster_.erase("nodes", "", fmt::format("n{}", pick(3)));
        break;
      case 4:
        cluster_.erase("pods", "d", fmt::format("p{}", number));
        break;
      default:
        cluster_.put(fmt::format(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p{0}, namespace: d, labels: {{app: "
            "a{1}}}}}, spec: {{nodeName: n{2}}}, status: {{podIP: 10.1.0.{0}, conditions: [{{type: "
            "Ready, status: '{3}'}}]}}}}",
            number, pick(4), pick(3), pick(2) ? "True" : "False"));
    }
  }

  // What a service's endpoints must be, the slow way: "address port ready zone".
  std::set<std::string> expected(const Value& service) const {
    std::set<std::string> made;
    const std::string_view app = service.at("spec.selector").get("app").as_string();
    for (const ObjectPtr& pod : cluster_.all("pods", "d")) {
      const ObjectPtr node =
          cluster_.find("nodes", "", pod->at("spec").get("nodeName").as_string());
      if (pod->at("metadata.labels").get("app").as_string() != app || !node) continue;
      made.insert(fmt::format("{} {} {} {}", pod->at("status.podIP").as_string(),
                              service.at("spec.ports").items()[0].get("targetPort").as_int(),
                              is_pod_ready(*pod),
                              node->at("metadata.labels").get(kZoneLabel).as_string()));
    }
    return made;
  }
};

TEST_P(RandomEndpoints, ComeToRestAtWhatThePodsSay) {
  for (int i = 0; i < 250; ++i) {
    change();
    disturb();
  }
  calm();
  std::map<std::string, std::set<std::string>> found;
  for (const ObjectPtr& object : cluster_.all("endpointslices", "d")) {
    const Slice slice = parse_slice(object);
    std::set<std::string>& rows = found[slice.labels.at(std::string(kServiceNameLabel))];
    for (const EndpointRow& row : slice.endpoints) {
      const bool fresh = rows.insert(fmt::format("{} {} {} {}", row.addresses.at(0),
                                                 slice.ports.at(0).port.value_or(0),
                                                 row.ready.value_or(false), row.zone))
                             .second;
      EXPECT_TRUE(fresh) << "twice: " << row.addresses[0];
    }
  }
  size_t services = 0;
  for (const ObjectPtr& service : cluster_.all("services", "d")) {
    ++services;
    EXPECT_EQ(found[std::string(name_of(*service))], expected(*service)) << name_of(*service);
    EXPECT_NE(cluster_.find("endpoints", "d", name_of(*service)), nullptr);
  }
  EXPECT_EQ(found.size(), services) << "slices of services that are gone";
  EXPECT_EQ(cluster_.all("endpoints", "d").size(), services);
}

class RandomOwners : public RandomWorld {
 protected:
  void make() {
    const int number = made_++;
    const bool set = pick(2) == 0;
    std::vector<std::string> owners;
    for (int i = pick(3); i > 0 && !all_.empty(); --i) {
      const auto& [plural, name] = all_[static_cast<size_t>(pick(static_cast<int>(all_.size())))];
      const ObjectPtr owner = cluster_.find(plural, "d", name);
      if (!owner) continue;
      owners.push_back(
          fmt::format("{{apiVersion: {}, kind: {}, name: {}, uid: {}, "
                      "blockOwnerDeletion: {}}}",
                      owner->get("apiVersion").as_string(), owner->get("kind").as_string(), name,
                      uid_of(*owner), pick(2) ? "true" : "false"));
    }
    const std::string name = fmt::format("o{}", number);
    cluster_.put(fmt::format(
        "{{apiVersion: {}, kind: {}, metadata: {{name: {}, namespace: d, "
        "ownerReferences: [{}]}}}}",
        set ? "apps/v1" : "v1", set ? "ReplicaSet" : "Pod", name, fmt::join(owners, ", ")));
    all_.emplace_back(set ? "replicasets" : "pods", name);
    if (owners.empty()) free_.insert(name);
  }
  void remove_one() {
    const auto& [plural, name] = all_[static_cast<size_t>(pick(static_cast<int>(all_.size())))];
    if (!cluster_.find(plural, "d", name)) return;
    constexpr Propagation kHow[] = {Propagation::kBackground, Propagation::kForeground,
                                    Propagation::kOrphan};
    const schema::Resource& row =
        plural == "pods" ? resource("", "v1", "pods") : resource("apps", "v1", "replicasets");
    cluster_.remove({&row, "d", name}, {"", "", kHow[pick(3)]},
                    [this, removed = name](Result<ObjectPtr> answer) {
                      if (answer) free_.erase(removed);
                    });
  }

  // Gives one another owner, younger ones and itself among them, so that there are circles.
  void tie() {
    const auto any = [&] { return all_[static_cast<size_t>(pick(static_cast<int>(all_.size())))]; };
    const auto [plural, name] = any();
    const auto [owner_plural, owner_name] = any();
    const ObjectPtr owner = cluster_.find(owner_plural, "d", owner_name);
    if (!owner || !cluster_.find(plural, "d", name)) return;
    cluster_.change(plural, "d", name,
                    fmt::format("{{metadata: {{ownerReferences: [{{apiVersion: {}, kind: {}, name: "
                                "{}, uid: {}, blockOwnerDeletion: true}}]}}}}",
                                owner->get("apiVersion").as_string(),
                                owner->get("kind").as_string(), owner_name, uid_of(*owner)));
    free_.erase(name);
  }

  int made_ = 0;
  std::vector<std::pair<std::string, std::string>> all_;  // plural, name
  std::set<std::string> free_;                            // never owned, never removed
};

TEST_P(RandomOwners, NothingStaysWithoutOwnerAndNothingElseGoes) {
  for (int i = 0; i < 200; ++i) {
    if (all_.empty() || pick(3) != 0) {
      make();
    } else if (pick(3) == 0) {
      tie();
    } else {
      remove_one();
    }
    disturb();
  }
  calm();
  std::set<std::string> uids;
  std::set<std::string> names;
  std::vector<ObjectPtr> left = cluster_.all("pods", "d");
  for (const ObjectPtr& set : cluster_.all("replicasets", "d")) left.push_back(set);
  for (const ObjectPtr& object : left) {
    uids.emplace(uid_of(*object));
    names.emplace(name_of(*object));
  }
  for (const ObjectPtr& object : left) {
    EXPECT_FALSE(is_terminating(*object)) << schema::to_json(*object);
    for (const Value& owner : object->at("metadata.ownerReferences").items()) {
      EXPECT_EQ(uids.count(std::string(owner.get("uid").as_string())), 1u)
          << "an owner that is gone: " << schema::to_json(*object);
    }
  }
  for (const std::string& name : free_) EXPECT_EQ(names.count(name), 1u) << name;
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomEndpoints, ::testing::Range(0, 5));
INSTANTIATE_TEST_SUITE_P(Seeds, RandomOwners, ::testing::Range(0, 5));

}  // namespace
}  // namespace fairlead::controllers
