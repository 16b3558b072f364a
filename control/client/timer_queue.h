// Callbacks for later, in the order of their times.
//
// Threads: one owner.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace fairlead::client {

class TimerQueue {
 public:
  using Clock = std::chrono::steady_clock;

  void add(uint64_t id, Clock::time_point when, std::function<void()> callback) {
    timers_.emplace(std::pair(when, id), std::move(callback));
    times_.emplace(id, when);
  }

  // False when there is no such timer (any more).
  bool cancel(uint64_t id) {
    const auto found = times_.find(id);
    if (found == times_.end()) return false;
    timers_.erase({found->second, id});
    times_.erase(found);
    return true;
  }

  std::optional<Clock::time_point> next() const {
    if (timers_.empty()) return std::nullopt;
    return timers_.begin()->first.first;
  }

  // Calls everything that is due at `now`; what a callback adds waits for the next run.
  void run(Clock::time_point now) {
    std::vector<uint64_t> due;
    for (auto it = timers_.begin(); it != timers_.end() && it->first.first <= now; ++it) {
      due.push_back(it->first.second);
    }
    for (const uint64_t id : due) {
      const auto time = times_.find(id);
      if (time == times_.end()) continue;  // cancelled by an earlier one
      auto node = timers_.extract({time->second, id});
      times_.erase(time);
      node.mapped()();
    }
  }

 private:
  std::map<std::pair<Clock::time_point, uint64_t>, std::function<void()>> timers_;
  std::unordered_map<uint64_t, Clock::time_point> times_;
};

}  // namespace fairlead::client
