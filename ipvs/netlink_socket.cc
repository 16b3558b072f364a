#include "ipvs/netlink_socket.h"

#include <netlink/netlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace fairlead::ipvs {
namespace {

// Large enough that the answers to a whole batch find room: the kernel has written all of them
// before the first is read.
constexpr int kBuffer = 8 << 20;
constexpr size_t kBatchBytes = 96 << 10;  // below the smallest send buffer that systems have

// Calls `each` for every message of a datagram; malformed tails end the walk.
template <typename Each>
void for_each_message(const std::vector<uint8_t>& datagram, Each each) {
  auto* header = reinterpret_cast<const nlmsghdr*>(datagram.data());
  int left = static_cast<int>(datagram.size());
  while (nlmsg_ok(header, left) != 0) {
    each(*header);
    header = nlmsg_next(const_cast<nlmsghdr*>(header), &left);
  }
}

// The errno of an NLMSG_ERROR or NLMSG_DONE; EPROTO when it carries none.
int error_of(const nlmsghdr& header) {
  int error = 0;
  if (header.nlmsg_len < NLMSG_LENGTH(sizeof error)) return EPROTO;
  std::memcpy(&error, nlmsg_data(&header), sizeof error);
  return -error;
}

}  // namespace

Status NetlinkSocket::failure(int nl_error, const char* operation) const {
  return Status::error(StatusCode::kUnavailable, operation, what_, nl_geterror(nl_error));
}

Result<NetlinkSocket> NetlinkSocket::open(int protocol, std::string what,
                                          const std::vector<int>& groups) {
  NetlinkSocket made(std::move(what));
  made.socket_.reset(nl_socket_alloc());
  if (!made.socket_) return Status::from_errno(ENOMEM, "open", made.what_);
  if (const int error = nl_connect(made.get(), protocol); error < 0) {
    return made.failure(error, "open");
  }
  nl_socket_disable_auto_ack(made.get());
  const int fd = made.fd();
  // Best effort: beyond the system's limit only with CAP_NET_ADMIN.
  for (const int option : {SO_SNDBUF, SO_RCVBUF, SO_SNDBUFFORCE, SO_RCVBUFFORCE}) {
    ::setsockopt(fd, SOL_SOCKET, option, &kBuffer, sizeof kBuffer);
  }
  const int on = 1;
  // A refusal need not bring back the request.
  ::setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  for (const int group : groups) {
    if (const int error = nl_socket_add_membership(made.get(), group); error < 0) {
      return made.failure(error, "subscribe to");
    }
  }
  return made;
}

Result<std::vector<uint8_t>> NetlinkSocket::receive(bool wait) {
  std::vector<uint8_t> datagram;
  // Its size first: a dump's parts are as large as the reader's buffer was before.
  for (;;) {
    const int flags = MSG_PEEK | MSG_TRUNC | (wait ? 0 : MSG_DONTWAIT);
    const ssize_t size = ::recv(fd(), nullptr, 0, flags);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && !wait && (errno == EAGAIN || errno == EWOULDBLOCK)) return datagram;
    if (size < 0) return Status::from_errno(errno, "read answers of", what_);
    datagram.resize(static_cast<size_t>(size));
    break;
  }
  sockaddr_nl sender{};
  socklen_t length = sizeof sender;
  const ssize_t got = ::recvfrom(fd(), datagram.data(), datagram.size(), 0,
                                 reinterpret_cast<sockaddr*>(&sender), &length);
  if (got < 0) return Status::from_errno(errno, "read answers of", what_);
  // Only the kernel has port 0; anybody may write to a netlink socket.
  datagram.resize(sender.nl_pid == 0 ? static_cast<size_t>(got) : 0);
  return datagram;
}

Status NetlinkSocket::send_batch(const std::vector<uint8_t>& bytes, uint32_t first_sequence,
                                 size_t first, size_t count,
                                 std::vector<std::pair<size_t, int>>& failures) {
  const int sent =
      nl_sendto(get(), const_cast<uint8_t*>(bytes.data()), bytes.size());  // it only reads
  if (sent < 0) return failure(sent, "send to");
  // The last one asks for an acknowledgement, and the kernel answers in order.
  const uint32_t last = first_sequence + static_cast<uint32_t>(count) - 1;
  bool done = false;
  while (!done) {
    std::vector<uint8_t> datagram;
    ASSIGN_OR_RETURN(datagram, receive(true));
    for_each_message(datagram, [&](const nlmsghdr& header) {
      const uint32_t offset = header.nlmsg_seq - first_sequence;
      if (header.nlmsg_type != NLMSG_ERROR || offset >= count) return;
      if (const int error = error_of(header); error != 0) {
        failures.emplace_back(first + offset, error);
      }
      done |= header.nlmsg_seq == last;
    });
  }
  return {};
}

