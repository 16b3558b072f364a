#include "proxy/runtime/health.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>

#include "control/api/json_writer.h"

namespace fairlead::proxy {
namespace {

constexpr std::string_view kToBeDeletedTaint = "ToBeDeletedByClusterAutoscaler";

// As Go prints a time: what readers of kube-proxy's body expect.
std::string go_time(Clock::WallTime time) {
  if (time == Clock::WallTime{}) return "0001-01-01 00:00:00 +0000 UTC";
  const auto nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(nanos);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:09} +0000 UTC",
                     fmt::gmtime(static_cast<std::time_t>(seconds.count())),
                     (nanos - seconds).count());
}

}  // namespace

Health::Health(HealthOptions options, const Clock& clock)
    : options_(std::move(options)), clock_(clock) {
  for (const dataplane::Family family : options_.families) progress_[family];
}

void Health::queued(dataplane::Family family) {
  MutexLock lock(mutex_);
  Progress& progress = progress_[family];
  progress.newest_pending = clock_.steady();
  if (!progress.oldest_pending) progress.oldest_pending = progress.newest_pending;
}

void Health::applied(dataplane::Family family, Clock::SteadyTime snapshot) {
  MutexLock lock(mutex_);
  Progress& progress = progress_[family];
  progress.last_applied = clock_.wall();
  if (!progress.oldest_pending) return;
  if (progress.newest_pending <= snapshot) {
    progress.oldest_pending.reset();
  } else {
    // What is still pending came after the snapshot; when exactly its first came is not kept.
    progress.oldest_pending = std::max(*progress.oldest_pending, snapshot);
  }
}

void Health::first_sync_done() {
  MutexLock lock(mutex_);
  ready_ = true;
}

void Health::set_node(const api::Node& node) {
  const bool tainted = std::any_of(node.taints.begin(), node.taints.end(), [](const auto& taint) {
    return taint.key == kToBeDeletedTaint;
  });
  MutexLock lock(mutex_);
  node_eligible_ = !tainted && !node.meta.deletion_timestamp;
}

void Health::set_node_gone() {
  MutexLock lock(mutex_);
  node_eligible_ = false;
}

void Health::set_api_server(const Status& status) {
  MutexLock lock(mutex_);
  api_server_ = status;
}

Health::View Health::view() const {
  View view;
  const Clock::SteadyTime now = clock_.steady();
  for (const auto& [family, progress] : progress_) {
    const bool late = progress.oldest_pending && now - *progress.oldest_pending >= options_.timeout;
    if (late && view.keeps_up) {
      view.keeps_up = false;
      view.late = family;
      view.last_applied = progress.last_applied.value_or(Clock::WallTime{});
    } else if (view.keeps_up && progress.last_applied) {
      view.last_applied = std::max(view.last_applied, *progress.last_applied);
    }
  }
  return view;
}

bool Health::keeps_up() const {
  MutexLock lock(mutex_);
  return view().keeps_up;
}

bool Health::ready() const {
  MutexLock lock(mutex_);
  return ready_;
}

bool Health::api_server_reachable() const {
  MutexLock lock(mutex_);
  return api_server_.ok();
}

Health::Answer Health::answer(bool with_node) const {
  MutexLock lock(mutex_);
  const View now = view();
  const bool healthy = now.keeps_up && (node_eligible_ || !with_node);
  const Clock::WallTime current = clock_.wall();
  api::JsonWriter json;
  // A healthy proxy may have had nothing to do for days: lastUpdated is then the present, as ever.
  json.begin_object()
      .key("lastUpdated")
      .string(go_time(healthy ? current : now.last_applied))
      .key("currentTime")
      .string(go_time(current));
  if (with_node) json.key("nodeEligible").boolean(node_eligible_);
  json.key("healthy").boolean(healthy);
  if (!now.keeps_up) json.key("late").string(to_string(now.late));
  json.key("apiServer").string(api_server_.message()).end_object();
  return {healthy ? 200 : 503, json.take()};
}

Health::Answer Health::healthz() const {
  return answer(true);
}
Health::Answer Health::livez() const {
  return answer(false);
}

Health::Answer Health::readyz() const {
  MutexLock lock(mutex_);
  api::JsonWriter json;
  json.begin_object()
      .key("ready")
      .boolean(ready_)
      .key("apiServer")
      .string(api_server_.message())
      .end_object();
  return {ready_ ? 200 : 503, json.take()};
}

}  // namespace fairlead::proxy
