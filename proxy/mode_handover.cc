#include "proxy/mode_handover.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace fairlead::proxy {
namespace {

constexpr std::chrono::seconds kRetry{30};
constexpr std::chrono::hours kRetryOthers{1};  // may be somebody else's

}  // namespace

ModeHandover::ModeHandover(std::vector<std::unique_ptr<dataplane::Backend>> others,
                           std::chrono::seconds least_wait)
    : least_wait_(least_wait) {
  for (std::unique_ptr<dataplane::Backend>& other : others) {
    others_.push_back({.backend = std::move(other)});
  }
}

bool ModeHandover::is_released(Other& other, Time now) const {
  if (!other.stays_until) other.stays_until = now + least_wait_;
  const Result<std::chrono::seconds> wait = other.backend->release();
  if (!wait) {
    // What cannot say what depends on it, twice, can perhaps be removed; but not where connections
    // are known to go on.
    const bool again = std::exchange(other.refused, true);
    if (again && other.waits == 0) return true;
    if (!again) {
      LOG_WARNING("mode {} cannot be left yet: {}", other.backend->name(), wait.status().message());
    }
    other.next_step = std::max(now + kRetry, *other.stays_until);
    return false;
  }
  other.refused = false;
  if (wait->count() > 0) {
    ++other.waits;
    if (other.waits == 1) {
      LOG_INFO("mode {} has begun its last connections; what it left stays for {} s",
               other.backend->name(), wait->count());
    } else if (other.waits == 2) {
      LOG_INFO("connections that mode {} began go on: what they need stays as long",
               other.backend->name());
    }
  }
  other.next_step = std::max(now + *wait, *other.stays_until);
  return now >= other.next_step;
}

bool ModeHandover::step(Other& other, Time now) const {
  if (now < other.next_step || !is_released(other, now)) return false;
  const Status removed = other.backend->remove_all();
  if (removed) {
    if (other.waits > 0) LOG_INFO("nothing is left of mode {}", other.backend->name());
    return true;
  }
  if (!std::exchange(other.told_rest, true)) {
    LOG_WARNING("what mode {} may have left stays for now: {}", other.backend->name(),
                removed.message());
  }
  other.next_step = now + (removed.code() == StatusCode::kConflict ? kRetryOthers : kRetry);
  return false;
}

void ModeHandover::remove_other_modes(Time now) {
  std::erase_if(others_, [this, now](Other& other) { return step(other, now); });
}

}  // namespace fairlead::proxy
