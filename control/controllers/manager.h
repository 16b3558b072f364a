// Everything in this folder as one part of a server: a thread, the election, the controllers while
// this server leads.
//
// Threads: ControllerManager from any thread; ControllerSet on its loop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/thread_annotations.h"
#include "control/controllers/controller.h"
#include "control/controllers/leader_election.h"
#include "control/controllers/loop_cluster.h"
#include "control/controllers/service_pods.h"

namespace fairlead::controllers {

struct ManagerOptions {
  // With false the controllers run at once: the store has only one server.
  bool elect = true;
  ElectionOptions election;
  // Until a namespace that terminates may go: other servers learn of that from a watch, and until
  // then admit what is made in it. Without election there are no others, only requests under way.
  Duration namespace_grace() const {
    return elect ? Duration(std::chrono::seconds(5)) : Duration(std::chrono::milliseconds(200));
  }
  std::string root_ca;  // PEM, for kube-root-ca.crt
  // How often everything is looked at again though nothing was heard of it.
  Duration resync = std::chrono::minutes(10);
};

// All controllers of one term, with their caches.
class ControllerSet {
 public:
  // `cluster` outlives the set.
  ControllerSet(Cluster& cluster, std::shared_ptr<Loop> loop, const ManagerOptions& options);

  void start();
  std::vector<ControllerMetrics> metrics() const;

 private:
  void resync_later();

  std::shared_ptr<Loop> loop_;
  const Duration resync_;
  LoopCluster cluster_;
  Informers informers_;
  Context context_;
  ServicePods service_pods_;
  std::vector<std::unique_ptr<Controller>> controllers_;
  Token token_;
};

struct ManagerMetrics {
  bool leading = false;
  uint64_t terms = 0;  // how often this server began to lead
  std::vector<ControllerMetrics> controllers;
};

class ControllerManager {
 public:
  // `cluster` outlives the manager.
  ControllerManager(Cluster& cluster, ManagerOptions options);
  ~ControllerManager();  // stop()

  void start();
  // Gives up the lease and ends; waits for what runs, two seconds at most for the lease.
  void stop();
  // Not older than a second.
  ManagerMetrics metrics() const EXCLUDES(mutex_);

 private:
  void lead();
  void step_down();
  void publish() EXCLUDES(mutex_);
  void publish_each_second();

  Cluster& cluster_;
  const ManagerOptions options_;
  std::shared_ptr<ThreadLoop> loop_;
  // The loop's.
  std::unique_ptr<LoopCluster> election_cluster_;
  std::unique_ptr<LeaderElector> elector_;
  std::unique_ptr<ControllerSet> set_;
  uint64_t terms_ = 0;

  mutable Mutex mutex_;
  ManagerMetrics metrics_ GUARDED_BY(mutex_);
};

}  // namespace fairlead::controllers
