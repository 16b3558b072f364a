#include "bpf/conntrack_entries.h"

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/conntrack_tuple.h"
#include "bpf/tables.h"

namespace fairlead::bpf {
namespace {

// enum tcp_conntrack: established, the client has closed, the endpoint has.
constexpr uint8_t kTcpEstablished = 3;
constexpr uint8_t kTcpCloseWait = 5;
constexpr size_t kEntriesACall = 64;  // entries a system call

using netlink::MessageBuilder;

MessageBuilder begin(uint16_t message, uint16_t flags, const TrackedFlow& flow) {
  const bool v4 = from_wire(flow.client).is_v4();
  MessageBuilder request(static_cast<uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | message),
                         static_cast<uint16_t>(NLM_F_REQUEST | flags));
  request.header(nfgenmsg{static_cast<uint8_t>(v4 ? AF_INET : AF_INET6), NFNETLINK_V0, 0});
  return request;
}

// As netlink writes it: 4 bytes or 16.
netlink::Bytes address_bytes(const fl_addr& address) {
  const netlink::Bytes all(reinterpret_cast<const uint8_t*>(&address), sizeof address);
  return from_wire(address).is_v4() ? all.last(sizeof address.word[3]) : all;
}

void put_tuple(MessageBuilder& out, uint16_t type, const fl_addr& source, fl_be16 source_port,
               const fl_addr& destination, fl_be16 destination_port, fl_u8 protocol) {
  netlink::put_tuple(out, type,
                     {.source = address_bytes(source),
                      .destination = address_bytes(destination),
                      .source_port = source_port,
                      .destination_port = destination_port,
                      .protocol = protocol});
}

void put_asked(MessageBuilder& out, const TrackedFlow& flow) {
  put_tuple(out, CTA_TUPLE_ORIG, flow.client, flow.client_port, flow.address, flow.port,
            flow.protocol);
}

void put_answered(MessageBuilder& out, const TrackedFlow& flow) {
  put_tuple(out, CTA_TUPLE_REPLY, flow.endpoint, flow.endpoint_port, flow.source, flow.source_port,
            flow.protocol);
}

void put_translation(MessageBuilder& out, uint16_t type, const fl_addr& address, fl_be16 port) {
  const netlink::Bytes bytes = address_bytes(address);
  out.nested(type, [&] {
    out.attribute(bytes.size() == 4 ? CTA_NAT_V4_MINIP : CTA_NAT_V6_MINIP, bytes);
    out.nested(CTA_NAT_PROTO, [&] {
      out.attribute(CTA_PROTONAT_PORT_MIN, port);
      out.attribute(CTA_PROTONAT_PORT_MAX, port);
    });
  });
}

void put_new(MessageBuilder& out, const TrackedFlow& flow) {
  put_asked(out, flow);
  // What would answer without translation: the kernel makes the true one of it.
  put_tuple(out, CTA_TUPLE_REPLY, flow.address, flow.port, flow.client, flow.client_port,
            flow.protocol);
  put_translation(out, CTA_NAT_DST, flow.endpoint, flow.endpoint_port);
  put_translation(out, CTA_NAT_SRC, flow.source, flow.source_port);
  out.attribute(CTA_TIMEOUT, htonl(flow.seconds));
  out.attribute(CTA_STATUS, htonl(IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED));
  if (flow.protocol != IPPROTO_TCP) return;
  const nf_ct_tcp_flags liberal{IP_CT_TCP_FLAG_BE_LIBERAL, IP_CT_TCP_FLAG_BE_LIBERAL};
  out.nested(CTA_PROTOINFO, [&] {
    out.nested(CTA_PROTOINFO_TCP, [&] {
      out.attribute(CTA_PROTOINFO_TCP_STATE, kTcpEstablished);
      out.attribute(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, liberal);
      out.attribute(CTA_PROTOINFO_TCP_FLAGS_REPLY, liberal);
    });
  });
}

struct Entry {
  netlink::Tuple asked, answered;
  uint32_t status = 0;               // IPS_...
  std::optional<uint8_t> tcp_state;  // TCP alone has one
};

void read_tcp(netlink::Bytes information, Entry& entry) {
  netlink::for_each_attribute(information, [&](const netlink::Attribute& tcp) {
    if (tcp.type != CTA_PROTOINFO_TCP) return;
    netlink::for_each_attribute(tcp.payload, [&](const netlink::Attribute& field) {
      if (field.type == CTA_PROTOINFO_TCP_STATE) entry.tcp_state = field.as<uint8_t>();
    });
  });
}

Entry read_entry(netlink::Bytes payload) {
  Entry entry;
  if (!netlink::take_header<nfgenmsg>(payload)) return entry;
  netlink::for_each_attribute(payload, [&](const netlink::Attribute& attribute) {
    if (attribute.type == CTA_TUPLE_ORIG) entry.asked = netlink::read_tuple(attribute.payload);
    if (attribute.type == CTA_TUPLE_REPLY) entry.answered = netlink::read_tuple(attribute.payload);
    if (attribute.type == CTA_PROTOINFO) read_tcp(attribute.payload, entry);
    if (attribute.type == CTA_STATUS) {
      entry.status = ntohl(attribute.as<uint32_t>().value_or(0));
    }
  });
  return entry;
}

std::optional<Translated> translated(const Entry& entry) {
  const netlink::Tuple& asked = entry.asked;
  const netlink::Tuple& answered = entry.answered;
  if (!asked.complete() || !answered.complete()) return std::nullopt;
  const auto client = dataplane::Address::from_bytes(asked.source);
  const auto address = dataplane::Address::from_bytes(asked.destination);
  const auto source = dataplane::Address::from_bytes(answered.destination);
  const auto endpoint = dataplane::Address::from_bytes(answered.source);
  if (!client || !address || !source || !endpoint) return std::nullopt;
  if (*address == *endpoint && asked.destination_port == answered.source_port) return std::nullopt;
  const bool tcp = asked.protocol == IPPROTO_TCP;
  const uint8_t state = entry.tcp_state.value_or(0);
  if (tcp && (state < kTcpEstablished || state > kTcpCloseWait)) return std::nullopt;
  if (!tcp && (asked.protocol != IPPROTO_UDP || (entry.status & IPS_SEEN_REPLY) == 0)) {
    return std::nullopt;
  }
  return Translated{{.client = to_wire(*client),
                     .address = to_wire(*address),
                     .source = to_wire(*source),
                     .endpoint = to_wire(*endpoint),
                     .client_port = *asked.source_port,
                     .port = *asked.destination_port,
                     .source_port = *answered.destination_port,
                     .endpoint_port = *answered.source_port,
                     .protocol = *asked.protocol},
                    tcp && state != kTcpEstablished,
                    (entry.status & IPS_ASSURED) != 0};
}

size_t conntrack_setting(const char* name) {
  std::ifstream file(std::string("/proc/sys/net/netfilter/") + name);
  size_t value = 0;
  return file >> value ? value : size_t{0};
}

// What concerns every flow of a family when it is the answer to all of a batch: the kernel has no
// address translation for it.
bool is_final(int error) {
  return error == EPERM || error == EINVAL || error == EOPNOTSUPP;
}

constexpr std::array<std::string_view, 2> kFamilies = {"IPv4", "IPv6"};
size_t family_of(const TrackedFlow& flow) {
  return from_wire(flow.client).is_v4() ? 0 : 1;
}

}  // namespace

