// The request head of the health check ports: reads whatever a load balancer, or anybody else,
// sends.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "proxy/runtime/request_head.h"

using fairlead::proxy::HeadState;
using fairlead::proxy::read_request_head;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const HeadState whole = read_request_head(bytes);
  // A connection is judged on every piece that arrives: nothing that ends well is refused on the
  // way, and what is complete does not change its meaning with what follows.
  const size_t half = size / 2;
  const HeadState part = read_request_head(bytes.substr(0, half));
  const bool whole_is_fine = whole != HeadState::kBad && whole != HeadState::kIncomplete;
  if (whole_is_fine && part != HeadState::kIncomplete && part != whole) std::abort();
  return 0;
}
