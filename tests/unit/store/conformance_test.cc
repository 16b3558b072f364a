// What every store does, asked of the embedded one and of a real etcd.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "control/store/embedded/embedded_store.h"
#include "tests/unit/store/calls.h"
#include "tests/unit/store/etcd_server.h"

namespace fairlead::store {
namespace {

class StoreConformance : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "embedded") {
      EmbeddedOptions options;
      options.directory = scratch_.path("store");
      store_ = EmbeddedStore::open(options).value();
    } else {
      if (!etcd_is_installed()) GTEST_SKIP() << "etcd is not installed";
      ASSERT_NE(shared_etcd(), nullptr) << "etcd does not start";
      store_ = EtcdStore::open(shared_etcd()->options(shared_etcd()->fresh_location())).value();
    }
    calls_ = std::make_unique<Calls>(*store_);
  }

  Result<WriteOutcome> put(const std::string& key, const std::string& value,
                           Expect expect = Expect::anything(), LeaseId lease = 0) {
    return calls_->put(key, value, expect, lease);
  }
  // The revision of a write that must succeed.
  Revision write(const std::string& key, const std::string& value, LeaseId lease = 0) {
    const Result<WriteOutcome> outcome = put(key, value, Expect::anything(), lease);
    EXPECT_TRUE(outcome.ok() && outcome->applied) << outcome.status().message();
    return outcome ? outcome->revision : 0;
  }
  TestWatch watch(const std::string& key, Revision start = 0, bool prefix = true) {
    WatchRequest request;
    request.key = key;
    request.prefix = prefix;
    request.start = start;
    return TestWatch::open(*store_, request).value();
  }
  StatusCode watch_error(Revision start) {
    WatchRequest request;
    request.start = start;
    return TestWatch::open(*store_, request).status().code();
  }
  // "b c+ of 3" for a page: the keys, + when there are more, the count.
  std::string page(const std::string& key, const std::string& end, size_t limit,
                   Revision revision = 0, bool count_only = false) {
    RangeRequest request;
    request.key = key;
    request.end = end;
    request.limit = limit;
    request.revision = revision;
    request.count_only = count_only;
    const Result<RangeResult> result = calls_->range(request);
    if (!result) return std::string(to_string(result.status().code()));
    std::string text;
    for (const EntryPtr& entry : result->entries) text += entry->key + " ";
    return text + (result->more ? "+ of " : "of ") + std::to_string(result->count);
  }

  Scratch scratch_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Calls> calls_;
};

INSTANTIATE_TEST_SUITE_P(Stores, StoreConformance, testing::Values("embedded", "etcd"),
                         [](const auto& store) { return store.param; });

TEST_P(StoreConformance, EntryCarriesRevisionsAndVersion) {
  const WriteOutcome created = put("/a", "1", Expect::absent()).value();
  ASSERT_TRUE(created.applied);
  EXPECT_EQ(created.previous, nullptr);
  EXPECT_EQ(created.entry->create_revision, created.revision);
  EXPECT_EQ(created.entry->mod_revision, created.revision);
  EXPECT_EQ(created.entry->version, 1);

  const WriteOutcome changed = put("/a", "2", Expect::at(created.revision)).value();
  ASSERT_TRUE(changed.applied);
  EXPECT_GT(changed.revision, created.revision);
  EXPECT_EQ(changed.previous->value, "1");
  EXPECT_EQ(changed.entry->create_revision, created.revision);
  EXPECT_EQ(changed.entry->version, 2);

  RangeRequest request;
  request.key = "/a";
  const RangeResult read = calls_->range(request).value();
  ASSERT_EQ(read.entries.size(), 1U);
  EXPECT_EQ(read.count, 1U);
  EXPECT_EQ(read.entries[0]->value, "2");
  EXPECT_EQ(read.entries[0]->mod_revision, changed.revision);
  EXPECT_EQ(read.entries[0]->create_revision, created.revision);
  EXPECT_EQ(read.entries[0]->version, 2);
  EXPECT_GE(read.revision, changed.revision);
}

TEST_P(StoreConformance, CreateOnlyWhenAbsent) {
  const Revision first = write("/a", "1");
  const WriteOutcome refused = put("/a", "2", Expect::absent()).value();
  EXPECT_FALSE(refused.applied);
  EXPECT_EQ(refused.entry, nullptr);
  EXPECT_EQ(refused.previous->value, "1");
  EXPECT_EQ(refused.previous->mod_revision, first);
  EXPECT_EQ(calls_->list("/"), "/a=1");
}

