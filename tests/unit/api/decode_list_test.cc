#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "control/api/decode.h"

namespace fairlead::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Walked {
  Result<ListHeader> header = ListHeader{};
  std::vector<std::string> items;  // "namespace/name@version json"
  std::vector<std::string> bad;    // "index: message"
};

Walked walk_list(std::string_view json) {
  Decoder decoder;
  Walked walked;
  walked.header = decoder.list(
      json,
      [&](const RawObject& object) {
        // The slice is part of the caller's text: nothing was copied.
        EXPECT_GE(object.json.data(), json.data());
        EXPECT_LE(object.json.data() + object.json.size(), json.data() + json.size());
        walked.items.push_back(object.name_space + "/" + object.name + "@" +
                               object.resource_version + " " + std::string(object.json));
      },
      [&](size_t index, const Status& status) {
        walked.bad.push_back(std::to_string(index) + ": " + status.message());
      });
  return walked;
}

TEST(DecodeList, SlicesEachItem) {
  const Walked walked = walk_list(
      R"({"kind":"ServiceList","metadata":{"resourceVersion":"7","continue":"tok"},"items":[ )"
      R"({"metadata":{"name":"a","namespace":"n","resourceVersion":"5"},"spec":{"x":[1,{"y":"}"}]}} )"
      R"(, {"spec":{},"metadata":{"name":"b"}} ]})");
  ASSERT_TRUE(walked.header.ok()) << walked.header.status().message();
  EXPECT_EQ(walked.header->resource_version, "7");
  EXPECT_EQ(walked.header->continue_token, "tok");
  EXPECT_THAT(walked.items,
              ElementsAre(R"(n/a@5 {"metadata":{"name":"a","namespace":"n","resourceVersion":"5"},)"
                          R"("spec":{"x":[1,{"y":"}"}]}})",
                          R"(/b@ {"spec":{},"metadata":{"name":"b"}})"));
  EXPECT_THAT(walked.bad, IsEmpty());
}

TEST(DecodeList, EmptyLists) {
  for (const char* text : {R"({"metadata":{"resourceVersion":"1"},"items":[]})",
                           R"({"metadata":{"resourceVersion":"1"},"items":null})",
                           R"({"items":[],"metadata":{"resourceVersion":"1"}})"}) {
    const Walked walked = walk_list(text);
    ASSERT_TRUE(walked.header.ok()) << text;
    EXPECT_EQ(walked.header->resource_version, "1");
    EXPECT_THAT(walked.items, IsEmpty());
  }
}

TEST(DecodeList, ABadItemIsReportedAndTheRestComes) {
  const Walked walked = walk_list(
      R"({"items":[{"metadata":{"name":"a"}},{"metadata":{}},7,null,{"metadata":{"name":5}},{"metadata":{"name":"z"}}]})");
  ASSERT_TRUE(walked.header.ok());
  EXPECT_THAT(walked.items, ElementsAre(HasSubstr("/a@"), HasSubstr("/z@")));
  EXPECT_THAT(walked.bad, ElementsAre("1: decode list items[1]: metadata.name is missing",
                                      "2: decode list items[2]: is not an object",
                                      "3: decode list items[3]: is not an object",
                                      "4: decode list items[4]: metadata.name is missing"));
}

TEST(DecodeList, WhatIsNoListIsAnError) {
  for (const char* text :
       {"", "[]", "{}", R"({"items":{}})", R"({"items":7})", R"({"items":[{"metadata":{)",
        R"({"items":[{"metadata":{"name":"a"}})", R"({"items":[1 2]})", R"({"items":[]}})",
        R"({"kind":"Status","code":410})"}) {
    EXPECT_FALSE(walk_list(text).header.ok()) << text;
  }
}

TEST(DecodeList, ObjectsMayBeDecodedWhileTheListIsWalked) {
  Decoder decoder;
  std::vector<std::string> types;
  const auto header = decoder.list(
      R"({"items":[{"metadata":{"name":"a"},"spec":{"type":"X"}},{"metadata":{"name":"b"},"spec":{"type":"Y"}}]})",
      [&](const RawObject& object) { types.push_back(decoder.service(object.json)->object.type); },
      [](size_t, const Status&) { FAIL(); });
  ASSERT_TRUE(header.ok());
  EXPECT_THAT(types, ElementsAre("X", "Y"));
}

