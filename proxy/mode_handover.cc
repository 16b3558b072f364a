#include "proxy/mode_handover.h"

#include <utility>

#include "base/log.h"

namespace fairlead::proxy {

ModeHandover::ModeHandover(std::vector<std::unique_ptr<dataplane::Backend>> others) {
  for (std::unique_ptr<dataplane::Backend>& other : others) {
    others_.push_back({.backend = std::move(other)});
  }
}

bool ModeHandover::step(Other& other, Time now) {
  constexpr std::chrono::seconds kRetry{30};
  if (now < other.next_step) return false;
  if (!other.released) {
    const Result<std::chrono::seconds> wait = other.backend->release();
    other.released = wait.ok();
    if (wait.ok() && wait->count() > 0) {
      LOG_INFO("mode {} has begun its last connections; it goes in {} s", other.backend->name(),
               wait->count());
      other.next_step = now + *wait;
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
  return false;
}

void ModeHandover::remove_other_modes(Time now) {
  std::erase_if(others_, [now](Other& other) { return step(other, now); });
}

}  // namespace fairlead::proxy
