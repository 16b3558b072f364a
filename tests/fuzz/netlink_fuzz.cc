// Conntrack, address and link messages: none may be read out of bounds, and a flow that was read
// can be written as a request.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "proxy/runtime/address_message.h"
#include "proxy/runtime/conntrack_message.h"

using namespace fairlead;         // NOLINT: a fuzzer is one function
using namespace fairlead::proxy;  // NOLINT

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const netlink::Bytes bytes(data, size);
  if (const auto flow = parse_conntrack_flow(bytes)) {
    netlink::MessageBuilder request = conntrack_delete_request(*flow);
    if (request.finish(1).size() > 200) std::abort();
    if (flow->original.source.address.family() != flow->reply.source.address.family()) std::abort();
  }
  if (const auto held = parse_address_message(bytes)) {
    if (held->prefix_length > (held->address.is_v4() ? 32 : 128)) std::abort();
  }
  parse_link_message(bytes);
  return 0;
}
