// Whether nodes are alive: each renews a Lease of its name in kube-node-lease; one that has not for
// 40 seconds has conditions Unknown and a taint, and its pods are not ready, so that they leave the
// endpoints of services.
//
// A status that the node's agent reports counts as a renewal.
//
// Age is counted from when a renewal was seen here: clocks of nodes do not matter. A node that
// never had a lease is not judged: it has no agent.
//
// Threads: the pure functions anywhere; the controller is the loop's.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "control/controllers/controller.h"

namespace fairlead::controllers {

inline constexpr Duration kNodeGrace = std::chrono::seconds(40);
inline constexpr std::string_view kLeaseSpace = "kube-node-lease";

struct NodeInput {
  ObjectPtr node;
  std::vector<ObjectPtr> pods;  // on it
  bool alive = true;            // its lease is fresh, or it never had one
  // Its Ready was True when it was looked at last.
  bool was_ready = false;
  int64_t unix_microseconds = 0;
};
Plan plan_node(const NodeInput& input);

class NodeHealthController final : public Controller {
 public:
  explicit NodeHealthController(Context context);

  void enqueue_all() override;

 protected:
  Plan plan(const std::string& key) override;

 private:
  struct Seen {
    std::string renewed;  // renewTime, as it was last
    TimePoint at;         // when that was seen, or a status later
  };

  void lease_changed(const ObjectPtr& lease);
  void status_changed(const schema::Value& before, const schema::Value& after);
  bool is_alive(const std::string& node) const;

  Informer& nodes_;
  Informer& pods_;
  Informer& leases_;
  size_t pods_by_node_;
  std::unordered_map<std::string, Seen> seen_;  // of nodes that are there and have had a lease
  std::unordered_map<std::string, bool> was_ready_;
};

}  // namespace fairlead::controllers
