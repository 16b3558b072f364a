#include "control/store/embedded/embedded_store.h"

#include <fmt/core.h>

#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "base/log.h"
#include "control/store/embedded/committer.h"
#include "control/store/embedded/disk.h"
#include "control/store/lease_table.h"

namespace fairlead::store {
namespace {

namespace fs = std::filesystem;

// Events are published in groups of this size when a store is opened, to bound the memory.
constexpr size_t kReplayGroup = 4096;

struct Loaded {
  std::shared_ptr<View> view;
  LeaseTable leases;
  DiskBatch garbage;
  uint64_t bytes = 0;  // of the present keys and values
};

Result<Loaded> load(const Disk& disk, const std::string& directory, HistoryLimits history) {
  ASSIGN_OR_RETURN(DiskContents contents, disk.load());
  Loaded loaded;
  loaded.view = std::make_shared<View>(history);

  // Records up to the compacted revision are the entries as of then, later ones what has happened
  // since.
  std::vector<EntryPtr> entries;
  auto record = contents.records.begin();
  for (; record != contents.records.end() && record->revision() <= contents.compacted; ++record) {
    if (record->type == Event::Type::kPut) entries.push_back(std::move(record->entry));
  }
  const size_t loaded_entries = entries.size();
  loaded.view->reset(std::move(entries), contents.compacted);
  RangeRequest all;
  all.end = kNoEnd;
  all.count_only = true;
  if (loaded.view->range(all)->count != loaded_entries) {
    return Status::error(StatusCode::kInvalid, "open store", directory,
                         "two records hold the same key before the compacted revision");
  }
  while (record != contents.records.end()) {
    std::vector<Event> group;
    for (; record != contents.records.end() && group.size() < kReplayGroup; ++record) {
      group.push_back(std::move(*record));
    }
    const Revision last = group.back().revision();
    loaded.garbage.forget(loaded.view->publish(std::move(group), last));
  }

  const auto now = std::chrono::steady_clock::now();
  for (const auto& [id, ttl] : contents.leases) loaded.leases.grant(id, ttl, now);
  all.count_only = false;
  ASSIGN_OR_RETURN(const RangeResult present, loaded.view->range(all));
  for (const EntryPtr& entry : present.entries) {
    loaded.bytes += stored_size(entry.get());
    if (entry->lease != 0) loaded.leases.follow(nullptr, entry);
  }
  return loaded;
}

Status from_error(const std::error_code& error, std::string_view operation,
                  const std::string& path) {
  return error ? Status::from_errno(error.value(), operation, path) : Status();
}

}  // namespace

EmbeddedStore::EmbeddedStore(std::shared_ptr<View> view, std::unique_ptr<Committer> committer)
    : view_(std::move(view)), committer_(std::move(committer)) {}

EmbeddedStore::~EmbeddedStore() {
  view_->close(Status::error(StatusCode::kUnavailable, "watch", "store", "is closing"));
  committer_->close();
}

Result<std::unique_ptr<EmbeddedStore>> EmbeddedStore::open(const EmbeddedOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<Disk> disk, Disk::open(options.directory, options.env));
  ASSIGN_OR_RETURN(Loaded loaded, load(*disk, options.directory, options.history));
  CommitterLimits limits;
  limits.reserve_bytes = options.reserve_bytes;
  limits.quota_bytes = options.quota_bytes;
  LOG_V(1, "store {}: opened at revision {}, history from {}", options.directory,
        loaded.view->revision(), loaded.view->compacted());
  auto committer =
      std::make_unique<Committer>(std::move(disk), loaded.view, loaded.bytes,
                                  std::move(loaded.leases), std::move(loaded.garbage), limits);
  return std::unique_ptr<EmbeddedStore>(
      new EmbeddedStore(std::move(loaded.view), std::move(committer)));
}

Status EmbeddedStore::checkpoint(const std::string& directory) const {
  return committer_->disk().checkpoint(directory);
}

