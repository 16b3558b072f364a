#include "proxy/mode_handover.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace fairlead::proxy {

ModeHandover::ModeHandover(std::vector<std::unique_ptr<dataplane::Backend>> others,
                           std::chrono::seconds least_wait)
    : least_wait_(least_wait) {
  for (std::unique_ptr<dataplane::Backend>& other : others) {
    others_.push_back({.backend = std::move(other)});
  }
}

bool ModeHandover::step(Other& other, Time now) const {
  constexpr std::chrono::seconds kRetry{30};
  constexpr std::chrono::hours kRetryOthers{1};  // may be somebody else's
  if (now < other.next_step) return false;
  if (!other.released) {
    const Result<std::chrono::seconds> wait = other.backend->release();
    other.released = wait.ok();
    const std::chrono::seconds stays = wait ? std::max(*wait, least_wait_) : least_wait_;
    if (wait.ok() && stays.count() > 0) {
      if (wait->count() > 0) {
        LOG_INFO("mode {} has begun its last connections; it goes in {} s", other.backend->name(),
                 stays.count());
      }
      other.next_step = now + stays;
      return false;
    }
  }
  // What cannot be released can perhaps be removed.
  const Status removed = other.backend->remove_all();
  if (removed) return true;
  if (!std::exchange(other.told, true)) {
    LOG_WARNING("what mode {} may have left stays for now: {}", other.backend->name(),
                removed.message());
  }
  other.next_step = now + kRetry;
  if (removed.code() == StatusCode::kConflict) other.next_step = now + kRetryOthers;
  return false;
}

void ModeHandover::remove_other_modes(Time now) {
  std::erase_if(others_, [this, now](Other& other) { return step(other, now); });
}

}  // namespace fairlead::proxy
