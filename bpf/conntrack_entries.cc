#include "bpf/conntrack_entries.h"

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>

namespace fairlead::bpf {
namespace {

constexpr uint8_t kTcpEstablished = 3;   // enum tcp_conntrack
constexpr size_t kEntriesACall = 64;     // entries a system call
constexpr uint32_t kNobodysConcern = 0;  // the number of a message whose answer is not read

bool is_ipv4(const fl_addr& address) {
  return address.word[0] == 0 && address.word[1] == 0 && address.word[2] == htonl(0xffff);
}

// Messages side by side, as one send takes them.
class Messages {
 public:
  void begin(uint16_t message, uint16_t flags, uint32_t sequence, uint8_t family) {
    message_ = bytes_.size();
    nlmsghdr head{};
    head.nlmsg_type = static_cast<uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | message);
    head.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
    head.nlmsg_seq = sequence;
    append(&head, sizeof head);
    const nfgenmsg generic{family, NFNETLINK_V0, 0};
    append(&generic, sizeof generic);
  }
  void end() { set_length<uint32_t>(message_); }

  template <typename T>
  void put(uint16_t type, const T& value) {
    const nlattr head{static_cast<uint16_t>(sizeof head + sizeof value), type};
    append(&head, sizeof head);
    append(&value, sizeof value);
  }
  template <typename Fill>
  void nest(uint16_t type, Fill fill) {
    const size_t start = bytes_.size();
    const nlattr head{0, static_cast<uint16_t>(type | NLA_F_NESTED)};
    append(&head, sizeof head);
    fill();
    set_length<uint16_t>(start);
  }
  std::span<const uint8_t> bytes() const { return bytes_; }

 private:
  void append(const void* data, size_t size) {
    const auto* first = static_cast<const uint8_t*>(data);
    bytes_.insert(bytes_.end(), first, first + size);
    bytes_.resize(NLMSG_ALIGN(bytes_.size()));
  }
  // Of what began at `start` and ends here.
  template <typename Length>
  void set_length(size_t start) {
    const auto length = static_cast<Length>(bytes_.size() - start);
    std::memcpy(bytes_.data() + start, &length, sizeof length);
  }

  std::vector<uint8_t> bytes_;
  size_t message_ = 0;
};

void put_address(Messages& out, const fl_addr& address, uint16_t v4, uint16_t v6) {
  if (is_ipv4(address)) {
    out.put(v4, address.word[3]);
  } else {
    out.put(v6, address);
  }
}

void put_tuple(Messages& out, uint16_t type, const fl_addr& source, fl_be16 source_port,
               const fl_addr& destination, fl_be16 destination_port, fl_u8 protocol) {
  out.nest(type, [&] {
    out.nest(CTA_TUPLE_IP, [&] {
      put_address(out, source, CTA_IP_V4_SRC, CTA_IP_V6_SRC);
      put_address(out, destination, CTA_IP_V4_DST, CTA_IP_V6_DST);
    });
    out.nest(CTA_TUPLE_PROTO, [&] {
      out.put(CTA_PROTO_NUM, protocol);
      out.put(CTA_PROTO_SRC_PORT, source_port);
      out.put(CTA_PROTO_DST_PORT, destination_port);
    });
  });
}

void put_asked(Messages& out, const TrackedFlow& flow) {
  put_tuple(out, CTA_TUPLE_ORIG, flow.client, flow.client_port, flow.address, flow.port,
            flow.protocol);
}

void put_answered(Messages& out, const TrackedFlow& flow) {
  put_tuple(out, CTA_TUPLE_REPLY, flow.endpoint, flow.endpoint_port, flow.source, flow.source_port,
            flow.protocol);
}

void put_translation(Messages& out, uint16_t type, const fl_addr& address, fl_be16 port) {
  out.nest(type, [&] {
    put_address(out, address, CTA_NAT_V4_MINIP, CTA_NAT_V6_MINIP);
    out.nest(CTA_NAT_PROTO, [&] {
      out.put(CTA_PROTONAT_PORT_MIN, port);
      out.put(CTA_PROTONAT_PORT_MAX, port);
    });
  });
}

void put_new(Messages& out, const TrackedFlow& flow) {
  put_asked(out, flow);
  // What would answer without translation: the kernel makes the true one of it.
  put_tuple(out, CTA_TUPLE_REPLY, flow.address, flow.port, flow.client, flow.client_port,
            flow.protocol);
  put_translation(out, CTA_NAT_DST, flow.endpoint, flow.endpoint_port);
  put_translation(out, CTA_NAT_SRC, flow.source, flow.source_port);
  out.put(CTA_TIMEOUT, htonl(flow.seconds));
  out.put(CTA_STATUS, htonl(IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED));
  if (flow.protocol != IPPROTO_TCP) return;
  const nf_ct_tcp_flags liberal{IP_CT_TCP_FLAG_BE_LIBERAL, IP_CT_TCP_FLAG_BE_LIBERAL};
  out.nest(CTA_PROTOINFO, [&] {
    out.nest(CTA_PROTOINFO_TCP, [&] {
      out.put(CTA_PROTOINFO_TCP_STATE, kTcpEstablished);
      out.put(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, liberal);
      out.put(CTA_PROTOINFO_TCP_FLAGS_REPLY, liberal);
    });
  });
}

}  // namespace

