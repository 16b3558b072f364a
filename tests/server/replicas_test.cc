// Two servers over one etcd: what one has acknowledged the other shows, in lists and in watches;
// one of them runs the controllers, and the other takes over when it stops.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <thread>

#include "tests/server/http_client.h"
#include "tests/server/server_process.h"
#include "tests/unit/store/etcd_server.h"
#include "tests/unit/store/scratch.h"

namespace fairlead::server_test {
namespace {

using std::chrono::seconds;

constexpr char kLease[] =
    "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/fairlead-controllers";

std::string config_map(std::string_view name, int value) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}"}},"data":{{"n":"{}"}}}})",
      name, value);
}

class Replicas : public testing::Test {
 protected:
  void SetUp() override {
    if (!store::etcd_is_installed()) GTEST_SKIP() << "etcd is not installed";
    auto started = store::EtcdServer::start();
    ASSERT_TRUE(started) << started.status().message();
    etcd_ = std::move(started).value();
    const std::string store = "--store=etcd://" + etcd_->address();
    for (size_t i = 0; i < servers_.size(); ++i) {
      servers_[i] =
          std::make_unique<ServerProcess>(scratches_[i].path(""), std::vector<std::string>{store});
    }
  }
  Answer ask(size_t server, std::string_view method, const std::string& path,
             const std::string& body = "") {
    return HttpClient(servers_[server]->port()).send(method, path, body).value_or(Answer());
  }
  // The process that leads the controllers; empty: nobody yet.
  std::string leader(size_t asked) {
    const Answer lease = ask(asked, "GET", kLease);
    return std::string(lease.json().root.at("spec.holderIdentity").as_string());
  }
  std::string wait_for_leader(size_t asked, const std::string& other_than) {
    for (int i = 0; i < 400; ++i) {
      const std::string found = leader(asked);
      if (!found.empty() && found != other_than) return found;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return "nobody";
  }
  bool exists_soon(size_t asked, const std::string& path) {
    for (int i = 0; i < 200; ++i) {
      if (ask(asked, "GET", path).status == 200) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }

  std::unique_ptr<store::EtcdServer> etcd_;
  std::array<store::Scratch, 2> scratches_;
  std::array<std::unique_ptr<ServerProcess>, 2> servers_;
};

TEST_F(Replicas, EachShowsWhatTheOtherHasAcknowledged) {
  const Answer list = ask(1, "GET", kPath);
  const schema::Document document = list.json();
  const std::string from(document.root.at("metadata.resourceVersion").as_string());
  WatchClient watch(servers_[1]->port(),
                    fmt::format("{}?watch=true&resourceVersion={}", kPath, from));
  ASSERT_EQ(watch.status(), 200);
  constexpr int kWrites = 50;
  std::string last;
  for (int i = 0; i < kWrites; ++i) {
    const std::string name = fmt::format("c{}", i);
    const Answer made = ask(0, "POST", kPath, config_map(name, i));
    ASSERT_EQ(made.status, 201) << made.body;
    const schema::Document object = made.json();
    last = object.root.at("metadata.resourceVersion").as_string();
    // At once, without waiting for anything.
    const Answer read = ask(1, "GET", fmt::format("{}/{}", kPath, name));
    ASSERT_EQ(read.body, made.body);
    const schema::Document all = ask(1, "GET", kPath).json();
    ASSERT_GE(std::stoll(std::string(all.root.at("metadata.resourceVersion").as_string())),
              std::stoll(last));
  }
  // Every change once, in order, with the revision that its writer was told.
  for (int i = 0; i < kWrites;) {
    const auto line = watch.next(seconds(10));
    ASSERT_TRUE(line) << "the watch has shown " << i;
    const auto event = schema::parse_json(*line);
    ASSERT_TRUE(event);
    const std::string name(event->root.at("object.metadata.name").as_string());
    if (!name.starts_with("c")) continue;
    EXPECT_EQ(name, fmt::format("c{}", i));
    if (++i == kWrites) {
      EXPECT_EQ(event->root.at("object.metadata.resourceVersion").as_string(), last);
    }
  }
  // What the other has changed meanwhile is a conflict.
  const Answer before = ask(0, "GET", std::string(kPath) + "/c0");
  ASSERT_EQ(ask(1, "PUT", std::string(kPath) + "/c0", config_map("c0", 100)).status, 200);
  EXPECT_EQ(ask(0, "PUT", std::string(kPath) + "/c0", before.body).verdict(), "409 Conflict");
  EXPECT_EQ(ask(0, "DELETE", std::string(kPath) + "/c0").status, 200);
  EXPECT_EQ(ask(1, "GET", std::string(kPath) + "/c0").verdict(), "404 NotFound");
}

TEST_F(Replicas, OneRunsTheControllersAndTheOtherTakesOver) {
  const std::string first = wait_for_leader(0, "");
  // HOST_PID_RANDOM
  const auto is_of = [&](const std::string& identity, size_t i) {
    return identity.find(fmt::format("_{}_", servers_[i]->pid())) != std::string::npos;
  };
  ASSERT_TRUE(is_of(first, 0) || is_of(first, 1)) << first;
  const size_t dies = is_of(first, 0) ? 0 : 1;
  const size_t lives = 1 - dies;
  // Controllers work, whichever server is asked.
  const std::string made = R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}})";
  ASSERT_EQ(ask(lives, "POST", "/api/v1/namespaces", made).status, 201);
  EXPECT_TRUE(exists_soon(lives, "/api/v1/namespaces/a/serviceaccounts/default"));
  EXPECT_EQ(leader(lives), first) << "it leads all the while";
  // One that stops hands over at once.
  servers_[dies]->stop();
  const std::string second = wait_for_leader(lives, first);
  EXPECT_TRUE(is_of(second, lives)) << second;
  const std::string next = R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"b"}})";
  ASSERT_EQ(ask(lives, "POST", "/api/v1/namespaces", next).status, 201);
  EXPECT_TRUE(exists_soon(lives, "/api/v1/namespaces/b/serviceaccounts/default"));
}

}  // namespace
}  // namespace fairlead::server_test
