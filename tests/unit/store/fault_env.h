// A file system for RocksDB that fails on demand: the double for what a real disk cannot be made to
// do. It also knows what of each file was synced, and can lose the rest as a power cut does.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace fairlead::store {

class FaultFileSystem : public rocksdb::FileSystemWrapper {
 public:
  FaultFileSystem() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}

  static const char* kClassName() { return "FaultFileSystem"; }
  const char* Name() const override { return kClassName(); }

  // The syncs from the n-th on (0: the next one) fail, negative: none.
  void fail_syncs_from(int n) { syncs_left_ = n; }
  void fail_appends_with_full_disk(bool fail) { full_ = fail; }
  void set_free_bytes(uint64_t bytes) { free_bytes_ = bytes; }
  int syncs() const { return syncs_; }

  // Everything fails from now on, as for a process that has died.
  void die() { dead_ = true; }
  // Cuts every file that was written to what was synced, and a part of what was not: `torn` of it
  // in percent. After the store is closed.
  void lose_unsynced(int torn);

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* context) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* context) override;
  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* context) override;
  rocksdb::IOStatus GetFreeSpace(const std::string& path, const rocksdb::IOOptions& options,
                                 uint64_t* free, rocksdb::IODebugContext* context) override;

 private:
  class File;
  struct Sizes {
    uint64_t written = 0;
    uint64_t synced = 0;
  };

  rocksdb::IOStatus before_append();
  rocksdb::IOStatus before_sync();

  std::atomic<int> syncs_left_ = -1;
  std::atomic<int> syncs_ = 0;
  std::atomic<bool> full_ = false;
  std::atomic<bool> dead_ = false;
  std::atomic<uint64_t> free_bytes_ = ~uint64_t{0};
  std::mutex mutex_;
  std::map<std::string, Sizes> files_;
};

}  // namespace fairlead::store
