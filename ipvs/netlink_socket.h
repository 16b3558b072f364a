// A netlink socket of libnl with what IPVS and rtnetlink need of it: many requests in one system
// call with an answer to each that failed, and dumps.
//
// For this folder's sources only: brings libnl's headers along.
//
// Threads: one owner. The socket belongs to the network namespace of the thread that opened it.
#pragma once

#include <netlink/msg.h>
#include <netlink/socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/status.h"

namespace fairlead::ipvs {

struct MessageDeleter {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};
using MessagePointer = std::unique_ptr<nl_msg, MessageDeleter>;
inline constexpr size_t kMessageSize = 512;  // the largest request has some 200 bytes

class NetlinkSocket {
 public:
  // `what` is for messages. `groups`: multicast groups (RTNLGRP_*) to subscribe to.
  static Result<NetlinkSocket> open(int protocol, std::string what,
                                    const std::vector<int>& groups = {});

  nl_sock* get() const { return socket_.get(); }
  int fd() const { return nl_socket_get_fd(socket_.get()); }

  // Sends `count` requests that `build` makes, one by one (each with its headers; NLM_F_REQUEST and
  // sequence numbers are set here), in as few system calls as the socket has room for. The errno of
  // each that the kernel refused, as (index, errno).
  using Build = std::function<MessagePointer(size_t index)>;
  Result<std::vector<std::pair<size_t, int>>> transact(size_t count, const Build& build);

  // Sends a request and calls `each` for every answer: a dump of everything, or what `get` asks of
  // one thing.
  Status dump(MessagePointer request, const std::function<void(const nlmsghdr&)>& each) {
    return ask(std::move(request), NLM_F_DUMP, each);
  }
  Status get(MessagePointer request, const std::function<void(const nlmsghdr&)>& each) {
    return ask(std::move(request), NLM_F_ACK, each);
  }

  // What waits in a subscribed socket, without blocking. True: messages were lost.
  Result<bool> poll(const std::function<void(const nlmsghdr&)>& each);

 private:
  struct SocketDeleter {
    void operator()(nl_sock* socket) const { nl_socket_free(socket); }
  };

  explicit NetlinkSocket(std::string what) : what_(std::move(what)) {}
  Status failure(int nl_error, const char* operation) const;
  // Sends what is in `bytes`, whose messages are numbered from `first` on, and reads the answers.
  Status send_batch(const std::vector<uint8_t>& bytes, uint32_t first_sequence, size_t first,
                    size_t count, std::vector<std::pair<size_t, int>>& failures);
  Status ask(MessagePointer request, uint16_t flags,
             const std::function<void(const nlmsghdr&)>& each);
  // One datagram; empty: there is none (`wait` false).
  Result<std::vector<uint8_t>> receive(bool wait);

  std::unique_ptr<nl_sock, SocketDeleter> socket_;
  std::string what_;
  uint32_t sequence_ = 0;
};

}  // namespace fairlead::ipvs
