// One direction of a connection as nfnetlink_conntrack writes it.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>

#include "base/netlink.h"

namespace fairlead::netlink {

// Ports in network order. Addresses of 4 or 16 bytes, in memory that is somebody else's; empty, as
// nullopt of the rest, is what was not told.
struct Tuple {
  Bytes source, destination;
  std::optional<uint16_t> source_port, destination_port;
  std::optional<uint8_t> protocol;

  bool complete() const {
    return !source.empty() && !destination.empty() && source_port && destination_port && protocol;
  }
};

// `payload`: of CTA_TUPLE_ORIG or CTA_TUPLE_REPLY. The addresses may have any size.
Tuple read_tuple(Bytes payload);

// Precondition: the tuple is complete. The kernel takes addresses of one family.
void put_tuple(MessageBuilder& out, uint16_t type, const Tuple& tuple);

}  // namespace fairlead::netlink
