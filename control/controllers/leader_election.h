// One of several servers over one store runs the controllers: whoever holds a Lease, renewed every
// two seconds, given up after ten without success, taken over after fifteen without renewal.
//
// Times are counted from when a change of the lease was seen here: clocks need not agree.
//
// Threads: the loop's.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "control/controllers/cluster.h"
#include "control/controllers/loop.h"

namespace fairlead::controllers {

struct ElectionOptions {
  std::string identity;  // of this server, unique
  std::string space = "kube-system";
  std::string name = "fairlead-controllers";
  Duration lease = std::chrono::seconds(15);
  Duration renew = std::chrono::seconds(10);
  Duration retry = std::chrono::seconds(2);
};

class LeaderElector {
 public:
  // `cluster` completes on the loop.
  LeaderElector(Cluster& cluster, Loop& loop, ElectionOptions options,
                std::function<void()> started, std::function<void()> stopped);

  void start();
  // Gives the lease up, so that another takes it at once; `done` when that is written or failed.
  void release(std::function<void()> done);
  bool leading() const { return leading_; }
  const std::string& leader() const { return leader_; }  // as seen last

 private:
  void tick();
  void found(Result<ObjectPtr> lease);
  bool free_to_take(const schema::Value& lease);
  void write(const schema::Value* lease);
  void written(TimePoint asked, Result<ObjectPtr> lease);
  // False for what is older than what was seen already.
  bool observe(const ObjectPtr& lease);
  void watch_deadline();

  Cluster& cluster_;
  Loop& loop_;
  const ElectionOptions options_;
  const std::function<void()> started_;
  const std::function<void()> stopped_;
  ObjectPtr lease_;  // as seen last
  TimePoint seen_;   // when it was seen to change
  TimePoint renewed_;
  std::string leader_;
  bool leading_ = false;
  bool released_ = false;
  Token token_;
};

}  // namespace fairlead::controllers
