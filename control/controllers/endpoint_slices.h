// EndpointSlices of Services with selectors.
//
// Threads: plan_endpoint_slices() is pure; the controller is the loop's.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "control/controllers/controller.h"
#include "control/controllers/pods.h"
#include "control/controllers/service_pods.h"
#include "control/controllers/topology_hints.h"

namespace fairlead::controllers {

struct SliceInput {
  ObjectPtr service;
  std::vector<ObjectPtr> pods;      // that the service selects
  std::vector<ObjectPtr> existing;  // managed by this controller, of this service
  std::function<ObjectPtr(std::string_view name)> node;  // null: no such node
  ZoneShares shares;
  std::string trigger_time;
  size_t most = 100;  // endpoints of a slice
};
// A pod whose node does not exist is no endpoint, unless the service publishes pods that are not
// ready.
Plan plan_endpoint_slices(const SliceInput& input);

class EndpointSliceController final : public Controller {
 public:
  EndpointSliceController(Context context, ServicePods& pods);

  void enqueue_all() override;

 protected:
  Plan plan(const std::string& key) override;

 private:
  void node_changed(const ObjectPtr& before, const ObjectPtr& after);

  ServicePods& pods_;
  Informer& nodes_;
  Informer& slices_;
  size_t slices_by_service_;
  ZoneShares shares_;
  bool shares_known_ = false;
  TriggerTimes trigger_times_;
};

}  // namespace fairlead::controllers