Result<ConntrackEntries> ConntrackEntries::open() {
  auto socket = netlink::Socket::open(NETLINK_NETFILTER);
  if (!socket) return socket.status();
  // To a whole batch the kernel says only once that it takes none.
  MessageBuilder question(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS,
                          NLM_F_REQUEST | NLM_F_ACK);
  question.header(nfgenmsg{AF_UNSPEC, NFNETLINK_V0, 0});
  const Status answer = socket->acknowledged(question, "write connection tracking entries");
  if (answer.system_errno() == EINVAL) {
    return Status::error(StatusCode::kUnsupported, "write", "connection tracking entries",
                         "the kernel's nf_conntrack_netlink is missing");
  }
  if (!answer) return answer;
  return ConntrackEntries(*std::move(socket));
}

// One batch of requests, and how each family fared in it.
struct ConntrackEntries::Batch {
  std::vector<MessageBuilder> requests;
  std::vector<std::optional<size_t>> flow_of;  // nullopt: how a removal ends is nobody's concern
  std::array<size_t, 2> asked = {}, declined = {};
  std::array<int, 2> last_error = {};

  void add(Write how, const TrackedFlow& flow, size_t number) {
    if (how == Write::kReplace) {
      for (const auto put : {put_asked, put_answered}) {
        put(requests.emplace_back(begin(IPCTNL_MSG_CT_DELETE, 0, flow)), flow);
        flow_of.emplace_back(std::nullopt);
      }
    }
    if (how == Write::kKeep) {
      MessageBuilder& request = requests.emplace_back(begin(IPCTNL_MSG_CT_NEW, NLM_F_ACK, flow));
      put_asked(request, flow);
      request.attribute(CTA_TIMEOUT, htonl(flow.seconds));
    } else {
      constexpr uint16_t kNew = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
      put_new(requests.emplace_back(begin(IPCTNL_MSG_CT_NEW, kNew, flow)), flow);
    }
    flow_of.emplace_back(number);
    ++asked[family_of(flow)];
  }
  void note(const TrackedFlow& flow, int error) {
    if (!is_final(error)) return;
    ++declined[family_of(flow)];
    last_error[family_of(flow)] = error;
  }
  bool hopeless(size_t family) const {
    return asked[family] > 0 && declined[family] == asked[family];
  }
};

