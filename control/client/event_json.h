// The JSON of Events and of changes to their series.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "control/client/event_recorder.h"

namespace fairlead::client {

// Where the event lives: the namespace of what it is about.
std::string event_namespace(const ObjectReference& regarding);
// "<object>.<time in hex>", at most 253 characters of a DNS subdomain.
std::string event_name(const ObjectReference& regarding, int64_t now_micros);

std::string event_json(const Event& event, const EventRecorderOptions& options,
                       const std::string& name, int64_t now_micros);
// A merge patch.
std::string series_json(int64_t count, int64_t last_seen_micros);

}  // namespace fairlead::client
