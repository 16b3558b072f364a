// IPVS's and rtnetlink's messages: what the kernel sends as values, and the other way round.
//
// linux/ip_vs.h and linux/if_addr.h are the kernel's side. The readers trust no length: what does
// not hold together is no value.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "ipvs/virtual_server.h"

struct nl_msg;

namespace fairlead::ipvs {

using ByteView = std::span<const uint8_t>;

// The command that `operation` is (IPVS_CMD_*), and its attributes, appended to a message that has
// its headers. False: no room.
uint8_t command_of(const Operation& operation);
bool put_operation(nl_msg* message, const Operation& operation);
bool put_server_key(nl_msg* message, const ServerKey& key);

// The attributes of one answer to IPVS_CMD_GET_SERVICE and IPVS_CMD_GET_DEST. Nullopt: malformed,
// or of a kind that Fairlead never makes (a protocol or family that it does not know).
std::optional<ListedServer> read_server(ByteView attributes);
std::optional<ListedDestination> read_destination(ByteView attributes, dataplane::Family family);

// RTM_NEWADDR and RTM_DELADDR, without the netlink header.
struct InterfaceAddress {
  uint32_t interface = 0;  // its index
  dataplane::Address address;

  friend bool operator==(const InterfaceAddress&, const InterfaceAddress&) = default;
};
std::optional<InterfaceAddress> read_interface_address(ByteView payload);

}  // namespace fairlead::ipvs
