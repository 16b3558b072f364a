// Reflectors over TLS and HTTP/2 against an API server that changes, fails and breaks off at
// random: in the end the picture is the store, and on the way nothing came twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "base/thread_annotations.h"
#include "control/client/kubeconfig.h"
#include "control/client/reflector.h"
#include "tests/api_server/api_server.h"
#include "tests/api_server/objects.h"

namespace fairlead::client {
namespace {

using api_server::ApiServer;
using api_server::Fault;
using api_server::Verb;
using std::chrono::milliseconds;

const std::string kServices = "/api/v1/services";

// What has been delivered, readable from the test's thread.
class Mirror : public ReflectorSink {
 public:
  void on_upsert(const api::RawObject& object) override {
    const MutexLock lock(mutex_);
    std::string& version = picture_[object.name_space + "/" + object.name];
    // Versions of this server are numbers that grow: an older one is a repetition as well.
    if (!version.empty() && std::stoull(version) >= std::stoull(object.resource_version))
      ++repeated_;
    version = object.resource_version;
    ++upserts_;
  }
  void on_remove(const std::string& name_space, const std::string& name) override {
    const MutexLock lock(mutex_);
    if (picture_.erase(name_space + "/" + name) == 0) ++repeated_;
  }
  void on_listed() override { ++lists_; }
  void on_malformed(const Status&) override { ++malformed_; }
  void on_health(const Status& status) override { healthy_ = status.ok(); }
  void on_unsupported() override {}

  std::map<std::string, std::string> picture() const {
    const MutexLock lock(mutex_);
    return picture_;
  }
  int repeated() const {
    const MutexLock lock(mutex_);
    return repeated_;
  }
  int upserts() const {
    const MutexLock lock(mutex_);
    return upserts_;
  }
  int lists() const { return lists_; }
  int malformed() const { return malformed_; }
  bool healthy() const { return healthy_; }

 private:
  mutable Mutex mutex_;
  std::map<std::string, std::string> picture_ GUARDED_BY(mutex_);
  int repeated_ GUARDED_BY(mutex_) = 0;
  int upserts_ GUARDED_BY(mutex_) = 0;
  std::atomic<int> lists_ = 0;
  std::atomic<int> malformed_ = 0;
  std::atomic<bool> healthy_ = false;
};

class ReflectorServerTest : public ::testing::Test {
 protected:
  ReflectorServerTest() {
    options_.tls = true;
    options_.require_client_certificate = true;
  }

  ~ReflectorServerTest() override { stop(); }

  void stop() {
    if (!thread_.joinable()) return;
    client_->post([this] {
      reflectors_.clear();
      client_->stop();
    });
    thread_.join();
    mirrors_.clear();
    expected_.clear();
  }

  void start() {
    auto started = ApiServer::start(options_);
    ASSERT_TRUE(started.ok()) << started.status().message();
    server_ = std::move(started).value();
    const auto text = server_->kubeconfig("system:node:n1");
    ASSERT_TRUE(text.ok());
    auto config = parse_kubeconfig(text.value(), "kubeconfig", {}, read_whole_file);
    ASSERT_TRUE(config.ok()) << config.status().message();
    auto created = Client::create(std::move(config).value());
    ASSERT_TRUE(created.ok()) << created.status().message();
    client_ = std::move(created).value();
    thread_ = std::thread([this] { client_->run(); });
  }

  Mirror& reflect(const std::string& path, int page_size = 500) {
    mirrors_.push_back(std::make_unique<Mirror>());
    Mirror& mirror = *mirrors_.back();
    client_->post([this, path, page_size, &mirror] {
      ReflectorOptions options;
      options.path = path;
      options.page_size = page_size;
      options.backoff_min = milliseconds(2);
      options.backoff_max = milliseconds(20);
      options.jitter_seed = 1;
      reflectors_.push_back(Reflector::create(*client_, options, mirror));
      reflectors_.back()->start();
    });
    return mirror;
  }

  void put(const std::string& name) {
    const Status status = server_->put(api_server::service_json(
        {.name = name, .labels = {{"change", std::to_string(++changes_)}}}));
    EXPECT_TRUE(status.ok()) << status.message();
    const auto text = server_->get(kServices, "default", name);
    ASSERT_TRUE(text.ok());
    expected_["default/" + name] = decoder_.service(text.value())->object.meta.resource_version;
  }
  void remove(const std::string& name) {
    if (expected_.erase("default/" + name) > 0) {
      EXPECT_TRUE(server_->remove(kServices, "default", name).ok());
    }
  }

  // Changes that no standing watch hears of and no later one can resume from.
  void expire_watches() {
    server_->set_watches_paused(true);
    put("two");
    remove("web-3");
    server_->compact();
    server_->cut_watches();
    server_->set_watches_paused(false);
  }

  // Waits without sleeping as long as the server sees something happen, and looks again now and
  // then.
  void expect_equal(const Mirror& mirror) {
    const bool equal =
        eventually([&] { return mirror.lists() > 0 && mirror.picture() == expected_; });
    EXPECT_TRUE(equal) << mirror.picture().size() << " objects instead of " << expected_.size();
  }
  bool eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 1000; ++i) {
      if (server_->wait_until(holds, milliseconds(20))) return true;
    }
    return false;
  }

  api_server::ApiServerOptions options_;
  std::unique_ptr<ApiServer> server_;
  std::unique_ptr<Client> client_;
  std::thread thread_;
  std::vector<std::unique_ptr<Mirror>> mirrors_;
  std::vector<std::unique_ptr<Reflector>> reflectors_;  // client's thread
  api::Decoder decoder_;
  int changes_ = 0;
  std::map<std::string, std::string> expected_;
};

