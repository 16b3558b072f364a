// The one writer of an embedded store: a thread that takes all writes that wait, checks them
// against each other and the present state, gives them revisions, writes them to the disk with one
// fdatasync, and only then shows them to readers and watches and tells the writers.
//
// While the disk syncs one group the next one gathers: the more clients write at once, the fewer
// syncs each of them costs.
//
// After a failed write or sync nothing is known about what the disk holds, so every later write is
// refused until the store is opened again; reads and watches go on with what was acknowledged. When
// the file system has less than a reserve left, writes are refused until it has more, so that the
// failure is rarely met.
//
// Threads: submit() and health() from any thread, close() from the owner's. Everything else is the
// committer thread's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"
#include "control/store/embedded/disk.h"
#include "control/store/lease_table.h"
#include "control/store/store.h"
#include "control/store/view.h"

namespace fairlead::store {

struct PutOperation {
  std::shared_ptr<Entry> entry;  // key, value and lease; the rest is the committer's to fill in
  Expect expect = Expect::anything();
  Store::Done<WriteOutcome> done;
};
struct RemoveOperation {
  std::string key;
  Expect expect = Expect::anything();
  Store::Done<WriteOutcome> done;
};
struct GrantOperation {
  std::chrono::seconds ttl{0};
  Store::Done<Lease> done;
};
struct KeepAliveOperation {
  LeaseId id = 0;
  Store::Done<Lease> done;
};
struct RevokeOperation {
  LeaseId id = 0;
  Store::DoneStatus done;
};
struct CompactOperation {
  Revision revision = 0;
  Store::DoneStatus done;
};
using Operation = std::variant<PutOperation, RemoveOperation, GrantOperation, KeepAliveOperation,
                               RevokeOperation, CompactOperation>;

struct CommitterLimits {
  size_t waiting_operations = 10'000;
  size_t waiting_bytes = size_t{64} << 20;
  uint64_t reserve_bytes = 0;  // of the file system
  uint64_t quota_bytes = 0;    // of current keys and values; 0: none
};

// What an entry counts for in the quota; nothing when there is none.
uint64_t stored_size(const Entry* entry);

class Committer {
 public:
  // `view` shows what `disk` holds, `stored_bytes` of keys and values; `leases` are those of both;
  // `garbage` are records that are dropped along with the next write.
  Committer(std::unique_ptr<Disk> disk, std::shared_ptr<View> view, uint64_t stored_bytes,
            LeaseTable leases, DiskBatch garbage, CommitterLimits limits);
  ~Committer();
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  void submit(Operation operation);
  // Stops; what waits and what still comes is completed with kUnavailable. The destructor calls it.
  void close();
  Status health() const;
  Usage usage() const { return {stored_bytes_, limits_.quota_bytes}; }
  const Disk& disk() const { return *disk_; }

 private:
  using Time = LeaseTable::Time;
  // Told how the group's write went.
  using Completion = std::function<void(const Status& written)>;

  void run();
  std::vector<Operation> wait_for_work();
  void commit(std::vector<Operation> operations);
  Status check_room();
  Status write_group();
  void fail(const Status& reason);

  void stage(PutOperation& operation);
  void stage(RemoveOperation& operation);
  void stage(GrantOperation& operation);
  void stage(KeepAliveOperation& operation);
  void stage(RevokeOperation& operation);
  void stage(CompactOperation& operation);
  Status check_quota(const Entry& next, const Entry* previous);
  EntryPtr current(const std::string& key) const;
  void stage_put(std::shared_ptr<Entry> entry, const EntryPtr& previous);
  Revision stage_removal(const std::string& key, const EntryPtr& previous);
  void stage_lease_end(LeaseId id);
  void add_event(Event event, const EntryPtr& previous);

  const std::unique_ptr<Disk> disk_;
  const std::shared_ptr<View> view_;
  const CommitterLimits limits_;

  std::atomic<uint64_t> stored_bytes_;  // written by the committer thread, what it has staged
  // The committer thread's own.
  bool over_quota_ = false;
  LeaseTable leases_;
  std::mt19937_64 random_{std::random_device()()};
  Revision revision_;  // the newest one staged
  // The group in the making.
  DiskBatch batch_;
  bool must_sync_ = false;  // dropping garbage alone is not worth a sync
  std::vector<Event> events_;
  std::map<std::string, EntryPtr> changed_;  // null: removed
  std::vector<Completion> completions_;

  mutable std::mutex mutex_;  // of what follows; with a condition, which base's Mutex has not
  std::condition_variable wake_;
  std::vector<Operation> waiting_;
  size_t waiting_bytes_ = 0;
  Status failed_;   // for good
  Status no_room_;  // for now
  Time next_deadline_ = Time::max();
  bool closing_ = false;

  std::thread thread_;
};

}  // namespace fairlead::store