Status ConntrackEntries::write(Write how, std::span<const TrackedFlow> flows,
                               const std::function<void(size_t, int)>& refused) {
  std::array<int, 2> hopeless = {};  // by family: why
  for (size_t first = 0; first < flows.size(); first += kEntriesACall) {
    const size_t end = std::min(first + kEntriesACall, flows.size());
    Batch batch;
    for (size_t i = first; i < end; ++i) {
      const int why = hopeless[family_of(flows[i])];
      if (why != 0) {
        refused(i, why);
      } else {
        batch.add(how, flows[i], i);
      }
    }
    if (batch.requests.empty()) continue;
    const Status done = socket_.transact(batch.requests, [&](size_t place, int error) {
      if (!batch.flow_of[place]) return;
      const size_t i = *std::exchange(batch.flow_of[place], std::nullopt);
      batch.note(flows[i], error);
      refused(i, error);
    });
    if (!done) {
      for (const auto& i : batch.flow_of) {
        if (i) refused(*i, EIO);
      }
      for (size_t i = end; i < flows.size(); ++i) refused(i, EIO);
      return done;
    }
    for (size_t family = 0; family < hopeless.size(); ++family) {
      if (batch.hopeless(family)) hopeless[family] = batch.last_error[family];
    }
  }
  for (size_t family = 0; family < hopeless.size(); ++family) {
    if (hopeless[family] == 0) continue;
    return Status::from_errno(hopeless[family], "write",
                              "connection tracking of " + std::string(kFamilies[family]));
  }
  return {};
}

Status visit_translated(const std::function<bool(const Translated&)>& visit) {
  // A socket of its own: the rest of a dump that is left early would be read as later answers.
  auto socket = netlink::Socket::open(NETLINK_NETFILTER);
  if (!socket) return socket.status();
  MessageBuilder request(static_cast<uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET),
                         NLM_F_REQUEST | NLM_F_DUMP);
  request.header(nfgenmsg{AF_UNSPEC, NFNETLINK_V0, 0});
  // IPVS does not say in the status that it translates. Kernels before 5.13 do not know the filter,
  // and list all.
  const bool ipvs = ::access("/proc/net/ip_vs", F_OK) == 0;
  if (!ipvs) {
    request.attribute(CTA_STATUS, htonl(IPS_DST_NAT));
    request.attribute(CTA_STATUS_MASK, htonl(IPS_DST_NAT));
  }
  return socket->dump(request, [&](const netlink::Message& message) {
    const auto found = translated(read_entry(message.payload));
    return !found || visit(*found);
  });
}

size_t conntrack_share(size_t limit, size_t used, size_t ours) {
  if (used >= limit) return 0;
  const size_t half = (limit - used + ours) / 2;
  return half > ours ? half - ours : 0;
}

size_t conntrack_count() {
  return conntrack_setting("nf_conntrack_count");
}

size_t conntrack_room(size_t ours) {
  const size_t limit = conntrack_setting("nf_conntrack_max");
  if (limit == 0) return std::numeric_limits<size_t>::max();  // the kernel knows none
  return conntrack_share(limit, conntrack_count(), ours);
}

}  // namespace fairlead::bpf
