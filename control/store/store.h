// The store: revisioned keys and values, from which everything in the control plane is read.
//
// Every change of any key has a revision, a number that only grows. A write may depend on the
// revision at which its key was last changed; a read may ask for the state at a past revision, as
// long as the store remembers it; a watch sees each change once, in the order of revisions.
// The semantics are those of etcd's v3 API (https://etcd.io/docs/v3.4/learning/api/), in which
// Kubernetes' resource versions have their origin.
//
// Values are shared, not copied: an Entry never changes, and lists, events and the store itself
// point to the same one.
//
// Threads: all functions of Store from any thread. A completion runs exactly once, either before
// the call returns, on the calling thread, or later on the store's own thread. It must not block,
// for other writers wait behind it; it may call the store, and must not destroy it. Destroying the
// store completes what is outstanding with kUnavailable first. A Watch has one owner at a time.
#pragma once

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::store {

using Revision = int64_t;  // the first change has revision 1 or more; 0 stands for none
using LeaseId = int64_t;   // 0: no lease

// The end of a range that has none: no key is less than it.
inline constexpr std::string_view kNoEnd{"\0", 1};

// Larger keys and values are refused, with kInvalid. etcd's own default for a request is 1.5 MiB.
inline constexpr size_t kMaxKeyBytes = 4096;
inline constexpr size_t kMaxValueBytes = size_t{8} << 20;
// Of a store of our own, as of etcd's: what is larger was not meant to be here.
inline constexpr uint64_t kDefaultQuota = uint64_t{2} << 30;
inline constexpr std::chrono::seconds kMaxTtl{1'000'000'000};

// One key as one change left it.
struct Entry {
  std::string key;
  std::string value;
  Revision create_revision = 0;  // of the change that created the key
  Revision mod_revision = 0;     // of this change
  int64_t version = 0;           // 1 when created, one more with every change
  LeaseId lease = 0;
};
using EntryPtr = std::shared_ptr<const Entry>;

// What a key must be like for a write to happen.
class Expect {
 public:
  static Expect anything() { return Expect(std::nullopt); }
  static Expect absent() { return Expect(0); }
  static Expect at(Revision mod_revision) { return Expect(mod_revision); }

  // `current` is null when there is no such key.
  bool allows(const Entry* current) const {
    return !mod_revision_ || *mod_revision_ == (current != nullptr ? current->mod_revision : 0);
  }
  // The demanded mod revision, 0 for absent; empty when anything will do.
  std::optional<Revision> mod_revision() const { return mod_revision_; }

 private:
  explicit Expect(std::optional<Revision> mod_revision) : mod_revision_(mod_revision) {}

  std::optional<Revision> mod_revision_;
};

struct WriteOutcome {
  bool applied = false;   // false: the key was not as expected (or, for a removal, not there)
  Revision revision = 0;  // of the change; when not applied, one at which `previous` was current
  EntryPtr entry;         // what the key holds now; null after a removal and when not applied
  EntryPtr previous;      // what it held before, or holds still when not applied; null: nothing
};

struct RangeRequest {
  std::string key;
  std::string end;        // exclusive; empty: only `key` itself; kNoEnd: all keys from `key` on
  Revision revision = 0;  // 0: the current state
  size_t limit = 0;       // 0: all
  bool count_only = false;
  // With a limit: whether RangeResult::count is wanted, which costs a step for each key of the
  // rest.
  bool counted = true;
  // May be answered with a state that other writers have moved on from already, never an older one
  // than this store has answered with before. Cheaper where the store is shared.
  bool allow_cached = false;
};

struct RangeResult {
  Revision revision = 0;          // the state that this is
  std::vector<EntryPtr> entries;  // by key
  bool more = false;              // the limit has cut it; go on with key_after(entries.back()->key)
  size_t count = 0;  // keys in the range, whatever the limit was; not to be used unless `counted`
};

struct Event {
  enum class Type : uint8_t { kPut, kDelete };

  Type type = Type::kPut;
  EntryPtr entry;     // kDelete: only the key and, as mod_revision, the revision of the removal
  EntryPtr previous;  // null when the key was created

  Revision revision() const { return entry->mod_revision; }
};

struct WatchBatch {
  std::vector<Event> events;
  // Every event of the range up to this revision has been taken: what a bookmark says.
  Revision revision = 0;
  bool more = false;  // the limit has cut it: take again, `ready` is not called
};

// A place in the history of a range. It costs the store no memory while its owner is slow: there is
// no queue, only the history that the store keeps anyway. An owner that falls behind it is told so.
class Watch {
 public:
  // A thread that publishes may have taken `ready` up before and call it, once, after this returns:
  // `ready` owns what it uses.
  virtual ~Watch() = default;

  // The next events, none when there are none; never blocks. kExpired: the history that comes next
  // is gone, because the owner was too slow or the store had to begin anew; list again.
  // kUnavailable: the store is closed. After an error the watch is over and stays so.
  virtual Result<WatchBatch> take(size_t limit = 1000) = 0;
};

struct WatchRequest {
  std::string key;
  bool prefix = true;  // all keys that begin with `key`; else only `key` itself
  Revision start = 0;  // the first revision of interest; 0: whatever comes after now
};

struct Lease {
  LeaseId id = 0;
  std::chrono::seconds ttl{0};  // granted, which may be more than was asked for
};

// What a store holds, as far as it knows: keys and values that are current.
struct Usage {
  uint64_t bytes = 0;
  uint64_t quota_bytes = 0;  // 0: none that it knows of
};

// Whether a write that failed so may have happened all the same: the peer or the disk failed in its
// midst, or was found full in it (etcd applies the change behind which it finds no room left, and
// refuses it; the next one it refuses at once).
inline bool may_have_happened(const Status& failure) {
  return failure.code() == StatusCode::kUnavailable || failure.system_errno() == ENOSPC;
}

class Store {
 public:
  template <typename T>
  using Done = std::function<void(Result<T>)>;
  using DoneStatus = std::function<void(Status)>;

  virtual ~Store() = default;

  // A write has happened durably when its completion says so. Errors: kInvalid (empty or
  // oversized), kNotFound (no such lease), kExhausted (too many writes wait, or the disk or the
  // quota is full), kUnavailable. Whether it was written: may_have_happened().
  virtual void put(std::string key, std::string value, Expect expect, LeaseId lease,
                   Done<WriteOutcome> done) = 0;
  virtual void remove(std::string key, Expect expect, Done<WriteOutcome> done) = 0;

  // Sees every write that was acknowledged, by any client of the same store, before the call.
  // Errors: kExpired (the revision is compacted), kUnavailable (it lies in the future, or the peer
  // is away).
  virtual void range(RangeRequest request, Done<RangeResult> done) = 0;

  // The first take() is the owner's to make. `ready` is called once after each take() that left
  // nothing (`more` is false), as soon as there is something again: events or the watch's end.
  // Errors: kExpired (the start is compacted).
  virtual Result<std::unique_ptr<Watch>> watch(WatchRequest request,
                                               std::function<void()> ready) = 0;

  // Keys put with a lease are removed when it has not been kept alive for `ttl`, which is between
  // a second and kMaxTtl, or is revoked. A restart begins the time anew. Errors: kInvalid; of the
  // latter two, kNotFound.
  virtual void grant_lease(std::chrono::seconds ttl, Done<Lease> done) = 0;
  virtual void keep_alive(LeaseId id, Done<Lease> done) = 0;
  virtual void revoke_lease(LeaseId id, DoneStatus done) = 0;

  // Forgets the history before `revision`: states before it cannot be read, nor changes up to it
  // watched. Errors: kExpired (compacted already), kUnavailable (in the future).
  virtual void compact(Revision revision, DoneStatus done) = 0;

  // The newest revision that reads from memory show.
  virtual Revision revision() const = 0;

  virtual Usage usage() const { return {}; }

  // ok: reads are current and writes are taken. Otherwise the reason in a sentence.
  virtual Status health() const = 0;
};

// The end of the range of all keys that begin with `prefix`.
std::string prefix_end(std::string_view prefix);
// The least key greater than `key`.
std::string key_after(std::string_view key);
// ok, or kInvalid with the reason: what the stores' implementations ask first.
Status check_write(std::string_view key, std::string_view value);
Status check_ttl(std::chrono::seconds ttl);

}  // namespace fairlead::store
