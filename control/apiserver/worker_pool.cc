#include "control/apiserver/worker_pool.h"

#include <algorithm>
#include <utility>

namespace fairlead::apiserver {

namespace {

thread_local const WorkerPool* this_pool = nullptr;

}  // namespace

WorkerPool::WorkerPool(size_t threads) {
  if (threads == 0) threads = std::max(2u, std::thread::hardware_concurrency());
  threads_.reserve(threads);
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::post(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
}

void WorkerPool::dispatch(std::function<void()> job) {
  if (this_pool == this) return job();
  post(std::move(job));
}

void WorkerPool::run() {
  this_pool = this;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
  }
}

}  // namespace fairlead::apiserver
