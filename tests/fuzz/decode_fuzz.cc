// Every object decoder, the list walker and the watch-line reader on any bytes. Whatever a list or
// a watch line slices out must lie inside the input and, when the input was valid, decode again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "control/api/decode.h"

using fairlead::Status;
using fairlead::api::Decoder;
using fairlead::api::RawObject;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

bool inside(std::string_view part, std::string_view whole) {
  return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // One decoder for all inputs, as in the daemon: what an input leaves behind must not matter.
  static Decoder decoder;
  const std::string_view text(reinterpret_cast<const char*>(data), size);

  if (const auto service = decoder.service(text); service.ok()) {
    require(!service->object.meta.name.empty());
    require(service->object.health_check_node_port >= 0 &&
            service->object.health_check_node_port <= 65535);
    for (const auto& port : service->object.ports) require(port.port >= 0 && port.port <= 65535);
  }
  if (const auto slice = decoder.endpoint_slice(text); slice.ok()) {
    for (const auto& port : slice->object.ports) require(!port.port || *port.port <= 65535);
  }
  (void)decoder.node(text);
  (void)decoder.service_cidr(text);
  (void)decoder.status(text);

  size_t items = 0;
  const auto each = [&](const RawObject& object) {
    require(inside(object.json, text));
    require(!object.name.empty());
    ++items;
    (void)decoder.service(object.json);
  };
  (void)decoder.list(text, each, [&](size_t, const Status& status) { require(!status.ok()); });

  if (const auto line = decoder.watch_line(text);
      line.ok() && line->type != fairlead::api::WatchType::kError) {
    require(inside(line->object.json, text));
  }
  return 0;
}
