// Patches of every form, any bytes on any object: an error or a document that can be written, and
// read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "control/schema/conform.h"
#include "control/schema/json_text.h"
#include "control/schema/patch.h"
#include "control/schema/resources.h"

namespace schema = fairlead::schema;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto resources = schema::all_resources();
  const schema::Type& type = *resources[data[0] % resources.size()].type();
  // The object, a zero byte, the patch.
  const std::string_view body(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t split = body.find('\0');
  if (split == std::string_view::npos) return 0;
  auto document = schema::parse_json(body.substr(0, split));
  auto patch = schema::parse_json(body.substr(split + 1));
  if (!document.ok() || !patch.ok()) return 0;
  schema::sort_deep(document->root);
  fairlead::Status status;
  switch (data[1] % 3) {
    case 0:
      status = schema::apply_json_patch(*document, patch->root);
      break;
    case 1:
      schema::sort_deep(patch->root);
      status = schema::apply_merge_patch(*document, patch->root);
      break;
    default:
      schema::sort_deep(patch->root);
      status = schema::apply_strategic_patch(*document, patch->root, type);
  }
  if (!status) return 0;
  const std::string text = "[" + schema::to_json(document->root) + "]";
  // Patches may nest deeper than bodies, once for each operation.
  if (!schema::parse_json(text, {size_t{1} << 30, 20000}).ok()) std::abort();
  return 0;
}
