#include "control/apiserver/health.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/log.h"
#include "control/apiserver/request_info.h"
#include "control/net/text.h"

namespace fairlead::apiserver {
namespace {

// "/readyz/store" to ("readyz", "store").
std::pair<std::string_view, std::string_view> split_health_path(std::string_view path) {
  if (path.starts_with('/')) path.remove_prefix(1);
  const size_t slash = path.find('/');
  if (slash == std::string_view::npos) return {path, ""};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

bool is_health_path(std::string_view path) {
  const std::string_view page = split_health_path(path).first;
  return page == "healthz" || page == "livez" || page == "readyz";
}

std::optional<net::HttpResponse> health_page(const std::vector<HealthCheck>& checks,
                                             std::string_view path, std::string_view query) {
  const auto [page, only] = split_health_path(path);
  net::HttpResponse response;
  const std::vector<std::string> excluded = net::query_values(query, "exclude");
  std::string lines;
  bool failed = false;
  bool found = only.empty();
  for (const HealthCheck& each : checks) {
    if (!only.empty() && each.name != only) continue;
    found = true;
    if (page != "readyz" && !each.liveness && only.empty()) continue;
    if (std::find(excluded.begin(), excluded.end(), each.name) != excluded.end()) {
      lines += fmt::format("[+]{} excluded: ok\n", each.name);
      continue;
    }
    const Status status = each.check();
    if (status.ok()) {
      lines += fmt::format("[+]{} ok\n", each.name);
    } else {
      // Everybody may ask; the reason may name hosts and files.
      LOG_WARNING("{} check {} failed: {}", page, each.name, status.message());
      lines += fmt::format("[-]{} failed: reason withheld\n", each.name);
      failed = true;
    }
  }
  if (!found) return std::nullopt;
  if (failed) {
    response.status = 500;
    response.body = lines + fmt::format("{} check failed\n", page);
    return response;
  }
  bool verbose = false;
  net::query_value(query, "verbose", &verbose);
  response.body = verbose ? lines + fmt::format("{} check passed\n", page) : "ok";
  return response;
}

}  // namespace fairlead::apiserver
