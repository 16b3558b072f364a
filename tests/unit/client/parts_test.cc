// The small parts: base64, known objects, line splitter, back-off, timers, verbs, tokens.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "control/api/base64.h"
#include "control/client/backoff.h"
#include "control/client/known_objects.h"
#include "control/client/line_splitter.h"
#include "control/client/query.h"
#include "control/client/request_kind.h"
#include "control/client/timer_queue.h"
#include "control/client/token_source.h"

namespace fairlead::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST(Base64, RoundTripsAndRefuses) {
  for (const std::string& bytes :
       {std::string(), std::string("f"), std::string("fo"), std::string("foo"), std::string("foob"),
        std::string("\0\xff\x80", 3)}) {
    EXPECT_EQ(api::decode_base64(api::encode_base64(bytes)), bytes);
  }
  EXPECT_EQ(api::encode_base64("foob"), "Zm9vYg==");
  EXPECT_EQ(api::decode_base64("Zm9v\nYmFy\r\n"), "foobar");
  for (const char* text :
       {"Z", "Zm", "Zm9", "Zm9v=", "=m9v", "Z===", "Zm=v", "Zm9v Zm9v", "Zg==Zg==", "Zm9-"}) {
    EXPECT_EQ(api::decode_base64(text), std::nullopt) << text;
  }
}

TEST(KnownObjects, NewsIsAnUnknownObjectOrAnotherVersion) {
  KnownObjects known;
  EXPECT_TRUE(known.upsert("n", "a", "1"));
  EXPECT_FALSE(known.upsert("n", "a", "1"));
  EXPECT_TRUE(known.upsert("n", "a", "2"));
  EXPECT_TRUE(known.upsert("na", "", "2"));  // not the same as n/a
  EXPECT_TRUE(known.upsert("", "a", "opaque-version"));
  EXPECT_FALSE(known.upsert("", "a", "opaque-version"));
  EXPECT_TRUE(known.upsert("", "a", "01"));
  EXPECT_TRUE(known.upsert("", "a", "1"));
  EXPECT_TRUE(known.erase("n", "a"));
  EXPECT_FALSE(known.erase("n", "a"));
  EXPECT_EQ(known.size(), 2u);
}

TEST(KnownObjects, SweepForgetsWhatTheRoundDidNotSee) {
  KnownObjects known;
  for (int i = 0; i < 1000; ++i) known.upsert("n", "o" + std::to_string(i), "1");
  known.begin_round();
  for (int i = 0; i < 998; ++i) known.upsert("n", "o" + std::to_string(i), "1");
  std::vector<std::string> gone;
  known.sweep(
      [&](const std::string& ns, const std::string& name) { gone.push_back(ns + "/" + name); });
  EXPECT_THAT(gone, UnorderedElementsAre("n/o998", "n/o999"));
  EXPECT_EQ(known.size(), 998u);
  known.distrust_versions();
  EXPECT_TRUE(known.upsert("n", "o1", "1"));
}

std::vector<std::string> split(LineSplitter& splitter, std::string_view bytes,
                               LineSplitter::Outcome expected = LineSplitter::Outcome::kMore) {
  std::vector<std::string> lines;
  const auto outcome = splitter.feed(bytes, [&](std::string_view line) {
    lines.emplace_back(line);
    return line != "stop";
  });
  EXPECT_EQ(outcome, expected);
  return lines;
}

TEST(LineSplitter, KeepsWhatIsUnfinishedWithinItsBound) {
  LineSplitter splitter(5);
  EXPECT_THAT(split(splitter, "ab\ncd\n\nef"), ElementsAre("ab", "cd"));
  EXPECT_THAT(split(splitter, "gh"), IsEmpty());
  EXPECT_THAT(split(splitter, "i\nj\nk"), ElementsAre("efghi", "j"));
  splitter.reset();
  EXPECT_THAT(split(splitter, "l\n"), ElementsAre("l"));
  EXPECT_THAT(split(splitter, "stop\nnext\n", LineSplitter::Outcome::kStopped),
              ElementsAre("stop"));
  EXPECT_THAT(split(splitter, "12345\n"), ElementsAre("12345"));
  EXPECT_THAT(split(splitter, "a\n123456\n", LineSplitter::Outcome::kTooLong), ElementsAre("a"));
  EXPECT_THAT(split(splitter, "123"), IsEmpty());
  EXPECT_THAT(split(splitter, "456", LineSplitter::Outcome::kTooLong), IsEmpty());
}

TEST(Backoff, StaysInsideItsSteps) {
  Backoff backoff(milliseconds(200), milliseconds(1000), 7);
  for (const int step : {200, 400, 800, 1000, 1000}) {
    const auto delay = backoff.next().count();
    EXPECT_GE(delay, step / 2);
    EXPECT_LE(delay, step);
  }
  backoff.reset();
  EXPECT_LE(backoff.next(), milliseconds(200));
}

TEST(Backoff, IsNotTheSameForEverybody) {
  Backoff a(milliseconds(100000), milliseconds(100000), 0);
  Backoff b(milliseconds(100000), milliseconds(100000), 0);
  int same = 0;
  for (int i = 0; i < 20; ++i) same += a.next() == b.next();
  EXPECT_LT(same, 20);
}