TEST_P(StoreConformance, UpdateOnlyAtExpectedRevision) {
  const Revision first = write("/a", "1");
  const Revision second = write("/a", "2");
  EXPECT_FALSE(put("/a", "3", Expect::at(first)).value().applied);
  EXPECT_FALSE(put("/b", "3", Expect::at(first)).value().applied);
  EXPECT_EQ(put("/b", "3", Expect::at(first)).value().previous, nullptr);
  EXPECT_TRUE(put("/a", "3", Expect::at(second)).value().applied);
  EXPECT_EQ(calls_->list("/"), "/a=3");
}

TEST_P(StoreConformance, RemoveOnlyAtExpectedRevision) {
  const Revision first = write("/a", "1");
  const Revision second = write("/a", "2");
  const WriteOutcome refused = calls_->remove("/a", Expect::at(first)).value();
  EXPECT_FALSE(refused.applied);
  EXPECT_EQ(refused.previous->value, "2");
  const WriteOutcome removed = calls_->remove("/a", Expect::at(second)).value();
  EXPECT_TRUE(removed.applied);
  EXPECT_GT(removed.revision, second);
  EXPECT_EQ(removed.entry, nullptr);
  EXPECT_EQ(removed.previous->value, "2");
  const WriteOutcome again = calls_->remove("/a").value();
  EXPECT_FALSE(again.applied);
  EXPECT_EQ(again.previous, nullptr);
  EXPECT_EQ(calls_->list("/"), "");
}

TEST_P(StoreConformance, RecreatedKeyBeginsAnew) {
  write("/a", "1");
  write("/a", "2");
  ASSERT_TRUE(calls_->remove("/a").value().applied);
  const WriteOutcome created = put("/a", "3", Expect::absent()).value();
  EXPECT_EQ(created.entry->version, 1);
  EXPECT_EQ(created.entry->create_revision, created.revision);
}