TEST_F(ReflectorServerTest, ManyReflectorsShareOneHttp2Connection) {
  start();
  for (int i = 0; i < 1200; ++i) put("web-" + std::to_string(i));
  std::vector<Mirror*> mirrors;
  for (int i = 0; i < 8; ++i) mirrors.push_back(&reflect(kServices));
  for (const Mirror* mirror : mirrors) expect_equal(*mirror);
  put("late");
  remove("web-7");
  for (const Mirror* mirror : mirrors) {
    expect_equal(*mirror);
    EXPECT_EQ(mirror->repeated(), 0);
    EXPECT_EQ(mirror->upserts(), 1201);
  }
  const auto counters = server_->counters();
  EXPECT_EQ(counters.connections, 1u);
  EXPECT_EQ(counters.http2_requests, counters.requests);
  EXPECT_EQ(counters.lists, 8u * 3);
  EXPECT_EQ(counters.watches, 8u);
}

TEST_F(ReflectorServerTest, RelistAfterExpiryDeliversOnlyTheDifference) {
  start();
  for (int i = 0; i < 50; ++i) put("web-" + std::to_string(i));
  const Mirror& mirror = reflect(kServices, 7);
  expect_equal(mirror);
  put("one");
  expect_equal(mirror);
  const int before = mirror.upserts();
  expire_watches();
  expect_equal(mirror);
  EXPECT_TRUE(eventually([&] { return mirror.lists() == 2 && mirror.healthy(); }));
  EXPECT_EQ(mirror.upserts(), before + 1);
  EXPECT_EQ(mirror.repeated(), 0);
}

TEST_F(ReflectorServerTest, AServerThatIsAwayIsWaitedFor) {
  start();
  put("a");
  const Mirror& mirror = reflect(kServices);
  expect_equal(mirror);
  server_->stop_listening();
  put("b");
  EXPECT_TRUE(eventually([&] { return !mirror.healthy(); }));
  ASSERT_TRUE(server_->start_listening().ok());
  expect_equal(mirror);
  EXPECT_EQ(mirror.repeated(), 0);
}

// What can go wrong next, as often as the numbers say.
void make_trouble(ApiServer& server, std::mt19937& random) {
  const auto fault = [&](Fault::Kind kind, Verb verb, int status) {
    Fault trouble;
    trouble.kind = kind;
    trouble.verb = verb;
    trouble.status = status;
    trouble.count = 1 + static_cast<int>(random() % 2);
    server.inject(trouble);
  };
  switch (random() % 12) {
    case 0:
      server.cut_watches({}, true);
      break;
    case 1:
      server.cut_watches();
      break;
    case 2:
      server.close_connections();
      break;
    case 3:
      server.compact();
      break;
    case 4:
      server.send_bookmarks();
      break;
    case 5:
      fault(Fault::Kind::kStatus, Verb::kList, 410);
      break;
    case 6:
      fault(Fault::Kind::kStatus, Verb::kAny, 500);
      break;
    case 7:
      fault(Fault::Kind::kStatus, Verb::kAny, 429);
      break;
    case 8:
      fault(Fault::Kind::kTruncate, Verb::kAny, 0);
      break;
    case 9:
      fault(Fault::Kind::kMalformed, Verb::kAny, 0);
      break;
    case 10:
      server.send_to_watches(kServices, "{\"type\":\"ERROR\",\"object\":{\"code\":500}}\n");
      break;
    default:
      server.send_to_watches(kServices, "{\"type\":\"ADDED\",\"object\":{\"meta");
      break;
  }
}

TEST_F(ReflectorServerTest, WhateverGoesWrongThePictureIsTheStore) {
  for (const bool as_event : {true, false}) {
    for (const bool http2 : {true, false}) {
      options_.expired_as_event = as_event;
      options_.http2 = http2;
      start();
      std::mt19937 random(as_event * 2 + http2 + 1);
      for (int i = 0; i < 40; ++i) put("web-" + std::to_string(i));
      const Mirror& small_pages = reflect(kServices, 3);
      const Mirror& large_pages = reflect(kServices, 500);
      for (int step = 0; step < 120; ++step) {
        for (unsigned i = random() % 6; i > 0; --i) {
          const std::string name = "web-" + std::to_string(random() % 60);
          random() % 3 == 0 ? remove(name) : put(name);
        }
        make_trouble(*server_, random);
        // Sometimes the clients get to see it, sometimes trouble comes thick.
        if (step % 4 == 0) expect_equal(large_pages);
        if (step % 10 == 0) expect_equal(small_pages);
      }
      server_->clear_faults();
      for (const Mirror* mirror : {&small_pages, &large_pages}) {
        expect_equal(*mirror);
        EXPECT_EQ(mirror->repeated(), 0);
      }
      // No matter what chance has made of it so far: a garbled line and an expired version for
      // both.
      EXPECT_TRUE(
          eventually([&] { return server_->send_to_watches(kServices, "garbage\n") == 2; }));
      EXPECT_TRUE(
          eventually([&] { return small_pages.malformed() > 0 && large_pages.malformed() > 0; }));
      // A watch that is just being renewed does not notice, so more than once if need be.
      for (int i = 0; i < 50 && server_->counters().expired == 0; ++i) {
        expect_equal(small_pages);
        expect_equal(large_pages);
        expire_watches();
      }
      EXPECT_GT(server_->counters().expired, 0u);
      for (const Mirror* mirror : {&small_pages, &large_pages}) {
        expect_equal(*mirror);
        EXPECT_EQ(mirror->repeated(), 0);
        EXPECT_GT(mirror->lists(), 1);
      }
      stop();
    }
  }
}

}  // namespace
}  // namespace fairlead::client
