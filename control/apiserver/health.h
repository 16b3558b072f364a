// /healthz, /livez and /readyz in the form of kube-apiserver: "ok", or with ?verbose each check on
// a line; /readyz/<check> asks one, ?exclude= leaves some out. Failing: 500, and the reason is
// logged, not told.
//
// Threads: pure functions; checks are called on the asking thread and must not block.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "control/net/server.h"

namespace fairlead::apiserver {

struct HealthCheck {
  std::string name;
  std::function<Status()> check;
  bool liveness = false;  // counts for /livez, too
};

bool is_health_path(std::string_view path);
// nullopt: no such check.
std::optional<net::HttpResponse> health_page(const std::vector<HealthCheck>& checks,
                                             std::string_view path, std::string_view query);

}  // namespace fairlead::apiserver
