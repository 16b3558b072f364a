#include "control/client/event_recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <string>

#include "tests/unit/client/fake_client.h"

namespace fairlead::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int64_t kStart = 1767323045000006;  // 2026-01-02T03:04:05.000006Z

class EventRecorderTest : public ::testing::Test {
 protected:
  EventRecorderTest() {
    options_.reporting_controller = "fairlead.dev/proxy";
    options_.reporting_instance = "node-1";
    options_.now_micros = [this] { return kStart + client_.now().count() * 1000; };
  }

  void create() {
    auto created = EventRecorder::create(client_, options_);
    ASSERT_TRUE(created.ok());
    recorder_ = std::move(created).value();
  }
  static Event event(const std::string& note, const std::string& name = "web") {
    Event event;
    event.regarding = {"v1", "Service", "shop", name, "u-1"};
    event.type = EventType::kWarning;
    event.reason = "InvalidPort";
    event.action = "Sync";
    event.note = note;
    return event;
  }
  void record(const Event& event) {
    recorder_->record(event);
    client_.run_posted();
  }
  EventRecorder::Statistics statistics() const { return recorder_->statistics(); }

  FakeClient client_;
  EventRecorderOptions options_;
  std::unique_ptr<EventRecorder> recorder_;
};

// The string at a JSON pointer; fails the test when there is none.
std::string at(const std::string& json, const std::string& pointer) {
  simdjson::dom::parser parser;
  std::string_view text;
  EXPECT_EQ(parser.parse(json).at_pointer(pointer).get_string().get(text), simdjson::SUCCESS)
      << pointer << " in " << json;
  return std::string(text);
}

TEST_F(EventRecorderTest, PostsAnEventOfTheNewApi) {
  create();
  record(event("port \"x\"\n"));
  const Request& request = client_.request();
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.path, "/apis/events.k8s.io/v1/namespaces/shop/events");
  const std::string& body = request.body;
  EXPECT_EQ(at(body, "/apiVersion"), "events.k8s.io/v1");
  EXPECT_EQ(at(body, "/kind"), "Event");
  EXPECT_EQ(at(body, "/metadata/namespace"), "shop");
  EXPECT_EQ(at(body, "/metadata/name"), "web.1886caf21c964970");
  EXPECT_EQ(at(body, "/eventTime"), "2026-01-02T03:04:05.000006Z");
  EXPECT_EQ(at(body, "/reportingController"), "fairlead.dev/proxy");
  EXPECT_EQ(at(body, "/reportingInstance"), "node-1");
  EXPECT_EQ(at(body, "/type"), "Warning");
  EXPECT_EQ(at(body, "/reason"), "InvalidPort");
  EXPECT_EQ(at(body, "/action"), "Sync");
  EXPECT_EQ(at(body, "/note"), "port \"x\"\n");
  EXPECT_EQ(at(body, "/regarding/apiVersion"), "v1");
  EXPECT_EQ(at(body, "/regarding/kind"), "Service");
  EXPECT_EQ(at(body, "/regarding/namespace"), "shop");
  EXPECT_EQ(at(body, "/regarding/name"), "web");
  EXPECT_EQ(at(body, "/regarding/uid"), "u-1");
  client_.answer(201, "{}");
  EXPECT_EQ(statistics().created, 1u);
  EXPECT_EQ(client_.open_requests(), 0u);
}

TEST_F(EventRecorderTest, EventsAboutNodesLiveInDefault) {
  create();
  Event node = event("n");
  node.regarding = {"v1", "Node", "", "n1", ""};
  node.type = EventType::kNormal;
  record(node);
  EXPECT_EQ(client_.path(), "/apis/events.k8s.io/v1/namespaces/default/events");
  EXPECT_EQ(at(client_.request().body, "/metadata/namespace"), "default");
  EXPECT_EQ(at(client_.request().body, "/type"), "Normal");
  EXPECT_THAT(client_.request().body, ::testing::Not(HasSubstr("\"uid\"")));
}

TEST_F(EventRecorderTest, IdenticalEventsBecomeASeries) {
  create();
  for (int i = 0; i < 3; ++i) record(event("n"));
  client_.answer(201, "{}");
  // What came while the first was on its way, and right after it, is one change.
  record(event("n"));
  EXPECT_EQ(client_.open_requests(), 0u);
  client_.advance(seconds(10));
  EXPECT_EQ(client_.request().method, "PATCH");
  EXPECT_THAT(client_.path(), StartsWith("/apis/events.k8s.io/v1/namespaces/shop/events/web."));
  EXPECT_EQ(client_.request().content_type, "application/merge-patch+json");
  EXPECT_EQ(client_.request().body,
            R"({"series":{"count":4,"lastObservedTime":"2026-01-02T03:04:05.000006Z"}})");
  record(event("n"));
  client_.answer(200, "{}");
  client_.advance(seconds(10));
  EXPECT_THAT(client_.request().body, HasSubstr("\"count\":5"));
  client_.answer(200, "{}");
  client_.advance(seconds(20));
  EXPECT_EQ(client_.open_requests(), 0u);
  EXPECT_EQ(statistics().created, 1u);
  EXPECT_EQ(statistics().updated, 2u);
  EXPECT_EQ(statistics().collected, 4u);
}

