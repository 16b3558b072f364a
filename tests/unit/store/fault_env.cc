#include "tests/unit/store/fault_env.h"

#include <filesystem>

namespace fairlead::store {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

class FaultFileSystem::File : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  File(FaultFileSystem& system, std::string name, std::unique_ptr<rocksdb::FSWritableFile> target)
      : FSWritableFileOwnerWrapper(std::move(target)), system_(system), name_(std::move(name)) {}

  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  IODebugContext* context) override {
    if (IOStatus status = system_.before_append(); !status.ok()) return status;
    const IOStatus status = FSWritableFileOwnerWrapper::Append(data, options, context);
    note([&](Sizes& sizes) { sizes.written += data.size(); });
    return status;
  }
  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& /*info*/, IODebugContext* context) override {
    return Append(data, options, context);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* context) override {
    if (IOStatus status = system_.before_sync(); !status.ok()) return status;
    const IOStatus status = FSWritableFileOwnerWrapper::Sync(options, context);
    if (status.ok()) note([](Sizes& sizes) { sizes.synced = sizes.written; });
    return status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* context) override {
    return Sync(options, context);
  }

 private:
  template <typename Change>
  void note(Change change) {
    const std::lock_guard lock(system_.mutex_);
    if (const auto file = system_.files_.find(name_); file != system_.files_.end()) {
      change(file->second);
    }
  }

  FaultFileSystem& system_;
  const std::string name_;
};

IOStatus FaultFileSystem::before_append() {
  if (dead_) return IOStatus::IOError("the process has died");
  if (full_) return IOStatus::NoSpace("no space left on device");
  return IOStatus::OK();
}

IOStatus FaultFileSystem::before_sync() {
  if (dead_) return IOStatus::IOError("the process has died");
  ++syncs_;
  if (syncs_left_ == 0) return IOStatus::IOError("input/output error at sync");
  if (syncs_left_ > 0) --syncs_left_;
  return IOStatus::OK();
}

IOStatus FaultFileSystem::NewWritableFile(const std::string& name,
                                          const rocksdb::FileOptions& options,
                                          std::unique_ptr<rocksdb::FSWritableFile>* result,
                                          IODebugContext* context) {
  if (dead_) return IOStatus::IOError("the process has died");
  std::unique_ptr<rocksdb::FSWritableFile> target;
  const IOStatus status = FileSystemWrapper::NewWritableFile(name, options, &target, context);
  if (!status.ok()) return status;
  {
    const std::lock_guard lock(mutex_);
    files_[name] = Sizes();
  }
  *result = std::make_unique<File>(*this, name, std::move(target));
  return status;
}

IOStatus FaultFileSystem::RenameFile(const std::string& from, const std::string& to,
                                     const IOOptions& options, IODebugContext* context) {
  if (dead_) return IOStatus::IOError("the process has died");
  {
    const std::lock_guard lock(mutex_);
    if (auto file = files_.extract(from)) {
      files_.erase(to);
      file.key() = to;
      files_.insert(std::move(file));
    }
  }
  return FileSystemWrapper::RenameFile(from, to, options, context);
}

IOStatus FaultFileSystem::DeleteFile(const std::string& name, const IOOptions& options,
                                     IODebugContext* context) {
  if (dead_) return IOStatus::IOError("the process has died");
  {
    const std::lock_guard lock(mutex_);
    files_.erase(name);
  }
  return FileSystemWrapper::DeleteFile(name, options, context);
}

IOStatus FaultFileSystem::GetFreeSpace(const std::string& path, const IOOptions& options,
                                       uint64_t* free, IODebugContext* context) {
  const IOStatus status = FileSystemWrapper::GetFreeSpace(path, options, free, context);
  if (const uint64_t told = free_bytes_; told != ~uint64_t{0}) *free = told;
  return status;
}

void FaultFileSystem::lose_unsynced(int torn) {
  const std::lock_guard lock(mutex_);
  for (const auto& [name, sizes] : files_) {
    std::error_code error;
    const uint64_t kept =
        sizes.synced + (sizes.written - sizes.synced) * static_cast<uint64_t>(torn) / 100;
    if (std::filesystem::file_size(name, error) > kept && !error) {
      std::filesystem::resize_file(name, kept, error);
    }
  }
  files_.clear();
}

}  // namespace fairlead::store
