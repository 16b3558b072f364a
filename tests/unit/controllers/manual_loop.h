// A loop whose thread is the test and whose time passes when the test says so.
//
// Threads: the test's.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <utility>

#include "control/controllers/loop.h"

namespace fairlead::controllers {

class ManualLoop final : public Loop {
 public:
  void post(std::function<void()> task) override { tasks_.push_back(std::move(task)); }
  void after(Duration delay, std::function<void()> task) override {
    timers_.emplace(now_ + delay, std::move(task));
  }
  TimePoint now() const override { return now_; }
  int64_t unix_microseconds() const override {
    return kEpoch +
           std::chrono::duration_cast<std::chrono::microseconds>(now_.time_since_epoch()).count();
  }

  // Runs what is due, and what follows from it; false when it does not come to rest.
  bool run() {
    for (int steps = 0; steps < 1'000'000; ++steps) {
      if (tasks_.empty()) return true;
      const std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      task();
    }
    return false;
  }

  // What is due now, then timers in their order.
  bool advance(Duration by) {
    if (!run()) return false;
    const TimePoint end = now_ + by;
    while (!timers_.empty() && timers_.begin()->first <= end) {
      now_ = std::max(now_, timers_.begin()->first);
      const std::function<void()> task = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
      task();
      if (!run()) return false;
    }
    now_ = end;
    return run();
  }

 private:
  static constexpr int64_t kEpoch = 1'700'000'000'000'000;  // 2023-11-14T22:13:20Z

  std::deque<std::function<void()>> tasks_;
  std::multimap<TimePoint, std::function<void()>> timers_;
  TimePoint now_{};
};

}  // namespace fairlead::controllers
