#include "ipvs/messages.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/ip_vs.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace fairlead::ipvs {
namespace {

using dataplane::Address;
using dataplane::Family;
using dataplane::Protocol;

constexpr uint32_t kV6AllBits = 128;

uint16_t af_of(Family family) {
  return family == Family::kIPv4 ? AF_INET : AF_INET6;
}

// union nf_inet_addr: always 16 bytes, IPv4 in the first four.
bool put_address(nl_msg* message, int type, const Address& address) {
  std::array<uint8_t, 16> bytes{};
  std::copy(address.bytes().begin(), address.bytes().end(), bytes.begin());
  return nla_put(message, type, bytes.size(), bytes.data()) == 0;
}

std::optional<Address> address_of(ByteView bytes, Family family) {
  if (family == Family::kIPv4) {
    if (bytes.size() < 4) return std::nullopt;
    uint32_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return Address::v4(ntohl(value));
  }
  std::array<uint8_t, 16> value{};
  if (bytes.size() < value.size()) return std::nullopt;
  std::copy_n(bytes.begin(), value.size(), value.begin());
  // An address that is really IPv4 would be of the other family.
  const Address address = Address::v6(value);
  if (address.is_v4()) return std::nullopt;
  return address;
}

std::optional<Family> family_of(uint16_t af) {
  if (af == AF_INET) return Family::kIPv4;
  if (af == AF_INET6) return Family::kIPv6;
  return std::nullopt;
}

std::optional<Protocol> protocol_of(uint16_t number) {
  for (const Protocol known : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
    if (number == static_cast<uint16_t>(known)) return known;
  }
  return std::nullopt;
}

bool put_settings(nl_msg* message, const ServerKey& key, const ServerSettings& settings) {
  const ip_vs_flags flags{settings.flags, ~0U};
  const bool persistent = (settings.flags & kPersistent) != 0;
  // Clients are remembered one by one: an IPv4 mask, or the length of an IPv6 prefix.
  const uint32_t netmask = key.family == Family::kIPv4 ? ~0U : kV6AllBits;
  return nla_put_string(message, IPVS_SVC_ATTR_SCHED_NAME, settings.scheduler.c_str()) == 0 &&
         nla_put(message, IPVS_SVC_ATTR_FLAGS, sizeof flags, &flags) == 0 &&
         nla_put_u32(message, IPVS_SVC_ATTR_TIMEOUT,
                     persistent ? settings.persistence_seconds : 0) == 0 &&
         nla_put_u32(message, IPVS_SVC_ATTR_NETMASK, netmask) == 0;
}

bool put_key(nl_msg* message, const ServerKey& key) {
  if (nla_put_u16(message, IPVS_SVC_ATTR_AF, af_of(key.family)) != 0) return false;
  if (key.mark != 0) return nla_put_u32(message, IPVS_SVC_ATTR_FWMARK, key.mark) == 0;
  return nla_put_u16(message, IPVS_SVC_ATTR_PROTOCOL, static_cast<uint16_t>(key.protocol)) == 0 &&
         put_address(message, IPVS_SVC_ATTR_ADDR, key.address.address) &&
         nla_put_u16(message, IPVS_SVC_ATTR_PORT, htons(key.address.port)) == 0;
}

bool put_destination(nl_msg* message, const Destination& destination) {
  nlattr* const nest = nla_nest_start(message, IPVS_CMD_ATTR_DEST);
  const bool fits =
      nest != nullptr && put_address(message, IPVS_DEST_ATTR_ADDR, destination.address.address) &&
      nla_put_u16(message, IPVS_DEST_ATTR_PORT, htons(destination.address.port)) == 0 &&
      nla_put_u16(message, IPVS_DEST_ATTR_ADDR_FAMILY,
                  af_of(destination.address.address.family())) == 0 &&
      nla_put_u32(message, IPVS_DEST_ATTR_FWD_METHOD, IP_VS_CONN_F_MASQ) == 0 &&
      nla_put_u32(message, IPVS_DEST_ATTR_WEIGHT, destination.weight) == 0 &&
      nla_put_u32(message, IPVS_DEST_ATTR_U_THRESH, 0) == 0 &&
      nla_put_u32(message, IPVS_DEST_ATTR_L_THRESH, 0) == 0;
  if (fits) nla_nest_end(message, nest);
  return fits;
}

// The attributes of a stream by type; those of types above `kMax` are left out.
template <size_t kMax>
class Attributes {
 public:
  explicit Attributes(ByteView bytes) {
    // nla_ok() wants at least a header's bytes to look at.
    auto* attribute = reinterpret_cast<const nlattr*>(bytes.data());
    int left = static_cast<int>(bytes.size());
    while (left > 0 && nla_ok(attribute, left) != 0) {
      const auto type = static_cast<size_t>(nla_type(attribute));
      if (type <= kMax) found_[type] = attribute;
      attribute = nla_next(attribute, &left);
    }
  }

  ByteView bytes(size_t type) const {
    const nlattr* const attribute = found_[type];
    if (attribute == nullptr) return {};
    return {static_cast<const uint8_t*>(nla_data(attribute)),
            static_cast<size_t>(nla_len(attribute))};
  }
  template <typename T>
  std::optional<T> value(size_t type) const {
    const ByteView found = bytes(type);
    if (found.size() < sizeof(T)) return std::nullopt;
    T result;
    std::memcpy(&result, found.data(), sizeof result);
    return result;
  }

 private:
  std::array<const nlattr*, kMax + 1> found_{};
};

}  // namespace

