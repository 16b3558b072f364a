// Ends UDP sockets that stay connected to an endpoint which has left its service, in every network
// namespace of the machine: their applications would wait for answers that cannot come.
//
// The kernel's iterator (fl_udp_sockets) finds them by what the socket programs remember. Without
// it the kernel's socket diagnosis does, by remote address: it cannot tell a socket that was
// connected to the endpoint past the service, and ends it as well.
//
// Threads: request() and counts() from any, without waiting; the work is done by a thread of its
// own, which alone moves between namespaces. Namespaces are found through /proc, so it must be the
// machine's.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "bpf/tables.h"

namespace fairlead::bpf {

class StaleSockets {
 public:
  struct Counts {
    uint64_t walks = 0;       // through all namespaces
    uint64_t namespaces = 0;  // in the last walk
    uint64_t ended = 0;       // sockets
  };

  // `iterator`: Program::kUdpSockets, or -1 where the kernel has none. Lent.
  explicit StaleSockets(int iterator);
  ~StaleSockets();
  StaleSockets(const StaleSockets&) = delete;
  StaleSockets& operator=(const StaleSockets&) = delete;

  // The tables must have been written already. Requests that come while a walk is under way are
  // answered by one more walk.
  void request(std::vector<Tables::Gone> gone);

  Counts counts() const { return {walks_.load(), namespaces_.load(), ended_.load()}; }

 private:
  using Gone = std::vector<Tables::Gone>;
  void run(const std::stop_token& stop);
  bool wait(const std::stop_token& stop, Gone* gone);
  void walk(const Gone& gone, const std::stop_token& stop);
  uint64_t end_here(const Gone& gone);
  void complain(const Status& status);

  Fd link_;  // of the iterator; empty: by socket diagnosis
  std::atomic<uint64_t> walks_{0};
  std::atomic<uint64_t> namespaces_{0};
  std::atomic<uint64_t> ended_{0};
  bool complained_ = false;  // the thread's

  std::mutex mutex_;
  std::condition_variable_any wake_;
  Gone pending_;                                         // under mutex_
  std::chrono::steady_clock::time_point second_look_{};  // the thread's; zero: none due
  std::jthread thread_;                                  // last: it uses all of the above
};

}  // namespace fairlead::bpf
