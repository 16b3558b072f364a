#include "control/store/view.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

namespace fairlead::store {
namespace {

// What an event keeps in memory that nothing else does, once it is no longer the newest.
size_t weight_of(const Event& event) {
  return sizeof(Event) + sizeof(Entry) + event.entry->key.size() +
         (event.previous ? event.previous->value.size() : 0);
}

bool before_end(std::string_view key, std::string_view end) {
  return end == kNoEnd || key < end;
}

}  // namespace

Status compacted_error(std::string_view operation, Revision asked, Revision compacted) {
  return Status::error(StatusCode::kExpired, operation, fmt::format("revision {}", asked),
                       fmt::format("has been compacted; history begins after {}", compacted));
}

Status future_error(std::string_view operation, Revision asked, Revision current) {
  return Status::error(StatusCode::kUnavailable, operation, fmt::format("revision {}", asked),
                       fmt::format("lies in the future; the newest is {}", current));
}

class View::WatchHandle : public Watch {
 public:
  WatchHandle(std::shared_ptr<View> view, std::unique_ptr<Watcher> watcher)
      : view_(std::move(view)), watcher_(std::move(watcher)) {}
  ~WatchHandle() override { view_->forget(*watcher_); }

  Result<WatchBatch> take(size_t limit) override { return view_->take(*watcher_, limit); }

 private:
  std::shared_ptr<View> view_;
  std::unique_ptr<Watcher> watcher_;
};

void View::reset(std::vector<EntryPtr> entries, Revision revision) {
  std::sort(entries.begin(), entries.end(), ByKey());
  Index index;
  for (EntryPtr& entry : entries) index.insert(index.end(), std::move(entry));
  std::deque<Event> history;
  std::vector<Ready> ready;
  {
    MutexLock lock(mutex_);
    index_.swap(index);
    history_.swap(history);
    first_event_ += history.size();
    history_bytes_ = 0;
    revision_ = revision;
    compacted_ = revision;
    watchers_.for_all([&](Watcher& watcher) {
      if (!watcher.ended) return;
      watcher.ended = compacted_error("watch", watcher.start, revision);
      rouse(watcher, 0, ready);
    });
  }
  for (const Ready& call : ready) (*call)();
}

bool View::apply(Event& event) {
  if (event.revision() <= revision_) return false;
  const auto found = index_.find(event.entry->key);
  if (found != index_.end()) event.previous = *found;
  if (event.type == Event::Type::kPut) {
    if (found == index_.end()) {
      index_.insert(event.entry);
    } else {
      auto node = index_.extract(found);  // keeps the memory; the order does not change
      node.value() = event.entry;
      index_.insert(std::move(node));
    }
    return true;
  }
  if (found == index_.end()) return false;
  index_.erase(found);
  return true;
}

void View::rouse(Watcher& watcher, uint64_t cursor, std::vector<Ready>& ready) {
  if (watcher.pending) return;
  watcher.pending = true;
  watcher.cursor = cursor;
  ready.push_back(watcher.ready);
}

std::vector<Event> View::publish(std::vector<Event> events, Revision revision) {
  std::vector<Ready> ready;
  std::vector<Event> forgotten;
  {
    MutexLock lock(mutex_);
    if (!closed_) return {};
    for (Event& event : events) {
      if (!apply(event)) continue;
      const uint64_t number = first_event_ + history_.size();
      watchers_.for_each(event.entry->key, [&](Watcher& watcher) {
        if (event.revision() >= watcher.start) rouse(watcher, number, ready);
      });
      history_bytes_ += weight_of(event);
      history_.push_back(std::move(event));
    }
    revision_ = std::max(revision_, revision);
    forgotten = trim(excess());
  }
  for (const Ready& call : ready) (*call)();
  return forgotten;
}

size_t View::excess() const {
  size_t count = history_.size() > limits_.events ? history_.size() - limits_.events : 0;
  size_t bytes = history_bytes_;
  for (size_t i = 0; i < count; ++i) bytes -= weight_of(history_[i]);
  while (bytes > limits_.bytes && count < history_.size()) bytes -= weight_of(history_[count++]);
  // A revision is forgotten whole.
  while (count > 0 && count < history_.size() &&
         history_[count].revision() == history_[count - 1].revision()) {
    ++count;
  }
  return count;
}

std::vector<Event> View::trim(size_t count) {
  std::vector<Event> forgotten;
  if (count == 0) return forgotten;
  forgotten.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    history_bytes_ -= weight_of(history_.front());
    forgotten.push_back(std::move(history_.front()));
    history_.pop_front();
  }
  first_event_ += count;
  compacted_ = std::max(compacted_, forgotten.back().revision());
  return forgotten;
}

// The index in history_ of the first event at or after `revision`.
size_t View::position_of(Revision revision) const {
  const auto found =
      std::partition_point(history_.begin(), history_.end(),
                           [revision](const Event& event) { return event.revision() < revision; });
  return static_cast<size_t>(found - history_.begin());
}

Result<std::vector<Event>> View::compact(Revision revision) {
  MutexLock lock(mutex_);
  if (revision <= compacted_) return compacted_error("compact", revision, compacted_);
  if (revision > revision_) return future_error("compact", revision, revision_);
  std::vector<Event> forgotten = trim(position_of(revision + 1));
  compacted_ = revision;
  return forgotten;
}

