// The part of a store that answers from memory: the current entries by key, a bounded window of
// the newest events, and the watches, which are places in that window.
//
// A state of the past is the current one with the events since undone, so that history costs
// nothing but the events themselves: a list at a pinned revision pays for what has changed since.
// Both stores feed one of these: the embedded one after each synced commit, etcd's client with what
// its watch delivers.
//
// Threads: everything from any thread; one thread publishes.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/thread_annotations.h"
#include "control/store/store.h"
#include "control/store/watch_registry.h"

namespace fairlead::store {

struct HistoryLimits {
  size_t events = 100'000;
  size_t bytes = size_t{32} << 20;  // keys and values that only the history still holds
};

class View : public std::enable_shared_from_this<View> {
 public:
  explicit View(HistoryLimits limits) : limits_(limits) {}

  // Begins anew with these entries (any order), as they were at `revision`; nothing before it is
  // known. Watches of an earlier content end with kExpired.
  void reset(std::vector<EntryPtr> entries, Revision revision) EXCLUDES(mutex_);

  // Makes `events`, in the order of their revisions, and the revision that they lead to visible at
  // once, then tells the watches. Each event's `previous` is filled in from what is known; an event
  // that the view is ahead of, and a removal of what is not there, are dropped. Returns the
  // events that fell out of the history.
  std::vector<Event> publish(std::vector<Event> events, Revision revision) EXCLUDES(mutex_);

  // As Store::compact; returns the forgotten events.
  Result<std::vector<Event>> compact(Revision revision) EXCLUDES(mutex_);

  // Ends all watches; later ones are refused with the same status.
  void close(const Status& reason) EXCLUDES(mutex_);

  Revision revision() const EXCLUDES(mutex_);
  // The newest revision whose changes are forgotten: states from it on can be read, changes after
  // it be watched.
  Revision compacted() const EXCLUDES(mutex_);
  EntryPtr find(std::string_view key) const EXCLUDES(mutex_);  // null when there is none
  Result<RangeResult> range(const RangeRequest& request) const EXCLUDES(mutex_);
  Result<std::unique_ptr<Watch>> watch(WatchRequest request, std::function<void()> ready)
      EXCLUDES(mutex_);

 private:
  struct ByKey {
    using is_transparent = void;
    bool operator()(const EntryPtr& a, const EntryPtr& b) const { return a->key < b->key; }
    bool operator()(const EntryPtr& a, std::string_view b) const { return a->key < b; }
    bool operator()(std::string_view a, const EntryPtr& b) const { return a < b->key; }
  };
  using Index = std::set<EntryPtr, ByKey>;
  using Ready = std::shared_ptr<const std::function<void()>>;
  class WatchHandle;

  Result<WatchBatch> take(Watcher& watcher, size_t limit) EXCLUDES(mutex_);
  void forget(Watcher& watcher) EXCLUDES(mutex_);

  bool apply(Event& event) REQUIRES(mutex_);
  static void rouse(Watcher& watcher, uint64_t cursor, std::vector<Ready>& ready);
  std::vector<Event> trim(size_t count) REQUIRES(mutex_);
  size_t excess() const REQUIRES(mutex_);
  size_t position_of(Revision revision) const REQUIRES(mutex_);
  void range_now(const RangeRequest& request, RangeResult& result) const REQUIRES(mutex_);
  void range_then(const RangeRequest& request, RangeResult& result) const REQUIRES(mutex_);

  const HistoryLimits limits_;
  mutable Mutex mutex_;
  Index index_ GUARDED_BY(mutex_);
  std::deque<Event> history_ GUARDED_BY(mutex_);
  uint64_t first_event_ GUARDED_BY(mutex_) = 0;  // the number of history_.front()
  size_t history_bytes_ GUARDED_BY(mutex_) = 0;
  Revision revision_ GUARDED_BY(mutex_) = 0;
  Revision compacted_ GUARDED_BY(mutex_) = 0;
  WatchRegistry watchers_ GUARDED_BY(mutex_);
  Status closed_ GUARDED_BY(mutex_);
};

// The error of a read or watch that comes too late, and of one that comes too early.
Status compacted_error(std::string_view operation, Revision asked, Revision compacted);
Status future_error(std::string_view operation, Revision asked, Revision current);

}  // namespace fairlead::store
