#include "control/store/embedded/disk.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>
#include <rocksdb/write_batch.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "base/log.h"
#include "control/store/embedded/record.h"

namespace fairlead::store {
namespace {

Status from_rocksdb(const rocksdb::Status& status, std::string_view operation,
                    std::string_view object) {
  if (status.ok()) return {};
  StatusCode code = StatusCode::kUnavailable;
  if (status.IsNoSpace()) return Status::from_errno(ENOSPC, operation, object);
  if (status.IsCorruption() || status.IsInvalidArgument()) code = StatusCode::kInvalid;
  // How RocksDB says that flock() has failed.
  if (status.IsIOError() && status.ToString().find("lock ") != std::string::npos) {
    return Status::error(StatusCode::kConflict, operation, object,
                         "another process has it open: " + status.ToString());
  }
  return Status::error(code, operation, object, status.ToString());
}

// RocksDB's words in our log. A log file of its own would meet a full disk like any other file, and
// with assertions compiled in, as Debian has them, the process would end there.
class LogBridge : public rocksdb::Logger {
 public:
  LogBridge() : Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}

  using rocksdb::Logger::Logv;
  void Logv(rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < GetInfoLogLevel() || level == rocksdb::InfoLogLevel::HEADER_LEVEL) return;
    if (level < rocksdb::InfoLogLevel::ERROR_LEVEL && log::verbosity() < 2) return;
    char line[512];
    std::vsnprintf(line, sizeof line, format, arguments);
    line[std::strcspn(line, "\n")] = 0;
    if (level >= rocksdb::InfoLogLevel::ERROR_LEVEL) {
      LOG_ERROR("store: rocksdb: {}", line);
    } else {
      LOG_V(2, "store: rocksdb: {}", line);
    }
  }
  void Logv(const char* format, va_list arguments) override {
    Logv(rocksdb::InfoLogLevel::INFO_LEVEL, format, arguments);
  }
};

rocksdb::CompressionType compression() {
  const std::vector<rocksdb::CompressionType> known = rocksdb::GetSupportedCompressions();
  const bool has_lz4 =
      std::find(known.begin(), known.end(), rocksdb::kLZ4Compression) != known.end();
  return has_lz4 ? rocksdb::kLZ4Compression : rocksdb::kNoCompression;
}

rocksdb::Options options_of(rocksdb::Env* env) {
  rocksdb::Options options;
  options.env = env;
  options.create_if_missing = true;
  options.paranoid_checks = true;
  // A record that is damaged in the midst of the log is not a torn tail: it is an error.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  // Reads come from our own memory: RocksDB gets little, most of it for what is not flushed yet.
  options.write_buffer_size = size_t{8} << 20;
  options.max_write_buffer_number = 3;
  options.max_total_wal_size = uint64_t{64} << 20;
  options.compression = compression();
  options.max_open_files = 128;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.info_log = std::make_shared<LogBridge>();
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(size_t{1} << 20);
  table.block_size = size_t{32} << 10;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace

DiskBatch::DiskBatch() : changes_(std::make_unique<rocksdb::WriteBatch>()) {}
DiskBatch::~DiskBatch() = default;
DiskBatch::DiskBatch(DiskBatch&&) noexcept = default;
DiskBatch& DiskBatch::operator=(DiskBatch&&) noexcept = default;

// WriteBatch's functions fail only beyond its maximal size, which is not set.
void DiskBatch::put_record(const Event& event) {
  const std::string key = record_key(event.revision());
  const std::string head = encode_record_head(event);
  const rocksdb::Slice key_parts[1] = {key};
  const rocksdb::Slice value_parts[2] = {head, event.entry->value};
  changes_->Put(rocksdb::SliceParts(key_parts, 1), rocksdb::SliceParts(value_parts, 2));
}

void DiskBatch::drop_record(Revision revision) {
  changes_->Delete(record_key(revision));
}

void DiskBatch::put_lease(LeaseId id, std::chrono::seconds ttl) {
  changes_->Put(lease_key(id), encode_number(ttl.count()));
}

void DiskBatch::drop_lease(LeaseId id) {
  changes_->Delete(lease_key(id));
}

void DiskBatch::set_compacted(Revision revision) {
  changes_->Put(rocksdb::Slice(kCompactedKey.data(), kCompactedKey.size()),
                encode_number(revision));
}

void DiskBatch::forget(const std::vector<Event>& events) {
  for (const Event& event : events) {
    if (event.previous != nullptr) drop_record(event.previous->mod_revision);
    if (event.type == Event::Type::kDelete) drop_record(event.revision());
  }
  if (!events.empty()) set_compacted(events.back().revision());
}

bool DiskBatch::empty() const {
  return changes_->Count() == 0;
}

Disk::Disk(std::string directory, rocksdb::Env* env)
    : directory_(std::move(directory)), env_(env) {}

Disk::~Disk() = default;

Result<std::unique_ptr<Disk>> Disk::open(const std::string& directory, rocksdb::Env* env) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return Status::from_errno(errno, "create", directory);
  }
  std::unique_ptr<Disk> disk(new Disk(directory, env != nullptr ? env : rocksdb::Env::Default()));
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(options_of(disk->env_), directory, &db);
  RETURN_IF_ERROR(from_rocksdb(opened, "open store", directory));
  disk->db_.reset(db);
  return disk;
}

Result<DiskContents> Disk::load() const {
  DiskContents contents;
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  options.fill_cache = false;
  options.readahead_size = size_t{2} << 20;
  const std::unique_ptr<rocksdb::Iterator> row(db_->NewIterator(options));
  for (row->SeekToFirst(); row->Valid(); row->Next()) {
    const std::string_view key(row->key().data(), row->key().size());
    const std::string_view value(row->value().data(), row->value().size());
    if (key == kCompactedKey) {
      ASSIGN_OR_RETURN(contents.compacted, decode_number(value));
    } else if (key.starts_with('l')) {
      ASSIGN_OR_RETURN(const LeaseId id, number_in_key(key, 'l'));
      ASSIGN_OR_RETURN(const int64_t ttl, decode_number(value));
      if (ttl > kMaxTtl.count()) {
        return Status::error(StatusCode::kInvalid, "load store", directory_,
                             fmt::format("lease {} lives for {} s", id, ttl));
      }
      contents.leases.emplace_back(id, ttl);
    } else {
      ASSIGN_OR_RETURN(const Revision revision, number_in_key(key, 'r'));
      ASSIGN_OR_RETURN(Event event, decode_record(revision, value));
      contents.records.push_back(std::move(event));
    }
  }
  RETURN_IF_ERROR(from_rocksdb(row->status(), "load store", directory_));
  return contents;
}

Status Disk::write(DiskBatch& batch) {
  rocksdb::WriteOptions options;
  options.sync = true;
  return from_rocksdb(db_->Write(options, batch.changes_.get()), "write store", directory_);
}

Status Disk::checkpoint(const std::string& directory) const {
  rocksdb::Checkpoint* maker = nullptr;
  RETURN_IF_ERROR(
      from_rocksdb(rocksdb::Checkpoint::Create(db_.get(), &maker), "checkpoint store", directory));
  const std::unique_ptr<rocksdb::Checkpoint> owned(maker);
  return from_rocksdb(owned->CreateCheckpoint(directory), "checkpoint store", directory);
}

Result<uint64_t> Disk::free_bytes() const {
  uint64_t free = 0;
  RETURN_IF_ERROR(
      from_rocksdb(env_->GetFreeSpace(directory_, &free), "ask for free space", directory_));
  return free;
}

}  // namespace fairlead::store
