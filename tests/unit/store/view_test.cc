// The view: what no store can be made to do on demand.
#include "control/store/view.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/store/calls.h"

namespace fairlead::store {
namespace {

EntryPtr entry(const std::string& key, const std::string& value, Revision revision) {
  auto made = std::make_shared<Entry>();
  made->key = key;
  made->value = value;
  made->create_revision = made->mod_revision = revision;
  made->version = 1;
  return made;
}

Event put(const std::string& key, const std::string& value, Revision revision) {
  return {Event::Type::kPut, entry(key, value, revision), nullptr};
}

Event removal(const std::string& key, Revision revision) {
  return {Event::Type::kDelete, entry(key, "", revision), nullptr};
}

class ViewTest : public testing::Test {
 protected:
  static std::shared_ptr<View> make(size_t events, size_t bytes = size_t{1} << 20) {
    return std::make_shared<View>(HistoryLimits{events, bytes});
  }
  // One event a call, as a store does with single writes.
  void publish(View& view, Event event) {
    std::vector<Event> events;
    const Revision revision = event.revision();
    events.push_back(std::move(event));
    for (Event& each : view.publish(std::move(events), revision)) {
      forgotten_.push_back(std::move(each));
    }
  }
  std::unique_ptr<Watch> watch(View& view, const std::string& prefix, Revision start = 0) {
    WatchRequest request;
    request.key = prefix;
    request.start = start;
    return view.watch(request, [this] { ++ready_; }).value();
  }
  static std::string take(Watch& watch, size_t limit = 100) {
    const Result<WatchBatch> batch = watch.take(limit);
    if (!batch) return std::string(to_string(batch.status().code()));
    std::string text;
    for (const Event& event : batch->events) {
      text += event.entry->key + (event.type == Event::Type::kPut ? "+" : "-") +
              std::to_string(event.revision()) + " ";
    }
    return text + "to " + std::to_string(batch->revision) + (batch->more ? " more" : "");
  }

