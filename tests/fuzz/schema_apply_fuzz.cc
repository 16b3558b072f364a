// Server-side apply on any bytes: an object, a configuration, two managers. What comes out can be
// read, and applying the same again changes nothing.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "control/schema/conform.h"
#include "control/schema/json_text.h"
#include "control/schema/managed_fields.h"
#include "control/schema/resources.h"

namespace schema = fairlead::schema;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const auto resources = schema::all_resources();
  const schema::Type& type = *resources[data[0] % resources.size()].type();
  // The live object, a zero byte, the configuration.
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t split = body.find('\0');
  if (split == std::string_view::npos) return 0;
  auto live = schema::parse_json(body.substr(0, split));
  auto config = schema::parse_json(body.substr(split + 1));
  if (!live.ok() || !config.ok()) return 0;
  if (!schema::conform(*live, *type.shape, schema::Conform::kObject, nullptr)) return 0;
  if (!schema::conform(*config, *type.shape, schema::Conform::kPartial, nullptr)) return 0;
  schema::FieldManager manager;
  manager.name = "fuzzer";
  manager.api_version = "v1";
  const auto conflicts = schema::apply_configuration(*live, config->root, type, manager, true);
  if (!conflicts.ok()) return 0;
  if (!schema::conform(*live, *type.shape, schema::Conform::kObject, nullptr)) std::abort();
  const std::string once = schema::to_json(live->root);
  manager.now = 1;
  const auto again = schema::apply_configuration(*live, config->root, type, manager, false);
  if (!again.ok() || !again->empty()) std::abort();
  if (!schema::conform(*live, *type.shape, schema::Conform::kObject, nullptr)) std::abort();
  schema::track_update(*live, schema::Value::object(), type, manager);
  return 0;
}
