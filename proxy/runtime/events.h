// The Events that the daemon writes: their reasons (events.def) and how a component hands one over.
//
// A component only says what happened; who delivers it to the API server (bounded, deduplicated,
// never blocking) is the daemon's business.
//
// Threads: an EventSink may be called from any thread and must not block.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "dataplane/model.h"

namespace fairlead::proxy {

enum class EventReason {
#define FAIRLEAD_EVENT(constant, reason, action, type) constant,
#include "proxy/runtime/events.def"
#undef FAIRLEAD_EVENT
};
inline constexpr size_t kEventReasonCount = 0
#define FAIRLEAD_EVENT(constant, reason, action, type) +1
#include "proxy/runtime/events.def"
#undef FAIRLEAD_EVENT
    ;

enum class EventType { kNormal, kWarning };

struct EventInfo {
  std::string_view reason;
  std::string_view action;
  EventType type = EventType::kNormal;
};
const EventInfo& event_info(EventReason reason);
std::string_view to_string(EventType type);  // "Normal", "Warning": the API's spelling

struct Event {
  EventReason reason = EventReason::kStarting;
  // What it is about: "Node", "Service" or "EndpointSlice", and its name. For the node this daemon
  // runs on the name may stay empty.
  std::string kind = "Node";
  dataplane::ObjectName object;
  std::string note;  // for people; the sink cuts it to the API's 1024 bytes
};

using EventSink = std::function<void(const Event&)>;

}  // namespace fairlead::proxy
