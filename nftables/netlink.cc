#include "nftables/netlink.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/fd.h"

namespace fairlead::nftables {
namespace {

constexpr int kReceiveBuffer = 8 << 20;
constexpr size_t kReadSize = 1 << 18;

// The text of NLMSGERR_ATTR_MSG, if the acknowledgement carries one.
std::string extended_reason(const nlmsghdr& header, ByteView message) {
  if ((header.nlmsg_flags & NLM_F_ACK_TLVS) == 0) return {};
  nlmsgerr body;
  std::memcpy(&body, message.data() + NLMSG_HDRLEN, sizeof body);
  size_t offset = NLMSG_HDRLEN + sizeof body;
  if ((header.nlmsg_flags & NLM_F_CAPPED) == 0) {
    offset += NLMSG_ALIGN(body.msg.nlmsg_len) - sizeof(nlmsghdr);
  }
  if (offset >= message.size()) return {};
  return std::string(read_string(find_attribute(message.subspan(offset), NLMSGERR_ATTR_MSG)));
}

class Socket final : public NetlinkTransport {
 public:
  static Result<std::unique_ptr<NetlinkTransport>> open();

  Result<std::vector<Refused>> transact(ByteView batch) override;
  Status dump(ByteView request, const std::function<void(ByteView)>& each) override;

 private:
  Status send(ByteView bytes);
  // One datagram into buffer_; its length.
  Result<size_t> receive(int flags);
  template <typename Visit>
  static void for_each_message(ByteView datagram, Visit visit);

  Fd fd_;
  size_t send_buffer_ = 0;
  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(kReadSize);
};

Result<std::unique_ptr<NetlinkTransport>> Socket::open() {
  auto transport = std::make_unique<Socket>();
  transport->fd_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!transport->fd_.valid()) return Status::from_errno(errno, "open socket", "NETLINK_NETFILTER");
  const int fd = transport->fd_.get();
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    return Status::from_errno(errno, "bind", "NETLINK_NETFILTER socket");
  }
  const int on = 1;
  // Better error texts where the kernel has them; not needed otherwise.
  (void)::setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  (void)::setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  if (::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer) < 0) {
    return Status::from_errno(errno, "enlarge receive buffer (CAP_NET_ADMIN needed) of",
                              "NETLINK_NETFILTER socket");
  }
  const timeval timeout{60, 0};
  (void)::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  return std::unique_ptr<NetlinkTransport>(std::move(transport));
}

Status Socket::send(ByteView bytes) {
  // A netlink message must fit the send buffer whole; the kernel doubles what is asked for.
  if (bytes.size() > send_buffer_) {
    const int wanted = static_cast<int>(bytes.size() + (1 << 16));
    if (::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &wanted, sizeof wanted) < 0) {
      return Status::from_errno(errno, "enlarge send buffer of", "NETLINK_NETFILTER socket");
    }
    send_buffer_ = bytes.size();
  }
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  const ssize_t sent = ::sendto(fd_.get(), bytes.data(), bytes.size(), 0,
                                reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel);
  if (sent < 0) return Status::from_errno(errno, "send to", "nf_tables");
  return {};
}

Result<size_t> Socket::receive(int flags) {
  while (true) {
    const ssize_t length = ::recv(fd_.get(), buffer_.data(), buffer_.size(), flags | MSG_TRUNC);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return Status::from_errno(errno, "receive from", "nf_tables");
    if (static_cast<size_t>(length) > buffer_.size()) {
      return Status::error(StatusCode::kInternal, "receive from", "nf_tables",
                           "answer larger than the buffer");
    }
    return static_cast<size_t>(length);
  }
}

template <typename Visit>
void Socket::for_each_message(ByteView datagram, Visit visit) {
  while (datagram.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    std::memcpy(&header, datagram.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > datagram.size()) return;
    visit(header, datagram.first(header.nlmsg_len));
    datagram = datagram.subspan(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), datagram.size()));
  }
}

Result<std::vector<Refused>> Socket::transact(ByteView batch) {
  RETURN_IF_ERROR(send(batch));
  // The kernel processes a batch inside sendto(): all its answers wait when that returns, and the
  // last message always asks for one.
  std::vector<Refused> refused;
  int flags = 0;
  while (true) {
    Result<size_t> length = receive(flags);
    if (!length) {
      if (length.status().system_errno() == EAGAIN && flags != 0) return refused;
      return length.status();
    }
    for_each_message({buffer_.data(), *length}, [&](const nlmsghdr& header, ByteView message) {
      if (header.nlmsg_type != NLMSG_ERROR || message.size() < NLMSG_HDRLEN + sizeof(nlmsgerr)) {
        return;
      }
      nlmsgerr body;
      std::memcpy(&body, message.data() + NLMSG_HDRLEN, sizeof body);
      if (body.error != 0) {
        refused.push_back({-body.error, body.msg.nlmsg_seq, extended_reason(header, message)});
      }
    });
    flags = MSG_DONTWAIT;
  }
}

Status Socket::dump(ByteView request, const std::function<void(ByteView)>& each) {
  RETURN_IF_ERROR(send(request));
  bool done = false;
  bool torn = false;
  int error = 0;
  while (!done) {
    size_t length = 0;
    ASSIGN_OR_RETURN(length, receive(0));
    for_each_message({buffer_.data(), length}, [&](const nlmsghdr& header, ByteView message) {
      torn |= (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (header.nlmsg_type == NLMSG_DONE) {
        done = true;
      } else if (header.nlmsg_type == NLMSG_ERROR) {
        nlmsgerr body;
        std::memcpy(&body, message.data() + NLMSG_HDRLEN, sizeof body);
        error = -body.error;
        done = true;
      } else if (message.size() >= NLMSG_HDRLEN + sizeof(nfgenmsg)) {
        each(message.subspan(NLMSG_HDRLEN + sizeof(nfgenmsg)));
        done |= (header.nlmsg_flags & NLM_F_MULTI) == 0;
      }
    });
  }
  if (error != 0) return Status::from_errno(error, "dump", "nf_tables");
  if (torn) {
    return Status::error(StatusCode::kUnavailable, "dump", "nf_tables", "changed meanwhile");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<NetlinkTransport>> open_netlink() {
  return Socket::open();
}

}  // namespace fairlead::nftables
