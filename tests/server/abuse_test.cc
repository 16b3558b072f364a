// What a server on a network must stand: bodies that are none, too large or too deep, requests that
// stop half way, watchers that do not read, ten thousand of them that have nothing to read.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/http_client.h"
#include "tests/server/many_watches.h"
#include "tests/server/server_process.h"
#include "tests/unit/store/scratch.h"

namespace fairlead::server_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char kJson[] = "application/json";

std::string config_map(std::string_view name, size_t bytes) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}"}},"data":{{"k":"{}"}}}})",
      name, std::string(bytes, 'v'));
}

class Abuse : public testing::Test {
 protected:
  Abuse() : server_(scratch_.path("")) {}

  std::string ask(std::string_view method, std::string_view path, std::string_view body,
                  std::string_view type = kJson) {
    const auto answer = HttpClient(server_.port()).send(method, path, body, type);
    return answer ? answer->verdict() : "no answer";
  }
  void expect_well() {
    EXPECT_EQ(ask("GET", "/readyz", ""), "200") << server_.log();
    EXPECT_EQ(ask("GET", kPath, ""), "200");
  }
  std::string revision() {
    const auto list = HttpClient(server_.port()).send("GET", kPath);
    return std::string(list->json().root.at("metadata.resourceVersion").as_string());
  }

  store::Scratch scratch_;
  ServerProcess server_;
};

TEST_F(Abuse, BadBodiesAreStatuses) {
  const std::string deep(100'000, '[');
  const std::string deep_object = [] {
    std::string text;
    for (int i = 0; i < 1000; ++i) text += R"({"a":)";
    return text + "1" + std::string(1000, '}');
  }();
  const std::string aliases = [] {
    std::string text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
    for (int i = 1; i < 12; ++i) {
      text +=
          fmt::format("a{0}: &a{0} [*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1}]\n", i, i - 1);
    }
    return text;
  }();
  struct Case {
    std::string_view name;
    std::string body;
    std::string_view type;
    std::string_view verdict;
    std::string_view query = "";
  };
  const std::vector<Case> cases = {
      {"not JSON", "{nonsense", kJson, "400 BadRequest"},
      {"cut off", R"({"apiVersion":"v1","kind":"ConfigMap")", kJson, "400 BadRequest"},
      {"empty", "", kJson, "400 BadRequest"},
      {"a list", "[]", kJson, "400 BadRequest"},
      {"not UTF-8", "{\"kind\":\"\xff\xfe\"}", kJson, "400 BadRequest"},
      {"another kind", R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}})", kJson,
       "400 BadRequest"},
      {"a field of another type",
       R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":7})", kJson,
       "400 BadRequest"},
      {"an unknown field, strict",
       R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"dada":{}})", kJson,
       "400 BadRequest", "?fieldValidation=Strict"},
      {"a bad name", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"A_"}})", kJson,
       "422 Invalid"},
      {"deep lists", deep, kJson, "400 BadRequest"},
      {"deep objects", deep_object, kJson, "400 BadRequest"},
      {"bad YAML", "a: b: c: [", "application/yaml", "400 BadRequest"},
      {"YAML that multiplies", aliases, "application/yaml", "400 BadRequest"},
      {"bad protobuf", std::string("k8s\0\xff\xff\xff\xff", 8),
       "application/vnd.kubernetes.protobuf", "400 BadRequest"},
      {"no protobuf", "garbage", "application/vnd.kubernetes.protobuf", "400 BadRequest"},
      {"XML", "<a/>", "application/xml", "415 UnsupportedMediaType"},
      {"no type at all", config_map("a", 1), "/;;=", "415 UnsupportedMediaType"},
      {"more than 3 MiB", config_map("a", size_t{3} << 20), kJson, "413 RequestEntityTooLarge"},
  };
  for (const Case& each : cases) {
    const std::string verdict =
        ask("POST", std::string(kPath).append(each.query), each.body, each.type);
    EXPECT_EQ(verdict, each.verdict) << each.name;
  }
  expect_well();
  EXPECT_EQ(ask("GET", std::string(kPath) + "/a", ""), "404 NotFound") << "nothing was made";
}

