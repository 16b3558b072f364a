// The thread on which everything that etcd answers is handled, and the activities that it drives.
//
// An activity is a call, a stream or a timer with one step outstanding at a time. The loop owns it
// from start() until proceed() says that it has ended, or the loop closes: then every activity is
// cancelled, and gone when close() returns.
//
// Threads: start() from any thread; proceed() on the loop's.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <unordered_set>

#include "base/thread_annotations.h"

namespace fairlead::store {

class Activity {
 public:
  virtual ~Activity() = default;

  // Begins the first step, with the activity itself as its tag. On the caller's thread.
  virtual void begin(grpc::CompletionQueue& queue) = 0;
  // The outstanding step is done, `ok` or not. Begins the next one and returns true, or returns
  // false: nothing is outstanding, the activity is over.
  virtual bool proceed(bool ok) = 0;
  // Makes the outstanding step end soon, and those that follow it. From any thread.
  virtual void cancel() = 0;
  // The loop has closed before the activity could begin.
  virtual void abandon() = 0;
};

class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void start(std::unique_ptr<Activity> activity) EXCLUDES(mutex_);
  // Calls `then` on the loop's thread; never, when the loop closes before.
  void start_timer(std::chrono::milliseconds delay, std::function<void()> then);
  // Not from the loop's thread.
  void close() EXCLUDES(mutex_);
  bool is_closing() EXCLUDES(mutex_);

 private:
  void run();
  void end(Activity* activity) EXCLUDES(mutex_);

  grpc::CompletionQueue queue_;
  Mutex mutex_;
  std::unordered_set<Activity*> live_ GUARDED_BY(mutex_);
  bool closing_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace fairlead::store
