// The embedded store's way to the disk: RocksDB behind five functions. What the bytes mean is in
// record.h.
//
// Threads: write() and free_bytes() from one; checkpoint() from any.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "control/store/store.h"

namespace rocksdb {
class DB;
class Env;
class WriteBatch;
}  // namespace rocksdb

namespace fairlead::store {

// What is written together: all of it or nothing is there after a crash.
class DiskBatch {
 public:
  DiskBatch();
  ~DiskBatch();
  DiskBatch(DiskBatch&&) noexcept;
  DiskBatch& operator=(DiskBatch&&) noexcept;

  void put_record(const Event& event);
  void drop_record(Revision revision);
  void put_lease(LeaseId id, std::chrono::seconds ttl);
  void drop_lease(LeaseId id);
  void set_compacted(Revision revision);
  // Drops the records that nothing needs once these events are forgotten, and notes that they are.
  void forget(const std::vector<Event>& events);
  bool empty() const;

 private:
  friend class Disk;
  std::unique_ptr<rocksdb::WriteBatch> changes_;
};

struct DiskContents {
  Revision compacted = 0;
  std::vector<Event> records;  // by revision; `previous` is null
  std::vector<std::pair<LeaseId, std::chrono::seconds>> leases;
};

class Disk {
 public:
  // Creates the directory (mode 0700) when there is none. `kConflict`: another process has it open.
  // A null `env` is the machine's own. Damage is an error that names the file, never repaired
  // silently; the torn tail of what was being written at a crash is none.
  static Result<std::unique_ptr<Disk>> open(const std::string& directory, rocksdb::Env* env);
  ~Disk();

  Result<DiskContents> load() const;

  // Returns after fdatasync. After an error nothing may be written any more: what the disk holds of
  // the batch is unknown until it is opened again.
  Status write(DiskBatch& batch);

  // A copy as of now, hard-linked where possible, in a directory that must not exist.
  Status checkpoint(const std::string& directory) const;

  // What the file system has left for this process.
  Result<uint64_t> free_bytes() const;

 private:
  Disk(std::string directory, rocksdb::Env* env);

  std::string directory_;
  rocksdb::Env* env_;
  std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace fairlead::store