TEST_F(Abuse, AStatusSaysWhichFieldsAreWrong) {
  const auto answer = HttpClient(server_.port())
                          .send("POST", "/api/v1/namespaces/default/services",
                                R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},)"
                                R"("spec":{"ports":[{"port":0},{"name":"b","port":70000}]}})");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->verdict(), "422 Invalid");
  const schema::Document document = answer->json();
  std::string causes;
  for (const schema::Value& cause : document.root.at("details.causes").items()) {
    causes +=
        fmt::format("{} {}\n", cause.get("reason").as_string(), cause.get("field").as_string());
  }
  EXPECT_EQ(causes,
            "FieldValueRequired spec.ports[0].name\n"
            "FieldValueInvalid spec.ports[0].port\n"
            "FieldValueInvalid spec.ports[0].targetPort\n"
            "FieldValueInvalid spec.ports[1].port\n"
            "FieldValueInvalid spec.ports[1].targetPort\n");
}

// A subresource that nobody answers is not the object that it belongs to.
TEST_F(Abuse, WhatTakesAKubeletIsRefused) {
  const std::string pods = "/api/v1/namespaces/default/pods";
  ASSERT_EQ(ask("POST", pods,
                R"({"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}})"),
            "201");
  for (const std::string_view what : {"attach", "exec", "log", "portforward", "proxy"}) {
    for (const std::string_view method : {"GET", "POST", "PUT", "DELETE"}) {
      EXPECT_EQ(ask(method, fmt::format("{}/p/{}", pods, what), ""), "405 MethodNotAllowed")
          << method << " " << what;
    }
  }
  EXPECT_EQ(ask("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", "{}"),
            "405 MethodNotAllowed");
  EXPECT_EQ(ask("GET", pods + "/p", ""), "200");
}

TEST_F(Abuse, HalfRequestsHoldNobodyUp) {
  std::vector<std::unique_ptr<HttpClient>> halves;
  for (int i = 0; i < 100; ++i) {
    halves.push_back(std::make_unique<HttpClient>(server_.port()));
    halves.back()->send_bytes(i % 2 == 0 ? "GET /api/v1/po"
                                         : "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\n"
                                           "Host: localhost\r\nContent-Length: 1000\r\n\r\n{\"api");
  }
  expect_well();
  // What peers leave half done when they go is forgotten.
  for (size_t i = 1; i < halves.size(); i += 2) halves[i].reset();
  // Of those that wait, the server has enough after ten seconds for a head.
  const auto end = halves[0]->read_some(seconds(20));
  EXPECT_TRUE(!end || end->find(" 408 ") != std::string::npos ||
              end->find(" 400 ") != std::string::npos);
  for (const std::string_view garbage :
       {"\x16\x03\x01\x02", "GET / HTTP/9.9\r\n\r\n", "\r\n\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff"}) {
    HttpClient client(server_.port());
    client.send_bytes(garbage);
  }
  expect_well();
}

TEST_F(Abuse, WatchersThatDoNotReadCostNoMemory) {
  constexpr size_t kBytes = 200'000;
  constexpr int kWrites = 500;  // 100 MB of events for each watcher
  constexpr int kWatchers = 20;
  ASSERT_EQ(ask("POST", kPath, config_map("big", kBytes)), "201");
  const std::string from = revision();
  std::vector<std::unique_ptr<WatchClient>> watchers;
  for (int i = 0; i < kWatchers; ++i) {
    watchers.push_back(std::make_unique<WatchClient>(
        server_.port(), fmt::format("{}?watch=true&resourceVersion={}", kPath, from)));
    ASSERT_EQ(watchers.back()->status(), 200);
  }
  HttpClient writer(server_.port());
  const size_t before = server_.resident_kb();
  for (int i = 0; i < kWrites; ++i) {
    const auto answer = writer.send("PUT", std::string(kPath) + "/big",
                                    config_map("big", kBytes + static_cast<size_t>(i)));
    ASSERT_TRUE(answer && answer->status == 200);
  }
  const size_t grown = (server_.resident_kb() - before) / 1024;
  std::cout << "memory for " << kWatchers << " slow watchers and " << kWrites * kBytes / 1'000'000
            << " MB of changes: " << grown << " MiB\n";
  // The history that the store keeps, and little more.
  if (!sanitized()) {
    EXPECT_LT(grown, 160u);
  }
  expect_well();
  // Whoever reads at last gets what there was, in order, and is told where the history has gone.
  int64_t last = 0;
  std::string ending = "nothing";
  while (const auto line = watchers[0]->next(seconds(10))) {
    const auto event = schema::parse_json(*line, {.bytes = line->size(), .depth = 100});
    ASSERT_TRUE(event);
    const std::string_view type = event->root.get("type").as_string();
    if (type == "ERROR") {
      ending = event->root.at("object.reason").as_string();
      continue;
    }
    const std::string version(event->root.at("object.metadata.resourceVersion").as_string());
    ASSERT_GT(std::stoll(version), last);
    last = std::stoll(version);
  }
  EXPECT_EQ(ending, "Expired");
  EXPECT_TRUE(watchers[0]->ended());
}

