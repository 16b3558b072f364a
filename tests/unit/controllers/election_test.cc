// Who leads: electors that share a cluster and a clock, and servers that vanish; the queue's
// delays; the manager on its own thread.
#include <future>
#include <mutex>

#include "control/controllers/leader_election.h"
#include "control/controllers/manager.h"
#include "control/controllers/work_queue.h"
#include "fake_cluster.h"
#include "manual_loop.h"
#include "support.h"

namespace fairlead::controllers {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ElectionTest : public ::testing::Test {
 protected:
  struct Server {
    std::unique_ptr<LoopCluster> cluster;
    std::unique_ptr<LeaderElector> elector;
    int started = 0;
    int stopped = 0;
  };

  Server& add(const std::string& identity) {
    Server& server = *servers_.emplace_back(std::make_unique<Server>());
    ElectionOptions options;
    options.identity = identity;
    server.cluster = std::make_unique<LoopCluster>(cluster_, loop_);
    server.elector = std::make_unique<LeaderElector>(
        *server.cluster, *loop_, options, [&server] { ++server.started; },
        [&server] { ++server.stopped; });
    server.elector->start();
    return server;
  }
  void pass(Duration time) { ASSERT_TRUE(loop_->advance(time)); }
  ObjectPtr lease() const { return cluster_.find("leases", "kube-system", "fairlead-controllers"); }

  FakeCluster cluster_;
  std::shared_ptr<ManualLoop> loop_ = std::make_shared<ManualLoop>();
  std::vector<std::unique_ptr<Server>> servers_;
};

TEST_F(ElectionTest, OneLeadsUntilItVanishes) {
  Server& a = add("a");
  pass(seconds(1));
  Server& b = add("b");
  pass(seconds(60));
  EXPECT_EQ(a.started, 1);
  EXPECT_EQ(b.started, 0);
  EXPECT_EQ(b.elector->leader(), "a");
  a.elector = nullptr;  // as after kill -9
  pass(seconds(12));
  EXPECT_EQ(b.started, 0) << "the lease still holds";
  pass(seconds(8));
  EXPECT_EQ(b.started, 1);
  EXPECT_EQ(lease()->at("spec.leaseTransitions").as_int(), 1);
  EXPECT_EQ(lease()->at("spec.holderIdentity").as_string(), "b");
}

TEST_F(ElectionTest, AReleasedLeaseIsTakenAtOnce) {
  Server& a = add("a");
  pass(seconds(1));
  Server& b = add("b");
  pass(seconds(5));
  bool released = false;
  a.elector->release([&] { released = true; });
  pass(seconds(3));
  EXPECT_TRUE(released);
  EXPECT_EQ(a.stopped, 1);
  EXPECT_EQ(b.started, 1);
}

// Who cannot renew stops before anybody else starts.
TEST_F(ElectionTest, NobodyLeadsBesideAnother) {
  Server& a = add("a");
  pass(seconds(1));
  Server& b = add("b");
  pass(seconds(5));
  ASSERT_EQ(a.started, 1);
  // Writes by "a" fail, those of "b" do not: their identity is in nobody's request, so by turns.
  bool refuse = true;
  cluster_.fault = [&](const std::string& request) {
    if (!refuse || !request.starts_with("update leases")) return Status();
    return Status::error(StatusCode::kUnavailable, "update", "lease", "away");
  };
  pass(seconds(11));
  EXPECT_EQ(a.stopped, 1);
  EXPECT_EQ(b.started, 0);
  refuse = false;
  pass(seconds(20));
  EXPECT_EQ(a.started + b.started, 2);
  EXPECT_EQ((a.started - a.stopped) + (b.started - b.stopped), 1);
}

TEST_F(ElectionTest, WhoSeesAnothersLeaseStopsAtOnce) {
  Server& a = add("a");
  pass(seconds(5));
  ASSERT_EQ(a.started, 1);
  cluster_.change("leases", "kube-system", "fairlead-controllers", "{spec: {holderIdentity: b}}");
  pass(seconds(2));
  EXPECT_EQ(a.stopped, 1);
  EXPECT_EQ(a.elector->leader(), "b");
  EXPECT_EQ(lease()->at("spec.holderIdentity").as_string(), "b");
  pass(seconds(30));
  EXPECT_EQ(a.started, 2) << "the other never renewed";
  EXPECT_EQ(a.stopped, 1);
}

TEST_F(ElectionTest, TwoThatBeginTogetherAreOneLeader) {
  add("a");
  add("b");
  add("c");
  pass(seconds(30));
  int leading = 0;
  for (const auto& server : servers_) leading += server->elector->leading() ? 1 : 0;
  EXPECT_EQ(leading, 1);
}

TEST(WorkQueue, HandsOutEachKeyOnceAndLaterAfterFailures) {
  ManualLoop loop;
  std::vector<std::string> begun;
  WorkQueue queue(loop, {.in_flight = 2}, [&](const std::string& key) { begun.push_back(key); });
  const auto taken = [&] {
    EXPECT_TRUE(loop.run());
    const std::string made = fmt::format("{}", fmt::join(begun, " "));
    begun.clear();
    return made;
  };
  queue.add("a");
  queue.add("a");
  queue.add("b");
  queue.add("c");
  EXPECT_EQ(taken(), "") << "not resumed";
  queue.resume();
  EXPECT_EQ(taken(), "a b") << "two at a time";
  queue.add("a");
  queue.add("a");
  EXPECT_EQ(taken(), "") << "a is worked on";
  queue.finish("a");
  EXPECT_EQ(taken(), "c");
  queue.finish("b");
  EXPECT_EQ(taken(), "a");
  queue.finish("c");
  for (const int delay : {5, 10, 20, 40}) {
    queue.retry("a");
    loop.advance(milliseconds(delay) - milliseconds(1));
    EXPECT_EQ(taken(), "") << delay;
    loop.advance(milliseconds(1));
    EXPECT_EQ(taken(), "a") << delay;
  }
  queue.forget("a");
  queue.retry("a");
  loop.advance(milliseconds(5));
  EXPECT_EQ(taken(), "a");
  for (int i = 0; i < 40; ++i) {
    queue.retry("a");
    loop.advance(seconds(1000));
    EXPECT_EQ(taken(), "a") << "never later than 1000 s";
  }
  queue.finish("a");
  queue.add_after("d", seconds(5));
  queue.add_after("d", seconds(2));
  queue.add_after("d", seconds(9));
  loop.advance(seconds(2));
  EXPECT_EQ(taken(), "d") << "the earliest";
  queue.finish("d");
  loop.advance(seconds(20));
  EXPECT_EQ(taken(), "") << "and only that";
}

TEST(ThreadLoop, RunsInOrderAndEnds) {
  ThreadLoop loop;
  std::vector<int> ran;
  std::promise<void> last;
  loop.post([&] {
    loop.after(milliseconds(20), [&] {
      ran.push_back(3);
      last.set_value();
    });
    loop.after(milliseconds(1), [&] { ran.push_back(2); });
    ran.push_back(1);
  });
  last.get_future().wait();
  loop.after(std::chrono::hours(1), [&] { ran.push_back(4); });
  loop.stop();
  loop.post([&] { ran.push_back(5); });
  EXPECT_EQ(ran, (std::vector<int>{1, 2, 3}));
}

// A cluster in memory that two threads may use.
class LockedCluster final : public Cluster {
 public:
  void get(Reference what, Done<ObjectPtr> done) override {
    const std::lock_guard lock(mutex_);
    inner_.get(std::move(what), std::move(done));
  }
  void list(Scope scope, Done<Listing> done) override {
    const std::lock_guard lock(mutex_);
    inner_.list(std::move(scope), std::move(done));
  }
  std::unique_ptr<Watch> watch(Scope scope, std::string from, WatchHandler handler) override {
    const std::lock_guard lock(mutex_);
    struct Locked final : Watch {
      ~Locked() override {
        const std::lock_guard hold(*mutex);
        inner = nullptr;
      }
      std::recursive_mutex* mutex = nullptr;
      std::unique_ptr<Watch> inner;
    };
    auto made = std::make_unique<Locked>();
    made->mutex = &mutex_;
    made->inner = inner_.watch(std::move(scope), std::move(from), std::move(handler));
    return made;
  }
  void create(Reference where, schema::Document body, Done<ObjectPtr> done) override {
    const std::lock_guard lock(mutex_);
    inner_.create(std::move(where), std::move(body), std::move(done));
  }
  void update(Reference what, std::string subresource, schema::Document body,
              Done<ObjectPtr> done) override {
    const std::lock_guard lock(mutex_);
    inner_.update(std::move(what), std::move(subresource), std::move(body), std::move(done));
  }
  void merge_patch(Reference what, std::string subresource, schema::Document patch,
                   Done<ObjectPtr> done) override {
    const std::lock_guard lock(mutex_);
    inner_.merge_patch(std::move(what), std::move(subresource), std::move(patch), std::move(done));
  }
  void remove(Reference what, RemoveOptions options, Done<ObjectPtr> done) override {
    const std::lock_guard lock(mutex_);
    inner_.remove(std::move(what), std::move(options), std::move(done));
  }
  void remove_all(Scope scope, Done<bool> done) override {
    const std::lock_guard lock(mutex_);
    inner_.remove_all(std::move(scope), std::move(done));
  }