TEST_P(StoreConformance, BadWritesAreRefused) {
  EXPECT_EQ(put("", "1").status().code(), StatusCode::kInvalid);
  EXPECT_EQ(put(std::string(kMaxKeyBytes + 1, 'k'), "1").status().code(), StatusCode::kInvalid);
  EXPECT_EQ(put("/a", std::string(kMaxValueBytes + 1, 'v')).status().code(), StatusCode::kInvalid);
  EXPECT_EQ(calls_->remove("").status().code(), StatusCode::kInvalid);
  EXPECT_EQ(put("/a", "1", Expect::anything(), 4711).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(calls_->list("/"), "");
}

TEST_P(StoreConformance, AnyBytesAreKeptAsTheyAre) {
  const std::string key("/\0\xff\n", 4);
  const std::string value("\0\x80\xff", 3);
  write(key, value);
  write("/empty", "");
  EXPECT_EQ(calls_->list("/"), key + "=" + value + " /empty=");
}

TEST_P(StoreConformance, RangesAreSortedAndPaged) {
  for (const char* key : {"/c", "/a", "/d", "/b", "/x/1"}) write(key, "v");
  EXPECT_EQ(page("/", prefix_end("/"), 0), "/a /b /c /d /x/1 of 5");
  EXPECT_EQ(page("/", prefix_end("/"), 2), "/a /b + of 5");
  EXPECT_EQ(page(key_after("/b"), prefix_end("/"), 2), "/c /d + of 3");
  EXPECT_EQ(page(key_after("/d"), prefix_end("/"), 2), "/x/1 of 1");
  EXPECT_EQ(page("/b", "/d", 0), "/b /c of 2");
  EXPECT_EQ(page("/b", std::string(kNoEnd), 0), "/b /c /d /x/1 of 4");
  EXPECT_EQ(page("", std::string(kNoEnd), 1), "/a + of 5");
  EXPECT_EQ(page("/d", "/b", 0), "of 0");
  EXPECT_EQ(page("/", "", 0), "of 0");
  EXPECT_EQ(page("/", prefix_end("/"), 0, 0, true), "of 5");
}

TEST_P(StoreConformance, PastRevisionsCanBeRead) {
  write("/a", "1");
  const Revision two = write("/b", "1");
  write("/a", "2");
  calls_->remove("/b").value();
  const Revision later = write("/c", "1");
  write("/b", "2");
  calls_->remove("/c").value();
  EXPECT_EQ(calls_->list("/", two), "/a=1 /b=1");
  EXPECT_EQ(calls_->list("/", later), "/a=2 /c=1");
  EXPECT_EQ(calls_->list("/"), "/a=2 /b=2");
  EXPECT_EQ(page("/", prefix_end("/"), 1, two), "/a + of 2");
  EXPECT_EQ(page(key_after("/a"), prefix_end("/"), 1, two), "/b of 1");
  EXPECT_EQ(page("/c", "", 0, later), "/c of 1");
  EXPECT_EQ(page("/c", "", 0, two), "of 0");
  EXPECT_EQ(page("/", prefix_end("/"), 0, two, true), "of 2");
  EXPECT_EQ(calls_->list("/", later + 1'000'000), "unavailable");
}

TEST_P(StoreConformance, ReadsSeeEveryAcknowledgedWrite) {
  for (int i = 0; i < 200; ++i) {
    write("/a", std::to_string(i));
    ASSERT_EQ(calls_->list("/"), "/a=" + std::to_string(i));
  }
}

TEST_P(StoreConformance, WritesAreInMemoryWhenAcknowledged) {
  for (int i = 0; i < 50; ++i) {
    const Revision revision = write("/a", std::to_string(i));
    ASSERT_GE(store_->revision(), revision);
    RangeRequest cached;
    cached.key = "/a";
    cached.allow_cached = true;
    ASSERT_EQ(calls_->range(cached).value().entries.at(0)->mod_revision, revision);
  }
  TestWatch later = watch("/");
  write("/b", "1");
  EXPECT_EQ(later.next(1), "put /b=1");
}

TEST_P(StoreConformance, WatchSeesChangesOfItsPrefix) {
  TestWatch here = watch("/a/");
  TestWatch one = watch("/a/1", 0, false);
  write("/a/1", "x");
  write("/b/1", "other");
  write("/a/12", "y");
  write("/a/1", "z");
  calls_->remove("/a/12").value();
  EXPECT_EQ(here.next(4), "put /a/1=x, put /a/12=y, put /a/1=z (was x), remove /a/12 (was y)");
  write("/a/1", "end");
  EXPECT_EQ(one.next(3), "put /a/1=x, put /a/1=z (was x), put /a/1=end (was z)");
}

TEST_P(StoreConformance, WatchFromAPastRevision) {
  write("/a", "1");
  const Revision second = write("/a", "2");
  const Revision removed = calls_->remove("/a").value().revision;
  write("/a", "3");
  EXPECT_EQ(watch("/", second).next(3), "put /a=2 (was 1), remove /a (was 2), put /a=3");
  EXPECT_EQ(watch("/", removed).next(2), "remove /a (was 2), put /a=3");
}

TEST_P(StoreConformance, WatchFromAFutureRevision) {
  const Revision now = write("/a", "1");
  TestWatch later = watch("/", now + 2);
  Revision revision = now;
  while (revision < now + 2) revision = write("/a", "early");
  write("/a", "late");
  std::optional<Event> first = later.one();
  ASSERT_TRUE(first);
  EXPECT_GE(first->revision(), now + 2);
}

TEST_P(StoreConformance, RemovalEventsCarryTheirRevision) {
  write("/a", "1");
  TestWatch all = watch("/");
  const Revision removed = calls_->remove("/a").value().revision;
  const std::optional<Event> event = all.one();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->revision(), removed);
  EXPECT_EQ(event->previous->value, "1");
  EXPECT_EQ(event->previous->version, 1);
}

TEST_P(StoreConformance, IdleWatchMakesProgress) {
  TestWatch idle = watch("/idle/");
  ASSERT_TRUE(idle.take(10).ok());
  const Revision last = write("/busy", "1");
  ASSERT_EQ(calls_->list("/busy"), "/busy=1");  // a shared store's memory has caught up now
  const Result<WatchBatch> batch = idle.take(10);
  ASSERT_TRUE(batch.ok());
  EXPECT_TRUE(batch->events.empty());
  EXPECT_GE(batch->revision, last);
}

