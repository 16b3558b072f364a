// Two registries over one real etcd, as two servers have them.
#include <set>

#include "control/apiserver/continuation.h"
#include "control/apiserver/service_reserver.h"
#include "tests/unit/apiserver/support.h"
#include "tests/unit/store/etcd_server.h"

namespace fairlead::apiserver {
namespace {

// One server: a store, which is etcd's client, and a registry.
struct Server {
  explicit Server(const std::string& location)
      : store(store::EtcdStore::open(store::shared_etcd()->options(location)).value()) {
    Hooks hooks;
    hooks.admission.push_back(std::make_unique<NamespaceLifecycle>(*store));
    hooks.reservers.push_back(std::make_unique<ServiceReserver>(
        *store, pool, ServiceRanges::parse("10.0.0.0/25", "30000-30063").value()));
    registry = open_registry(*store, pool, std::move(hooks));
  }

  std::string create(std::string_view plural, std::string_view space, std::string_view body,
                     std::string_view path) {
    Target target;
    target.resource = schema::find_resource("", "v1", plural);
    target.space = space;
    std::promise<Outcome<Written>> promise;
    registry->create(target, parsed(body), {}, [&promise](Outcome<Written> outcome) {
      promise.set_value(std::move(outcome));
    });
    const Outcome<Written> outcome = promise.get_future().get();
    return outcome ? field_text(outcome->object->value(), path) : error_text(outcome.error());
  }

  std::unique_ptr<store::Store> store;
  WorkerPool pool{2};
  std::unique_ptr<Registry> registry;
};

class TwoServers : public testing::Test {
 protected:
  void SetUp() override {
    if (!store::etcd_is_installed()) GTEST_SKIP() << "etcd is not installed";
    ASSERT_NE(store::shared_etcd(), nullptr) << "etcd does not start";
    const std::string location = store::shared_etcd()->fresh_location();
    one_ = std::make_unique<Server>(location);
    two_ = std::make_unique<Server>(location);
  }

  std::unique_ptr<Server> one_;
  std::unique_ptr<Server> two_;
};

TEST_F(TwoServers, SeeEachOthersNamespacesAtOnce) {
  for (int i = 0; i < 10; ++i) {
    const std::string name = fmt::format("n{}", i);
    ASSERT_EQ(one_->create("namespaces", "", fmt::format("{{metadata: {{name: {}}}}}", name),
                           "metadata.name"),
              name);
    EXPECT_EQ(two_->create("configmaps", name, "{metadata: {name: a}}", "metadata.name"), "a");
    EXPECT_EQ(one_->create("configmaps", name, "{metadata: {name: a}}", "metadata.name"),
              "409 AlreadyExists: configmaps \"a\" already exists");
  }
}

ListAnswer list(Server& server, std::string continuation, int64_t limit) {
  Target target;
  target.resource = schema::find_resource("", "v1", "configmaps");
  target.space = "default";
  ListOptions options;
  options.limit = limit;
  options.continuation = std::move(continuation);
  std::promise<Outcome<ListAnswer>> promise;
  server.registry->list(target, options, [&promise](Outcome<ListAnswer> answer) {
    promise.set_value(std::move(answer));
  });
  Outcome<ListAnswer> answer = promise.get_future().get();
  EXPECT_TRUE(answer.ok()) << answer.error().message;
  return answer.ok() ? std::move(*answer) : ListAnswer();
}

TEST_F(TwoServers, ContinueEachOthersLists) {
  ASSERT_EQ(one_->create("namespaces", "", "{metadata: {name: default}}", "metadata.name"),
            "default");
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(one_->create("configmaps", "default",
                           fmt::format("{{metadata: {{name: c{:02}}}}}", i), "metadata.name"),
              fmt::format("c{:02}", i));
    std::string continuation;
    int seen = 0;
    do {
      const ListAnswer page = list(seen % 2 == 0 ? *one_ : *two_, continuation, 1);
      seen += static_cast<int>(page.objects.size());
      continuation = page.continuation;
    } while (!continuation.empty());
    EXPECT_EQ(seen, i + 1);
  }
}

// At the very moment when the other one has written.
TEST_F(TwoServers, ContinueAtRevisionsThatTheyHaveNotHeardOf) {
  ASSERT_EQ(one_->create("namespaces", "", "{metadata: {name: default}}", "metadata.name"),
            "default");
  for (size_t i = 0; i < 200; ++i) {
    const std::string revision =
        one_->create("configmaps", "default", fmt::format("{{metadata: {{name: c{:03}}}}}", i),
                     "metadata.resourceVersion");
    const ListAnswer rest = list(*two_, encode_continuation(std::stoll(revision), "b"), 0);
    ASSERT_EQ(rest.objects.size(), i + 1);
  }
}

TEST_F(TwoServers, NeverGiveOutTheSame) {
  ASSERT_EQ(one_->create("namespaces", "", "{metadata: {name: default}}", "metadata.name"),
            "default");
  std::set<std::string> addresses;
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < 10; ++j) {
        Server& server = i % 2 == 0 ? *one_ : *two_;
        const std::string address = server.create(
            "services", "default",
            fmt::format("{{metadata: {{name: s{}-{}}}, spec: {{ports: [{{port: 80}}]}}}}", i, j),
            "spec.clusterIP");
        const std::lock_guard lock(mutex);
        EXPECT_TRUE(addresses.insert(address).second) << address;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(addresses.size(), 40u);
}

}  // namespace
}  // namespace fairlead::apiserver
