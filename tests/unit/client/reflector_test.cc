#include "control/client/reflector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/client/fake_client.h"

namespace fairlead::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

// "ns/name" or "name", version.
std::string object(const std::string& name, const std::string& version) {
  const size_t slash = name.find('/');
  std::string meta = "\"name\":\"" + name.substr(slash == std::string::npos ? 0 : slash + 1) + "\"";
  if (slash != std::string::npos) meta += ",\"namespace\":\"" + name.substr(0, slash) + "\"";
  return "{\"metadata\":{" + meta + ",\"resourceVersion\":\"" + version + "\"}}";
}

std::string list(const std::string& version,
                 const std::vector<std::pair<std::string, std::string>>& items,
                 const std::string& token = {}) {
  std::string text = "{\"metadata\":{\"resourceVersion\":\"" + version + "\"";
  if (!token.empty()) text += ",\"continue\":\"" + token + "\"";
  text += "},\"items\":[";
  for (size_t i = 0; i < items.size(); ++i) {
    text += (i ? "," : "") + object(items[i].first, items[i].second);
  }
  return text + "]}";
}

std::string event(const std::string& type, const std::string& name, const std::string& version) {
  return "{\"type\":\"" + type + "\",\"object\":" + object(name, version) + "}\n";
}

std::string bookmark(const std::string& version) {
  return "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"" + version +
         "\"}}}\n";
}

std::string error_event(int code, const std::string& reason, const std::string& message = "m") {
  return "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":" + std::to_string(code) +
         ",\"reason\":\"" + reason + "\",\"message\":\"" + message + "\"}}\n";
}

std::string status_body(int code, const std::string& message) {
  return "{\"kind\":\"Status\",\"code\":" + std::to_string(code) + ",\"message\":\"" + message +
         "\"}";
}

// Writes down what it is told, and checks that the picture never contradicts it.
class Sink : public ReflectorSink {
 public:
  void on_upsert(const api::RawObject& o) override {
    calls.push_back("+" + o.name_space + "/" + o.name + "@" + o.resource_version);
    picture[o.name_space + "/" + o.name] = o.resource_version;
    if (on_call) on_call();
  }
  void on_remove(const std::string& name_space, const std::string& name) override {
    calls.push_back("-" + name_space + "/" + name);
    EXPECT_EQ(picture.erase(name_space + "/" + name), 1u) << "removed what was not there";
    if (on_call) on_call();
  }
  void on_listed() override { calls.push_back("listed"); }
  void on_malformed(const Status& reason) override { malformed.push_back(reason.message()); }
  void on_health(const Status& status) override { health.push_back(status.message()); }
  void on_unsupported() override { calls.push_back("unsupported"); }

  std::vector<std::string> take() { return std::exchange(calls, {}); }

  std::vector<std::string> calls;
  std::vector<std::string> malformed;
  std::vector<std::string> health;
  std::map<std::string, std::string> picture;
  std::function<void()> on_call;
};

class ReflectorTest : public ::testing::Test {
 protected:
  ReflectorTest() {
    options_.path = "/api/v1/services";
    options_.jitter_seed = 1;
  }

  void start() {
    reflector_ = Reflector::create(client_, options_, sink_);
    reflector_->start();
  }
  // Started, listed with a (version 5) and b (6) at version 10, and watching.
  void start_watching() {
    start();
    client_.answer(200, list("10", {{"n/a", "5"}, {"n/b", "6"}}));
    client_.head(200);
    EXPECT_THAT(sink_.take(), ElementsAre("+n/a@5", "+n/b@6", "listed"));
  }
  void expect_listing() { EXPECT_EQ(client_.path(), "/api/v1/services?limit=500"); }
  void expect_watching_from(const std::string& version) {
    EXPECT_TRUE(client_.watching());
    EXPECT_THAT(client_.path(),
                StartsWith("/api/v1/services?watch=true&allowWatchBookmarks=true&resourceVersion=" +
                           version + "&timeoutSeconds="));
  }
  void expect_delay(milliseconds low, milliseconds high) {
    EXPECT_EQ(client_.open_requests(), 0u);
    const milliseconds waited = client_.advance_to_next_timer();
    EXPECT_GE(waited, low);
    EXPECT_LE(waited, high);
  }

