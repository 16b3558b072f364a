// Protobuf on any bytes, as any kind: what can be read comes back the same when it is written.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "control/schema/conform.h"
#include "control/schema/json_text.h"
#include "control/schema/protobuf.h"
#include "control/schema/resources.h"

namespace schema = fairlead::schema;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto resources = schema::all_resources();
  const schema::Type& type = *resources[data[0] % resources.size()].type();
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto envelope = schema::open_envelope(body);
  auto document = schema::decode_protobuf(envelope.ok() ? envelope->raw : body, type);
  if (!document.ok()) return 0;
  const auto mode = schema::Conform::kObject;
  // What protobuf can say and JSON cannot was refused above.
  if (!schema::conform(*document, *type.shape, mode, nullptr)) return 0;
  const std::string text = schema::to_json(document->root);
  auto again = schema::decode_protobuf(schema::encode_protobuf(document->root, type), type);
  if (!again.ok() || !schema::conform(*again, *type.shape, mode, nullptr)) std::abort();
  if (schema::to_json(again->root) != text) std::abort();
  return 0;
}
