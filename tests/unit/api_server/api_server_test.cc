#include "tests/api_server/api_server.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client.h"
#include "control/api/decode.h"
#include "tests/api_server/objects.h"

namespace fairlead::api_server {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kServices = "/api/v1/services";

class ApiServerTest : public ::testing::Test {
 protected:
  explicit ApiServerTest(ApiServerOptions options = {}) {
    auto started = ApiServer::start(std::move(options));
    EXPECT_TRUE(started.ok()) << started.status().message();
    server_ = std::move(started).value();
  }

  Answer get(const std::string& path) const { return ask({.url = server_->url() + path}); }
  Answer send(const std::string& method, const std::string& path, const std::string& body) const {
    return ask({.url = server_->url() + path, .method = method, .body = body});
  }
  void put(const std::string& json) {
    const Status status = server_->put(json);
    EXPECT_TRUE(status.ok()) << status.message();
  }
  void put_service(const std::string& name, StringMap labels = {}) {
    put(service_json({.name = name, .labels = std::move(labels)}));
  }
  // A watch that stands before this returns.
  std::unique_ptr<Watcher> watch(const std::string& query, const std::string& path = kServices) {
    const uint64_t before = server_->counters().open_watches;
    auto watcher = std::make_unique<Watcher>(server_->url() + path + "?watch=true" + query);
    EXPECT_TRUE(
        server_->wait_until([&] { return server_->counters().open_watches == before + 1; }));
    return watcher;
  }
  std::string at(uint64_t version) const { return fmt::format("&resourceVersion={}", version); }

  struct Listed {
    std::vector<std::string> names;
    api::ListHeader header;
  };
  Listed list(const std::string& query = {}, const std::string& path = kServices) const {
    const Answer answer = get(path + query);
    EXPECT_EQ(answer.status, 200) << answer.body;
    Listed listed;
    api::Decoder decoder;
    auto header = decoder.list(
        answer.body, [&](const api::RawObject& object) { listed.names.push_back(object.name); },
        [](size_t, const Status& status) { ADD_FAILURE() << status.message(); });
    EXPECT_TRUE(header.ok());
    if (header.ok()) listed.header = std::move(header).value();
    return listed;
  }

