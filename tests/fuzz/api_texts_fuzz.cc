// The small texts that the API server takes apart: continuation tokens from clients, ranges of
// addresses and ports from flags, addresses. What is understood is written back as the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "control/apiserver/continuation.h"
#include "control/apiserver/service_reserver.h"

namespace api = fairlead::apiserver;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto token = api::decode_continuation(text)) {
    const auto again =
        api::decode_continuation(api::encode_continuation(token->revision, token->last));
    if (!again || again->revision != token->revision || again->last != token->last) std::abort();
  }
  const size_t line = text.find('\n');
  const std::string_view first = text.substr(0, line);
  const std::string_view second =
      line == std::string_view::npos ? std::string_view() : text.substr(line + 1);
  const auto ranges = api::ServiceRanges::parse(first, second);
  if (!ranges) return 0;
  for (const api::AddressRange& range : ranges->addresses) {
    for (const uint32_t index : {uint32_t{0}, range.size() / 2, range.size() - 1}) {
      if (range.size() == 0 || index >= range.size()) continue;
      if (range.index_of(range.address(index)) != index) std::abort();
    }
  }
  return 0;
}
