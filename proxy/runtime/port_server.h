// Many listening ports on one epoll, each request answered by one callback, `Connection: close`.
//
// Made for health checks: a port costs a file descriptor and no thread. A connection may send one
// request head of at most kMaxRequestHead bytes and must be done within the time limit; connections
// beyond the limit of their number are closed at once.
//
// Threads: one owner, which calls run_once() in a loop; wake() from any thread ends a wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "dataplane/address.h"
#include "proxy/runtime/request_head.h"

namespace fairlead::proxy {

struct PortServerOptions {
  size_t max_connections = 1024;
  std::chrono::milliseconds io_timeout{5000};
};

class PortServer {
 public:
  using PortId = uint64_t;
  // The whole response to a request on a port; `head` is never kIncomplete.
  using Answer = std::function<std::string(PortId port, HeadState head)>;

  static Result<PortServer> create(PortServerOptions options, Answer answer);

  // Listens on `port` of every address, or of all addresses of both families when there are none:
  // all or nothing. Precondition: `id` is not open.
  Status open(PortId id, std::span<const dataplane::Address> addresses, uint16_t port);
  void close(PortId id);  // connections that it has accepted are still answered
  void close_all();

  // Waits for something to do, at most until `until`, and does it.
  void run_once(std::optional<std::chrono::steady_clock::time_point> until);
  void wake();

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Listener {
    Fd fd;
    PortId id = 0;
  };
  struct Connection {
    Fd fd;
    PortId id = 0;
    uint64_t serial = 0;
    std::string received;
    std::string answer;  // empty until the head is complete
    size_t sent = 0;
  };
  struct Deadline {
    Time time;
    int fd = -1;
    uint64_t serial = 0;  // the fd may be another connection's by then
  };

  PortServer(PortServerOptions options, Answer answer)
      : options_(options), answer_(std::move(answer)) {}
  Status watch(int fd, uint32_t events);
  Status listen(PortId id, const dataplane::SocketAddress& address, bool both_families);
  void accept(Listener& listener);
  void serve(Connection& connection);
  bool receive(Connection& connection);
  bool send(Connection& connection);
  void expire(Time now);

  PortServerOptions options_;
  Answer answer_;
  Fd epoll_, wake_;
  Fd reserve_;  // given up for a moment when the process is out of descriptors
  std::unordered_map<int, Listener> listeners_;
  std::unordered_map<int, Connection> connections_;
  std::deque<Deadline> deadlines_;  // every connection has the same limit: in order
  uint64_t next_serial_ = 1;
};

}  // namespace fairlead::proxy
