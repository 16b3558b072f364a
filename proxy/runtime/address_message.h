// The wire form of rtnetlink's address and link messages, read without the kernel.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/netlink.h"
#include "dataplane/address.h"

namespace fairlead::proxy {

struct AddressMessage {
  dataplane::Address address;
  uint8_t prefix_length = 0;
  uint32_t interface_index = 0;
  bool usable = true;  // false: duplicate address detection failed
};
// The payload of RTM_NEWADDR or RTM_DELADDR; nullopt for other families and anything malformed.
std::optional<AddressMessage> parse_address_message(netlink::Bytes payload);

struct LinkMessage {
  uint32_t interface_index = 0;
  std::string name;
  bool loopback = false;
};
// The payload of RTM_NEWLINK or RTM_DELLINK.
std::optional<LinkMessage> parse_link_message(netlink::Bytes payload);

}  // namespace fairlead::proxy
