// The embedded store and its disk: restarts, kills, power cuts, failing syncs, full disks, damage,
// backups.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "control/store/embedded/embedded_store.h"
#include "tests/harness/process.h"
#include "tests/unit/store/calls.h"
#include "tests/unit/store/fault_env.h"
#include "tests/unit/store/scratch.h"

namespace fairlead::store {
namespace {

class Durability : public testing::Test {
 protected:
  Durability()
      : faults_(std::make_shared<FaultFileSystem>()), env_(rocksdb::NewCompositeEnv(faults_)) {}

  Status try_open(HistoryLimits history = HistoryLimits()) {
    EmbeddedOptions options;
    options.directory = scratch_.path("store");
    options.history = history;
    options.env = env_.get();
    Result<std::unique_ptr<EmbeddedStore>> opened = EmbeddedStore::open(options);
    if (!opened) return opened.status();
    store_ = std::move(opened).value();
    calls_ = std::make_unique<Calls>(*store_);
    return {};
  }
  void open(HistoryLimits history = HistoryLimits()) {
    const Status status = try_open(history);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  void close() {
    calls_.reset();
    store_.reset();
  }
  void reopen(HistoryLimits history = HistoryLimits()) {
    close();
    open(history);
  }
  void power_cut(int torn) {
    faults_->die();
    close();
    faults_->lose_unsynced(torn);
    faults_ = std::make_shared<FaultFileSystem>();
    env_ = rocksdb::NewCompositeEnv(faults_);
  }
  StatusCode put(const std::string& key, const std::string& value) {
    return calls_->put(key, value).status().code();
  }
  std::string watch_from(Revision start, size_t count) {
    WatchRequest request;
    request.start = start;
    Result<TestWatch> watch = TestWatch::open(*store_, request);
    return watch ? watch->next(count) : std::string(to_string(watch.status().code()));
  }

  Scratch scratch_;
  std::shared_ptr<FaultFileSystem> faults_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<EmbeddedStore> store_;
  std::unique_ptr<Calls> calls_;
};

TEST_F(Durability, RestartKeepsEntriesRevisionsAndHistory) {
  open();
  put("/a", "1");
  put("/b", "1");
  put("/a", "2");
  calls_->remove("/b").value();
  const Revision revision = store_->revision();
  reopen();
  EXPECT_EQ(store_->revision(), revision);
  EXPECT_EQ(calls_->list("/"), "/a=2");
  EXPECT_EQ(calls_->list("/", 2), "/a=1 /b=1");
  EXPECT_EQ(watch_from(1, 4), "put /a=1, put /b=1, put /a=2 (was 1), remove /b (was 1)");
  const WriteOutcome next = calls_->put("/a", "3").value();
  EXPECT_EQ(next.revision, revision + 1);
  EXPECT_EQ(next.entry->version, 3);
  EXPECT_EQ(next.entry->create_revision, 1);
}

TEST_F(Durability, ForgottenHistoryStaysForgottenAndLeavesTheDisk) {
  HistoryLimits few;
  few.events = 3;
  open(few);
  for (int i = 0; i < 10; ++i) put("/a", std::to_string(i));
  put("/b", "x");
  calls_->remove("/b").value();
  put("/c", "1");  // 13: history is 11, 12, 13
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(calls_->list("/", 9), "expired");
    EXPECT_EQ(calls_->list("/", 10), "/a=9");
    EXPECT_EQ(watch_from(10, 1), "expired");
    EXPECT_EQ(watch_from(11, 3), "put /b=x, remove /b (was x), put /c=1");
    EXPECT_EQ(calls_->list("/"), "/a=9 /c=1");
    reopen(few);
  }
  put("/d", "1");
  put("/e", "1");
  put("/f", "1");  // takes the records of all but these with it
  reopen(few);
  EXPECT_EQ(calls_->list("/"), "/a=9 /c=1 /d=1 /e=1 /f=1");
  EXPECT_EQ(calls_->list("/", 12), "expired");
}

TEST_F(Durability, CompactionSurvivesARestart) {
  open();
  for (int i = 1; i <= 5; ++i) put("/a", std::to_string(i));
  calls_->remove("/a").value();
  ASSERT_TRUE(calls_->compact(6).ok());
  reopen();
  EXPECT_EQ(store_->revision(), 6);
  EXPECT_EQ(calls_->list("/", 5), "expired");
  EXPECT_EQ(calls_->list("/", 6), "");
  EXPECT_EQ(calls_->put("/a", "7").value().revision, 7);
}

TEST_F(Durability, LeasesSurviveARestart) {
  open();
  const LeaseId id = calls_->grant(1).value().id;
  const LeaseId revoked = calls_->grant(600).value().id;
  calls_->put("/a", "1", Expect::anything(), id).value();
  calls_->put("/b", "1", Expect::anything(), revoked).value();
  ASSERT_TRUE(calls_->revoke(revoked).ok());
  const Revision before = store_->revision();
  reopen();
  EXPECT_EQ(calls_->keep_alive(revoked).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(watch_from(before + 1, 1), "remove /a (was 1)");
  EXPECT_EQ(calls_->list("/"), "");
}

TEST_F(Durability, OneProcessAtATime) {
  open();
  EmbeddedOptions options;
  options.directory = scratch_.path("store");
  const Status second = EmbeddedStore::open(options).status();
  EXPECT_EQ(second.code(), StatusCode::kConflict) << second.message();
  EXPECT_NE(second.message().find("another process has it open"), std::string::npos);
}

TEST_F(Durability, DirectoryIsPrivate) {
  open();
  const auto mode = std::filesystem::status(scratch_.path("store")).permissions();
  EXPECT_EQ(mode & std::filesystem::perms(0777), std::filesystem::perms(0700));
}

TEST_F(Durability, ConcurrentWritersShareSyncs) {
  open();
  const int before = faults_->syncs();
  std::vector<std::thread> writers;
  for (int i = 0; i < 32; ++i) {
    writers.emplace_back([this, i] {
      for (int n = 0; n < 20; ++n) calls_->put("/" + std::to_string(i), std::to_string(n)).value();
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(store_->revision(), 640);
  EXPECT_LT(faults_->syncs() - before, 640);
}

TEST_F(Durability, FailedSyncRefusesWritesUntilReopened) {
  open();
  ASSERT_EQ(put("/a", "acknowledged"), StatusCode::kOk);
  faults_->fail_syncs_from(0);
  EXPECT_EQ(put("/a", "lost"), StatusCode::kUnavailable);
  faults_->fail_syncs_from(-1);
  EXPECT_EQ(put("/b", "late"), StatusCode::kUnavailable);
  EXPECT_EQ(calls_->grant(10).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(store_->health().code(), StatusCode::kUnavailable);
  // What was acknowledged is what is seen.
  EXPECT_EQ(calls_->list("/"), "/a=acknowledged");
  EXPECT_EQ(store_->revision(), 1);
  reopen();
  const std::string found = calls_->list("/");
  EXPECT_TRUE(found == "/a=acknowledged" || found == "/a=lost") << found;
  EXPECT_EQ(put("/b", "1"), StatusCode::kOk);
}

// Writers in parallel, a sync that fails in the midst of them: each write was acknowledged and is
// there, or was refused and is there as a whole or not at all.
TEST_F(Durability, FailedSyncAmongConcurrentWriters) {
  for (const int healthy_syncs : {0, 1, 7, 20}) {
    SCOPED_TRACE(healthy_syncs);
    open();
    faults_->fail_syncs_from(healthy_syncs);
    std::map<std::string, std::atomic<int>> acknowledged;
    std::vector<std::thread> writers;
    for (int i = 0; i < 8; ++i) acknowledged["/" + std::to_string(i)] = -1;
    for (auto& [key, last] : acknowledged) {
      writers.emplace_back([this, &key = key, &last = last] {
        for (int n = 0; put(key, std::to_string(n)) == StatusCode::kOk; ++n) last = n;
      });
    }
    for (std::thread& writer : writers) writer.join();
    faults_->fail_syncs_from(-1);
    power_cut(50);
    open();
    for (const auto& [key, last] : acknowledged) {
      RangeRequest request;
      request.key = key;
      const RangeResult found = calls_->range(request).value();
      const int value = found.entries.empty() ? -1 : std::stoi(found.entries[0]->value);
      EXPECT_GE(value, last) << key;
      EXPECT_LE(value, last + 1) << key;
    }
    close();
    std::filesystem::remove_all(scratch_.path("store"));
  }
}

TEST_F(Durability, PowerCutLosesNothingAcknowledged) {
  for (const int torn : {0, 37, 100}) {
    SCOPED_TRACE(torn);
    open();
    const Revision before = store_->revision();
    for (int i = 0; i < 300; ++i) {
      ASSERT_EQ(put("/" + std::to_string(i % 50), std::string(3000, 'x')), StatusCode::kOk);
    }
    power_cut(torn);
    open();
    EXPECT_EQ(store_->revision(), before + 300);
    RangeRequest all;
    all.end = kNoEnd;
    all.count_only = true;
    EXPECT_EQ(calls_->range(all)->count, 50U);
    close();
  }
}

TEST_F(Durability, AlmostFullDiskRefusesWritesUntilThereIsRoom) {
  open();
  ASSERT_EQ(put("/a", "1"), StatusCode::kOk);
  const LeaseId lease = calls_->grant(600).value().id;
  faults_->set_free_bytes(1000);
  const Status refused = calls_->put("/a", "2").status();
  EXPECT_EQ(refused.code(), StatusCode::kExhausted);
  EXPECT_NE(refused.message().find("1000 bytes are free"), std::string::npos);
  EXPECT_EQ(store_->health().code(), StatusCode::kExhausted);
  EXPECT_EQ(calls_->list("/"), "/a=1");
  EXPECT_TRUE(calls_->keep_alive(lease).ok());
  faults_->set_free_bytes(uint64_t{1} << 40);
  EXPECT_EQ(put("/a", "3"), StatusCode::kOk);
  EXPECT_TRUE(store_->health().ok());
}

TEST_F(Durability, FullDiskAtAWriteKeepsServingReads) {
  open();
  ASSERT_EQ(put("/a", "1"), StatusCode::kOk);
  faults_->fail_appends_with_full_disk(true);
  EXPECT_EQ(put("/a", "2"), StatusCode::kExhausted);
  EXPECT_EQ(put("/a", "3"), StatusCode::kUnavailable);
  EXPECT_EQ(calls_->list("/"), "/a=1");
  EXPECT_EQ(watch_from(1, 1), "put /a=1");
  faults_->fail_appends_with_full_disk(false);
  reopen();
  EXPECT_EQ(calls_->list("/"), "/a=1");
  EXPECT_EQ(put("/a", "4"), StatusCode::kOk);
}

TEST_F(Durability, DamageIsAnError) {
  open();
  for (int i = 0; i < 100; ++i) put("/a", std::string(1000, 'x'));
  close();
  // Into the middle of the log, where no crash tears anything.
  for (const auto& file : std::filesystem::directory_iterator(scratch_.path("store"))) {
    if (file.path().extension() != ".log") continue;
    std::fstream log(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    log.seekp(static_cast<std::streamoff>(std::filesystem::file_size(file.path()) / 2));
    log << "damage";
  }
  const Status status = try_open();
  EXPECT_EQ(status.code(), StatusCode::kInvalid) << status.message();
}

TEST_F(Durability, CheckpointIsRestored) {
  open();
  put("/a", "1");
  put("/b", "1");
  calls_->remove("/b").value();
  const LeaseId lease = calls_->grant(600).value().id;
  calls_->put("/c", "1", Expect::anything(), lease).value();
  ASSERT_TRUE(store_->checkpoint(scratch_.path("backup")).ok());
  put("/a", "after");
  EXPECT_FALSE(store_->checkpoint(scratch_.path("backup")).ok());

  const std::string restored = scratch_.path("restored");
  Status status = EmbeddedStore::restore(scratch_.path("backup"), restored);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(EmbeddedStore::restore(scratch_.path("backup"), restored).code(),
            StatusCode::kConflict);
  EXPECT_EQ(EmbeddedStore::restore(scratch_.path("nothing"), scratch_.path("x")).code(),
            StatusCode::kInvalid);
  EXPECT_EQ(calls_->list("/"), "/a=after /c=1");
  close();

  EmbeddedOptions options;
  options.directory = restored;
  store_ = EmbeddedStore::open(options).value();
  calls_ = std::make_unique<Calls>(*store_);
  EXPECT_EQ(calls_->list("/"), "/a=1 /c=1");
  EXPECT_EQ(watch_from(4, 1), "expired");  // what a client of the lost store may ask
  EXPECT_EQ(calls_->put("/a", "2").value().revision, 4 + kRestoreGap + 1);
  EXPECT_TRUE(calls_->revoke(lease).ok());
  EXPECT_EQ(calls_->list("/"), "/a=2");
}

// What adds is refused beyond the quota, what makes room never is; a restart counts anew.
TEST_F(Durability, QuotaOfWhatIsStored) {
  EmbeddedOptions options;
  options.directory = scratch_.path("store");
  options.quota_bytes = 1000;
  const auto reopen_limited = [&] {
    close();
    store_ = EmbeddedStore::open(options).value();
    calls_ = std::make_unique<Calls>(*store_);
  };
  reopen_limited();
  EXPECT_EQ(put("/a", std::string(498, 'x')), StatusCode::kOk);
  EXPECT_EQ(store_->usage().bytes, 500u);
  EXPECT_EQ(store_->usage().quota_bytes, 1000u);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(put("/b", std::string(499, 'x')), StatusCode::kExhausted);
    const Status refused = calls_->put("/b", std::string(499, 'x')).status();
    EXPECT_EQ(refused.system_errno(), ENOSPC);
    EXPECT_NE(refused.message().find("500 of 1000 bytes of its quota are used, 501 more"),
              std::string::npos)
        << refused.message();
    EXPECT_TRUE(store_->health().ok());
    reopen_limited();
  }
  EXPECT_EQ(put("/b", std::string(498, 'x')), StatusCode::kOk);
  EXPECT_EQ(put("/c", ""), StatusCode::kExhausted);
  EXPECT_EQ(put("/a", std::string(498, 'y')), StatusCode::kOk) << "as large as before";
  EXPECT_EQ(put("/a", std::string(497, 'y')), StatusCode::kOk);
  EXPECT_TRUE(calls_->remove("/b").ok());
  EXPECT_EQ(store_->usage().bytes, 499u);
  EXPECT_EQ(put("/c", "x"), StatusCode::kOk);
}

// A child process writes from several threads and is killed; whatever it had noted as acknowledged
// is there, and nothing is there that it never wrote.
TEST_F(Durability, KilledAtAnyPoint) {
  const std::string directory = scratch_.path("store");
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(round);
    const std::string log = scratch_.path("acknowledged" + std::to_string(round));
    {
      auto writer = harness::ChildProcess::start(
          {FAIRLEAD_STORE_WRITER, "write", directory, std::to_string(round)}, log);
      ASSERT_TRUE(writer.ok()) << writer.status().message();
      const auto deadline = std::chrono::steady_clock::now() + kPatience;
      while (std::filesystem::file_size(log) == 0 && std::chrono::steady_clock::now() < deadline) {
        ASSERT_FALSE((*writer)->wait(std::chrono::milliseconds(5)));
      }
      ASSERT_FALSE((*writer)->wait(std::chrono::milliseconds(round * 17 % 120)));
    }  // kill -9
    open();
    std::ifstream notes(log);
    std::string key;
    int value = 0;
    Revision revision = 0;
    std::map<std::string, std::pair<int, Revision>> acknowledged;
    while (notes >> key >> value >> revision) {
      if (notes.peek() != '\n') break;  // cut off
      acknowledged[key] = {value, revision};
    }
    EXPECT_FALSE(acknowledged.empty());
    for (const auto& [name, last] : acknowledged) {
      RangeRequest request;
      request.key = name;
      const RangeResult found = calls_->range(request).value();
      ASSERT_EQ(found.entries.size(), 1U) << name;
      const Entry& entry = *found.entries[0];
      // The value ends with its length's worth of padding: a torn one would show.
      const int stored = std::stoi(entry.value);
      EXPECT_EQ(entry.value.size(), 1500U);
      EXPECT_TRUE((stored == last.first && entry.mod_revision == last.second) ||
                  (stored == last.first + 1 && entry.mod_revision > last.second))
          << name << " holds " << stored << ", acknowledged was " << last.first;
      EXPECT_LE(entry.mod_revision, store_->revision());
    }
    close();
  }
}

// A real full disk: a file system of a few megabytes in a mount namespace of the child's own.
TEST_F(Durability, RealFullDisk) {
  const Result<harness::CommandResult> result =
      harness::run_command({FAIRLEAD_STORE_WRITER, "fill", scratch_.path("mount")});
  ASSERT_TRUE(result.ok()) << result.status().message();
  if (result->exit_code == 77) GTEST_SKIP() << result->output;
  EXPECT_EQ(result->exit_code, 0) << result->output;
}

}  // namespace
}  // namespace fairlead::store
