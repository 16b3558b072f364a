// Keys that need work: each waits once however often it is added, is worked on by one at a time,
// and comes back with growing delays while it fails.
//
// Delays are kube-controller-manager's: 5 ms doubling to 1000 s, per key.
//
// Threads: the loop's.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "control/controllers/loop.h"

namespace fairlead::controllers {

class WorkQueue {
 public:
  struct Limits {
    int in_flight = 8;  // keys worked on at a time
    Duration first_delay = std::chrono::milliseconds(5);
    Duration longest_delay = std::chrono::seconds(1000);
  };

  // `work` begins on a key; finish() ends it.
  WorkQueue(Loop& loop, Limits limits, std::function<void(const std::string& key)> work);

  void add(const std::string& key);
  void add_after(const std::string& key, Duration delay);
  // Nothing is handed out before resume().
  void resume();

  // The key's work is done; one that was added meanwhile waits again.
  void finish(const std::string& key);
  // The same for work that failed: it comes back after the key's next delay.
  void retry(const std::string& key);
  // The key's delays begin anew.
  void forget(const std::string& key) { failures_.erase(key); }

  size_t depth() const { return waiting_.size(); }
  size_t in_flight() const { return working_.size(); }
  uint64_t added() const { return added_; }

 private:
  void pump();
  void schedule_pump();

  Loop& loop_;
  const Limits limits_;
  const std::function<void(const std::string&)> work_;
  std::deque<std::string> order_;
  std::unordered_set<std::string> waiting_;  // in order_
  std::unordered_set<std::string> working_;
  std::unordered_set<std::string> again_;  // added while working
  std::unordered_map<std::string, int> failures_;
  // The earliest timer of each key, so that a key that is postponed often has one.
  std::unordered_map<std::string, TimePoint> due_;
  bool running_ = false;
  bool pumping_ = false;
  uint64_t added_ = 0;
  Token token_;
};

}  // namespace fairlead::controllers
