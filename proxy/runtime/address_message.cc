#include "proxy/runtime/address_message.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

namespace fairlead::proxy {

using dataplane::Address;

std::optional<AddressMessage> parse_address_message(netlink::Bytes payload) {
  const auto head = netlink::take_header<ifaddrmsg>(payload);
  if (!head || (head->ifa_family != AF_INET && head->ifa_family != AF_INET6)) return std::nullopt;
  if (head->ifa_prefixlen > (head->ifa_family == AF_INET ? 32 : 128)) return std::nullopt;
  uint32_t flags = head->ifa_flags;
  std::optional<Address> local, address;
  const bool whole = netlink::for_each_attribute(payload, [&](const netlink::Attribute& attribute) {
    // On a point-to-point link IFA_ADDRESS is the peer's and IFA_LOCAL ours.
    if (attribute.type == IFA_LOCAL) local = Address::from_bytes(attribute.payload);
    if (attribute.type == IFA_ADDRESS) address = Address::from_bytes(attribute.payload);
    if (attribute.type == IFA_FLAGS) flags = attribute.as<uint32_t>().value_or(flags);
  });
  const auto ours = local ? local : address;
  if (!whole || !ours || ours->is_v4() != (head->ifa_family == AF_INET)) return std::nullopt;
  return AddressMessage{*ours, head->ifa_prefixlen, head->ifa_index,
                        (flags & IFA_F_DADFAILED) == 0};
}

std::optional<LinkMessage> parse_link_message(netlink::Bytes payload) {
  const auto head = netlink::take_header<ifinfomsg>(payload);
  if (!head) return std::nullopt;
  LinkMessage link{static_cast<uint32_t>(head->ifi_index), "",
                   (head->ifi_flags & IFF_LOOPBACK) != 0};
  const bool whole = netlink::for_each_attribute(payload, [&](const netlink::Attribute& attribute) {
    if (attribute.type == IFLA_IFNAME) link.name = attribute.text();
  });
  if (!whole) return std::nullopt;
  return link;
}

}  // namespace fairlead::proxy
