// JSON and YAML on any bytes, as any kind: an object that conforms stays as it is when it is
// written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "control/schema/conform.h"
#include "control/schema/json_text.h"
#include "control/schema/resources.h"

namespace schema = fairlead::schema;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto resources = schema::all_resources();
  const schema::Type& type = *resources[data[0] % resources.size()].type();
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  auto document = schema::parse_yaml(body);
  if (!document.ok()) return 0;
  std::vector<std::string> complaints;
  const auto mode = schema::Conform::kObject;
  if (!schema::conform(*document, *type.shape, mode, &complaints)) return 0;
  const std::string text = schema::to_json(document->root);
  auto again = schema::parse_json(text, {size_t{1} << 30, 400});
  complaints.clear();
  if (!again.ok() || !schema::conform(*again, *type.shape, mode, &complaints)) std::abort();
  if (!complaints.empty() || schema::to_json(again->root) != text) std::abort();
  return 0;
}