  template <typename Use>
  auto with(Use use) {
    const std::lock_guard lock(mutex_);
    return use(inner_);
  }

 private:
  std::recursive_mutex mutex_;
  FakeCluster inner_;
};

bool eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 2000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return false;
}

TEST(ControllerManager, LeadsWorksAndHandsOver) {
  LockedCluster cluster;
  const auto put_space = [&](std::string_view name) {
    cluster.with([&](FakeCluster& inner) {
      inner.put(
          fmt::format("{{apiVersion: v1, kind: Namespace, metadata: {{name: {}}}, spec: "
                      "{{finalizers: [kubernetes]}}}}",
                      name));
    });
  };
  const auto has_account = [&](std::string_view space) {
    return cluster.with([&](FakeCluster& inner) {
      return inner.find("serviceaccounts", space, "default") != nullptr;
    });
  };
  put_space("one");
  ManagerOptions options;
  options.election.identity = "first";
  options.election.retry = milliseconds(20);
  ControllerManager first(cluster, options);
  first.start();
  EXPECT_TRUE(eventually([&] { return has_account("one"); }));
  options.election.identity = "second";
  ControllerManager second(cluster, options);
  second.start();
  EXPECT_TRUE(eventually([&] { return first.metrics().leading; }));
  first.stop();
  put_space("two");
  EXPECT_TRUE(eventually([&] { return has_account("two"); }));
  EXPECT_TRUE(eventually([&] {
    const ManagerMetrics metrics = second.metrics();
    return metrics.leading && metrics.terms == 1 && metrics.controllers.size() == 7;
  }));
  second.stop();
  second.stop();
}

}  // namespace
}  // namespace fairlead::controllers