TEST_F(EventRecorderTest, ASeriesThatEndedIsForgotten) {
  create();
  record(event("n"));
  client_.answer(201, "{}");
  client_.advance(seconds(480));
  record(event("n"));
  EXPECT_EQ(client_.request().method, "POST");
}

TEST_F(EventRecorderTest, AnEventThatTheServerForgotIsPostedAnew) {
  create();
  record(event("n"));
  client_.answer(201, "{}");
  record(event("n"));
  client_.advance(seconds(10));
  client_.answer(404, "{}");
  EXPECT_EQ(client_.request().method, "POST");
  client_.answer(201, "{}");
  EXPECT_EQ(statistics().created, 2u);
  EXPECT_EQ(statistics().failed, 0u);
}

TEST_F(EventRecorderTest, AnObjectWithTooManyEventsIsHeldBack) {
  options_.burst = 2;
  create();
  for (int i = 0; i < 5; ++i) record(event("note " + std::to_string(i)));
  record(event("note", "other"));  // has a bucket of its own
  for (int i = 0; i < 3; ++i) client_.answer(201, "{}");
  EXPECT_EQ(client_.open_requests(), 0u);
  EXPECT_EQ(statistics().dropped_rate, 3u);
  client_.advance(seconds(60));
  record(event("note 6"));
  record(event("note 7"));
  client_.answer(201, "{}");
  EXPECT_EQ(statistics().created, 4u);
  EXPECT_EQ(statistics().dropped_rate, 4u);
}

TEST_F(EventRecorderTest, GivesUpOnAServerThatIsAway) {
  create();
  record(event("a"));
  record(event("b"));
  client_.break_connection();
  EXPECT_EQ(client_.advance_to_next_timer(), milliseconds(2000));
  client_.answer(503, "");
  EXPECT_EQ(client_.advance_to_next_timer(), milliseconds(4000));
  EXPECT_THAT(client_.request().body, HasSubstr("\"note\":\"a\""));
  client_.answer(429, "");
  EXPECT_EQ(statistics().failed, 1u);
  EXPECT_THAT(client_.request().body, HasSubstr("\"note\":\"b\""));
  client_.answer(403, "{}");  // no use in trying again
  EXPECT_EQ(statistics().failed, 2u);
  EXPECT_EQ(client_.open_requests(), 0u);
}

TEST_F(EventRecorderTest, TheQueueIsBounded) {
  options_.max_queue = 3;
  create();
  // Not even posted work piles up while the client's thread is busy.
  for (int i = 0; i < 10; ++i) recorder_->record(event(std::to_string(i)));
  EXPECT_EQ(statistics().dropped_full, 7u);
  client_.run_posted();
  for (int i = 10; i < 15; ++i) record(event(std::to_string(i)));
  EXPECT_EQ(statistics().dropped_full, 12u);
  for (int i = 0; i < 3; ++i) client_.answer(201, "{}");
  EXPECT_EQ(statistics().created, 3u);
  EXPECT_EQ(client_.open_requests(), 0u);
}

TEST_F(EventRecorderTest, TheMemoryOfSeriesIsBounded) {
  options_.max_series = 2;
  create();
  for (int i = 0; i < 4; ++i) {
    record(event(std::to_string(i)));
    if (client_.open_requests() > 0) client_.answer(201, "{}");
  }
  EXPECT_EQ(statistics().created, 2u);
  EXPECT_EQ(statistics().dropped_full, 2u);
}

TEST_F(EventRecorderTest, TextsAreCutToTheApisLimits) {
  create();
  Event long_one = event(std::string(1023, 'x') + "\xC3\xBC" + "y");
  long_one.reason = std::string(200, 'r');
  long_one.regarding.name = std::string(300, 'n');
  record(long_one);
  EXPECT_EQ(at(client_.request().body, "/note"), std::string(1023, 'x'));
  EXPECT_EQ(at(client_.request().body, "/reason").size(), 128u);
  EXPECT_EQ(at(client_.request().body, "/metadata/name").size(), 253u);
}

TEST_F(EventRecorderTest, PostedWorkOutlivesTheRecorder) {
  create();
  record(event("a"));
  recorder_->record(event("b"));
  recorder_.reset();
  client_.run_posted();
  EXPECT_EQ(client_.open_requests(), 0u);
  client_.advance(seconds(1000));
  EXPECT_EQ(client_.open_requests(), 0u);
}

TEST_F(EventRecorderTest, NeedsToKnowWhoReports) {
  options_.reporting_instance.clear();
  EXPECT_FALSE(EventRecorder::create(client_, options_).ok());
}

TEST(TruncateUtf8, CutsBetweenSequences) {
  const struct {
    std::string text;
    size_t limit;
    std::string cut;
  } cases[] = {
      {"abc", 3, "abc"},
      {"abcd", 3, "abc"},
      {"ab\xC3\xBC", 3, "ab"},
      {"ab\xC3\xBC", 4, "ab\xC3\xBC"},
      {"a\xF0\x9F\x98\x80", 4, "a"},
      {"\x80\x80\x80", 2, ""},
      {"", 0, ""},
  };
  for (const auto& c : cases) EXPECT_EQ(truncate_utf8(c.text, c.limit), c.cut);
}

}  // namespace
}  // namespace fairlead::client
