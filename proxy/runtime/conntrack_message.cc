#include "proxy/runtime/conntrack_message.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

namespace fairlead::proxy {
namespace {

using dataplane::Address;
using dataplane::Family;
using dataplane::Protocol;
using netlink::Attribute;
using netlink::Bytes;
using netlink::for_each_attribute;
using netlink::MessageBuilder;

// Bits of CTA_FILTER_ORIG_FLAGS: which fields of the tuple count. The kernel's headers do not
// export them.
constexpr uint32_t kFilterDestination = 1U << 1;
constexpr uint32_t kFilterProtocol = 1U << 3;

constexpr uint16_t message_type(uint16_t message) {
  return static_cast<uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | message);
}

std::optional<Address> address_of(const Attribute& attribute) {
  if (const auto v4 = attribute.as<uint32_t>()) return Address::v4(ntohl(*v4));
  if (const auto v6 = attribute.as<std::array<uint8_t, 16>>()) return Address::v6(*v6);
  return std::nullopt;
}

struct Tuple {
  std::optional<Address> source, destination;
  std::optional<uint8_t> protocol;
  std::optional<uint16_t> source_port, destination_port;  // network order

  // IPv4-mapped addresses do not count as IPv6: no service has them.
  bool complete(bool v4) const {
    return source && destination && protocol && source_port && destination_port &&
           source->is_v4() == v4 && destination->is_v4() == v4;
  }
  ConntrackTuple value() const {
    return {{*source, ntohs(*source_port)}, {*destination, ntohs(*destination_port)}};
  }
};

void read_addresses(Bytes bytes, Tuple& tuple) {
  for_each_attribute(bytes, [&](const Attribute& attribute) {
    switch (attribute.type) {
      case CTA_IP_V4_SRC:
      case CTA_IP_V6_SRC:
        tuple.source = address_of(attribute);
        break;
      case CTA_IP_V4_DST:
      case CTA_IP_V6_DST:
        tuple.destination = address_of(attribute);
        break;
      default:
        break;
    }
  });
}

void read_transport(Bytes bytes, Tuple& tuple) {
  for_each_attribute(bytes, [&](const Attribute& attribute) {
    switch (attribute.type) {
      case CTA_PROTO_NUM:
        tuple.protocol = attribute.as<uint8_t>();
        break;
      case CTA_PROTO_SRC_PORT:
        tuple.source_port = attribute.as<uint16_t>();
        break;
      case CTA_PROTO_DST_PORT:
        tuple.destination_port = attribute.as<uint16_t>();
        break;
      default:
        break;
    }
  });
}

Tuple read_tuple(Bytes bytes) {
  Tuple tuple;
  for_each_attribute(bytes, [&](const Attribute& attribute) {
    if (attribute.type == CTA_TUPLE_IP) read_addresses(attribute.payload, tuple);
    if (attribute.type == CTA_TUPLE_PROTO) read_transport(attribute.payload, tuple);
  });
  return tuple;
}

std::optional<Protocol> protocol_of(uint8_t number) {
  for (const Protocol known : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
    if (number == static_cast<uint8_t>(known)) return known;
  }
  return std::nullopt;
}

nfgenmsg generic_header(Family family) {
  nfgenmsg header{};
  header.nfgen_family = family == Family::kIPv4 ? AF_INET : AF_INET6;
  header.version = NFNETLINK_V0;
  return header;
}

void put_address(MessageBuilder& message, uint16_t v4_type, uint16_t v6_type,
                 const Address& address) {
  message.attribute(address.is_v4() ? v4_type : v6_type, address.bytes());
}

}  // namespace

std::optional<ConntrackFlow> parse_conntrack_flow(Bytes payload) {
  const auto head = netlink::take_header<nfgenmsg>(payload);
  if (!head) return std::nullopt;
  const bool v4 = head->nfgen_family == AF_INET;
  Tuple original, reply;
  ConntrackFlow flow;
  const bool whole = for_each_attribute(payload, [&](const Attribute& attribute) {
    switch (attribute.type) {
      case CTA_TUPLE_ORIG:
        original = read_tuple(attribute.payload);
        break;
      case CTA_TUPLE_REPLY:
        reply = read_tuple(attribute.payload);
        break;
      case CTA_ID:
        flow.id = ntohl(attribute.as<uint32_t>().value_or(0));
        break;
      case CTA_ZONE:
        flow.zone = ntohs(attribute.as<uint16_t>().value_or(0));
        break;
      case CTA_STATUS:
        flow.answered = (ntohl(attribute.as<uint32_t>().value_or(0)) & IPS_SEEN_REPLY) != 0;
        break;
      default:
        break;
    }
  });
  if (!whole || !original.complete(v4) || !reply.complete(v4)) return std::nullopt;
  const auto protocol = protocol_of(*original.protocol);
  if (!protocol || reply.protocol != original.protocol) return std::nullopt;
  flow.protocol = *protocol;
  flow.original = original.value();
  flow.reply = reply.value();
  return flow;
}

MessageBuilder conntrack_dump_request(const ConntrackFilter& filter, bool kernel_filter) {
  MessageBuilder message(message_type(IPCTNL_MSG_CT_GET), NLM_F_REQUEST | NLM_F_DUMP);
  message.header(generic_header(filter.family));
  if (!kernel_filter) return message;
  uint32_t fields = kFilterProtocol;
  message.nested(CTA_TUPLE_ORIG, [&] {
    // Kernels up to at least 6.18 read an IPv6 address here the wrong way round: they pass all
    // flows but those to it.
    if (filter.destination && filter.destination->is_v4()) {
      fields |= kFilterDestination;
      message.nested(CTA_TUPLE_IP, [&] {
        put_address(message, CTA_IP_V4_DST, CTA_IP_V6_DST, *filter.destination);
      });
    }
    message.nested(CTA_TUPLE_PROTO, [&] {
      message.attribute(CTA_PROTO_NUM, static_cast<uint8_t>(filter.protocol));
    });
  });
  message.nested(CTA_FILTER, [&] {
    message.attribute(CTA_FILTER_ORIG_FLAGS, fields);
    message.attribute(CTA_FILTER_REPLY_FLAGS, uint32_t{0});
  });
  return message;
}

MessageBuilder conntrack_delete_request(const ConntrackFlow& flow) {
  MessageBuilder message(message_type(IPCTNL_MSG_CT_DELETE), NLM_F_REQUEST | NLM_F_ACK);
  const ConntrackTuple& tuple = flow.original;
  message.header(generic_header(tuple.destination.address.family()));
  message.nested(CTA_TUPLE_ORIG, [&] {
    message.nested(CTA_TUPLE_IP, [&] {
      put_address(message, CTA_IP_V4_SRC, CTA_IP_V6_SRC, tuple.source.address);
      put_address(message, CTA_IP_V4_DST, CTA_IP_V6_DST, tuple.destination.address);
    });
    message.nested(CTA_TUPLE_PROTO, [&] {
      message.attribute(CTA_PROTO_NUM, static_cast<uint8_t>(flow.protocol));
      message.attribute(CTA_PROTO_SRC_PORT, htons(tuple.source.port));
      message.attribute(CTA_PROTO_DST_PORT, htons(tuple.destination.port));
    });
  });
  if (flow.id != 0) message.attribute(CTA_ID, htonl(flow.id));
  if (flow.zone != 0) message.attribute(CTA_ZONE, htons(flow.zone));
  return message;
}

}  // namespace fairlead::proxy
