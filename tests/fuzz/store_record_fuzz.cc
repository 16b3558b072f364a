// What stands on disk: any bytes are a record, or an error; what is a record reads the same when it
// is written again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "control/store/embedded/record.h"

using namespace fairlead::store;  // NOLINT: a fuzzer is one function

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const char kind : {'r', 'l'}) {
    if (const auto number = number_in_key(bytes, kind)) {
      if ((kind == 'r' ? record_key(*number) : lease_key(*number)) != bytes) std::abort();
    }
  }
  if (const auto number = decode_number(bytes)) {
    if (decode_number(encode_number(*number)).value() != *number) std::abort();
  }
  if (size < 1) return 0;
  const Revision revision = data[0] + 1;
  if (const auto event = decode_record(revision, bytes.substr(1))) {
    const std::string again = encode_record_head(*event) + event->entry->value;
    const auto same = decode_record(revision, again);
    if (!same || same->entry->key != event->entry->key ||
        same->entry->value != event->entry->value ||
        same->entry->version != event->entry->version) {
      std::abort();
    }
  }
  return 0;
}
