#include "control/client/event_json.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/api/decode.h"
#include "control/api/json_writer.h"

namespace fairlead::client {

namespace {

// The API's limits.
constexpr size_t kMaxName = 253;
constexpr size_t kMaxNote = 1024;
constexpr size_t kMaxWord = 128;

}  // namespace

std::string_view truncate_utf8(std::string_view text, size_t limit) {
  if (text.size() <= limit) return text;
  size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

std::string event_namespace(const ObjectReference& regarding) {
  return regarding.name_space.empty() ? "default" : regarding.name_space;
}

std::string event_name(const ObjectReference& regarding, int64_t now_micros) {
  const std::string suffix = fmt::format(".{:x}", now_micros * 1000);
  std::string name = regarding.name.substr(0, kMaxName - suffix.size());
  // A label must not end before the dot in anything but a letter or digit.
  while (!name.empty() && (name.back() == '.' || name.back() == '-')) name.pop_back();
  if (name.empty()) name = "event";
  return name + suffix;
}

std::string event_json(const Event& event, const EventRecorderOptions& options,
                       const std::string& name, int64_t now_micros) {
  const ObjectReference& regarding = event.regarding;
  api::JsonWriter json;
  json.begin_object();
  json.key("apiVersion").string("events.k8s.io/v1").key("kind").string("Event");
  json.key("metadata").begin_object();
  json.key("name").string(name).key("namespace").string(event_namespace(regarding)).end_object();
  json.key("eventTime").string(api::format_rfc3339_micros(now_micros));
  json.key("reportingController").string(options.reporting_controller);
  json.key("reportingInstance").string(truncate_utf8(options.reporting_instance, kMaxWord));
  json.key("type").string(event.type == EventType::kWarning ? "Warning" : "Normal");
  json.key("reason").string(truncate_utf8(event.reason, kMaxWord));
  json.key("action").string(truncate_utf8(event.action, kMaxWord));
  json.key("note").string(truncate_utf8(event.note, kMaxNote));
  json.key("regarding").begin_object();
  json.key("apiVersion").string(regarding.api_version).key("kind").string(regarding.kind);
  json.key("name").string(regarding.name);
  if (!regarding.name_space.empty()) json.key("namespace").string(regarding.name_space);
  if (!regarding.uid.empty()) json.key("uid").string(regarding.uid);
  return json.end_object().end_object().take();
}

std::string series_json(int64_t count, int64_t last_seen_micros) {
  api::JsonWriter json;
  json.begin_object().key("series").begin_object();
  json.key("count").number(count);
  json.key("lastObservedTime").string(api::format_rfc3339_micros(last_seen_micros));
  return json.end_object().end_object().take();
}

}  // namespace fairlead::client
