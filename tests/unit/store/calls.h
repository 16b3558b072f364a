// A store's functions for tests: they wait for the completion. And a watch that can be waited for.
#pragma once

#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/store/store.h"

namespace fairlead::store {

// How long a test waits for what must come.
inline constexpr std::chrono::seconds kPatience{20};

class Calls {
 public:
  explicit Calls(Store& store) : store_(store) {}

  Result<WriteOutcome> put(const std::string& key, const std::string& value,
                           Expect expect = Expect::anything(), LeaseId lease = 0) const {
    return wait<Result<WriteOutcome>>(
        [&](auto done) { store_.put(key, value, expect, lease, done); });
  }
  Result<WriteOutcome> remove(const std::string& key, Expect expect = Expect::anything()) const {
    return wait<Result<WriteOutcome>>([&](auto done) { store_.remove(key, expect, done); });
  }
  Result<RangeResult> range(const RangeRequest& request) const {
    return wait<Result<RangeResult>>([&](auto done) { store_.range(request, done); });
  }
  Result<Lease> grant(int seconds) const {
    return wait<Result<Lease>>(
        [&](auto done) { store_.grant_lease(std::chrono::seconds(seconds), done); });
  }
  Result<Lease> keep_alive(LeaseId id) const {
    return wait<Result<Lease>>([&](auto done) { store_.keep_alive(id, done); });
  }
  Status revoke(LeaseId id) const {
    return wait<Status>([&](auto done) { store_.revoke_lease(id, done); });
  }
  Status compact(Revision revision) const {
    return wait<Status>([&](auto done) { store_.compact(revision, done); });
  }

  // "key=value@mod_revision" for each entry below `prefix`, at `revision` (0: now).
  std::string list(const std::string& prefix, Revision revision = 0) const {
    RangeRequest request;
    request.key = prefix;
    request.end = prefix_end(prefix);
    request.revision = revision;
    const Result<RangeResult> result = range(request);
    if (!result) return std::string(to_string(result.status().code()));
    std::string text;
    for (const EntryPtr& entry : result->entries) {
      text += (text.empty() ? "" : " ") + entry->key + "=" + entry->value;
    }
    return text;
  }

 private:
  template <typename T, typename Start>
  T wait(Start start) const {
    auto answer = std::make_shared<std::promise<T>>();
    std::future<T> future = answer->get_future();
    start([answer](T result) { answer->set_value(std::move(result)); });
    return future.get();
  }

  Store& store_;
};

class TestWatch {
 public:
  static Result<TestWatch> open(Store& store, WatchRequest request) {
    TestWatch watch;
    ASSIGN_OR_RETURN(watch.watch_, store.watch(std::move(request), [signal = watch.signal_] {
      const std::lock_guard lock(signal->mutex);
      signal->raised = true;
      signal->changed.notify_all();
    }));
    return watch;
  }

  // The next `count` events as "put key=value", "remove key", each with " (was value)" when there
  // was one; the reason when the watch ends or nothing comes.
  std::string next(size_t count) {
    std::string text;
    for (size_t i = 0; i < count; ++i) {
      const std::optional<Event> event = one();
      if (!event) return text + "[" + std::string(to_string(status_.code())) + "]";
      text += text.empty() ? "" : ", ";
      text += event->type == Event::Type::kPut
                  ? "put " + event->entry->key + "=" + event->entry->value
                  : "remove " + event->entry->key;
      if (event->previous) text += " (was " + event->previous->value + ")";
    }
    return text;
  }
  // Empty when the watch has ended, see status(), or nothing comes.
  std::optional<Event> one() {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (next_ == batch_.events.size()) {
      Result<WatchBatch> batch = watch_->take(7);
      if (!batch) {
        status_ = batch.status();
        return std::nullopt;
      }
      batch_ = std::move(batch).value();
      next_ = 0;
      if (!batch_.events.empty() || batch_.more) continue;
      std::unique_lock lock(signal_->mutex);
      if (!signal_->changed.wait_until(lock, deadline, [this] { return signal_->raised; })) {
        return std::nullopt;
      }
      signal_->raised = false;
    }
    return batch_.events[next_++];
  }
  const Status& status() const { return status_; }
  Revision progress() const { return batch_.revision; }
  Result<WatchBatch> take(size_t limit) { return watch_->take(limit); }

 private:
  struct Signal {
    std::mutex mutex;
    std::condition_variable changed;
    bool raised = false;
  };

  TestWatch() : signal_(std::make_shared<Signal>()) {}

  std::shared_ptr<Signal> signal_;
  std::unique_ptr<Watch> watch_;
  WatchBatch batch_;
  size_t next_ = 0;
  Status status_;
};

}  // namespace fairlead::store
