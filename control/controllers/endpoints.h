// Endpoints of Services with selectors, as clients older than EndpointSlices read them.
//
// Threads: plan_endpoints() is pure; the controller is the loop's.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "control/controllers/controller.h"
#include "control/controllers/pods.h"
#include "control/controllers/service_pods.h"

namespace fairlead::controllers {

inline constexpr size_t kMostEndpoints = 1000;  // of one object; the rest is left out and said so

struct EndpointsInput {
  ObjectPtr service;
  std::vector<ObjectPtr> pods;  // that the service selects
  ObjectPtr existing;           // null: none
  std::string trigger_time;
};
Plan plan_endpoints(const EndpointsInput& input);

class EndpointsController final : public Controller {
 public:
  EndpointsController(Context context, ServicePods& pods);

  void enqueue_all() override;

 protected:
  Plan plan(const std::string& key) override;

 private:
  ServicePods& pods_;
  Informer& endpoints_;
  TriggerTimes trigger_times_;
  std::set<std::string> left_over_;  // go if there is no service
};

}  // namespace fairlead::controllers
