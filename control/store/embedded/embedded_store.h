// The embedded store: RocksDB below, everything that is read in memory (docs/store.md).
//
// One process at a time has it open. The history survives a restart, so that clients continue
// their watches instead of listing anew.
//
// Threads: as store.h says. open and restore from any thread; they block.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "control/store/store.h"
#include "control/store/view.h"

namespace rocksdb {
class Env;
}

namespace fairlead::store {

class Committer;

struct EmbeddedOptions {
  std::string directory;  // its parent must exist
  HistoryLimits history;
  // Writes are refused when the file system has less left.
  uint64_t reserve_bytes = uint64_t{64} << 20;
  // Of current keys and values, which all are in memory; writes that add are refused beyond it.
  uint64_t quota_bytes = kDefaultQuota;
  rocksdb::Env* env = nullptr;  // null: the machine's own; another one must outlive the store
};

class EmbeddedStore : public Store {
 public:
  // Errors: kConflict (open in another process), kInvalid (damaged, or not a store).
  static Result<std::unique_ptr<EmbeddedStore>> open(const EmbeddedOptions& options);
  ~EmbeddedStore() override;

  // A copy of the store as of now, with every write acknowledged so far, in a new directory that
  // restore() takes. Hard links where the file system is the same. Blocks; not on the threads that
  // complete.
  Status checkpoint(const std::string& directory) const;

  // Makes a store directory out of a checkpoint, which stays as it is. `directory` must not
  // exist. The restored store's revision is beyond any that the lost one can have reached and its
  // history is empty, so that no client takes an old revision for a new one: they all list again.
  static Status restore(const std::string& checkpoint, const std::string& directory);

  void put(std::string key, std::string value, Expect expect, LeaseId lease,
           Done<WriteOutcome> done) override;
  void remove(std::string key, Expect expect, Done<WriteOutcome> done) override;
  void range(RangeRequest request, Done<RangeResult> done) override;
  Result<std::unique_ptr<Watch>> watch(WatchRequest request, std::function<void()> ready) override;
  void grant_lease(std::chrono::seconds ttl, Done<Lease> done) override;
  void keep_alive(LeaseId id, Done<Lease> done) override;
  void revoke_lease(LeaseId id, DoneStatus done) override;
  void compact(Revision revision, DoneStatus done) override;
  Revision revision() const override;
  Usage usage() const override;
  Status health() const override;

 private:
  EmbeddedStore(std::shared_ptr<View> view, std::unique_ptr<Committer> committer);

  std::shared_ptr<View> view_;
  std::unique_ptr<Committer> committer_;
};

// What a restore adds to the revision.
inline constexpr Revision kRestoreGap = 1'000'000'000;

}  // namespace fairlead::store