  std::vector<Event> forgotten_;
  int ready_ = 0;
};

TEST_F(ViewTest, ReadyIsCalledOnceUntilTaken) {
  const auto view = make(100);
  const auto all = watch(*view, "");
  EXPECT_EQ(take(*all), "to 0");
  publish(*view, put("a", "1", 1));
  publish(*view, put("a", "2", 2));
  EXPECT_EQ(ready_, 1);
  EXPECT_EQ(take(*all), "a+1 a+2 to 2");
  publish(*view, put("a", "3", 3));
  EXPECT_EQ(ready_, 2);
}

TEST_F(ViewTest, OthersChangesDoNotWakeAWatch) {
  const auto view = make(100);
  const auto idle = watch(*view, "b");
  take(*idle);
  publish(*view, put("a", "1", 1));
  EXPECT_EQ(ready_, 0);
  EXPECT_EQ(take(*idle), "to 1");
}

TEST_F(ViewTest, SlowWatchIsEndedAndIdleOneIsNot) {
  const auto view = make(3);
  const auto slow = watch(*view, "a");
  const auto idle = watch(*view, "b");
  take(*slow);
  take(*idle);
  for (Revision revision = 1; revision <= 10; ++revision) publish(*view, put("a", "x", revision));
  EXPECT_EQ(ready_, 1);
  EXPECT_EQ(take(*slow), "expired");
  EXPECT_EQ(take(*slow), "expired");
  EXPECT_EQ(take(*idle), "to 10");
  publish(*view, put("b", "x", 11));
  EXPECT_EQ(take(*idle), "b+11 to 11");
}

TEST_F(ViewTest, PagesNeedNotBeCounted) {
  const auto view = make(100);
  Revision revision = 0;
  for (const char* key : {"a", "b", "c", "d", "e"}) publish(*view, put(key, "x", ++revision));
  const auto page = [&](Revision at, size_t limit, bool counted) {
    RangeRequest request;
    request.end = kNoEnd;
    request.revision = at;
    request.limit = limit;
    request.counted = counted;
    const Result<RangeResult> result = view->range(request);
    if (!result) return std::string("failed");
    std::string text;
    for (const EntryPtr& each : result->entries) text += each->key;
    if (counted) text += " of " + std::to_string(result->count);
    return text + (result->more ? " more" : "");
  };
  for (int round = 0; round < 2; ++round) {
    const Revision at = round == 0 ? 0 : 5;  // the present, then a past in which b is there still
    EXPECT_EQ(page(at, 2, true), "ab of 5 more");
    EXPECT_EQ(page(at, 2, false), "ab more");
    EXPECT_EQ(page(at, 4, false), "abcd more");
    EXPECT_EQ(page(at, 5, false), "abcde");
    EXPECT_EQ(page(at, 6, false), "abcde");
    publish(*view, removal("b", ++revision));
    publish(*view, put("bb", "x", ++revision));
  }
}

TEST_F(ViewTest, HistoryIsBoundedByBytesToo) {
  const auto view = make(1000, 10'000);
  for (Revision revision = 1; revision <= 50; ++revision) {
    publish(*view, put("a", std::string(1000, 'x'), revision));
  }
  EXPECT_GT(view->compacted(), 35);
  EXPECT_LT(view->compacted(), 50);
  EXPECT_EQ(forgotten_.size(), static_cast<size_t>(view->compacted()));
}

TEST_F(ViewTest, RevisionWithSeveralEventsIsForgottenWhole) {
  const auto view = make(4);
  std::vector<Event> first;
  for (const char* key : {"a", "b", "c"}) first.push_back(put(key, "x", 1));
  view->publish(std::move(first), 1);
  publish(*view, put("d", "x", 2));
  const auto all = watch(*view, "", 1);
  EXPECT_EQ(take(*all, 2), "a+1 b+1 to 0 more");
  EXPECT_EQ(take(*all, 2), "c+1 d+2 to 2");
  publish(*view, put("e", "x", 3));
  EXPECT_EQ(view->compacted(), 1);
  EXPECT_EQ(forgotten_.size(), 3U);
}

TEST_F(ViewTest, WhatIsKnownAlreadyIsDropped) {
  const auto view = make(100);
  view->reset({entry("a", "1", 5)}, 7);
  std::vector<Event> events;
  events.push_back(put("a", "old", 6));
  events.push_back(removal("nothing", 8));
  events.push_back(put("b", "1", 9));
  const auto all = watch(*view, "");
  view->publish(std::move(events), 9);
  EXPECT_EQ(take(*all), "b+9 to 9");
  EXPECT_EQ(view->find("a")->value, "1");
}

TEST_F(ViewTest, ResetEndsWatches) {
  const auto view = make(100);
  const auto idle = watch(*view, "a");
  take(*idle);
  publish(*view, put("b", "1", 1));
  view->reset({entry("c", "1", 20)}, 20);
  EXPECT_EQ(ready_, 1);
  EXPECT_EQ(take(*idle), "expired");
  EXPECT_EQ(view->find("b"), nullptr);
  EXPECT_EQ(take(*watch(*view, "")), "to 20");
}

TEST_F(ViewTest, WatchesComeAndGo) {
  const auto view = make(100);
  std::vector<std::unique_ptr<Watch>> watches;
  for (const char* prefix : {"", "a", "a", "a/b", "c"}) {
    watches.push_back(watch(*view, prefix));
    take(*watches.back());
  }
  publish(*view, put("a/b/c", "1", 1));
  EXPECT_EQ(ready_, 4);
  watches.erase(watches.begin() + 1);
  for (const auto& each : watches) take(*each);
  publish(*view, put("a/b/c", "2", 2));
  EXPECT_EQ(ready_, 7);
  watches.clear();
  publish(*view, put("a/b/c", "3", 3));
  EXPECT_EQ(ready_, 7);
}

}  // namespace
}  // namespace fairlead::store