  FakeClient client_;
  ReflectorOptions options_;
  Sink sink_;
  std::unique_ptr<Reflector> reflector_;
};

TEST_F(ReflectorTest, ListsInPagesThenWatches) {
  start();
  expect_listing();
  client_.answer(200, list("10", {{"n/a", "5"}}, "tok/1="));
  EXPECT_EQ(client_.path(), "/api/v1/services?limit=500&continue=tok%2F1%3D");
  client_.answer(200, list("10", {{"n/b", "6"}}));
  expect_watching_from("10");
  EXPECT_EQ(client_.request().timeout, milliseconds(0));
  EXPECT_EQ(client_.request().silence_limit, seconds(180));
  EXPECT_THAT(sink_.take(), ElementsAre("+n/a@5", "+n/b@6", "listed"));
  EXPECT_THAT(sink_.health, IsEmpty());
  client_.head(200);
  EXPECT_THAT(sink_.health, ElementsAre("ok"));
  EXPECT_EQ(reflector_->statistics().objects, 2u);
}

TEST_F(ReflectorTest, SendsSelectorsEncoded) {
  options_.label_selector = "!service.kubernetes.io/headless,a in (b)";
  options_.field_selector = "metadata.name=n1";
  start();
  EXPECT_EQ(client_.path(),
            "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fheadless%2Ca%20in%20%28b%29"
            "&fieldSelector=metadata.name%3Dn1&limit=500");
}

TEST_F(ReflectorTest, DeliversEventsInOrder) {
  start_watching();
  client_.data(event("ADDED", "n/c", "11") + event("MODIFIED", "n/a", "12") +
               event("DELETED", "n/b", "13"));
  EXPECT_THAT(sink_.take(), ElementsAre("+n/c@11", "+n/a@12", "-n/b"));
  EXPECT_EQ(reflector_->statistics().objects, 2u);
}

TEST_F(ReflectorTest, LinesMayComeInAnyPieces) {
  start_watching();
  const std::string lines = event("ADDED", "n/c", "11") + "\n" + event("DELETED", "n/a", "12");
  for (const char c : lines) client_.data(std::string(1, c));
  EXPECT_THAT(sink_.take(), ElementsAre("+n/c@11", "-n/a"));
}

TEST_F(ReflectorTest, AConnectionCutInsideALineLosesAndRepeatsNothing) {
  start_watching();
  const std::string second = event("MODIFIED", "n/a", "12");
  client_.data(event("ADDED", "n/c", "11") + second.substr(0, 30));
  client_.break_connection();
  EXPECT_THAT(sink_.health.back(), HasSubstr("connection reset"));
  expect_delay(milliseconds(100), milliseconds(200));
  expect_watching_from("11");
  client_.head(200);
  client_.data(second);
  EXPECT_THAT(sink_.take(), ElementsAre("+n/c@11", "+n/a@12"));
  EXPECT_THAT(sink_.malformed, IsEmpty());
}

TEST_F(ReflectorTest, ADuplicateEventIsSwallowed) {
  start_watching();
  client_.data(event("ADDED", "n/a", "5") + event("MODIFIED", "n/a", "11") +
               event("MODIFIED", "n/a", "11") + event("DELETED", "n/a", "12") +
               event("DELETED", "n/a", "12"));
  EXPECT_THAT(sink_.take(), ElementsAre("+n/a@11", "-n/a"));
}

TEST_F(ReflectorTest, BookmarksMoveTheResumePoint) {
  start_watching();
  client_.data(bookmark("50"));
  client_.answer(200, "");
  expect_delay(milliseconds(0), milliseconds(0));
  expect_watching_from("50");
  EXPECT_THAT(sink_.take(), IsEmpty());
  EXPECT_THAT(sink_.health, ElementsAre("ok"));  // the end of a watch is no failure
}

TEST_F(ReflectorTest, AQuietWatchThatLivedIsRenewedAtOnce) {
  start_watching();
  client_.advance(seconds(300));
  client_.answer(200, "");
  expect_delay(milliseconds(0), milliseconds(0));
  expect_watching_from("10");
}

