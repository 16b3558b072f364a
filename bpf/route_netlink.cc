#include "bpf/route_netlink.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace fairlead::bpf::route {

std::string text_of(Bytes bytes) {
  return std::string(bytes.begin(), std::find(bytes.begin(), bytes.end(), 0));
}

void for_each_attribute(Bytes bytes, const std::function<void(uint16_t, Bytes)>& visit) {
  nlattr head;
  while (bytes.size() >= sizeof head) {
    std::memcpy(&head, bytes.data(), sizeof head);
    if (head.nla_len < sizeof head || head.nla_len > bytes.size()) return;
    visit(static_cast<uint16_t>(head.nla_type & NLA_TYPE_MASK),
          bytes.subspan(sizeof head, head.nla_len - sizeof head));
    bytes = bytes.subspan(std::min<size_t>(NLA_ALIGN(head.nla_len), bytes.size()));
  }
}

Result<Socket> Socket::open(uint32_t groups, int receive_buffer) {
  Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd.valid()) return Status::from_errno(errno, "open", "an rtnetlink socket");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Status::from_errno(errno, "bind", "an rtnetlink socket");
  }
  // An overrun is noticed and answered by a fresh list, so less than wanted is no error.
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  return Socket(std::move(fd));
}

Status Socket::read(int flags, const std::function<void(const Message&)>& visit) {
  sockaddr_nl sender{};
  iovec vector{buffer_.data(), buffer_.size()};
  msghdr head{};
  head.msg_name = &sender;
  head.msg_namelen = sizeof sender;
  head.msg_iov = &vector;
  head.msg_iovlen = 1;
  ssize_t size = 0;
  do {
    size = ::recvmsg(fd_.get(), &head, flags);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return Status::from_errno(errno, "receive from", "rtnetlink");
  if (sender.nl_pid != 0) return {};  // not the kernel
  if ((head.msg_flags & MSG_TRUNC) != 0) {
    return Status::from_errno(ENOBUFS, "receive from", "rtnetlink");
  }
  Bytes rest(buffer_.data(), static_cast<size_t>(size));
  nlmsghdr message;
  while (rest.size() >= sizeof message) {
    std::memcpy(&message, rest.data(), sizeof message);
    if (message.nlmsg_len < sizeof message || message.nlmsg_len > rest.size()) break;
    visit({message.nlmsg_type, message.nlmsg_flags, message.nlmsg_seq,
           rest.subspan(sizeof message, message.nlmsg_len - sizeof message)});
    rest = rest.subspan(std::min<size_t>(NLMSG_ALIGN(message.nlmsg_len), rest.size()));
  }
  return {};
}

Status Socket::receive(const std::function<void(const Message&)>& visit) {
  return read(MSG_DONTWAIT, visit);
}

Status Socket::exchange(uint16_t type, uint16_t flags, Bytes header, uint16_t attribute,
                        Bytes value, const std::function<void(const Message&)>& visit) {
  const size_t head_size = NLMSG_ALIGN(sizeof(nlmsghdr) + header.size());
  const size_t attribute_size = value.empty() ? 0 : NLA_ALIGN(sizeof(nlattr) + value.size());
  std::vector<uint8_t> bytes(head_size + attribute_size);
  nlmsghdr head{};
  head.nlmsg_len = static_cast<uint32_t>(bytes.size());
  head.nlmsg_type = type;
  head.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  head.nlmsg_seq = ++sequence_;
  std::memcpy(bytes.data(), &head, sizeof head);
  std::memcpy(bytes.data() + sizeof head, header.data(), header.size());
  if (!value.empty()) {
    const nlattr attribute_head{static_cast<uint16_t>(sizeof(nlattr) + value.size()), attribute};
    std::memcpy(bytes.data() + head_size, &attribute_head, sizeof attribute_head);
    std::memcpy(bytes.data() + head_size + sizeof attribute_head, value.data(), value.size());
  }
  if (::send(fd_.get(), bytes.data(), bytes.size(), 0) < 0) {
    return Status::from_errno(errno, "send to", "rtnetlink");
  }
  const bool dump = (flags & NLM_F_DUMP) == NLM_F_DUMP;
  bool interrupted = false;
  int error = 0;
  for (bool done = false; !done;) {
    RETURN_IF_ERROR(read(0, [&](const Message& message) {
      if (done || message.sequence != sequence_) return;
      interrupted |= (message.flags & NLM_F_DUMP_INTR) != 0;
      if (message.type == NLMSG_DONE || message.type == NLMSG_ERROR) {
        Bytes payload = message.payload;
        error = -take<int>(payload).value_or(message.type == NLMSG_DONE ? 0 : -EPROTO);
        done = true;
      } else if (message.type >= NLMSG_MIN_TYPE) {
        visit(message);
        done = !dump;
      }
    }));
  }
  if (error == 0 && interrupted) error = EAGAIN;
  return error == 0 ? Status() : Status::from_errno(error, "ask", "rtnetlink");
}

}  // namespace fairlead::bpf::route