  std::unique_ptr<ApiServer> server_;
};

TEST_F(ApiServerTest, PublicPaths) {
  for (const char* path : {"/healthz", "/livez", "/readyz"}) EXPECT_EQ(get(path).body, "ok");
  EXPECT_THAT(get("/version").body, HasSubstr("gitVersion"));
}

TEST_F(ApiServerTest, GetAndNotFound) {
  put_service("web");
  const Answer found = get("/api/v1/namespaces/default/services/web");
  EXPECT_EQ(found.status, 200);
  EXPECT_THAT(found.body, StartsWith(R"({"kind":"Service","apiVersion":"v1",)"));
  const Answer missing = get("/api/v1/namespaces/default/services/api");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(api::Decoder().status(missing.body).reason, "NotFound");
  EXPECT_EQ(get("/apis/nobody.example/v1/things").status, 404);
}

TEST_F(ApiServerTest, ListsInPagesOfOneMoment) {
  for (int i = 0; i < 5; ++i) put_service("s" + std::to_string(i));
  const Listed first = list("?limit=2");
  EXPECT_THAT(first.names, ElementsAre("s0", "s1"));
  EXPECT_THAT(get(std::string(kServices) + "?limit=2").body,
              HasSubstr(R"("remainingItemCount":3)"));
  ASSERT_TRUE(server_->remove(kServices, "default", "s3").ok());
  const Listed second = list("?limit=2&continue=" + first.header.continue_token);
  EXPECT_THAT(second.names, ElementsAre("s2", "s3"));
  EXPECT_EQ(second.header.resource_version, first.header.resource_version);
  const Listed third = list("?limit=2&continue=" + second.header.continue_token);
  EXPECT_THAT(third.names, ElementsAre("s4"));
  EXPECT_EQ(third.header.continue_token, "");
  server_->compact();
  const Answer late = get(std::string(kServices) + "?continue=" + first.header.continue_token);
  EXPECT_EQ(late.status, 410);
  EXPECT_EQ(api::Decoder().status(late.body).reason, "Expired");
  EXPECT_EQ(get(std::string(kServices) + "?continue=nonsense").status, 400);
}

TEST_F(ApiServerTest, ListItemsCarryNoKind) {
  put_service("web");
  const std::string body = get(kServices).body;
  EXPECT_THAT(body, StartsWith(R"({"kind":"ServiceList","apiVersion":"v1",)"));
  EXPECT_THAT(body, HasSubstr(R"("items":[{"metadata":{"name":"web")"));
}

TEST_F(ApiServerTest, SelectorsAndNamespaces) {
  put_service("a", {{"x", "1"}});
  put_service("b", {{"x", "2"}});
  put(service_json({.name_space = "other", .name = "c"}));
  EXPECT_THAT(list("?labelSelector=x%3D1").names, ElementsAre("a"));
  EXPECT_THAT(list("?labelSelector=%21x").names, ElementsAre("c"));
  EXPECT_THAT(list("?fieldSelector=metadata.name%3Db").names, ElementsAre("b"));
  EXPECT_THAT(list("", "/api/v1/namespaces/other/services").names, ElementsAre("c"));
  EXPECT_EQ(get(std::string(kServices) + "?labelSelector=a+in+(b)").status, 400);
}

TEST_F(ApiServerTest, ResourceVersionsOfLists) {
  put_service("a");
  const uint64_t moment = server_->version();
  put_service("b");
  EXPECT_THAT(list("?resourceVersion=0").names, ElementsAre("a", "b"));
  EXPECT_THAT(list(fmt::format("?resourceVersion={}", moment)).names, ElementsAre("a", "b"));
  EXPECT_THAT(list(fmt::format("?resourceVersion={}&resourceVersionMatch=Exact", moment)).names,
              ElementsAre("a"));
  const Answer future = get(std::string(kServices) + "?resourceVersion=1000000");
  EXPECT_EQ(future.status, 504);
  EXPECT_EQ(api::Decoder().status(future.body).retry_after_seconds, 1);
}

TEST_F(ApiServerTest, WritesAreCheckedAndRecorded) {
  const std::string path = "/apis/events.k8s.io/v1/namespaces/default/events";
  const Answer created = send("POST", path, R"({"metadata":{"generateName":"e-"},"reason":"R"})");
  EXPECT_EQ(created.status, 201);
  EXPECT_THAT(created.body, HasSubstr(R"("name":"e-)"));
  EXPECT_EQ(send("POST", path, "{").status, 400);
  EXPECT_EQ(send("POST", path, R"({"metadata":{"name":"x","namespace":"other"}})").status, 400);
  const std::vector<RecordedRequest> recorded = server_->recorded("/apis/events.k8s.io/");
  ASSERT_EQ(recorded.size(), 3u);
  EXPECT_EQ(recorded[0].method, "POST");
  EXPECT_THAT(recorded[0].body, HasSubstr("e-"));
  EXPECT_EQ(server_->size("/apis/events.k8s.io/v1/events"), 1u);
}

TEST_F(ApiServerTest, UpdateNeedsTheLatestVersion) {
  const std::string path = "/api/v1/namespaces/default/services";
  EXPECT_EQ(send("POST", path, service_json({.name = "x"})).status, 201);
  const Answer again = send("POST", path, service_json({.name = "x"}));
  EXPECT_EQ(again.status, 409);
  EXPECT_EQ(api::Decoder().status(again.body).reason, "AlreadyExists");
  const std::string stored = server_->get(kServices, "default", "x").value();
  EXPECT_EQ(send("PUT", path + "/x", stored).status, 200);
  const Answer stale = send("PUT", path + "/x", stored);
  EXPECT_EQ(stale.status, 409);
  EXPECT_EQ(api::Decoder().status(stale.body).reason, "Conflict");
  EXPECT_EQ(send("PUT", path + "/y", service_json({.name = "y"})).status, 404);
  EXPECT_EQ(send("DELETE", path + "/x", "").status, 200);
  EXPECT_EQ(send("DELETE", path + "/x", "").status, 404);
  EXPECT_EQ(send("PATCH", path + "/x", "{}").status, 405);
}

TEST_F(ApiServerTest, WatchDeliversChanges) {
  put_service("a");
  auto watcher = watch(at(server_->version()));
  put_service("b");
  put_service("b");
  ASSERT_TRUE(server_->remove(kServices, "default", "a").ok());
  EXPECT_THAT(watcher->line(), StartsWith(R"({"type":"ADDED","object":{"kind":"Service",)"));
  EXPECT_THAT(watcher->line(), StartsWith(R"({"type":"MODIFIED",)"));
  const std::string deleted = watcher->line();
  EXPECT_THAT(deleted, StartsWith(R"({"type":"DELETED",)"));
  EXPECT_THAT(deleted, HasSubstr(fmt::format(R"("resourceVersion":"{}")", server_->version())));
}

TEST_F(ApiServerTest, WatchResumesFromHistory) {
  put_service("a");
  const uint64_t moment = server_->version();
  put_service("b");
  put(node_json({}));
  put_service("c");
  auto watcher = watch(at(moment));
  EXPECT_THAT(watcher->line(), HasSubstr(R"("name":"b")"));
  EXPECT_THAT(watcher->line(), HasSubstr(R"("name":"c")"));
}

TEST_F(ApiServerTest, WatchWithoutVersionBeginsWithEverything) {
  put_service("a");
  auto watcher = watch("&allowWatchBookmarks=true&sendInitialEvents=true");
  EXPECT_THAT(watcher->line(), StartsWith(R"({"type":"ADDED",)"));
  const std::string mark = watcher->line();
  EXPECT_THAT(mark, StartsWith(R"({"type":"BOOKMARK",)"));
  const auto decoded = api::Decoder().watch_line(mark);
  ASSERT_TRUE(decoded.ok());
  EXPECT_TRUE(decoded->initial_events_end);
}

TEST_F(ApiServerTest, SelectedWatchSeesObjectsComeAndGo) {
  auto watcher = watch(at(server_->version()) + "&labelSelector=x%3D1");
  put_service("a");
  put_service("a", {{"x", "1"}});
  put_service("a", {{"x", "1"}, {"y", ""}});
  put_service("a");
  ASSERT_TRUE(server_->remove(kServices, "default", "a").ok());
  put_service("last", {{"x", "1"}});
  EXPECT_THAT(watcher->line(), StartsWith(R"({"type":"ADDED",)"));
  EXPECT_THAT(watcher->line(), StartsWith(R"({"type":"MODIFIED",)"));
  const std::string gone = watcher->line();
  EXPECT_THAT(gone, StartsWith(R"({"type":"DELETED",)"));
  EXPECT_THAT(gone, HasSubstr(R"("y":"")")) << "the last state that matched";
  EXPECT_THAT(watcher->line(), HasSubstr(R"("name":"last")"));
}

TEST_F(ApiServerTest, ExpiredWatchGetsAnErrorEvent) {
  put_service("a");
  const uint64_t moment = server_->version();
  put_service("a");
  server_->compact();
  Watcher watcher(server_->url() + kServices + "?watch=1" + at(moment));
  const auto line = api::Decoder().watch_line(watcher.line());
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(line->type, api::WatchType::kError);
  EXPECT_EQ(line->status.code, 410);
  EXPECT_TRUE(watcher.ended());
  EXPECT_EQ(server_->counters().expired, 1u);
}

TEST_F(ApiServerTest, CompactionSparesWatchesThatAreUpToDate) {
  auto watcher = watch(at(server_->version()));
  put(node_json({}));
  server_->compact();
  put_service("a");
  EXPECT_THAT(watcher->line(), StartsWith(R"({"type":"ADDED",)"));
}

TEST_F(ApiServerTest, TimeoutEndsAWatchProperlyWithABookmark) {
  Watcher watcher(server_->url() + kServices +
                  "?watch=true&resourceVersion=1&timeoutSeconds=0&allowWatchBookmarks=true");
  EXPECT_THAT(watcher.line(), StartsWith(R"({"type":"BOOKMARK",)"));
  EXPECT_TRUE(watcher.ended());
  EXPECT_EQ(watcher.result(), 0);
}

TEST_F(ApiServerTest, BookmarksOnDemand) {
  auto with = watch("&resourceVersion=1&allowWatchBookmarks=true");
  auto without = watch("&resourceVersion=1");
  put(node_json({}));
  EXPECT_EQ(server_->send_bookmarks(), 1u);
  EXPECT_THAT(with->line(),
              HasSubstr(fmt::format(R"("resourceVersion":"{}")", server_->version())));
}

TEST_F(ApiServerTest, CutWatches) {
  auto watcher = watch(at(server_->version()));
  EXPECT_EQ(server_->cut_watches("/api/v1/nodes"), 0u);
  EXPECT_EQ(server_->cut_watches(kServices, true), 1u);
  EXPECT_TRUE(watcher->ended());
  EXPECT_NE(watcher->result(), 0);
  EXPECT_THAT(watcher->rest(), StartsWith(R"({"type":"MODIFIED")"));
  EXPECT_TRUE(server_->wait_until([&] { return server_->counters().open_watches == 0; }));
}

TEST_F(ApiServerTest, PausedWatchesCatchUp) {
  auto watcher = watch(at(server_->version()));
  server_->set_watches_paused(true);
  put_service("a");
  server_->send_to_watches(kServices, "marker\n");
  EXPECT_EQ(watcher->line(), "marker");
  server_->set_watches_paused(false);
  EXPECT_THAT(watcher->line(), HasSubstr(R"("name":"a")"));
}

TEST_F(ApiServerTest, PausedWatchesExpireWhenHistoryMovesOn) {
  auto watcher = watch(at(server_->version()));
  server_->set_watches_paused(true);
  put_service("a");
  server_->compact();
  server_->set_watches_paused(false);
  EXPECT_THAT(watcher->line(), StartsWith(R"({"type":"ERROR",)"));
}

TEST_F(ApiServerTest, FaultsMeetTheRequestsTheyAreFor) {
  put_service("a");
  server_->inject(
      {.path = kServices, .verb = Verb::kList, .status = 429, .retry_after_seconds = 7});
  EXPECT_EQ(get("/api/v1/nodes").status, 200);
  const Answer first = get(kServices);
  EXPECT_EQ(first.status, 429);
  EXPECT_THAT(first.head, HasSubstr("retry-after: 7\r\n"));
  EXPECT_EQ(get(kServices).status, 200);
  EXPECT_EQ(server_->counters().faults, 1u);
}

TEST_F(ApiServerTest, MalformedAndTruncatedAnswers) {
  put_service("a");
  server_->inject({.path = kServices, .kind = Fault::Kind::kMalformed});
  const std::string malformed = get(kServices).body;
  EXPECT_FALSE(api::Decoder()
                   .list(
                       malformed, [](const auto&) {}, [](size_t, const Status&) {})
                   .ok());
  server_->inject({.path = kServices, .kind = Fault::Kind::kTruncate});
  const Answer truncated = get(kServices);
  EXPECT_NE(truncated.result, 0);
  EXPECT_FALSE(truncated.body.empty());
  server_->inject({.path = kServices, .verb = Verb::kWatch, .kind = Fault::Kind::kMalformed});
  auto watcher = watch(at(server_->version()));
  EXPECT_FALSE(api::Decoder().watch_line(watcher->line()).ok());
  put_service("b");
  EXPECT_THAT(watcher->line(), StartsWith(R"({"type":"ADDED",)"));
}

TEST_F(ApiServerTest, StalledAndDelayedAnswersComeInTheEnd) {
  put_service("a");
  server_->inject({.path = kServices, .kind = Fault::Kind::kStall});
  std::thread release([this] {
    EXPECT_TRUE(server_->wait_until([&] { return server_->counters().faults == 1; }));
    server_->clear_faults();
  });
  EXPECT_THAT(list().names, ElementsAre("a"));
  release.join();
  server_->inject(
      {.path = kServices, .kind = Fault::Kind::kDelay, .delay = std::chrono::milliseconds(20)});
  EXPECT_THAT(list().names, ElementsAre("a"));
}

TEST_F(ApiServerTest, StopsAndStartsOnTheSamePort) {
  put_service("a");
  auto watcher = watch(at(server_->version()));
  server_->stop_listening();
  EXPECT_TRUE(watcher->ended());
  EXPECT_NE(get(kServices).result, 0);
  ASSERT_TRUE(server_->start_listening().ok());
  EXPECT_THAT(list().names, ElementsAre("a"));
  server_->close_connections();
  EXPECT_THAT(list().names, ElementsAre("a"));
}

TEST_F(ApiServerTest, UnservedTypesAre404) {
  server_->set_served("/apis/networking.k8s.io/v1/servicecidrs", false);
  EXPECT_EQ(get("/apis/networking.k8s.io/v1/servicecidrs").status, 404);
  server_->set_served("/apis/networking.k8s.io/v1/servicecidrs", true);
  put(service_cidr_json({}));
  EXPECT_THAT(list("", "/apis/networking.k8s.io/v1/servicecidrs").names, ElementsAre("kubernetes"));
}

TEST_F(ApiServerTest, BadObjectsAreNamed) {
  EXPECT_THAT(server_->put(R"({"kind":"Foo","apiVersion":"v9","metadata":{"name":"x"}})").message(),
              HasSubstr("v9 Foo"));
  EXPECT_FALSE(server_->put("nonsense").ok());
  EXPECT_FALSE(server_->remove(kServices, "default", "absent").ok());
}

class SecuredApiServer : public ApiServerTest {
 protected:
  SecuredApiServer()
      : ApiServerTest({.tls = true, .bearer_token = "secret", .require_client_certificate = true}) {
  }
};

TEST_F(SecuredApiServer, AdmitsTokensAndCertificates) {
  Ask request{.url = server_->url() + kServices, .ca_pem = server_->ca_pem()};
  const Answer nobody = ask(request);
  EXPECT_EQ(nobody.status, 401);
  EXPECT_EQ(api::Decoder().status(nobody.body).reason, "Unauthorized");
  request.headers = {"Authorization: Bearer wrong"};
  EXPECT_EQ(ask(request).status, 401);
  request.headers = {"Authorization: Bearer secret"};
  EXPECT_EQ(ask(request).status, 200);
  request.headers = {};
  const auto client = server_->issue_client("node-a", {"system:nodes"});
  ASSERT_TRUE(client.ok());
  request.certificate_pem = client->certificate_pem;
  request.key_pem = client->key_pem;
  EXPECT_EQ(ask(request).status, 200);
  const Counters counters = server_->counters();
  EXPECT_EQ(counters.denied, 2u);
  EXPECT_EQ(counters.http2_requests, 4u);
  EXPECT_EQ(counters.connections, 4u);
}

TEST_F(SecuredApiServer, KubeconfigHoldsEverything) {
  const auto text = server_->kubeconfig("node-a");
  ASSERT_TRUE(text.ok());
  for (const char* part :
       {"server: https://127.0.0.1:", "certificate-authority-data: LS0tLS1CRUdJTi",
        "token: \"secret\"", "client-certificate-data: LS0tLS1CRUdJTi",
        "client-key-data: LS0tLS1CRUdJTi"}) {
    EXPECT_THAT(*text, HasSubstr(part));
  }
}

class HttpExpiry : public ApiServerTest {
 protected:
  HttpExpiry() : ApiServerTest({.expired_as_event = false}) {}
};

TEST_F(HttpExpiry, ExpiredWatchGetsAStatus) {
  put_service("a");
  server_->compact();
  EXPECT_EQ(get(std::string(kServices) + "?watch=true&resourceVersion=1").status, 410);
}

TEST(Objects, AreWhatTheDecoderReads) {
  api::Decoder decoder;
  const auto service =
      decoder.service(service_json({.name = "x",
                                    .type = "LoadBalancer",
                                    .cluster_ips = {"10.96.0.1", "fd00::1"},
                                    .ports = {{.name = "http", .node_port = 30080}},
                                    .load_balancer_ips = {"192.0.2.1"},
                                    .source_ranges = {"10.0.0.0/8"},
                                    .affinity_seconds = 60,
                                    .health_check_node_port = 31000}));
  ASSERT_TRUE(service.ok()) << service.status().message();
  EXPECT_TRUE(service->problems.empty());
  EXPECT_THAT(service->object.cluster_ips, ElementsAre("10.96.0.1", "fd00::1"));
  EXPECT_EQ(service->object.ports.at(0).node_port, 30080);
  EXPECT_EQ(service->object.affinity_timeout_seconds, 60);
  EXPECT_EQ(service->object.load_balancer_ingress.at(0).ip, "192.0.2.1");
  EXPECT_EQ(service->object.external_traffic_policy, "Cluster");
  EXPECT_EQ(service->object.health_check_node_port, 31000);

  const auto slice = decoder.endpoint_slice(endpoint_slice_json(
      {.service = "x",
       .endpoints = {
           {.address = "10.1.0.1", .node = "a", .hint_zones = {"z"}, .hint_nodes = {"a"}},
           {.address = "10.1.0.2", .ready = false, .serving = true, .terminating = true}}}));
  ASSERT_TRUE(slice.ok()) << slice.status().message();
  EXPECT_TRUE(slice->problems.empty());
  EXPECT_EQ(*slice->object.meta.label("kubernetes.io/service-name"), "x");
  EXPECT_EQ(slice->object.endpoints.at(0).node_name, "a");
  EXPECT_THAT(slice->object.endpoints.at(0).hints_for_zones, ElementsAre("z"));
  EXPECT_EQ(slice->object.endpoints.at(1).serving, true);
  EXPECT_EQ(slice->object.ports.at(0).port, 8080);

  const auto node = decoder.node(node_json({.name = "a",
                                            .internal_ips = {"192.0.2.7"},
                                            .pod_cidrs = {"10.1.0.0/24"},
                                            .zone = "z",
                                            .taints = {{.key = "t"}}}));
  ASSERT_TRUE(node.ok()) << node.status().message();
  EXPECT_TRUE(node->problems.empty());
  EXPECT_THAT(node->object.pod_cidrs, ElementsAre("10.1.0.0/24"));
  EXPECT_EQ(node->object.addresses.at(0).address, "192.0.2.7");
  EXPECT_EQ(*node->object.meta.label("topology.kubernetes.io/zone"), "z");

  const auto cidr = decoder.service_cidr(service_cidr_json({.cidrs = {"10.96.0.0/16"}}));
  ASSERT_TRUE(cidr.ok()) << cidr.status().message();
  EXPECT_THAT(cidr->object.cidrs, ElementsAre("10.96.0.0/16"));
}

}  // namespace
}  // namespace fairlead::api_server