TEST_F(ReflectorTest, AWatchThatEndsAtOnceBacksOff) {
  start_watching();
  client_.answer(200, "");
  expect_delay(milliseconds(100), milliseconds(200));
  client_.head(200);
  client_.answer(200, "");
  expect_delay(milliseconds(200), milliseconds(400));
  expect_watching_from("10");
  EXPECT_THAT(sink_.health.back(), HasSubstr("ended the watch at once"));
}

TEST_F(ReflectorTest, GoneOnAnOldWatchListsAgainAndDeliversTheDifference) {
  start_watching();
  client_.data(event("ADDED", "n/c", "11"));
  sink_.take();
  client_.data(error_event(410, "Expired"));
  expect_delay(milliseconds(0), milliseconds(200));
  expect_listing();
  // a unchanged, b gone, c changed, d new.
  client_.answer(200, list("30", {{"n/a", "5"}, {"n/c", "20"}, {"n/d", "21"}}));
  EXPECT_THAT(sink_.take(), ElementsAre("+n/c@20", "+n/d@21", "-n/b", "listed"));
  expect_watching_from("30");
  EXPECT_EQ(reflector_->statistics().expired, 1u);
  EXPECT_EQ(reflector_->statistics().failures, 0u);
  EXPECT_EQ(reflector_->statistics().lists, 2u);
}

TEST_F(ReflectorTest, GoneAsTheWatchsAnswerListsAgain) {
  start_watching();
  client_.break_connection();
  client_.advance_to_next_timer();
  client_.answer(410, status_body(410, "too old"));
  expect_delay(milliseconds(1), milliseconds(400));
  expect_listing();
}

TEST_F(ReflectorTest, GoneRightAfterTheListBacksOff) {
  start_watching();
  milliseconds step(200);
  for (int i = 0; i < 5; ++i, step *= 2) {
    client_.data(error_event(410, "Expired"));
    expect_delay(step / 2, step);
    expect_listing();
    client_.answer(200, list("10", {{"n/a", "5"}, {"n/b", "6"}}));
    client_.head(200);
  }
  EXPECT_THAT(sink_.take(), ElementsAre("listed", "listed", "listed", "listed", "listed"));
}

TEST_F(ReflectorTest, GoneInTheMiddleOfAListStartsOverThenDoesWithoutPages) {
  start();
  client_.answer(200, list("10", {{"n/a", "5"}, {"n/b", "6"}}, "t"));
  client_.answer(410, status_body(410, "continue token expired"));
  client_.advance_to_next_timer();
  expect_listing();
  client_.answer(200, list("20", {{"n/a", "5"}}, "t"));
  client_.answer(410, status_body(410, "continue token expired"));
  client_.advance_to_next_timer();
  EXPECT_EQ(client_.path(), "/api/v1/services");
  EXPECT_THAT(sink_.calls, Not(::testing::Contains("listed")));
  client_.answer(200, list("30", {{"n/a", "5"}, {"n/c", "25"}}));
  // b was delivered by the first try and had gone by the third.
  EXPECT_THAT(sink_.take(), ElementsAre("+n/a@5", "+n/b@6", "+n/c@25", "-n/b", "listed"));
  expect_watching_from("30");
  // The next list has pages again.
  client_.head(200);
  client_.data(bookmark("31") + error_event(410, "Expired"));
  client_.advance_to_next_timer();
  expect_listing();
}

TEST_F(ReflectorTest, AFailedPageIsAskedForAgain) {
  start();
  client_.answer(200, list("10", {{"n/a", "5"}}, "t"));
  client_.answer(500, status_body(500, "etcd is away"));
  EXPECT_THAT(sink_.health.back(), HasSubstr("HTTP status 500: etcd is away"));
  expect_delay(milliseconds(100), milliseconds(200));
  client_.break_connection();
  expect_delay(milliseconds(200), milliseconds(400));
  EXPECT_EQ(client_.path(), "/api/v1/services?limit=500&continue=t");
  client_.answer(200, list("10", {{"n/b", "6"}}));
  EXPECT_THAT(sink_.take(), ElementsAre("+n/a@5", "+n/b@6", "listed"));
}