Result<WatchLine> watch(std::string_view json) {
  Decoder decoder;
  return decoder.watch_line(json);
}

TEST(DecodeWatchLine, Events) {
  const struct {
    const char* name;
    WatchType type;
  } cases[] = {{"ADDED", WatchType::kAdded},
               {"MODIFIED", WatchType::kModified},
               {"DELETED", WatchType::kDeleted}};
  for (const auto& c : cases) {
    const std::string line =
        std::string(R"({"type":")") + c.name +
        R"(","object":{"metadata":{"name":"a","namespace":"n","resourceVersion":"9"}}})" + "\n";
    const auto event = watch(line);
    ASSERT_TRUE(event.ok()) << event.status().message();
    EXPECT_EQ(event->type, c.type);
    EXPECT_EQ(event->object.name, "a");
    EXPECT_EQ(event->object.name_space, "n");
    EXPECT_EQ(event->object.resource_version, "9");
    EXPECT_EQ(event->object.json,
              R"({"metadata":{"name":"a","namespace":"n","resourceVersion":"9"}})");
  }
}

TEST(DecodeWatchLine, TheTypeMayComeLast) {
  const auto event = watch(R"({"object":{"metadata":{"name":"a"}},"type":"ADDED"})");
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(event->object.json, R"({"metadata":{"name":"a"}})");
}

TEST(DecodeWatchLine, Bookmarks) {
  const auto plain = watch(
      R"({"type":"BOOKMARK","object":{"kind":"Service","metadata":{"resourceVersion":"12"}}})");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->type, WatchType::kBookmark);
  EXPECT_EQ(plain->object.resource_version, "12");
  EXPECT_FALSE(plain->initial_events_end);
  const auto end = watch(
      R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"12","annotations":{"k8s.io/initial-events-end":"true"}}}})");
  ASSERT_TRUE(end.ok());
  EXPECT_TRUE(end->initial_events_end);
}

TEST(DecodeWatchLine, Errors) {
  const auto event = watch(
      R"({"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410,"details":{"retryAfterSeconds":3}}})");
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(event->type, WatchType::kError);
  EXPECT_EQ(event->status.code, 410);
  EXPECT_EQ(event->status.reason, "Expired");
  EXPECT_EQ(event->status.message, "too old");
  EXPECT_EQ(event->status.retry_after_seconds, 3);
}

TEST(DecodeWatchLine, WhatIsNoEventIsAnError) {
  for (const char* text :
       {"", "{}", "x", R"({"type":"ADDED"})", R"({"type":"ADDED","object":null})",
        R"({"type":"ADDED","object":{}})", R"({"type":"FOO","object":{"metadata":{"name":"a"}}})",
        R"({"object":{"metadata":{"name":"a"}}})",
        R"({"type":5,"object":{"metadata":{"name":"a"}}})",
        R"({"type":"ADDED","object":{"metadata":{"name":"a"}})"}) {
    EXPECT_FALSE(watch(text).ok()) << text;
  }
}

TEST(DecodeStatus, OnlyAStatusIsRead) {
  Decoder decoder;
  const ApiStatus status = decoder.status(
      R"({"kind":"Status","code":429,"reason":"TooManyRequests","message":"m","details":{"retryAfterSeconds":2}})");
  EXPECT_EQ(status.code, 429);
  EXPECT_EQ(status.reason, "TooManyRequests");
  EXPECT_EQ(status.retry_after_seconds, 2);
  for (const char* text :
       {"", "nginx says no", R"({"kind":"Service","code":5})", R"({"kind":"Status","code":410)"}) {
    EXPECT_EQ(decoder.status(text).code, 0) << text;
  }
  EXPECT_EQ(decoder.status(R"({"kind":"Status","code":-5,"reason":7})").code, 0);
}

}  // namespace
}  // namespace fairlead::api