void View::close(const Status& reason) {
  std::vector<Ready> ready;
  {
    MutexLock lock(mutex_);
    if (!closed_) return;
    closed_ = reason;
    watchers_.for_all([&](Watcher& watcher) {
      if (!watcher.ended) return;
      watcher.ended = reason;
      rouse(watcher, 0, ready);
    });
  }
  for (const Ready& call : ready) (*call)();
}

Revision View::revision() const {
  MutexLock lock(mutex_);
  return revision_;
}

Revision View::compacted() const {
  MutexLock lock(mutex_);
  return compacted_;
}

EntryPtr View::find(std::string_view key) const {
  MutexLock lock(mutex_);
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : *found;
}

Result<RangeResult> View::range(const RangeRequest& request) const {
  RangeResult result;
  MutexLock lock(mutex_);
  if (request.revision > revision_) return future_error("read", request.revision, revision_);
  if (request.revision != 0 && request.revision < compacted_) {
    return compacted_error("read", request.revision, compacted_);
  }
  if (request.revision == 0 || request.revision == revision_) {
    result.revision = revision_;
    range_now(request, result);
  } else {
    result.revision = request.revision;
    range_then(request, result);
  }
  return result;
}

void View::range_now(const RangeRequest& request, RangeResult& result) const {
  if (request.end.empty()) {
    const auto found = index_.find(request.key);
    if (found == index_.end()) return;
    result.count = 1;
    if (!request.count_only) result.entries.push_back(*found);
    return;
  }
  if (!before_end(request.key, request.end)) return;
  const auto begin = index_.lower_bound(request.key);
  const auto end = request.end == kNoEnd ? index_.end() : index_.lower_bound(request.end);
  if (request.count_only || (request.limit != 0 && request.counted)) {
    result.count = static_cast<size_t>(std::distance(begin, end));
  }
  if (request.count_only) return;
  if (request.limit != 0 && request.counted) {
    result.entries.reserve(std::min(request.limit, result.count));
  }
  auto next = begin;
  while (next != end && (request.limit == 0 || result.entries.size() < request.limit)) {
    result.entries.push_back(*next++);
  }
  result.more = next != end;
  if (request.limit == 0) result.count = result.entries.size();
}

void View::range_then(const RangeRequest& request, RangeResult& result) const {
  // Newest first: what is left for a key is what it held before its first change since.
  std::map<std::string_view, const EntryPtr*> undone;
  for (auto event = history_.rbegin();
       event != history_.rend() && event->revision() > request.revision; ++event) {
    const std::string_view key = event->entry->key;
    const bool inside = request.end.empty() ? key == request.key
                                            : key >= request.key && before_end(key, request.end);
    if (inside) undone[key] = &event->previous;
  }
  const auto add = [&](const EntryPtr& entry) {
    if (entry == nullptr) return;
    ++result.count;
    if (request.count_only) return;
    if (request.limit != 0 && result.entries.size() == request.limit) {
      result.more = true;
    } else {
      result.entries.push_back(entry);
    }
  };
  const bool single = request.end.empty();
  const auto full = [&] { return result.more && !request.counted; };
  auto current = index_.lower_bound(request.key);
  const auto end = single || request.end == kNoEnd ? index_.end() : index_.lower_bound(request.end);
  const auto inside = [&] { return current != end && (!single || (*current)->key == request.key); };
  if (!single && !before_end(request.key, request.end)) return;
  for (const auto& [key, previous] : undone) {
    for (; !full() && inside() && (*current)->key < key; ++current) add(*current);
    if (full()) return;
    if (inside() && (*current)->key == key) ++current;
    add(*previous);
  }
  for (; !full() && inside(); ++current) add(*current);
}

Result<std::unique_ptr<Watch>> View::watch(WatchRequest request, std::function<void()> ready) {
  auto watcher = std::make_unique<Watcher>();
  watcher->key = std::move(request.key);
  watcher->prefix = request.prefix;
  watcher->ready = std::make_shared<const std::function<void()>>(std::move(ready));
  MutexLock lock(mutex_);
  if (!closed_) return closed_;
  watcher->start = request.start != 0 ? request.start : revision_ + 1;
  if (watcher->start <= compacted_) return compacted_error("watch", watcher->start, compacted_);
  watcher->cursor = first_event_ + position_of(watcher->start);
  watchers_.add(watcher.get());
  return std::unique_ptr<Watch>(new WatchHandle(shared_from_this(), std::move(watcher)));
}

Result<WatchBatch> View::take(Watcher& watcher, size_t limit) {
  WatchBatch batch;
  MutexLock lock(mutex_);
  if (!watcher.ended) return watcher.ended;
  if (!watcher.pending) {
    batch.revision = revision_;
    return batch;
  }
  if (watcher.cursor < first_event_) {
    watcher.ended = Status::error(
        StatusCode::kExpired, "watch", watcher.key,
        fmt::format("its owner was too slow: history now begins after revision {}", compacted_));
    return watcher.ended;
  }
  size_t next = watcher.cursor - first_event_;
  for (; next < history_.size() && batch.events.size() < limit; ++next) {
    const Event& event = history_[next];
    if (event.revision() >= watcher.start && watcher.concerns(event.entry->key)) {
      batch.events.push_back(event);
    }
  }
  watcher.cursor = first_event_ + next;
  batch.more = next < history_.size();
  batch.revision = batch.more ? history_[next].revision() - 1 : revision_;
  watcher.pending = batch.more;
  return batch;
}

void View::forget(Watcher& watcher) {
  MutexLock lock(mutex_);
  watchers_.remove(&watcher);
}

}  // namespace fairlead::store
