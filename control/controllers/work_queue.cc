#include "control/controllers/work_queue.h"

#include <algorithm>
#include <utility>

namespace fairlead::controllers {

WorkQueue::WorkQueue(Loop& loop, Limits limits, std::function<void(const std::string&)> work)
    : loop_(loop), limits_(limits), work_(std::move(work)) {}

void WorkQueue::add(const std::string& key) {
  ++added_;
  if (working_.count(key) != 0) {
    again_.insert(key);
    return;
  }
  if (!waiting_.insert(key).second) return;
  order_.push_back(key);
  schedule_pump();
}

void WorkQueue::add_after(const std::string& key, Duration delay) {
  if (delay <= Duration::zero()) {
    add(key);
    return;
  }
  const TimePoint due = loop_.now() + delay;
  const auto [found, fresh] = due_.emplace(key, due);
  if (!fresh) {
    if (found->second <= due) return;
    found->second = due;
  }
  loop_.after(delay, token_.guard(std::function<void()>([this, key, due] {
    const auto timer = due_.find(key);
    if (timer == due_.end() || timer->second != due) return;  // an earlier one was set
    due_.erase(timer);
    add(key);
  })));
}

void WorkQueue::resume() {
  running_ = true;
  schedule_pump();
}

void WorkQueue::finish(const std::string& key) {
  working_.erase(key);
  if (again_.erase(key) != 0 && waiting_.insert(key).second) order_.push_back(key);
  schedule_pump();
}

void WorkQueue::retry(const std::string& key) {
  add_after(key, back_off(limits_.first_delay, failures_[key]++, limits_.longest_delay));
  finish(key);
}

// Work begins from the loop, never inside add(): one burst of events is one pass over its keys.
void WorkQueue::schedule_pump() {
  if (!running_ || pumping_ || order_.empty()) return;
  pumping_ = true;
  loop_.post(token_.guard(std::function<void()>([this] { pump(); })));
}

void WorkQueue::pump() {
  pumping_ = false;
  while (!order_.empty() && working_.size() < static_cast<size_t>(limits_.in_flight)) {
    const std::string key = std::move(order_.front());
    order_.pop_front();
    waiting_.erase(key);
    working_.insert(key);
    work_(key);
  }
}

}  // namespace fairlead::controllers