uint8_t command_of(const Operation& operation) {
  switch (operation.kind) {
    case Operation::Kind::kAddServer:
      return IPVS_CMD_NEW_SERVICE;
    case Operation::Kind::kChangeServer:
      return IPVS_CMD_SET_SERVICE;
    case Operation::Kind::kRemoveServer:
      return IPVS_CMD_DEL_SERVICE;
    case Operation::Kind::kAddDestination:
      return IPVS_CMD_NEW_DEST;
    case Operation::Kind::kChangeDestination:
      return IPVS_CMD_SET_DEST;
    case Operation::Kind::kRemoveDestination:
      return IPVS_CMD_DEL_DEST;
  }
  return IPVS_CMD_UNSPEC;
}

bool put_server_key(nl_msg* message, const ServerKey& key) {
  nlattr* const nest = nla_nest_start(message, IPVS_CMD_ATTR_SERVICE);
  if (nest == nullptr || !put_key(message, key)) return false;
  nla_nest_end(message, nest);
  return true;
}

bool put_operation(nl_msg* message, const Operation& operation) {
  using Kind = Operation::Kind;
  nlattr* const nest = nla_nest_start(message, IPVS_CMD_ATTR_SERVICE);
  if (nest == nullptr || !put_key(message, operation.server)) return false;
  const bool with_settings =
      operation.kind == Kind::kAddServer || operation.kind == Kind::kChangeServer;
  if (with_settings && !put_settings(message, operation.server, operation.settings)) return false;
  nla_nest_end(message, nest);
  return operation.kind < Kind::kAddDestination || put_destination(message, operation.destination);
}

std::optional<ListedServer> read_server(ByteView attributes) {
  const Attributes<IPVS_CMD_ATTR_MAX> command(attributes);
  const Attributes<IPVS_SVC_ATTR_MAX> of(command.bytes(IPVS_CMD_ATTR_SERVICE));
  const auto family = family_of(of.value<uint16_t>(IPVS_SVC_ATTR_AF).value_or(0));
  const ByteView scheduler = of.bytes(IPVS_SVC_ATTR_SCHED_NAME);
  const auto flags = of.value<ip_vs_flags>(IPVS_SVC_ATTR_FLAGS);
  if (!family || !flags) return std::nullopt;

  ListedServer server;
  server.key.family = *family;
  server.key.mark = of.value<uint32_t>(IPVS_SVC_ATTR_FWMARK).value_or(0);
  if (server.key.mark == 0) {
    const auto protocol = protocol_of(of.value<uint16_t>(IPVS_SVC_ATTR_PROTOCOL).value_or(0));
    const auto address = address_of(of.bytes(IPVS_SVC_ATTR_ADDR), *family);
    const auto port = of.value<uint16_t>(IPVS_SVC_ATTR_PORT);
    if (!protocol || !address || !port) return std::nullopt;
    server.key.protocol = *protocol;
    server.key.address = {*address, ntohs(*port)};
  }
  const auto end = std::find(scheduler.begin(), scheduler.end(), 0);
  server.settings.scheduler.assign(scheduler.begin(), end);
  server.settings.flags = flags->flags & (kPersistent | kHashFallback | kHashSourcePort);
  if ((server.settings.flags & kPersistent) != 0) {
    server.settings.persistence_seconds = of.value<uint32_t>(IPVS_SVC_ATTR_TIMEOUT).value_or(0);
  }
  return server;
}

std::optional<ListedDestination> read_destination(ByteView attributes, Family family) {
  const Attributes<IPVS_CMD_ATTR_MAX> command(attributes);
  const Attributes<IPVS_DEST_ATTR_MAX> of(command.bytes(IPVS_CMD_ATTR_DEST));
  const auto own_family =
      family_of(of.value<uint16_t>(IPVS_DEST_ATTR_ADDR_FAMILY).value_or(af_of(family)));
  if (!own_family) return std::nullopt;
  const auto address = address_of(of.bytes(IPVS_DEST_ATTR_ADDR), *own_family);
  const auto port = of.value<uint16_t>(IPVS_DEST_ATTR_PORT);
  const auto weight = of.value<uint32_t>(IPVS_DEST_ATTR_WEIGHT);
  const auto forwarding = of.value<uint32_t>(IPVS_DEST_ATTR_FWD_METHOD);
  if (!address || !port || !weight || !forwarding) return std::nullopt;
  const uint64_t connections =
      uint64_t{of.value<uint32_t>(IPVS_DEST_ATTR_ACTIVE_CONNS).value_or(0)} +
      of.value<uint32_t>(IPVS_DEST_ATTR_INACT_CONNS).value_or(0);
  return ListedDestination{{{*address, ntohs(*port)}, *weight},
                           static_cast<uint32_t>(std::min<uint64_t>(connections, ~0U)),
                           (*forwarding & IP_VS_CONN_F_FWD_MASK) == IP_VS_CONN_F_MASQ};
}

std::optional<InterfaceAddress> read_interface_address(ByteView payload) {
  ifaddrmsg head;
  if (payload.size() < sizeof head) return std::nullopt;
  std::memcpy(&head, payload.data(), sizeof head);
  const auto family = family_of(head.ifa_family);
  if (!family) return std::nullopt;
  const Attributes<IFA_MAX> of(
      payload.subspan(std::min<size_t>(NLMSG_ALIGN(sizeof head), payload.size())));
  // IFA_ADDRESS is the other end's where the device is a tunnel.
  const ByteView local = of.bytes(IFA_LOCAL);
  const auto address = address_of(local.empty() ? of.bytes(IFA_ADDRESS) : local, *family);
  if (!address) return std::nullopt;
  return InterfaceAddress{head.ifa_index, *address};
}

}  // namespace fairlead::ipvs
