// EndpointSlices of Endpoints that were made by hand, for Services without selectors (KEP-752).
//
// Threads: plan_mirror() is pure; the controller is the loop's.
#pragma once

#include <string>
#include <vector>

#include "control/controllers/controller.h"
#include "control/controllers/slices.h"

namespace fairlead::controllers {

inline constexpr size_t kMostMirrored = 1000;  // addresses of a subset

struct MirrorInput {
  ObjectPtr service;                // null: none
  ObjectPtr endpoints;              // null: none
  std::vector<ObjectPtr> existing;  // mirrors of these endpoints
};
Plan plan_mirror(const MirrorInput& input);

class SliceMirroringController final : public Controller {
 public:
  explicit SliceMirroringController(Context context);

  void enqueue_all() override;

 protected:
  Plan plan(const std::string& key) override;

 private:
  Informer& services_;
  Informer& endpoints_;
  Informer& slices_;
  size_t slices_by_service_;
};

}  // namespace fairlead::controllers