TEST_F(Abuse, ListsThatNobodyReadsAreBounded) {
  constexpr size_t kBytes = 500'000;
  constexpr int kObjects = 60;   // a list of 30 MB
  constexpr int kReaders = 60;   // 1.8 GB, were it all made
  constexpr size_t kMost = 800;  // MiB: what may wait, and the lists that are being made
  for (int i = 0; i < kObjects; ++i) {
    ASSERT_EQ(ask("POST", kPath, config_map(fmt::format("c{}", i), kBytes)), "201");
  }
  const size_t before = server_.resident_kb();
  std::vector<std::unique_ptr<HttpClient>> readers;
  for (int i = 0; i < kReaders; ++i) {
    readers.push_back(std::make_unique<HttpClient>(server_.port()));
    readers.back()->send_bytes(fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", kPath));
  }
  size_t most = 0;
  int refused = 0;
  std::string verdict;
  for (int i = 0; i < 600 && (refused == 0 || verdict != "404 NotFound"); ++i) {
    most = std::max(most, server_.resident_kb());
    verdict = ask("GET", std::string(kPath) + "/none", "");
    if (verdict == "429 TooManyRequests") ++refused;
    std::this_thread::sleep_for(milliseconds(50));
  }
  const size_t grown = most > before ? (most - before) / 1024 : 0;
  std::cout << "memory for " << kReaders << " lists of 30 MB that nobody reads: " << grown
            << " MiB\n";
  EXPECT_GT(refused, 0);
  EXPECT_EQ(verdict, "404 NotFound") << "whoever took nothing was cut off, and others are served";
  if (!sanitized()) {
    EXPECT_LT(grown, kMost);
  }
}

TEST_F(Abuse, TenThousandIdleWatches) {
  constexpr int kConnections = 40;
  constexpr int kStreams = 250;
  constexpr int kAll = kConnections * kStreams;
  const size_t before = server_.resident_kb();
  ManyWatches watches(server_.port(), kConnections, kStreams,
                      fmt::format("{}?watch=true&resourceVersion={}&fieldSelector="
                                  "metadata.name%3Dseen",
                                  kPath, revision()));
  ASSERT_TRUE(
      watches.work_until([&] { return watches.begun() + watches.refused() == kAll; }, seconds(60)));
  EXPECT_EQ(watches.begun(), kAll);
  const double each = static_cast<double>(server_.resident_kb() - before) / kAll;
  std::cout << "memory of an idle watch: " << each << " KiB\n";
  if (!sanitized()) {
    EXPECT_LT(each, 16);
  }
  // Others are served as before, and every one of them still sees a change.
  expect_well();
  std::thread writer([this] { EXPECT_EQ(ask("POST", kPath, config_map("seen", 10)), "201"); });
  EXPECT_TRUE(watches.work_until([&] { return watches.lines() == kAll; }, seconds(60)));
  writer.join();
  EXPECT_EQ(watches.ended(), 0);
}

}  // namespace
}  // namespace fairlead::server_test