Result<ConntrackEntries> ConntrackEntries::open() {
  Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!fd.valid()) return Status::from_errno(errno, "open", "a netfilter socket");
  const int size = 1 << 20;  // answers of a whole batch
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  // Of a request that is refused, only the head comes back.
  const int on = 1;
  ::setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  return ConntrackEntries(std::move(fd));
}

Status ConntrackEntries::exchange(std::span<const uint8_t> messages, uint32_t last,
                                  const std::function<void(uint32_t, int)>& answered) {
  if (::send(fd_.get(), messages.data(), messages.size(), 0) < 0) {
    return Status::from_errno(errno, "write", "connection tracking");
  }
  for (bool done = false; !done;) {
    const ssize_t size = ::recv(fd_.get(), buffer_.data(), buffer_.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return Status::from_errno(errno, "write", "connection tracking");
    std::span<const uint8_t> rest(buffer_.data(), static_cast<size_t>(size));
    nlmsghdr head;
    while (rest.size() >= sizeof head) {
      std::memcpy(&head, rest.data(), sizeof head);
      if (head.nlmsg_len < sizeof head || head.nlmsg_len > rest.size()) break;
      int error = 0;
      if (head.nlmsg_type == NLMSG_ERROR && head.nlmsg_len >= sizeof head + sizeof error) {
        std::memcpy(&error, rest.data() + sizeof head, sizeof error);
        answered(head.nlmsg_seq, -error);
        done = done || head.nlmsg_seq == last;
      }
      rest = rest.subspan(std::min<size_t>(NLMSG_ALIGN(head.nlmsg_len), rest.size()));
    }
  }
  return {};
}

Status ConntrackEntries::write(Write how, std::span<const TrackedFlow> flows,
                               const std::function<void(size_t, int)>& refused) {
  int hopeless = 0;
  for (size_t first = 0; first < flows.size(); first += kEntriesACall) {
    const std::span<const TrackedFlow> batch =
        flows.subspan(first, std::min(kEntriesACall, flows.size() - first));
    Messages messages;
    const uint32_t base = sequence_ + 1;
    for (const TrackedFlow& flow : batch) {
      const uint8_t family = is_ipv4(flow.client) ? AF_INET : AF_INET6;
      if (how == Write::kReplace) {
        for (const auto put : {put_asked, put_answered}) {
          messages.begin(IPCTNL_MSG_CT_DELETE, 0, kNobodysConcern, family);
          put(messages, flow);
          messages.end();
        }
      }
      const bool keeps = how == Write::kKeep;
      messages.begin(IPCTNL_MSG_CT_NEW,
                     static_cast<uint16_t>(NLM_F_ACK | (keeps ? 0 : NLM_F_CREATE | NLM_F_EXCL)),
                     ++sequence_, family);
      if (keeps) {
        put_asked(messages, flow);
        messages.put(CTA_TIMEOUT, htonl(flow.seconds));
      } else {
        put_new(messages, flow);
      }
      messages.end();
    }
    RETURN_IF_ERROR(exchange(messages.bytes(), sequence_, [&](uint32_t sequence, int error) {
      const uint32_t place = sequence - base;
      if (error == 0 || sequence == kNobodysConcern || place >= batch.size()) return;
      if (error == EPERM || error == EINVAL || error == EOPNOTSUPP) hopeless = error;
      refused(first + place, error);
    }));
    if (hopeless != 0) return Status::from_errno(hopeless, "write", "connection tracking");
  }
  return {};
}

size_t conntrack_room() {
  const auto read = [](const char* name) {
    std::ifstream file(std::string("/proc/sys/net/netfilter/") + name);
    size_t value = 0;
    return file >> value ? value : size_t{0};
  };
  const size_t limit = read("nf_conntrack_max");
  if (limit == 0) return std::numeric_limits<size_t>::max();  // the kernel knows none
  const size_t used = read("nf_conntrack_count");
  return used < limit ? (limit - used) / 2 : 0;
}

}  // namespace fairlead::bpf