Result<std::vector<std::pair<size_t, int>>> NetlinkSocket::transact(size_t count,
                                                                    const Build& build) {
  std::vector<std::pair<size_t, int>> failures;
  std::vector<uint8_t> batch;
  size_t first = 0;
  uint32_t first_sequence = sequence_ + 1;
  size_t last_message = 0;  // its offset in the batch
  const auto flush = [&](size_t next) -> Status {
    if (batch.empty()) return {};
    nlmsghdr header;
    std::memcpy(&header, batch.data() + last_message, sizeof header);
    header.nlmsg_flags |= NLM_F_ACK;
    std::memcpy(batch.data() + last_message, &header, sizeof header);
    RETURN_IF_ERROR(send_batch(batch, first_sequence, first, next - first, failures));
    batch.clear();
    first = next;
    first_sequence = sequence_ + 1;
    return {};
  };
  for (size_t index = 0; index < count; ++index) {
    const MessagePointer message = build(index);
    if (!message) return Status::from_errno(ENOMEM, "write a message for", what_);
    nlmsghdr* const header = nlmsg_hdr(message.get());
    const size_t size = NLMSG_ALIGN(header->nlmsg_len);
    if (batch.size() + size > kBatchBytes) RETURN_IF_ERROR(flush(index));
    header->nlmsg_seq = ++sequence_;
    header->nlmsg_pid = nl_socket_get_local_port(get());
    header->nlmsg_flags |= NLM_F_REQUEST;
    last_message = batch.size();
    batch.resize(last_message + size);
    std::memcpy(batch.data() + last_message, header, header->nlmsg_len);
  }
  RETURN_IF_ERROR(flush(count));
  return failures;
}

Status NetlinkSocket::ask(MessagePointer request, uint16_t flags,
                          const std::function<void(const nlmsghdr&)>& each) {
  if (!request) return Status::from_errno(ENOMEM, "write a message for", what_);
  nlmsghdr* const header = nlmsg_hdr(request.get());
  header->nlmsg_seq = ++sequence_;
  header->nlmsg_pid = nl_socket_get_local_port(get());
  header->nlmsg_flags |= NLM_F_REQUEST | flags;
  if (const int sent = nl_sendto(get(), header, header->nlmsg_len); sent < 0) {
    return failure(sent, "send to");
  }
  int error = 0;
  bool torn = false;
  for (bool done = false; !done;) {
    std::vector<uint8_t> datagram;
    ASSIGN_OR_RETURN(datagram, receive(true));
    for_each_message(datagram, [&](const nlmsghdr& answer) {
      if (done || answer.nlmsg_seq != sequence_) return;
      torn |= (answer.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (answer.nlmsg_type == NLMSG_ERROR || answer.nlmsg_type == NLMSG_DONE) {
        // The end of a dump carries a number only when something went wrong.
        const bool empty = answer.nlmsg_len < NLMSG_LENGTH(sizeof(int));
        error = answer.nlmsg_type == NLMSG_DONE && empty ? 0 : error_of(answer);
        done = true;
      } else {
        each(answer);
      }
    });
  }
  if (error != 0) return Status::from_errno(error, "list", what_);
  if (torn) {
    return Status::error(StatusCode::kUnavailable, "list", what_, "it changed meanwhile");
  }
  return {};
}

Result<bool> NetlinkSocket::poll(const std::function<void(const nlmsghdr&)>& each) {
  bool lost = false;
  for (;;) {
    Result<std::vector<uint8_t>> datagram = receive(false);
    if (!datagram && datagram.status().system_errno() == ENOBUFS) {
      lost = true;
      continue;
    }
    if (!datagram) return datagram.status();
    if (datagram->empty()) return lost;
    for_each_message(*datagram, each);
  }
}

}  // namespace fairlead::ipvs
