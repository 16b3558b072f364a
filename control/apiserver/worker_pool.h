// The threads on which requests are worked on: everything between the transport and the store.
//
// Threads: post() from any thread. The destructor finishes what was posted; what is posted by that
// runs, too.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace fairlead::apiserver {

class WorkerPool {
 public:
  // 0: one thread for each processor, two at least.
  explicit WorkerPool(size_t threads = 0);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void post(std::function<void()> job);
  // Runs the job at once when this is one of the pool's threads, else posts it.
  void dispatch(std::function<void()> job);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace fairlead::apiserver
