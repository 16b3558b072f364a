#include "control/controllers/manager.h"

#include <future>
#include <utility>

#include "control/controllers/endpoint_slices.h"
#include "control/controllers/endpoints.h"
#include "control/controllers/garbage_collector.h"
#include "control/controllers/namespace_defaults.h"
#include "control/controllers/namespaces.h"
#include "control/controllers/node_health.h"
#include "control/controllers/slice_mirroring.h"

namespace fairlead::controllers {

ControllerSet::ControllerSet(Cluster& cluster, std::shared_ptr<Loop> loop,
                             const ManagerOptions& options)
    : loop_(loop),
      resync_(options.resync),
      cluster_(cluster, loop),
      informers_(cluster_, *loop_),
      context_{cluster_, *loop_, informers_},
      service_pods_(informers_) {
  controllers_.push_back(std::make_unique<EndpointsController>(context_, service_pods_));
  controllers_.push_back(std::make_unique<EndpointSliceController>(context_, service_pods_));
  controllers_.push_back(std::make_unique<SliceMirroringController>(context_));
  controllers_.push_back(
      std::make_unique<NamespaceController>(context_, options.namespace_grace()));
  controllers_.push_back(std::make_unique<NamespaceDefaultsController>(context_, options.root_ca));
  controllers_.push_back(std::make_unique<GarbageCollector>(context_));
  controllers_.push_back(std::make_unique<NodeHealthController>(context_));
}

void ControllerSet::start() {
  for (const auto& controller : controllers_) controller->start();
  informers_.start();
  resync_later();
}

void ControllerSet::resync_later() {
  loop_->after(resync_, token_.guard(std::function<void()>([this] {
    for (const auto& controller : controllers_) controller->enqueue_all();
    resync_later();
  })));
}

std::vector<ControllerMetrics> ControllerSet::metrics() const {
  std::vector<ControllerMetrics> made;
  for (const auto& controller : controllers_) made.push_back(controller->metrics());
  return made;
}

ControllerManager::ControllerManager(Cluster& cluster, ManagerOptions options)
    : cluster_(cluster), options_(std::move(options)) {}

ControllerManager::~ControllerManager() {
  stop();
}

void ControllerManager::start() {
  if (loop_) return;
  loop_ = std::make_shared<ThreadLoop>();
  loop_->post([this] {
    publish_each_second();
    if (!options_.elect) {
      lead();
      return;
    }
    election_cluster_ = std::make_unique<LoopCluster>(cluster_, loop_);
    elector_ = std::make_unique<LeaderElector>(
        *election_cluster_, *loop_, options_.election, [this] { lead(); }, [this] { step_down(); });
    elector_->start();
  });
}

void ControllerManager::stop() {
  if (!loop_) return;
  auto released = std::make_shared<std::promise<void>>();
  std::future<void> done = released->get_future();
  loop_->post([this, released] {
    if (!elector_) {
      released->set_value();
      return;
    }
    elector_->release([released] { released->set_value(); });
  });
  done.wait_for(std::chrono::seconds(2));
  // On the loop, where all of them live.
  std::promise<void> destroyed;
  loop_->post([this, &destroyed] {
    set_ = nullptr;
    elector_ = nullptr;
    election_cluster_ = nullptr;
    destroyed.set_value();
  });
  destroyed.get_future().wait();
  loop_->stop();
  loop_ = nullptr;
}

void ControllerManager::lead() {
  ++terms_;
  set_ = std::make_unique<ControllerSet>(cluster_, loop_, options_);
  set_->start();
  publish();
}

void ControllerManager::step_down() {
  set_ = nullptr;
  publish();
}

void ControllerManager::publish() {
  ManagerMetrics now;
  now.leading = set_ != nullptr;
  now.terms = terms_;
  if (set_) now.controllers = set_->metrics();
  MutexLock lock(mutex_);
  metrics_ = std::move(now);
}

// The loop does not outlive this manager.
void ControllerManager::publish_each_second() {
  publish();
  loop_->after(std::chrono::seconds(1), [this] { publish_each_second(); });
}

ManagerMetrics ControllerManager::metrics() const {
  MutexLock lock(mutex_);
  return metrics_;
}

}  // namespace fairlead::controllers
