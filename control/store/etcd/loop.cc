#include "control/store/etcd/loop.h"

#include <pthread.h>

#include <utility>

namespace fairlead::store {
namespace {

class Timer : public Activity {
 public:
  Timer(std::chrono::milliseconds delay, std::function<void()> then)
      : delay_(delay), then_(std::move(then)) {}

  void begin(grpc::CompletionQueue& queue) override {
    alarm_.Set(&queue, std::chrono::system_clock::now() + delay_, static_cast<Activity*>(this));
  }
  bool proceed(bool ok) override {
    if (ok) then_();
    return false;
  }
  void cancel() override { alarm_.Cancel(); }
  void abandon() override {}

 private:
  const std::chrono::milliseconds delay_;
  const std::function<void()> then_;
  grpc::Alarm alarm_;
};

}  // namespace

Loop::Loop() : thread_([this] { run(); }) {}

Loop::~Loop() {
  close();
}

void Loop::start(std::unique_ptr<Activity> activity) {
  {
    MutexLock lock(mutex_);
    if (!closing_) {
      // Begun under the lock: close() must not cancel what has not begun yet.
      Activity* started = activity.release();
      live_.insert(started);
      started->begin(queue_);
      return;
    }
  }
  activity->abandon();
}

void Loop::start_timer(std::chrono::milliseconds delay, std::function<void()> then) {
  start(std::make_unique<Timer>(delay, std::move(then)));
}

void Loop::close() {
  {
    MutexLock lock(mutex_);
    if (closing_) return;
    closing_ = true;
    for (Activity* activity : live_) activity->cancel();
    if (live_.empty()) queue_.Shutdown();
  }
  thread_.join();
}

bool Loop::is_closing() {
  MutexLock lock(mutex_);
  return closing_;
}

void Loop::run() {
  ::pthread_setname_np(::pthread_self(), "store-etcd");
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
    Activity* activity = static_cast<Activity*>(tag);
    if (!activity->proceed(ok)) end(activity);
  }
}

void Loop::end(Activity* activity) {
  const std::unique_ptr<Activity> ended(activity);
  MutexLock lock(mutex_);
  live_.erase(activity);
  if (closing_ && live_.empty()) queue_.Shutdown();
}

}  // namespace fairlead::store
