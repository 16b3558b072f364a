// Work to be done later, on a thread of its own.
//
// Threads: after() from any thread; the work runs on the timers' thread, with no lock held. The
// destructor joins and drops what is not due yet.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace fairlead::api_server {

class Timers {
 public:
  using Clock = std::chrono::steady_clock;

  Timers();
  ~Timers();
  void after(std::chrono::milliseconds delay, std::function<void()> work);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<Clock::time_point, std::function<void()>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace fairlead::api_server
