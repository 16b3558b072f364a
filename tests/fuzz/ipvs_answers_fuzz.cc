// Whatever the kernel answers about virtual servers, addresses and sets: reading it neither crashes
// nor reads beyond what came.
#include <cstdint>
#include <string_view>
#include <vector>

#include "ipvs/layout.h"
#include "ipvs/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fairlead::ipvs;  // NOLINT: the whole subject
  using fairlead::dataplane::Family;
  // As aligned as a datagram in a buffer of its own.
  const std::vector<uint8_t> bytes(data, data + size);
  (void)read_server(bytes);
  (void)read_interface_address(bytes);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    (void)read_destination(bytes, family);
    for (size_t i = 0; i < kSetCount; ++i) {
      const SetSpec spec = describe(static_cast<SetId>(i), family);
      if (const auto element = parse_set_line(text, spec)) (void)to_string(*element, spec.type);
    }
  }
  return 0;
}
