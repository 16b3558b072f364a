// The one thread that owns the state of all controllers, as a queue of functions with timers.
//
// Threads: post() from any thread; everything else on the loop's own thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "base/thread_annotations.h"

namespace fairlead::controllers {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::steady_clock::time_point;

// How long to wait after so many failures in a row: twice as long each time, up to `longest`.
Duration back_off(Duration first, int failures, Duration longest);

class Loop {
 public:
  virtual ~Loop() = default;

  // In order. Dropped after the loop was stopped.
  virtual void post(std::function<void()> task) = 0;
  // Once, no earlier than `delay` from now. There is no cancelling: what it would act on holds a
  // token (Token) that the function checks.
  virtual void after(Duration delay, std::function<void()> task) = 0;
  virtual TimePoint now() const = 0;
  virtual int64_t unix_microseconds() const = 0;
};

// The thread of a running server.
class ThreadLoop : public Loop {
 public:
  ThreadLoop();
  ~ThreadLoop() override;  // stop()

  // Ends the thread after the task that runs; what waits is dropped. Not from the loop itself.
  void stop();

  void post(std::function<void()> task) override EXCLUDES(mutex_);
  void after(Duration delay, std::function<void()> task) override EXCLUDES(mutex_);
  TimePoint now() const override { return std::chrono::steady_clock::now(); }
  int64_t unix_microseconds() const override;

 private:
  void run() EXCLUDES(mutex_);

  Mutex mutex_;
  std::condition_variable_any wake_;
  std::vector<std::function<void()>> tasks_ GUARDED_BY(mutex_);
  std::multimap<TimePoint, std::function<void()>> timers_ GUARDED_BY(mutex_);
  bool stopped_ GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: uses what stands above
};

// Lets functions that outlive their owner notice. Owner, copies and checks all on one thread.
class Token {
 public:
  // `task`, as long as this token's owner lives.
  template <typename... Args>
  std::function<void(Args...)> guard(std::function<void(Args...)> task) const {
    std::weak_ptr<char> alive = alive_;
    return [alive = std::move(alive), task = std::move(task)](Args... args) {
      if (!alive.expired()) task(std::forward<Args>(args)...);
    };
  }
  std::weak_ptr<char> weak() const { return alive_; }

 private:
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace fairlead::controllers
