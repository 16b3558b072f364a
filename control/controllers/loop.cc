#include "control/controllers/loop.h"

#include <algorithm>

namespace fairlead::controllers {

Duration back_off(Duration first, int failures, Duration longest) {
  Duration delay = first;
  for (int i = 0; i < failures && delay < longest; ++i) delay *= 2;
  return std::min(delay, longest);
}

ThreadLoop::ThreadLoop() : thread_([this] { run(); }) {}

ThreadLoop::~ThreadLoop() {
  stop();
}

void ThreadLoop::stop() {
  {
    MutexLock lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  // Destroyed outside of the lock: what they hold may post.
  std::vector<std::function<void()>> tasks;
  std::multimap<TimePoint, std::function<void()>> timers;
  MutexLock lock(mutex_);
  tasks.swap(tasks_);
  timers.swap(timers_);
}

void ThreadLoop::post(std::function<void()> task) {
  {
    MutexLock lock(mutex_);
    if (stopped_) return;
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void ThreadLoop::after(Duration delay, std::function<void()> task) {
  {
    MutexLock lock(mutex_);
    if (stopped_) return;
    timers_.emplace(now() + delay, std::move(task));
  }
  wake_.notify_one();
}

int64_t ThreadLoop::unix_microseconds() const {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

void ThreadLoop::run() {
  std::vector<std::function<void()>> batch;
  while (true) {
    {
      MutexLock lock(mutex_);
      while (!stopped_ && tasks_.empty() && (timers_.empty() || timers_.begin()->first > now())) {
        if (timers_.empty()) {
          wake_.wait(mutex_);
        } else {
          wake_.wait_until(mutex_, timers_.begin()->first);
        }
      }
      if (stopped_) return;
      batch.swap(tasks_);
      const TimePoint due = now();
      while (!timers_.empty() && timers_.begin()->first <= due) {
        batch.push_back(std::move(timers_.begin()->second));
        timers_.erase(timers_.begin());
      }
    }
    for (std::function<void()>& task : batch) {
      task();
      task = nullptr;
    }
    batch.clear();
  }
}

}  // namespace fairlead::controllers
