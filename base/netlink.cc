#include "base/netlink.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace fairlead::netlink {

MessageBuilder::MessageBuilder(uint16_t type, uint16_t flags) {
  nlmsghdr head{};
  head.nlmsg_type = type;
  head.nlmsg_flags = flags;
  append(&head, sizeof head);
}

void MessageBuilder::append(const void* data, size_t size) {
  const auto* begin = static_cast<const uint8_t*>(data);
  bytes_.insert(bytes_.end(), begin, begin + size);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

MessageBuilder& MessageBuilder::attribute(uint16_t type, Bytes payload) {
  const nlattr head{static_cast<uint16_t>(sizeof(nlattr) + payload.size()), type};
  append(&head, sizeof head);
  append(payload.data(), payload.size());
  return *this;
}

MessageBuilder& MessageBuilder::nested(uint16_t type, const std::function<void()>& fill) {
  const size_t start = bytes_.size();
  nlattr head{0, static_cast<uint16_t>(type | NLA_F_NESTED)};
  append(&head, sizeof head);
  fill();
  head.nla_len = static_cast<uint16_t>(bytes_.size() - start);
  std::memcpy(bytes_.data() + start, &head, sizeof head);
  return *this;
}

Bytes MessageBuilder::finish(uint32_t sequence) {
  nlmsghdr head;
  std::memcpy(&head, bytes_.data(), sizeof head);
  head.nlmsg_len = static_cast<uint32_t>(bytes_.size());
  head.nlmsg_seq = sequence;
  std::memcpy(bytes_.data(), &head, sizeof head);
  return bytes_;
}

std::string Attribute::text() const {
  return std::string(payload.begin(), std::find(payload.begin(), payload.end(), 0));
}

std::optional<int> error_of(const Message& message) {
  int error = 0;
  if (message.payload.size() < sizeof error) return std::nullopt;
  std::memcpy(&error, message.payload.data(), sizeof error);
  return -error;
}

Result<Socket> Socket::open(int protocol, uint32_t groups, int receive_buffer) {
  Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!fd.valid()) return Status::from_errno(errno, "open", "a netlink socket");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Status::from_errno(errno, "bind", "a netlink socket");
  }
  // Room for a burst of notifications; an overrun is noticed, so failing to get it is no error.
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  // Of a request that is refused, only the head comes back.
  const int on = 1;
  ::setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  return Socket(std::move(fd));
}

Status Socket::send(MessageBuilder& message) {
  const Bytes bytes = message.finish(++sequence_);
  if (::send(fd_.get(), bytes.data(), bytes.size(), 0) < 0) {
    return Status::from_errno(errno, "send to", "netlink");
  }
  return Status();
}

Status Socket::receive(bool block, const std::function<void(const Message&)>& visit) {
  sockaddr_nl sender{};
  iovec vector{buffer_.data(), buffer_.size()};
  msghdr head{};
  head.msg_name = &sender;
  head.msg_namelen = sizeof sender;
  head.msg_iov = &vector;
  head.msg_iovlen = 1;
  ssize_t size = 0;
  do {
    size = ::recvmsg(fd_.get(), &head, block ? 0 : MSG_DONTWAIT);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return Status::from_errno(errno, "receive from", "netlink");
  if (sender.nl_pid != 0) return Status();  // not the kernel
  if ((head.msg_flags & MSG_TRUNC) != 0) {
    return Status::from_errno(ENOBUFS, "receive from", "netlink");
  }
  Bytes rest(buffer_.data(), static_cast<size_t>(size));
  while (rest.size() >= sizeof(nlmsghdr)) {
    nlmsghdr message;
    std::memcpy(&message, rest.data(), sizeof message);
    if (message.nlmsg_len < sizeof message || message.nlmsg_len > rest.size()) break;
    visit(Message{message.nlmsg_type, message.nlmsg_flags, message.nlmsg_seq,
                  rest.subspan(sizeof message, message.nlmsg_len - sizeof message)});
    rest = rest.subspan(std::min<size_t>(NLMSG_ALIGN(message.nlmsg_len), rest.size()));
  }
  return Status();
}

Status Socket::exchange(MessageBuilder& request, const std::function<bool(const Message&)>& visit,
                        bool& interrupted) {
  RETURN_IF_ERROR(send(request));
  int error = 0;
  for (bool done = false; !done;) {
    RETURN_IF_ERROR(receive(true, [&](const Message& message) {
      if (done || message.sequence != sequence_) return;
      interrupted |= (message.flags & NLM_F_DUMP_INTR) != 0;
      if (message.type == NLMSG_DONE || message.type == NLMSG_ERROR) {
        // The end of a dump carries an errno, too.
        error = error_of(message).value_or(message.type == NLMSG_DONE ? 0 : EPROTO);
        done = true;
      } else if (message.type >= NLMSG_MIN_TYPE) {
        done = !visit(message);
      }
    }));
  }
  return error == 0 ? Status() : Status::from_errno(error, "list", "netlink objects");
}

Status Socket::dump(MessageBuilder& request, const std::function<bool(const Message&)>& visit) {
  bool interrupted = false;
  return exchange(request, visit, interrupted);
}

Status Socket::list(MessageBuilder& request, const std::function<void(const Message&)>& visit) {
  bool interrupted = false;
  const auto visit_all = [&visit](const Message& message) {
    visit(message);
    return true;
  };
  RETURN_IF_ERROR(exchange(request, visit_all, interrupted));
  return interrupted ? Status::from_errno(EAGAIN, "list", "netlink objects") : Status();
}

Status Socket::ask(MessageBuilder& request, const std::function<void(const Message&)>& visit) {
  bool interrupted = false;
  const auto visit_one = [&visit](const Message& message) {
    visit(message);
    return false;
  };
  return exchange(request, visit_one, interrupted);
}

Status Socket::transact(std::span<MessageBuilder> requests,
                        const std::function<void(size_t place, int error)>& refused) {
  const uint32_t first = sequence_ + 1;
  std::vector<uint8_t> together;
  for (MessageBuilder& request : requests) {
    const Bytes bytes = request.finish(++sequence_);
    together.insert(together.end(), bytes.begin(), bytes.end());
  }
  if (::send(fd_.get(), together.data(), together.size(), 0) < 0) {
    return Status::from_errno(errno, "send to", "netlink");
  }
  for (bool done = requests.empty(); !done;) {
    RETURN_IF_ERROR(receive(true, [&](const Message& message) {
      const size_t place = message.sequence - first;
      if (message.type != NLMSG_ERROR || place >= requests.size()) return;
      const int error = error_of(message).value_or(EPROTO);
      if (error != 0) refused(place, error);
      done = done || place == requests.size() - 1;
    }));
  }
  return Status();
}

Status Socket::acknowledged(MessageBuilder& request, std::string_view operation) {
  RETURN_IF_ERROR(send(request));
  std::optional<int> error;
  while (!error) {
    RETURN_IF_ERROR(receive(true, [&](const Message& message) {
      if (message.sequence == sequence_ && message.type == NLMSG_ERROR) {
        error = error_of(message).value_or(EPROTO);
      }
    }));
  }
  return *error == 0 ? Status() : Status::from_errno(*error, operation, "");
}

}  // namespace fairlead::netlink