TEST(TimerQueue, CallsInOrderAndForgetsTheCancelled) {
  TimerQueue timers;
  const TimerQueue::Clock::time_point zero{};
  std::vector<int> called;
  timers.add(1, zero + seconds(2), [&] { called.push_back(1); });
  timers.add(2, zero + seconds(1), [&] {
    called.push_back(2);
    EXPECT_TRUE(timers.cancel(3));
    EXPECT_FALSE(timers.cancel(2));
    timers.add(5, zero, [&] { called.push_back(5); });
  });
  timers.add(3, zero + seconds(2), [&] { called.push_back(3); });
  timers.add(4, zero + seconds(9), [&] { called.push_back(4); });
  EXPECT_EQ(timers.next(), zero + seconds(1));
  timers.run(zero + seconds(2));
  EXPECT_THAT(called, ElementsAre(2, 1));
  timers.run(zero + seconds(2));
  EXPECT_THAT(called, ElementsAre(2, 1, 5));
  EXPECT_EQ(timers.next(), zero + seconds(9));
}

TEST(RequestVerb, TellsListsAndWatchesFromGets) {
  const struct {
    const char* method;
    const char* path;
    const char* verb;
  } cases[] = {
      {"GET", "/api/v1/nodes/a", "GET"},
      {"GET", "/api/v1/nodes?limit=5", "LIST"},
      {"GET", "/api/v1/namespaces", "LIST"},
      {"GET", "/api/v1/namespaces/x", "GET"},
      {"GET", "/api/v1/namespaces/x/services", "LIST"},
      {"GET", "/api/v1/namespaces/x/services/y", "GET"},
      {"GET", "/apis/discovery.k8s.io/v1/endpointslices?watch=true&x=y", "WATCH"},
      {"GET", "/apis/discovery.k8s.io/v1/endpointslices?x=y&watch=1", "WATCH"},
      {"GET", "/api/v1/nodes?labelSelector=nowatch=true", "LIST"},
      {"GET", "/healthz", "GET"},
      {"GET", "", "GET"},
      {"POST", "/api/v1/nodes", "POST"},
  };
  for (const auto& c : cases) EXPECT_EQ(request_verb(c.method, c.path), c.verb) << c.path;
}

TEST(Query, EncodesEverythingSpecial) {
  EXPECT_EQ(percent_encode("aZ9-._~"), "aZ9-._~");
  EXPECT_EQ(percent_encode("a b&c=d/\xC3\xBC"), "a%20b%26c%3Dd%2F%C3%BC");
  std::string path = "/x";
  add_query(&path, "a", "1");
  add_query(&path, "b", "?");
  EXPECT_EQ(path, "/x?a=1&b=%3F");
}

class TokenSourceTest : public ::testing::Test {
 protected:
  TokenSourceTest() {
    char name[] = "/tmp/fairlead-token-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  ~TokenSourceTest() override {
    ::unlink(file().c_str());
    ::rmdir(folder_.c_str());
  }
  std::string file() const { return folder_ + "/token"; }
  void write(const std::string& text) { std::ofstream(file(), std::ios::trunc) << text; }

  std::string folder_;
  const TokenSource::Clock::time_point now_ =
      TokenSource::Clock::time_point() + std::chrono::hours(1);
};

TEST_F(TokenSourceTest, FollowsTheFile) {
  write("one\n");
  TokenSource source("", file());
  EXPECT_EQ(source.token(now_), "one");
  write("three");
  EXPECT_EQ(source.token(now_), "three");  // another size: seen at once
}

TEST_F(TokenSourceTest, ReadsAgainAfterAMinuteOrARefusal) {
  write("one");
  TokenSource source("", file());
  source.token(now_);
  struct stat seen {};
  ASSERT_EQ(::stat(file().c_str(), &seen), 0);
  write("two");
  // Make the change invisible.
  const timespec times[2] = {seen.st_atim, seen.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, file().c_str(), times, 0), 0);
  EXPECT_EQ(source.token(now_ + seconds(59)), "one");
  EXPECT_EQ(source.token(now_ + seconds(60)), "two");
  write("six");
  ASSERT_EQ(::utimensat(AT_FDCWD, file().c_str(), times, 0), 0);
  source.refused();
  EXPECT_EQ(source.token(now_ + seconds(61)), "six");
}

TEST_F(TokenSourceTest, KeepsTheLastTokenWhenTheFileIsAwayOrUseless) {
  TokenSource source("fixed", file());
  EXPECT_EQ(source.token(now_), "fixed");
  EXPECT_FALSE(source.status().ok());
  write("one");
  EXPECT_EQ(source.token(now_), "one");
  EXPECT_TRUE(source.status().ok());
  write("two\nlines");
  EXPECT_EQ(source.token(now_), "one");
  EXPECT_FALSE(source.status().ok());
  write("");
  EXPECT_EQ(source.token(now_), "one");
}

TEST_F(TokenSourceTest, WithoutAFileTheTokenIsFixed) {
  TokenSource source("fixed", "");
  EXPECT_EQ(source.token(now_), "fixed");
}

}  // namespace
}  // namespace fairlead::client
