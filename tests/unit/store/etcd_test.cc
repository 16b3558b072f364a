// What only the store over etcd has: members that come and go, several API servers, TLS, answers
// that cannot be.
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "control/net/certificates.h"
#include "control/store/etcd/etcd_store.h"
#include "control/store/open.h"
#include "tests/unit/store/calls.h"
#include "tests/unit/store/etcd_server.h"

// The resolver's library, which gRPC uses, keeps a few bytes at exit.
extern "C" const char* __lsan_default_suppressions();  // NOLINT: the sanitizer's name
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libcares";
}

namespace fairlead::store {
namespace {

class EtcdTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!etcd_is_installed()) GTEST_SKIP() << "etcd is not installed";
  }

  static std::unique_ptr<EtcdServer> start(std::vector<std::string> extra = {}) {
    return EtcdServer::start(std::move(extra)).value();
  }
  static std::unique_ptr<EtcdStore> open(const EtcdServer& server, const std::string& location,
                                         HistoryLimits history = HistoryLimits()) {
    EtcdOptions options = server.options(location);
    options.history = history;
    return EtcdStore::open(options).value();
  }
  static TestWatch watch(Store& store, Revision start = 0) {
    WatchRequest request;
    request.start = start;
    return TestWatch::open(store, request).value();
  }
  // Until the store answers again.
  static std::string list_when_back(Store& store) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
      const std::string text = Calls(store).list("/");
      if (text != "unavailable" || std::chrono::steady_clock::now() > deadline) return text;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
};

TEST_F(EtcdTest, ServersSeeEachOthersWritesAtOnceAndInOrder) {
  const std::string location = shared_etcd()->fresh_location();
  std::vector<std::unique_ptr<EtcdStore>> servers;
  for (int i = 0; i < 3; ++i) servers.push_back(open(*shared_etcd(), location));
  std::vector<TestWatch> watches;
  for (const auto& server : servers) watches.push_back(watch(*server));
  std::string expected;
  for (int i = 0; i < 30; ++i) {
    const std::string value = std::to_string(i);
    ASSERT_TRUE(Calls(*servers[i % 3]).put("/a", value).value().applied);
    ASSERT_EQ(Calls(*servers[(i + 1) % 3]).list("/"), "/a=" + value);
    expected += (i == 0 ? "" : ", ") + ("put /a=" + value) +
                (i == 0 ? "" : " (was " + std::to_string(i - 1) + ")");
  }
  for (TestWatch& each : watches) EXPECT_EQ(each.next(30), expected);
}

TEST_F(EtcdTest, RevisionOfOneServerIsGoodAtAnother) {
  const std::string location = shared_etcd()->fresh_location();
  const auto first = open(*shared_etcd(), location);
  const Revision old = Calls(*first).put("/a", "1").value().revision;
  const Revision next = Calls(*first).put("/a", "2").value().revision;
  const auto second = open(*shared_etcd(), location);  // began after both
  EXPECT_EQ(Calls(*second).list("/", old), "/a=1");
  EXPECT_EQ(Calls(*second).list("/", next), "/a=2");
  const Revision newest = Calls(*first).put("/b", "1").value().revision;
  EXPECT_EQ(Calls(*second).list("/", newest), "/a=2 /b=1");
}

TEST_F(EtcdTest, PrefixesAreApart) {
  const std::string location = shared_etcd()->fresh_location();
  const auto here = open(*shared_etcd(), location);
  const auto there = open(*shared_etcd(), location + "x");
  TestWatch all = watch(*here);
  ASSERT_TRUE(Calls(*there).put("/theirs", "1").ok());
  ASSERT_TRUE(Calls(*here).put("/ours", "1").ok());
  EXPECT_EQ(Calls(*here).list("/"), "/ours=1");
  EXPECT_EQ(all.next(1), "put /ours=1");
}

