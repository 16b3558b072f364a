#include "proxy/runtime/conntrack_message.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>

#include "base/conntrack_tuple.h"

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

// IPv4-mapped addresses do not count as IPv6: no service has them.
std::optional<ConntrackTuple> tuple_of(const netlink::Tuple& told, bool v4) {
  const auto source = Address::from_bytes(told.source);
  const auto destination = Address::from_bytes(told.destination);
  if (!told.complete() || !source || !destination || source->is_v4() != v4 ||
      destination->is_v4() != v4) {
    return std::nullopt;
  }
  return ConntrackTuple{{*source, ntohs(*told.source_port)},
                        {*destination, ntohs(*told.destination_port)}};
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

}  // namespace

std::optional<ConntrackFlow> parse_conntrack_flow(Bytes payload) {
  const auto head = netlink::take_header<nfgenmsg>(payload);
  if (!head) return std::nullopt;
  const bool v4 = head->nfgen_family == AF_INET;
  netlink::Tuple original, reply;
  ConntrackFlow flow;
  const bool whole = for_each_attribute(payload, [&](const Attribute& attribute) {
    switch (attribute.type) {
      case CTA_TUPLE_ORIG:
        original = netlink::read_tuple(attribute.payload);
        break;
      case CTA_TUPLE_REPLY:
        reply = netlink::read_tuple(attribute.payload);
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
  const auto asked = tuple_of(original, v4);
  const auto answered = tuple_of(reply, v4);
  if (!whole || !asked || !answered) return std::nullopt;
  const auto protocol = protocol_of(*original.protocol);
  if (!protocol || reply.protocol != original.protocol) return std::nullopt;
  flow.protocol = *protocol;
  flow.original = *asked;
  flow.reply = *answered;
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
      message.nested(CTA_TUPLE_IP,
                     [&] { message.attribute(CTA_IP_V4_DST, filter.destination->bytes()); });
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
  netlink::put_tuple(message, CTA_TUPLE_ORIG,
                     {.source = tuple.source.address.bytes(),
                      .destination = tuple.destination.address.bytes(),
                      .source_port = htons(tuple.source.port),
                      .destination_port = htons(tuple.destination.port),
                      .protocol = static_cast<uint8_t>(flow.protocol)});
  if (flow.id != 0) message.attribute(CTA_ID, htonl(flow.id));
  if (flow.zone != 0) message.attribute(CTA_ZONE, htons(flow.zone));
  return message;
}

}  // namespace fairlead::proxy
