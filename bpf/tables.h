// The renderer: entries to maps, by difference. Gives out ids, endpoint indexes and runs of ring
// slots; adopts those that an earlier run gave out; refuses an entry for which there is no room.
//
// An entry changes in an order that no packet can see half done: endpoints are written, then a
// fresh run of slots, then the run is published by one 64-bit store; what was given up is used
// again only after wait_for_readers().
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "base/status.h"
#include "bpf/table_maps.h"
#include "dataplane/backend.h"

namespace fairlead::bpf {

// One map's use, for pressure metrics and refusals.
struct Use {
  std::string_view map;   // "fl_frontends"
  std::string_view flag;  // "--ebpf-max-frontends"
  uint64_t used = 0;
  uint64_t limit = 0;
};

class Tables {
 public:
  explicit Tables(TableMaps& maps);
  ~Tables();
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;

  // Reads what the maps hold. Everything found is kept until the first complete delta says what is
  // wanted: frontends keep their ids (flows are keyed by them), endpoints their index and
  // generation. Records that contradict each other are treated as free or removed.
  Status adopt();

  // Backend::apply() but for Delta::node. An entry without room is left as it was and refused with
  // kExhausted, naming the map and its flag; so is one whose maps could not be written.
  Result<dataplane::Ack> apply(const dataplane::Delta& delta);

  // Compares the maps with what was acknowledged, and repairs.
  Result<dataplane::AuditReport> audit();

  std::vector<Use> uses() const;

  // UDP (and SCTP) endpoints that left every choice of their entry since the last call, of either
  // family: sockets that are connected to them must go. Address, port, protocol.
  struct Gone {
    fl_addr address;
    fl_be16 port;
    uint8_t protocol;
    friend bool operator==(const Gone& a, const Gone& b) {
      return std::memcmp(&a.address, &b.address, sizeof a.address) == 0 && a.port == b.port &&
             a.protocol == b.protocol;
    }
  };
  std::vector<Gone> take_gone();

  // The index of the entry that serves what a client writes (a node port at whatever address); 0
  // when none does.
  uint32_t entry_at(const fl_addr& address, fl_be16 port, fl_u8 protocol) const;
  // Where that entry's endpoint stands in `fl_endpoints`; nullopt when it has none there.
  struct EndpointPlace {
    uint32_t index;
    uint32_t generation;
  };
  std::optional<EndpointPlace> endpoint_at(uint32_t entry, const fl_addr& address,
                                           fl_be16 port) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Between the core's values and the maps'.
fl_addr to_wire(const dataplane::Address& address);
dataplane::Address from_wire(const fl_addr& address);
inline constexpr uint16_t to_network(uint16_t port) {
  return static_cast<uint16_t>(port << 8 | port >> 8);
}

}  // namespace fairlead::bpf