TEST_F(ReflectorTest, BackOffDoublesToItsMaximumAndIsForgottenAfterAMinuteOfHealth) {
  start();
  milliseconds step(200);
  for (int i = 0; i < 12; ++i) {
    client_.answer(500, "");
    expect_delay(step / 2, step);
    step = std::min(step * 2, milliseconds(30000));
  }
  client_.answer(200, list("10", {}));
  client_.head(200);
  client_.break_connection();
  expect_delay(milliseconds(15000), milliseconds(30000));  // a second of health is not enough
  client_.head(200);
  client_.advance(seconds(61));
  client_.break_connection();
  expect_delay(milliseconds(100), milliseconds(200));
}

TEST_F(ReflectorTest, RetryAfterIsObeyed) {
  const struct {
    const char* what;
    std::string retry_after;
    std::string body;
    milliseconds low;
    milliseconds high;
  } cases[] = {
      {"header", "7", "", seconds(7), milliseconds(7700)},
      {"body", "", R"({"kind":"Status","code":429,"details":{"retryAfterSeconds":3}})", seconds(3),
       milliseconds(3300)},
      {"a date", "Wed, 21 Oct 2026 07:28:00 GMT", "", milliseconds(100), milliseconds(200)},
      {"absurd", "99999999999", "", seconds(600), seconds(660)},
      {"less than the back-off", "0", "", milliseconds(100), milliseconds(200)},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    for (const int status : {429, 503}) {
      client_ = FakeClient();
      Sink sink;
      const auto reflector = Reflector::create(client_, options_, sink);
      reflector->start();
      client_.answer(status, c.body, c.retry_after);
      expect_delay(c.low, c.high);
      expect_listing();
    }
  }
}

TEST_F(ReflectorTest, A429OnTheWatchKeepsTheResumePoint) {
  start_watching();
  client_.break_connection();
  client_.advance_to_next_timer();
  client_.answer(429, "", "2");
  expect_delay(milliseconds(2000), milliseconds(2200));
  expect_watching_from("10");
}

TEST_F(ReflectorTest, AnErrorEventThatIsNotGoneBacksOffAndResumes) {
  start_watching();
  client_.data(event("ADDED", "n/c", "11") + error_event(500, "InternalError", "boom"));
  EXPECT_THAT(sink_.health.back(), HasSubstr("500 InternalError boom"));
  expect_delay(milliseconds(100), milliseconds(200));
  expect_watching_from("11");
}

TEST_F(ReflectorTest, WatchesThatOnlyFailEndInAList) {
  start_watching();
  for (int i = 0; i < 4; ++i) {
    client_.data(error_event(500, "InternalError"));
    client_.advance_to_next_timer();
    expect_watching_from("10");
    client_.head(200);
  }
  client_.data(error_event(500, "InternalError"));
  while (client_.open_requests() == 0) client_.advance_to_next_timer();
  expect_listing();
}

TEST_F(ReflectorTest, AMalformedItemIsReportedAndTheRestDelivered) {
  start();
  client_.answer(200, R"({"metadata":{"resourceVersion":"10"},"items":[{"metadata":{}},)" +
                          object("n/a", "5") + "]}");
  EXPECT_THAT(sink_.take(), ElementsAre("+n/a@5", "listed"));
  EXPECT_THAT(sink_.malformed, ElementsAre("decode list items[0]: metadata.name is missing"));
  expect_watching_from("10");
}

TEST_F(ReflectorTest, AListThatIsNoJsonIsRetried) {
  start();
  for (const char* body :
       {"<html>", "{\"items\":[{\"metadata\":", "{}", R"({"metadata":{},"items":[]})"}) {
    client_.answer(200, body);
    EXPECT_EQ(client_.open_requests(), 0u);
    client_.advance_to_next_timer();
    expect_listing();
  }
  EXPECT_EQ(sink_.malformed.size(), 4u);
  EXPECT_THAT(sink_.take(), IsEmpty());
}

TEST_F(ReflectorTest, AContinueTokenThatDoesNotAdvanceIsNotFollowedForEver) {
  start();
  client_.answer(200, list("10", {{"n/a", "5"}}, "t"));
  client_.answer(200, list("10", {{"n/b", "6"}}, "t"));
  EXPECT_THAT(sink_.malformed, ElementsAre(HasSubstr("does not advance")));
  client_.advance_to_next_timer();
  expect_listing();
}

