// Is the proxy healthy? The state behind /healthz, /livez and /readyz on port 10256.
//
// Healthy means: no change has been waiting for the datapath longer than the timeout (twice the
// sync period). /healthz is 503 also while the node is going away, which tells load balancers to
// drain it; /livez is not, so that a draining node's proxy is not restarted. An unreachable API
// server never makes either 503: the rules in the kernel go on working and a restart would not
// help; the body and fairlead_api_server_reachable tell. /readyz is 200 once the first complete
// sync is in the kernel.
//
// Threads: everything from any thread.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_annotations.h"
#include "control/api/types.h"
#include "dataplane/address.h"
#include "proxy/runtime/clock.h"

namespace fairlead::proxy {

struct HealthOptions {
  std::chrono::milliseconds timeout{60000};  // 2 x sync period
  std::vector<dataplane::Family> families = {dataplane::Family::kIPv4};
};

class Health {
 public:
  explicit Health(HealthOptions options, const Clock& clock = Clock::real());

  // A change that concerns `family` has arrived and is not yet in the datapath.
  void queued(dataplane::Family family);
  // The datapath has acknowledged everything queued up to `snapshot`: when the delta was taken.
  // What was queued later stays pending.
  void applied(dataplane::Family family, Clock::SteadyTime snapshot);
  void first_sync_done();

  // Not eligible: being deleted, or tainted ToBeDeletedByClusterAutoscaler. Eligible until told.
  void set_node(const api::Node& node);
  void set_node_gone();
  // The reflectors' last word: ok while watches stand.
  void set_api_server(const Status& status);

  // The datapath keeps up; says nothing of the node. What the service health ports repeat.
  bool keeps_up() const;
  bool ready() const;
  bool api_server_reachable() const;

  struct Answer {
    int http_status = 200;
    std::string body;  // JSON
  };
  Answer healthz() const;
  Answer livez() const;
  Answer readyz() const;

 private:
  struct Progress {
    std::optional<Clock::SteadyTime> oldest_pending;
    Clock::SteadyTime newest_pending{};
    std::optional<Clock::WallTime> last_applied;
  };
  struct View {
    bool keeps_up = true;
    Clock::WallTime last_applied{};
    dataplane::Family late = dataplane::Family::kIPv4;  // meaningful when !keeps_up
  };
  View view() const REQUIRES(mutex_);
  Answer answer(bool with_node) const;

  const HealthOptions options_;
  const Clock& clock_;
  mutable Mutex mutex_;
  std::map<dataplane::Family, Progress> progress_ GUARDED_BY(mutex_);
  bool node_eligible_ GUARDED_BY(mutex_) = true;
  bool ready_ GUARDED_BY(mutex_) = false;
  Status api_server_ GUARDED_BY(mutex_);
};

}  // namespace fairlead::proxy