Status EmbeddedStore::restore(const std::string& checkpoint, const std::string& directory) {
  std::error_code error;
  if (fs::exists(directory, error)) {
    return Status::error(StatusCode::kConflict, "restore store", directory, "exists already");
  }
  if (!fs::exists(fs::path(checkpoint) / "CURRENT", error)) {
    return Status::error(StatusCode::kInvalid, "restore store", checkpoint,
                         "is not a checkpoint: it has no file CURRENT");
  }
  const std::string partial = directory + ".partial";
  fs::remove_all(partial, error);
  fs::copy(checkpoint, partial, fs::copy_options::recursive, error);
  RETURN_IF_ERROR(from_error(error, "copy checkpoint to", partial));
  fs::permissions(partial, fs::perms::owner_all, error);
  {
    ASSIGN_OR_RETURN(std::unique_ptr<Disk> disk, Disk::open(partial, nullptr));
    ASSIGN_OR_RETURN(Loaded loaded, load(*disk, partial, HistoryLimits()));
    DiskBatch changes = std::move(loaded.garbage);
    const Revision revision = loaded.view->revision();
    if (revision > loaded.view->compacted()) {
      ASSIGN_OR_RETURN(const std::vector<Event> history, loaded.view->compact(revision));
      changes.forget(history);
    }
    changes.set_compacted(revision + kRestoreGap);
    RETURN_IF_ERROR(disk->write(changes));
  }
  fs::rename(partial, directory, error);
  return from_error(error, "rename to", directory);
}

void EmbeddedStore::put(std::string key, std::string value, Expect expect, LeaseId lease,
                        Done<WriteOutcome> done) {
  if (Status status = check_write(key, value); !status) return done(status);
  PutOperation operation;
  operation.entry = std::make_shared<Entry>();
  operation.entry->key = std::move(key);
  operation.entry->value = std::move(value);
  operation.entry->lease = lease;
  operation.expect = expect;
  operation.done = std::move(done);
  committer_->submit(std::move(operation));
}

void EmbeddedStore::remove(std::string key, Expect expect, Done<WriteOutcome> done) {
  if (Status status = check_write(key, {}); !status) return done(status);
  RemoveOperation operation;
  operation.key = std::move(key);
  operation.expect = expect;
  operation.done = std::move(done);
  committer_->submit(std::move(operation));
}

void EmbeddedStore::range(RangeRequest request, Done<RangeResult> done) {
  done(view_->range(request));
}

Result<std::unique_ptr<Watch>> EmbeddedStore::watch(WatchRequest request,
                                                    std::function<void()> ready) {
  return view_->watch(std::move(request), std::move(ready));
}

void EmbeddedStore::grant_lease(std::chrono::seconds ttl, Done<Lease> done) {
  if (Status status = check_ttl(ttl); !status) return done(status);
  GrantOperation operation;
  operation.ttl = ttl;
  operation.done = std::move(done);
  committer_->submit(std::move(operation));
}

void EmbeddedStore::keep_alive(LeaseId id, Done<Lease> done) {
  KeepAliveOperation operation;
  operation.id = id;
  operation.done = std::move(done);
  committer_->submit(std::move(operation));
}

void EmbeddedStore::revoke_lease(LeaseId id, DoneStatus done) {
  RevokeOperation operation;
  operation.id = id;
  operation.done = std::move(done);
  committer_->submit(std::move(operation));
}

void EmbeddedStore::compact(Revision revision, DoneStatus done) {
  CompactOperation operation;
  operation.revision = revision;
  operation.done = std::move(done);
  committer_->submit(std::move(operation));
}

Revision EmbeddedStore::revision() const {
  return view_->revision();
}

Usage EmbeddedStore::usage() const {
  return committer_->usage();
}

Status EmbeddedStore::health() const {
  return committer_->health();
}

}  // namespace fairlead::store
