#include "base/conntrack_tuple.h"

#include <linux/netfilter/nfnetlink_conntrack.h>

namespace fairlead::netlink {
namespace {

void read_field(uint16_t part, const Attribute& field, Tuple& tuple) {
  if (part == CTA_TUPLE_IP) {
    if (field.type == CTA_IP_V4_SRC || field.type == CTA_IP_V6_SRC) tuple.source = field.payload;
    if (field.type == CTA_IP_V4_DST || field.type == CTA_IP_V6_DST) {
      tuple.destination = field.payload;
    }
  } else if (part == CTA_TUPLE_PROTO) {
    if (field.type == CTA_PROTO_NUM) tuple.protocol = field.as<uint8_t>();
    if (field.type == CTA_PROTO_SRC_PORT) tuple.source_port = field.as<uint16_t>();
    if (field.type == CTA_PROTO_DST_PORT) tuple.destination_port = field.as<uint16_t>();
  }
}

}  // namespace

Tuple read_tuple(Bytes payload) {
  Tuple tuple;
  for_each_attribute(payload, [&](const Attribute& part) {
    for_each_attribute(part.payload,
                       [&](const Attribute& field) { read_field(part.type, field, tuple); });
  });
  return tuple;
}

void put_tuple(MessageBuilder& out, uint16_t type, const Tuple& tuple) {
  const auto is_v4 = [](Bytes address) { return address.size() == 4; };
  out.nested(type, [&] {
    out.nested(CTA_TUPLE_IP, [&] {
      out.attribute(is_v4(tuple.source) ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, tuple.source);
      out.attribute(is_v4(tuple.destination) ? CTA_IP_V4_DST : CTA_IP_V6_DST, tuple.destination);
    });
    out.nested(CTA_TUPLE_PROTO, [&] {
      out.attribute(CTA_PROTO_NUM, *tuple.protocol);
      out.attribute(CTA_PROTO_SRC_PORT, *tuple.source_port);
      out.attribute(CTA_PROTO_DST_PORT, *tuple.destination_port);
    });
  });
}

}  // namespace fairlead::netlink
