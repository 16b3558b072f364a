// Forgets the store's history after a while: five minutes of it are kept, as kube-apiserver does.
//
// Threads: one of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "control/store/store.h"

namespace fairlead::server {

class Compactor {
 public:
  Compactor(store::Store& store, std::chrono::seconds interval);  // the store outlives it
  ~Compactor();

 private:
  void run();

  store::Store& store_;
  const std::chrono::seconds interval_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace fairlead::server
