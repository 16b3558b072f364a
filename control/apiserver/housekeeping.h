// What an API server does by itself, on a thread of its own: repairs reservations, forgets old
// history, keeps its own address in the endpoints of the service "kubernetes".
//
// Threads: one owner. All that is referred to must outlive it; the destructor waits for what runs.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "control/apiserver/service_repair.h"
#include "control/store/store.h"

namespace fairlead::apiserver {

class Housekeeping {
 public:
  struct Chore {
    std::chrono::seconds interval;
    std::function<void()> work;  // may block
  };

  explicit Housekeeping(std::vector<Chore> chores);
  ~Housekeeping();
  Housekeeping(const Housekeeping&) = delete;
  Housekeeping& operator=(const Housekeeping&) = delete;

 private:
  void run(std::vector<Chore> chores);

  std::mutex mutex_;
  std::condition_variable changed_;
  bool closing_ = false;
  std::thread thread_;
};

// The chores of every server: repair (at once and every three minutes), compaction.
std::vector<Housekeeping::Chore> common_chores(store::Store& store, WorkerPool& pool,
                                               SecondsClock clock);

}  // namespace fairlead::apiserver
