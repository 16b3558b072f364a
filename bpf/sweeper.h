// Keeps the flow tables clean: calls the sweep in the kernel every period, publishes what stands,
// has slots freed whose flow is gone, and closes the table of established flows to newcomers before
// it is full.
//
// Threads: one of its own; counts() and free_slots() from any. Of the configuration it writes `hz`
// and `refuse_new_flows` and nothing else.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "base/status.h"
#include "bpf/layout.h"

namespace fairlead::bpf {

// Jiffies in a second. The kernel tells: its coarse clocks advance by one jiffy.
Result<uint32_t> jiffies_per_second();

class Sweeper {
 public:
  // What is lent; it must outlive the sweeper.
  struct Setup {
    int program = -1;            // Program::kSweep
    uint32_t flow_capacity = 0;  // elements of `fl_flows`
    uint32_t slots = 0;          // elements of `fl_returns`
    fl_config* config = nullptr;
    std::chrono::milliseconds period{10'000};
  };

  struct Counts {
    uint64_t sweeps = 0;   // since the start
    uint64_t expired = 0;  // since the start
    uint64_t freed = 0;    // since the start: slots
    uint64_t flows = 0;    // standing at the last sweep, as are the next three
    uint64_t new_flows = 0;
    uint64_t affinities = 0;
    uint64_t ports = 0;  // for masquerading, in the class of returns that has the fewest left
  };

  // config.hz is known when it returns; the first sweep may not have ended.
  static Result<std::unique_ptr<Sweeper>> start(const Setup& setup);
  // Waits for a sweep that is running, not for the period.
  ~Sweeper();
  Sweeper(const Sweeper&) = delete;
  Sweeper& operator=(const Sweeper&) = delete;

  // From now on, a part of the slots at a time: every place has programs that enter flows in these
  // maps. Before, flows of slots may be in a map that was replaced.
  void free_slots() { free_slots_ = true; }
  static constexpr uint32_t kSlotsASweep = 1 << 13;

  Counts counts() const;

 private:
  explicit Sweeper(const Setup& setup) : setup_(setup) {}
  void run(const std::stop_token& stop);
  void sweep();
  void guard_capacity(uint64_t flows);

  const Setup setup_;
  std::atomic<uint64_t> sweeps_{0};
  std::atomic<uint64_t> expired_{0};
  std::atomic<uint64_t> freed_{0};
  std::atomic<uint64_t> flows_{0};
  std::atomic<uint64_t> new_flows_{0};
  std::atomic<uint64_t> affinities_{0};
  std::atomic<uint64_t> ports_{0};
  std::atomic<bool> free_slots_{false};
  uint32_t next_slot_ = 0;  // the thread's, as is the next
  int last_error_ = 0;      // said once
  std::mutex mutex_;        // only to sleep on
  std::condition_variable_any wake_;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace fairlead::bpf
