#include "proxy/runtime/events.h"

#include <array>

namespace fairlead::proxy {

const EventInfo& event_info(EventReason reason) {
  static constexpr std::array<EventInfo, kEventReasonCount> kInfos = {{
#define FAIRLEAD_EVENT(constant, reason, action, type) {reason, action, EventType::type},
#include "proxy/runtime/events.def"
#undef FAIRLEAD_EVENT
  }};
  return kInfos[static_cast<size_t>(reason)];
}

std::string_view to_string(EventType type) {
  return type == EventType::kNormal ? "Normal" : "Warning";
}

}  // namespace fairlead::proxy