TEST_F(ReflectorTest, AMalformedLineListsAgainSoThatNoEventIsLost) {
  start_watching();
  EXPECT_FALSE(client_.data("{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"name\":\"a\n" +
                            event("ADDED", "n/c", "12")));
  EXPECT_EQ(sink_.malformed.size(), 1u);
  expect_delay(milliseconds(100), milliseconds(200));
  expect_listing();
  client_.answer(200, list("12", {{"n/a", "11"}, {"n/b", "6"}, {"n/c", "12"}}));
  EXPECT_THAT(sink_.take(), ElementsAre("+n/a@11", "+n/c@12", "listed"));
}

TEST_F(ReflectorTest, AHugeLineIsNotBuffered) {
  options_.max_watch_line_bytes = 1000;
  start_watching();
  EXPECT_TRUE(client_.data(std::string(600, 'x')));
  EXPECT_FALSE(client_.data(std::string(600, 'x')));
  EXPECT_THAT(sink_.malformed, ElementsAre(HasSubstr("longer than 1000 bytes")));
  client_.advance_to_next_timer();
  expect_listing();
}

TEST_F(ReflectorTest, AServerWhoseHistoryWentBackIsBelieved) {
  start_watching();
  client_.data(event("MODIFIED", "n/a", "100"));
  sink_.take();
  client_.break_connection();
  client_.advance_to_next_timer();
  client_.answer(504, status_body(504, "Too large resource version: 100, current: 7"));
  while (client_.open_requests() == 0) client_.advance_to_next_timer();
  expect_listing();
  // b has the version that is known already, but it is another server's.
  client_.answer(200, list("7", {{"n/a", "3"}, {"n/b", "6"}}));
  const auto calls = sink_.take();
  EXPECT_THAT(calls, ::testing::Contains("+n/b@6"));
  EXPECT_EQ(calls.back(), "listed");
  EXPECT_EQ(sink_.picture, (std::map<std::string, std::string>{{"n/a", "3"}, {"n/b", "6"}}));
  expect_watching_from("7");
}

TEST_F(ReflectorTest, AnUnknownResourceIsUnsupportedAndAskedForRarely) {
  start();
  client_.answer(404, "404 page not found");
  EXPECT_THAT(sink_.take(), ElementsAre("unsupported"));
  EXPECT_THAT(sink_.health.back(), HasSubstr("HTTP status 404"));
  expect_delay(milliseconds(15000), milliseconds(30000));
  expect_listing();
}

TEST_F(ReflectorTest, ForbiddenIsAFailureNotTheEnd) {
  start();
  client_.answer(403, status_body(403, "services is forbidden"));
  EXPECT_THAT(sink_.health.back(), HasSubstr("services is forbidden"));
  client_.advance_to_next_timer();
  client_.answer(200, list("1", {}));
  EXPECT_THAT(sink_.take(), ElementsAre("listed"));
}

TEST_F(ReflectorTest, NothingIsCalledAfterStop) {
  start_watching();
  client_.data(event("ADDED", "n/c", "11"));
  reflector_->stop();
  EXPECT_EQ(client_.open_requests(), 0u);
  EXPECT_EQ(client_.timers(), 0u);
}

TEST_F(ReflectorTest, StopFromACallbackEndsTheDeliveryAtOnce) {
  start();
  sink_.on_call = [this] { reflector_->stop(); };
  client_.answer(200, list("10", {{"n/a", "5"}, {"n/b", "6"}}));
  EXPECT_THAT(sink_.take(), ElementsAre("+n/a@5"));
  EXPECT_EQ(client_.open_requests() + client_.timers(), 0u);

  sink_.on_call = nullptr;
  reflector_->start();
  client_.answer(200, list("10", {{"n/a", "5"}, {"n/b", "6"}}));
  EXPECT_THAT(sink_.take(), ElementsAre("+n/b@6", "listed"));
  client_.head(200);
  sink_.on_call = [this] { reflector_->stop(); };
  EXPECT_FALSE(client_.data(event("ADDED", "n/c", "11") + event("ADDED", "n/d", "12")));
  EXPECT_THAT(sink_.take(), ElementsAre("+n/c@11"));
  EXPECT_EQ(client_.open_requests() + client_.timers(), 0u);
}

}  // namespace
}  // namespace fairlead::client
