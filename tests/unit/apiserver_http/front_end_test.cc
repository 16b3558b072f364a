// The front end over loopback HTTP, in front of a registry in memory.
#include "control/apiserver/front_end.h"

#include <fmt/core.h>
#include <gmock/gmock.h>

#include <mutex>
#include <thread>

#include "../net/net_test_support.h"
#include "control/apiserver/worker_pool.h"
#include "control/schema/json_text.h"
#include "fake_registry.h"

namespace fairlead::apiserver {
namespace {

using net::CurlAnswer;
using net::CurlRequest;
using net::Event;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr size_t kMaxWatches = 500;

auth::Authentication authentication() {
  std::vector<std::unique_ptr<auth::Authenticator>> list;
  list.push_back(std::move(auth::make_token_authenticator("secret,ann,1,dev", "tokens")).value());
  return auth::Authentication(std::move(list));
}

class ApiFrontEnd : public ::testing::Test {
 protected:
  explicit ApiFrontEnd(size_t max_backlog = size_t{128} << 20) : authentication_(authentication()) {
    authorizer_ = auth::make_authenticated_authorizer();
    FrontEndOptions options;
    options.address = "127.0.0.1:6443";
    options.version = "v1.30.0+test";
    options.max_reads = 4;
    options.max_writes = 4;
    options.max_watches = kMaxWatches;
    front_ = std::make_unique<FrontEnd>(
        options, registry_, authentication_, *authorizer_,
        [this](std::function<void()> job) { pool_.post(std::move(job)); });
    net::ServerOptions transport;
    transport.max_backlog = max_backlog;
    auto server = net::Server::start(transport, [this](const net::HttpRequest& request,
                                                       std::unique_ptr<net::Responder> responder) {
      front_->handle(request, std::move(responder));
    });
    EXPECT_TRUE(server.ok()) << server.status().message();
    server_ = std::move(server).value();
  }
  ~ApiFrontEnd() override {
    registry_.hold(false);
    server_.reset();
    front_.reset();
  }