TEST_F(EtcdTest, WatchGoesOnBehindARestart) {
  const auto server = start();
  const std::string location = server->fresh_location();
  const auto store = open(*server, location);
  TestWatch all = watch(*store);
  Calls(*store).put("/a", "1").value();
  EXPECT_EQ(all.next(1), "put /a=1");
  server->kill();
  EXPECT_EQ(Calls(*store).put("/a", "no").status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(Calls(*store).list("/"), "unavailable");
  EXPECT_EQ(store->health().code(), StatusCode::kUnavailable);
  RangeRequest cached;
  cached.key = "/a";
  cached.allow_cached = true;
  EXPECT_EQ(Calls(*store).range(cached)->entries.size(), 1U);
  ASSERT_TRUE(server->start_again().ok());
  EXPECT_EQ(list_when_back(*store), "/a=1");
  Calls(*store).put("/a", "2").value();
  EXPECT_EQ(all.next(1), "put /a=2 (was 1)");
  EXPECT_TRUE(store->health().ok());
}

// While this server is cut off, others write and compact: there is nothing to go on from.
TEST_F(EtcdTest, CompactedMeanwhileMeansANewList) {
  const auto server = start();
  const std::string location = server->fresh_location();
  const auto cut_off = open(*server, location);
  Calls(*cut_off).put("/a", "1").value();
  Calls(*cut_off).put("/b", "1").value();
  TestWatch all = watch(*cut_off);
  server->kill();
  // Wait for the stream's end to be noticed, so that the feed is in its backoff or tries in vain.
  while (cut_off->health().ok()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  server->move();
  ASSERT_TRUE(server->start_again().ok());
  {
    const auto other =
        open(*server, "etcd://" + server->address() + location.substr(location.rfind('/')));
    Calls(*other).remove("/a").value();
    const Revision last = Calls(*other).put("/b", "2").value().revision;
    ASSERT_TRUE(Calls(*other).compact(last).ok());
  }
  server->kill();
  server->move_back();
  ASSERT_TRUE(server->start_again().ok());
  EXPECT_EQ(list_when_back(*cut_off), "/b=2");
  EXPECT_EQ(all.next(1), "[expired]");
}

TEST_F(EtcdTest, AnotherEndpointTakesOver) {
  const auto server = start();
  EtcdOptions options = server->options(server->fresh_location());
  // Nobody listens at the first two.
  options.address.endpoints = {"127.0.0.1:1", "localhost:1", server->address()};
  const auto store = EtcdStore::open(options).value();
  EXPECT_TRUE(Calls(*store).put("/a", "1").value().applied);
  EXPECT_EQ(Calls(*store).list("/"), "/a=1");
  const LeaseId lease = Calls(*store).grant(60).value().id;
  EXPECT_TRUE(Calls(*store).keep_alive(lease).ok());
}

TEST_F(EtcdTest, NobodyThereIsAnErrorThatSaysSo) {
  EtcdOptions options;
  options.address = parse_etcd_address("etcd://127.0.0.1:1").value();
  options.connect_timeout = std::chrono::milliseconds(300);
  const Status status = EtcdStore::open(options).status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("failed to connect"), std::string::npos) << status.message();
}

TEST_F(EtcdTest, TooLargeForEtcd) {
  const auto store = open(*shared_etcd(), shared_etcd()->fresh_location());
  EXPECT_EQ(Calls(*store).put("/a", std::string(size_t{3} << 20, 'x')).status().code(),
            StatusCode::kInvalid);
}

TEST_F(EtcdTest, FullEtcdRefusesWritesAndServesReads) {
  const auto server = start({"--quota-backend-bytes=2000000"});
  const auto store = open(*server, server->fresh_location());
  const auto put = [&store](int number) {
    return Calls(*store).put("/" + std::to_string(number), std::string(30'000, 'x')).status();
  };
  const auto entries = [&store] {
    RangeRequest all;
    all.end = kNoEnd;
    return static_cast<int>(Calls(*store).range(all)->entries.size());
  };
  int written = 0;
  Status refused;
  while ((refused = put(written)).ok()) ++written;
  EXPECT_EQ(refused.code(), StatusCode::kExhausted) << refused.message();
  EXPECT_TRUE(may_have_happened(refused));
  // Room is asked for before the change is proposed and after it was applied, and the second
  // refusal comes with a change that stays. From then on nothing is applied.
  const int stored = entries();
  EXPECT_TRUE(stored == written || stored == written + 1) << stored << " of " << written;
  EXPECT_EQ(put(written + 1).code(), StatusCode::kExhausted);
  EXPECT_EQ(entries(), stored);
}

// A list of several pages, and entries that are older than the page size.
TEST_F(EtcdTest, ListsInPages) {
  const std::string location = shared_etcd()->fresh_location();
  {
    const auto writer = open(*shared_etcd(), location);
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 8; ++thread) {
      threads.emplace_back([&, thread] {
        for (int i = thread; i < 2345; i += 8)
          Calls(*writer).put("/" + std::to_string(i), "v").value();
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  const auto reader = open(*shared_etcd(), location);
  RangeRequest all;
  all.end = kNoEnd;
  all.count_only = true;
  EXPECT_EQ(Calls(*reader).range(all)->count, 2345U);
}

TEST_F(EtcdTest, TlsWithClientCertificates) {
  const Scratch scratch;
  const auto write = [&](const std::string& name, const std::string& text) {
    std::ofstream(scratch.path(name)) << text;
    return scratch.path(name);
  };
  const auto authority = net::CertificateAuthority::create("etcd-ca").value();
  net::LeafRequest leaf;
  leaf.common_name = "etcd";
  leaf.ip_addresses = {"127.0.0.1"};
  leaf.server = leaf.client = true;
  const net::CertifiedKey server_key = authority.issue(leaf).value();
  leaf.common_name = "fairlead";
  leaf.server = false;
  const net::CertifiedKey client_key = authority.issue(leaf).value();
  const std::string ca = write("ca.crt", authority.certificate_pem());
  const auto server =
      EtcdServer::start({"--cert-file=" + write("server.crt", server_key.certificate_pem),
                         "--key-file=" + write("server.key", server_key.key_pem),
                         "--trusted-ca-file=" + ca, "--client-cert-auth"},
                        "https")
          .value();

  const std::string where = "etcd://" + server->address();
  StoreTls tls;
  tls.ca_file = ca;
  tls.certificate_file = write("client.crt", client_key.certificate_pem);
  tls.key_file = write("client.key", client_key.key_pem);
  const auto store = open_store(where, tls).value();
  EXPECT_TRUE(Calls(*store).put("/a", "1").value().applied);
  EXPECT_EQ(Calls(*store).list("/"), "/a=1");

  EtcdOptions without = server->options(where);
  without.connect_timeout = std::chrono::milliseconds(500);
  without.tls.ca_file = ca;
  EXPECT_EQ(EtcdStore::open(without).status().code(), StatusCode::kUnavailable);
}

TEST(OpenStore, RefusesWhatItCannotOpen) {
  const auto refused = [](std::string_view where, const StoreTls& tls = {}) {
    return open_store(where, tls).status().message();
  };
  EXPECT_EQ(refused("").substr(0, 10), "open store");
  EXPECT_NE(refused("http://127.0.0.1:1").find("neither"), std::string::npos);
  EXPECT_NE(refused("etcd://").find("is not host:port"), std::string::npos);
  EXPECT_NE(refused("etcd://a:1,b").find("\"b\" is not host:port"), std::string::npos);
  StoreTls half;
  half.ca_file = "/nonexistent/ca.crt";
  half.key_file = "/nonexistent/key";
  EXPECT_NE(refused("etcd://a:1", half).find("needs a key file"), std::string::npos);
  half.certificate_file = "/nonexistent/crt";
  EXPECT_NE(refused("etcd://a:1", half).find("/nonexistent/ca.crt"), std::string::npos);
  EXPECT_NE(refused("/tmp/store", half).find("certificates are for etcd"), std::string::npos);
}

TEST(EtcdAddress, IsParsed) {
  const auto parsed = [](std::string_view text) -> std::string {
    const Result<EtcdAddress> address = parse_etcd_address(text);
    if (!address) return "wrong";
    std::string all;
    for (const std::string& endpoint : address->endpoints) all += endpoint + " ";
    return all + address->prefix;
  };
  EXPECT_EQ(parsed("etcd://a:1"), "a:1 ");
  EXPECT_EQ(parsed("etcd://10.0.0.1:2379,b.example:2/x/y/"), "10.0.0.1:2379 b.example:2 /x/y");
  EXPECT_EQ(parsed("etcd://[::1]:2379/"), "[::1]:2379 ");
  for (const char* wrong : {"etcd://", "etcd://a", "etcd://:1", "etcd://a:0", "etcd://a:65536",
                            "etcd://a:1,", "etcd://a:x", "etcd://a b:1", "etcd://[::1:1",
                            "etcd://a:1/x?y", "etcds://a:1", "etcd:/a:1"}) {
    EXPECT_EQ(parsed(wrong), "wrong") << wrong;
  }
}

}  // namespace
}  // namespace fairlead::store