TEST_P(StoreConformance, TakingIsBoundedAndContinues) {
  TestWatch all = watch("/");
  for (int i = 0; i < 5; ++i) write("/" + std::to_string(i), "v");
  ASSERT_EQ(page("/", prefix_end("/"), 0, 0, true), "of 5");
  const WatchBatch first = all.take(2).value();
  ASSERT_EQ(first.events.size(), 2U);
  EXPECT_TRUE(first.more);
  EXPECT_GE(first.revision, first.events[1].revision());
  const WatchBatch rest = all.take(10).value();
  ASSERT_EQ(rest.events.size(), 3U);
  EXPECT_LT(first.revision, rest.events[0].revision());
  EXPECT_FALSE(rest.more);
}

TEST_P(StoreConformance, CompactionForgetsThePast) {
  const Revision first = write("/a", "1");
  const Revision second = write("/a", "2");
  const Revision third = write("/a", "3");
  ASSERT_EQ(calls_->list("/"), "/a=3");
  ASSERT_TRUE(calls_->compact(second).ok());
  EXPECT_EQ(calls_->list("/", first), "expired");
  EXPECT_EQ(calls_->list("/", second), "/a=2");
  EXPECT_EQ(calls_->list("/"), "/a=3");
  EXPECT_EQ(watch_error(first), StatusCode::kExpired);
  EXPECT_EQ(watch("/", third).next(1), "put /a=3 (was 2)");
  EXPECT_EQ(calls_->compact(first).code(), StatusCode::kExpired);
  EXPECT_EQ(calls_->compact(third + 1'000'000).code(), StatusCode::kUnavailable);
}

TEST_P(StoreConformance, RevokedLeaseTakesItsKeys) {
  const Lease lease = calls_->grant(600).value();
  EXPECT_GE(lease.ttl.count(), 600);
  write("/a", "1", lease.id);
  write("/b", "1", lease.id);
  write("/c", "1");
  write("/b", "2");  // without the lease from now on
  EXPECT_EQ(put("/d", "1", Expect::anything(), lease.id).value().entry->lease, lease.id);
  TestWatch all = watch("/");
  ASSERT_TRUE(calls_->revoke(lease.id).ok());
  EXPECT_EQ(calls_->list("/"), "/b=2 /c=1");
  EXPECT_EQ(all.next(2), "remove /a (was 1), remove /d (was 1)");
  EXPECT_EQ(calls_->revoke(lease.id).code(), StatusCode::kNotFound);
  EXPECT_EQ(calls_->keep_alive(lease.id).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(put("/e", "1", Expect::anything(), lease.id).status().code(), StatusCode::kNotFound);
}

TEST_P(StoreConformance, UnkeptLeaseRunsOut) {
  TestWatch all = watch("/");
  const Lease lease = calls_->grant(1).value();
  write("/a", "1", lease.id);
  EXPECT_EQ(all.next(2), "put /a=1, remove /a (was 1)");
  EXPECT_EQ(calls_->list("/"), "");
}

TEST_P(StoreConformance, KeptLeaseKeepsItsTime) {
  const Lease lease = calls_->grant(100).value();
  const Result<Lease> kept = calls_->keep_alive(lease.id);
  ASSERT_TRUE(kept.ok()) << kept.status().message();
  EXPECT_EQ(kept->id, lease.id);
  EXPECT_EQ(kept->ttl, lease.ttl);
  EXPECT_EQ(calls_->grant(0).status().code(), StatusCode::kInvalid);
}

TEST_P(StoreConformance, ConcurrentUpdatesOfOneKeyAreSerial) {
  constexpr int kThreads = 8;
  constexpr int kEach = 25;
  write("/n", "0");
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([this] {
      RangeRequest request;
      request.key = "/n";
      for (int done = 0; done < kEach;) {
        const EntryPtr current = calls_->range(request).value().entries[0];
        const std::string next = std::to_string(std::stoi(current->value) + 1);
        if (put("/n", next, Expect::at(current->mod_revision)).value().applied) ++done;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(calls_->list("/"), "/n=" + std::to_string(kThreads * kEach));
}

TEST_P(StoreConformance, ClosingEndsWatchesAndSaysSo) {
  TestWatch all = watch("/");
  write("/a", "1");
  EXPECT_EQ(all.next(1), "put /a=1");
  store_.reset();
  EXPECT_EQ(all.next(1), "[unavailable]");
}

TEST_P(StoreConformance, HealthyWhenOpen) {
  EXPECT_EQ(store_->health().message(), "ok");
}

}  // namespace
}  // namespace fairlead::store