  CurlRequest request(std::string_view path, std::string_view method = "GET") const {
    CurlRequest request;
    request.url = fmt::format("http://127.0.0.1:{}{}", server_->port(), path);
    request.method = method;
    request.headers = {"Authorization: Bearer secret"};
    return request;
  }
  CurlAnswer get(std::string_view path, std::string_view accept = "") const {
    CurlRequest asked = request(path);
    if (!accept.empty()) asked.headers.push_back(fmt::format("Accept: {}", accept));
    return perform(asked);
  }
  CurlAnswer send(std::string_view method, std::string_view path, std::string body,
                  std::string_view type = "application/json") const {
    CurlRequest asked = request(path, method);
    asked.body = std::move(body);
    asked.headers.push_back(fmt::format("Content-Type: {}", type));
    return perform(asked);
  }
  void put_config_map(const std::string& name) const {
    const CurlAnswer answer =
        send("POST", kConfigMaps,
             fmt::format(R"({{"metadata":{{"name":"{}","namespace":"d"}}}})", name));
    ASSERT_EQ(answer.status, 201) << answer.body;
  }
  void emit(std::string_view name, int revision, size_t padding = 0) {
    const schema::Resource& resource = *schema::find_resource("", "v1", "configmaps");
    WatchEvent event;
    event.object = object_from(
        resource,
        fmt::format(R"({{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{}",)"
                    R"("resourceVersion":"{}"}},"data":{{"p":"{}"}}}})",
                    name, revision, std::string(padding, 'x')),
        revision);
    event.revision = revision;
    registry_.emit(std::move(event));
  }
  bool wait_for_watches(size_t count) const {
    for (int i = 0; i < 2000 && registry_.watches() != count; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return registry_.watches() == count;
  }

  static constexpr std::string_view kConfigMaps = "/api/v1/namespaces/d/configmaps";
  FakeRegistry registry_;
  WorkerPool pool_{2};
  auth::Authentication authentication_;
  std::unique_ptr<auth::Authorizer> authorizer_;
  std::unique_ptr<FrontEnd> front_;
  std::unique_ptr<net::Server> server_;
};

TEST_F(ApiFrontEnd, WhoPresentsNothingIsRefused) {
  CurlRequest asked = request("/api/v1/pods");
  asked.headers.clear();
  const CurlAnswer answer = perform(asked);
  EXPECT_EQ(answer.status, 401);
  EXPECT_THAT(answer.body, HasSubstr(R"("reason":"Unauthorized")"));
  for (const char* path : {"/healthz", "/readyz", "/livez", "/version"}) {
    asked.url = request(path).url;
    EXPECT_EQ(perform(asked).status, 200) << path;
  }
  asked = request("/api/v1/pods");
  asked.headers = {"Accept: application/vnd.kubernetes.protobuf, application/json"};
  EXPECT_THAT(perform(asked).body, StartsWith("k8s"));
  asked = request("/api/v1/pods");
  asked.headers.emplace_back("Impersonate-User: bob");
  EXPECT_EQ(perform(asked).status, 403);
}

TEST_F(ApiFrontEnd, Statuses) {
  struct Case {
    const char* method;
    const char* path;
    long status;  // NOLINT: as libcurl
  };
  const Case cases[] = {
      {"GET", "/api/v1/namespaces/d/configmaps/none", 404},
      {"GET", "/api/v1/nothings", 404},
      {"GET", "/apis/apps/v7/deployments", 404},
      {"GET", "/nowhere", 404},
      {"GET", "/api/v1/namespaces/d/nodes", 404},
      {"GET", "/api/v1/namespaces/d/pods/p/nothing", 404},
      {"POST", "/api/v1/configmaps", 405},
      {"POST", "/api/v1/namespaces/d/configmaps/name", 405},
      {"PUT", "/api/v1/namespaces/d/configmaps", 405},
      {"BREW", "/api/v1/namespaces/d/configmaps", 405},
      {"GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405},
      {"GET", "/api/v1/pods?limit=x", 400},
      {"GET", "/api/v1/pods?watch=true&timeoutSeconds=x", 400},
      {"GET", "/readyz/none", 404},
      {"DELETE", "/api/v1/namespaces//configmaps", 404},
      {"GET", "/api/v1/namespaces/a/namespaces/b", 404},
      {"POST", "/api/v1/watch/pods", 405},
      {"HEAD", "/api/v1/pods?watch=true", 405},
  };
  for (const Case& each : cases) {
    const CurlAnswer answer = perform(request(each.path, each.method));
    EXPECT_EQ(answer.status, each.status) << each.method << " " << each.path << answer.body;
  }
  EXPECT_EQ(get("/api/v1/pods", "text/html").status, 406);
  EXPECT_EQ(send("PATCH", "/api/v1/namespaces/d/configmaps/a", "{}").status, 415);
  EXPECT_EQ(send("POST", kConfigMaps, "{", "application/json").status, 400);
  EXPECT_EQ(send("POST", kConfigMaps, "x", "image/png").status, 415);
  EXPECT_EQ(send("POST", kConfigMaps, std::string((size_t{3} << 20) + 10, ' ')).status, 413);
}

TEST_F(ApiFrontEnd, ObjectsInEveryForm) {
  put_config_map("one");
  const std::string one = std::string(kConfigMaps) + "/one";
  EXPECT_THAT(get(one).body, HasSubstr(R"("kind":"ConfigMap")"));
  EXPECT_THAT(get(one, "application/yaml").body, HasSubstr("kind: ConfigMap\n"));
  EXPECT_THAT(get(one, "application/vnd.kubernetes.protobuf").body, StartsWith("k8s"));
  const std::string table = "application/json;as=Table;v=v1;g=meta.k8s.io";
  EXPECT_THAT(get(one, table).body, HasSubstr(R"("kind":"Table")"));
  EXPECT_THAT(get(one, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").body,
              HasSubstr(R"("kind":"PartialObjectMetadata")"));
  const CurlAnswer list = get(kConfigMaps);
  EXPECT_THAT(list.body, StartsWith(R"({"kind":"ConfigMapList","apiVersion":"v1",)"));
  EXPECT_TRUE(schema::parse_json(list.body).ok());
  EXPECT_THAT(get(kConfigMaps, table).head, HasSubstr("as=Table;g=meta.k8s.io;v=v1"));
  EXPECT_THAT(get(kConfigMaps, "application/vnd.kubernetes.protobuf").body, StartsWith("k8s"));
  EXPECT_THAT(
      get(kConfigMaps, "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").body,
      HasSubstr(R"("kind":"PartialObjectMetadataList")"));
  EXPECT_THAT(get(std::string(kConfigMaps) + "/none", "application/vnd.kubernetes.protobuf").body,
              StartsWith("k8s"));
}

TEST_F(ApiFrontEnd, WritesCarryTheirContext) {
  const CurlAnswer created =
      send("POST", std::string(kConfigMaps) + "?fieldManager=me&fieldValidation=Strict",
           R"({"metadata":{"name":"a"}})");
  EXPECT_THAT(created.head, HasSubstr(R"(warning: 299 - "unknown field \"spec.\\x\"")"));
  EXPECT_EQ(registry_.seen().context.field_manager, "me");
  EXPECT_EQ(registry_.seen().context.user.name, "ann");
  EXPECT_EQ(registry_.seen().context.field_validation, schema::FieldValidation::kStrict);

  const std::string a = std::string(kConfigMaps) + "/a";
  const std::string apply = "application/apply-patch+yaml";
  EXPECT_EQ(send("PATCH", a, "kind: ConfigMap", apply).status, 400);
  EXPECT_EQ(send("PATCH", a + "?force=true", "{}", "application/merge-patch+json").status, 400);
  EXPECT_EQ(send("PATCH", a + "?fieldManager=x&force=true", "kind: ConfigMap", apply).status, 200);
  EXPECT_EQ(registry_.seen().patch, PatchType::kApply);
  EXPECT_TRUE(registry_.seen().force);

  EXPECT_EQ(send("DELETE", a, R"({"propagationPolicy":"Orphan","dryRun":["All"]})").status, 200);
  EXPECT_EQ(registry_.seen().deletion.propagation, "Orphan");
  EXPECT_TRUE(registry_.seen().context.dry_run);
}

TEST_F(ApiFrontEnd, RemovalsThatAreHeldUpAreAcceptedOnlyInTheOldWords) {
  put_config_map("held-up");
  put_config_map("free");
  const std::string held_up = std::string(kConfigMaps) + "/held-up";
  EXPECT_EQ(perform(request(held_up, "DELETE")).status, 200);
  EXPECT_EQ(perform(request(held_up + "?orphanDependents=true", "DELETE")).status, 200);
  EXPECT_EQ(perform(request(held_up + "?orphanDependents=false", "DELETE")).status, 202);
  EXPECT_EQ(send("DELETE", held_up, R"({"orphanDependents":false})").status, 202);
  EXPECT_EQ(
      perform(request(std::string(kConfigMaps) + "/free?orphanDependents=false", "DELETE")).status,
      200);
}

TEST_F(ApiFrontEnd, RefusedWatchesSayWhenToComeAgainAndAreCounted) {
  registry_.refuse_watches(
      from_status(Status::error(StatusCode::kUnavailable, "read", "store", "it is away")));
  const CurlAnswer answer = get(std::string(kConfigMaps) + "?watch=true");
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.head, HasSubstr("retry-after: 1"));
  const std::string page = get("/metrics").body;
  EXPECT_THAT(page, HasSubstr(R"(verb="WATCH")"));
  EXPECT_THAT(page, HasSubstr(R"(code="503")"));
  EXPECT_THAT(page, Not(HasSubstr(R"(code="200")")));
}

TEST_F(ApiFrontEnd, DrainWaitsUntilAnswersAreSent) {
  for (int i = 0; i < 8; ++i) {  // a list of 20 MiB: more than the sockets hold
    const std::string text(size_t{5} << 19, 'x');
    ASSERT_EQ(send("POST", kConfigMaps,
                   fmt::format(R"({{"metadata":{{"name":"c{}","namespace":"d"}},)"
                               R"("data":{{"t":"{}"}}}})",
                               i, text))
                  .status,
              201);
  }
  net::RawClient reader(server_->port());
  reader.send("GET " + std::string(kConfigMaps) +
              " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n");
  EXPECT_THAT(reader.read_until("ConfigMapList"), HasSubstr("ConfigMapList"));
  EXPECT_FALSE(front_->drain(std::chrono::milliseconds(300)));
  reader.read_until("]}");  // of the list
  EXPECT_TRUE(front_->drain(std::chrono::seconds(10)));
}

TEST_F(ApiFrontEnd, Pages) {
  const auto kind = [this](std::string_view path, std::string_view accept = "") {
    const CurlAnswer answer = get(path, accept);
    EXPECT_EQ(answer.status, 200) << path;
    auto json = schema::parse_json(answer.body, {size_t{64} << 20, 300});
    return json ? std::string(json->root.get("kind").as_string()) : "unreadable";
  };
  EXPECT_EQ(kind("/api"), "APIVersions");
  EXPECT_EQ(kind("/apis"), "APIGroupList");
  EXPECT_EQ(kind("/apis/apps"), "APIGroup");
  EXPECT_EQ(kind("/apis/apps/v1"), "APIResourceList");
  EXPECT_EQ(kind("/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
            "APIGroupDiscoveryList");
  EXPECT_THAT(get("/version").body, HasSubstr(R"("minor":"30","gitVersion":"v1.30.0+test")"));
  EXPECT_THAT(get("/metrics").body, HasSubstr("apiserver_request_total"));
  EXPECT_THAT(get("/readyz?verbose").body, HasSubstr("[+]ping ok"));
  const CurlAnswer index = get("/openapi/v3");
  EXPECT_THAT(index.body, HasSubstr("/openapi/v3/apis/apps/v1?hash="));
  EXPECT_EQ(get("/openapi/v3/apis/apps/v1").status, 200);
  const CurlAnswer openapi =
      get("/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf");
  const size_t tag = openapi.head.find("etag: ");
  ASSERT_NE(tag, std::string::npos);
  CurlRequest again = request("/openapi/v2");
  again.headers.emplace_back("Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf");
  again.headers.push_back("If-None-Match: " +
                          openapi.head.substr(tag + 6, openapi.head.find('\r', tag) - tag - 6));
  EXPECT_EQ(perform(again).status, 304);
}

TEST_F(ApiFrontEnd, Reviews) {
  const std::string base = "/apis/authorization.k8s.io/v1/";
  const CurlAnswer access =
      send("POST", base + "selfsubjectaccessreviews",
           R"({"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}})");
  EXPECT_EQ(access.status, 201);
  EXPECT_THAT(access.body, HasSubstr(R"("allowed":true)"));
  EXPECT_THAT(send("POST", base + "subjectaccessreviews",
                   R"({"spec":{"user":"x","nonResourceAttributes":{"verb":"get","path":"/"}}})")
                  .body,
              HasSubstr(R"("allowed":false)"));
  EXPECT_EQ(send("POST", base + "subjectaccessreviews", R"({"spec":{"user":"x"}})").status, 400);
  EXPECT_THAT(send("POST", base + "selfsubjectrulesreviews", R"({"spec":{"namespace":"d"}})").body,
              HasSubstr(R"("resources":["*"])"));
  const std::string who = "/apis/authentication.k8s.io/v1/";
  EXPECT_THAT(send("POST", who + "selfsubjectreviews", "{}").body,
              HasSubstr(R"("username":"ann")"));
  EXPECT_THAT(send("POST", who + "tokenreviews", R"({"spec":{"token":"secret"}})").body,
              HasSubstr(R"("authenticated":true)"));
  EXPECT_THAT(send("POST", who + "tokenreviews", R"({"spec":{"token":"other"}})").body,
              Not(HasSubstr(R"("authenticated":true)")));
  EXPECT_THAT(
      send("POST", who + "tokenreviews", R"({"spec":{"token":"secret","audiences":["vault"]}})")
          .body,
      Not(HasSubstr(R"("authenticated":true)")));
  EXPECT_THAT(
      send("POST", who + "tokenreviews",
           R"({"spec":{"token":"secret","audiences":["vault","https://kubernetes.default.svc"]}})")
          .body,
      HasSubstr(R"("audiences":["https://kubernetes.default.svc"])"));
}

TEST_F(ApiFrontEnd, WatchEndsWithTheServersDrain) {
  std::string seen;
  Event first;
  CurlRequest asked = request(std::string(kConfigMaps) + "?watch=true&allowWatchBookmarks=true");
  asked.on_data = [&](std::string_view data) {
    seen += data;
    if (seen.find("BOOKMARK") == std::string::npos && !seen.empty()) first.set();
    return true;
  };
  CurlAnswer answer;
  std::thread client([&] { answer = perform(asked); });
  EXPECT_TRUE(wait_for_watches(1));
  emit("a", 5);
  EXPECT_TRUE(first.wait());
  EXPECT_TRUE(front_->drain(std::chrono::seconds(10)));
  client.join();
  EXPECT_EQ(answer.result, 0) << answer.error;
  EXPECT_THAT(seen, StartsWith(R"({"type":"ADDED","object":{"kind":"ConfigMap")"));
  EXPECT_EQ(registry_.watches(), 0u);
  EXPECT_EQ(get("/readyz").status, 500);
  EXPECT_EQ(get("/livez").status, 200);
  EXPECT_EQ(get(std::string(kConfigMaps) + "?watch=true").status, 503);
}

TEST_F(ApiFrontEnd, GoesOnlyWhenNothingIsUnderWay) {
  std::mutex mutex;
  std::vector<std::function<void()>> jobs;
  const auto run_jobs = [&mutex, &jobs] {
    std::vector<std::function<void()>> taken;
    {
      const std::lock_guard lock(mutex);
      taken.swap(jobs);
    }
    for (const auto& job : taken) job();
    return !taken.empty();
  };
  auto front = std::make_unique<FrontEnd>(FrontEndOptions(), registry_, authentication_,
                                          *authorizer_, [&mutex, &jobs](std::function<void()> job) {
                                            const std::lock_guard lock(mutex);
                                            jobs.push_back(std::move(job));
                                          });
  Event came;
  auto server = net::Server::start(
      {}, [&front, &came](const net::HttpRequest& request, std::unique_ptr<net::Responder> answer) {
        front->handle(request, std::move(answer));
        came.set();
      });
  ASSERT_TRUE(server.ok());
  net::RawClient client((*server)->port());
  client.send("GET " + std::string(kConfigMaps) +
              "?watch=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n");
  ASSERT_TRUE(came.wait());
  std::atomic<bool> gone{false};
  std::thread destroyer([&front, &gone] {
    front.reset();
    gone = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE(gone);  // the watch waits for its turn on a worker
  while (!gone) {
    if (!run_jobs()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  destroyer.join();
  EXPECT_THAT(client.read_until("0\r\n\r\n"), HasSubstr("HTTP/1.1 200"));
  server->reset();
  while (run_jobs()) {
  }
}

TEST_F(ApiFrontEnd, APortThatAsksNobodyIsNotForBrowsers) {
  FrontEndOptions options;
  options.everybody = std::make_shared<const auth::User>(
      auth::User{"any", "", {std::string(auth::kAuthenticated)}, {}});
  FrontEnd open(options, registry_, authentication_, *authorizer_,
                [this](std::function<void()> job) { pool_.post(std::move(job)); });
  auto server = net::Server::start(
      {}, [&open](const net::HttpRequest& request, std::unique_ptr<net::Responder> responder) {
        open.handle(request, std::move(responder));
      });
  ASSERT_TRUE(server.ok());
  const auto status = [&server](const std::string& header) {
    CurlRequest asked;
    asked.url = fmt::format("http://127.0.0.1:{}{}", (*server)->port(), kConfigMaps);
    asked.headers = {header};
    return perform(asked).status;
  };
  EXPECT_EQ(status("X: y"), 200);
  EXPECT_EQ(status("Host: localhost:8080"), 200);
  EXPECT_EQ(status("Host: [::1]:8080"), 200);
  EXPECT_EQ(status("Host: rebound.example"), 403);
  EXPECT_EQ(status("Origin: https://evil.example"), 403);
  server->reset();
}

class ApiFrontEndWithLittleRoom : public ApiFrontEnd {
 protected:
  ApiFrontEndWithLittleRoom() : ApiFrontEnd(size_t{3} << 20) {}
};

TEST_F(ApiFrontEndWithLittleRoom, ABatchOfLargeObjectsIsNoReasonToCutAWatch) {
  constexpr int kEvents = 200;
  for (int i = 1; i <= kEvents; ++i) emit("cm-" + std::to_string(i), i, size_t{128} << 10);
  net::RawClient client(server_->port());
  ASSERT_TRUE(
      client.send("GET " + std::string(kConfigMaps) +
                  "?watch=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n"));
  ASSERT_TRUE(wait_for_watches(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // what comes at once has come
  for (int i = 1; i <= kEvents; ++i) {
    const std::string marker = fmt::format(R"("resourceVersion":"{}")", i);
    ASSERT_THAT(client.read_until(marker), HasSubstr(marker));
  }
}

TEST_F(ApiFrontEnd, ExpiredWatchSaysSoInTheStream) {
  std::thread expire([this] {
    if (wait_for_watches(1)) registry_.expire_watches();
  });
  const CurlAnswer answer = get(std::string(kConfigMaps) + "?watch=true");
  expire.join();
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr(R"({"type":"ERROR","object":)"));
  EXPECT_THAT(answer.body, HasSubstr(R"("code":410)"));
}

TEST_F(ApiFrontEnd, TooManyAtATime) {
  put_config_map("a");
  registry_.hold(true);
  std::vector<std::thread> clients;
  std::atomic<int> answered{0};
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] {
      // The requests below may have taken the place for a moment.
      while (get(std::string(kConfigMaps) + "/a").status != 200) std::this_thread::yield();
      ++answered;
    });
  }
  CurlAnswer refused;
  for (int i = 0; i < 5000 && refused.status != 429; ++i) {
    refused = perform(request("/version?" + std::to_string(i)));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(refused.status, 429);
  EXPECT_THAT(refused.head, HasSubstr("retry-after: 1"));
  registry_.hold(false);
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(answered, 4);
}

TEST_F(ApiFrontEnd, OpenWatchesAreCounted) {
  std::vector<std::unique_ptr<net::RawClient>> clients;
  const auto watch = [&] {
    clients.push_back(std::make_unique<net::RawClient>(server_->port()));
    EXPECT_TRUE(clients.back()->send(
        "GET " + std::string(kConfigMaps) +
        "?watch=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n"));
    return clients.back()->read_until("\r\n\r\n");
  };
  for (size_t i = 0; i < kMaxWatches; ++i) EXPECT_THAT(watch(), HasSubstr(" 200 "));
  EXPECT_THAT(watch(), HasSubstr(" 429 "));
  clients.clear();
  EXPECT_TRUE(wait_for_watches(0));
  bool room = false;
  for (int i = 0; i < 1000 && !room; ++i) room = watch().find(" 200 ") != std::string::npos;
  EXPECT_TRUE(room);
}

TEST_F(ApiFrontEnd, SlowWatcherCostsNoMemoryAndLosesNothing) {
  constexpr int kEvents = 400;
  constexpr size_t kPadding = 64 << 10;  // 25 MiB in all: more than the sockets hold
  net::RawClient client(server_->port());
  ASSERT_TRUE(
      client.send("GET " + std::string(kConfigMaps) +
                  "?watch=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n"));
  ASSERT_TRUE(wait_for_watches(1));
  for (int i = 1; i <= kEvents; ++i) emit("cm-" + std::to_string(i), i, kPadding);
  for (int i = 1; i <= kEvents; ++i) {
    const std::string marker = fmt::format(R"("resourceVersion":"{}")", i);
    ASSERT_THAT(client.read_until(marker), HasSubstr(marker));
  }
  client.reset();
  EXPECT_TRUE(wait_for_watches(0));
}

TEST_F(ApiFrontEnd, ManyIdleWatchesSeeTheOneChange) {
  constexpr size_t kWatches = kMaxWatches;
  std::vector<std::unique_ptr<net::RawClient>> clients;
  for (size_t i = 0; i < kWatches; ++i) {
    clients.push_back(std::make_unique<net::RawClient>(server_->port()));
    ASSERT_TRUE(clients.back()->send(
        "GET " + std::string(kConfigMaps) +
        "?watch=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n"));
  }
  ASSERT_TRUE(wait_for_watches(kWatches));
  emit("the-one", 3);
  for (const auto& client : clients) {
    EXPECT_THAT(client->read_until("the-one"), HasSubstr("the-one"));
  }
  clients.clear();
  EXPECT_TRUE(wait_for_watches(0));
}

}  // namespace
}  // namespace fairlead::apiserver
