#include "tests/harness/endpoints.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "tests/harness/socket_address.h"

namespace fairlead::harness {
namespace {

using dataplane::Protocol;

// A socket that the thread polls: a listener, a UDP socket or an accepted connection.
struct Served {
  Fd socket;
  std::string name;
  bool listens = false;
  bool datagrams = false;
  KernelAddress peer;   // of a connection
  KernelAddress local;  // not the translated one: what the endpoint itself sees
};

std::string answer_line(const Served& served, const KernelAddress& peer) {
  return served.name + " " + peer.host() + " " + std::to_string(peer.port()) + " " +
         served.local.host() + " " + std::to_string(served.local.port()) + "\n";
}

KernelAddress local_address(int socket) {
  KernelAddress address;
  address.length = sizeof address.storage;
  ::getsockname(socket, address.get(), &address.length);
  return address;
}

}  // namespace

struct EchoServers::State {
  Fd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  Fd stop{::eventfd(0, EFD_CLOEXEC)};
  std::mutex mutex;  // guards `served`; its elements belong to the thread once they are in epoll
  std::vector<std::unique_ptr<Served>> listeners;
  std::set<std::unique_ptr<Served>> connections;  // the thread's own
  std::thread thread;

  ~State() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(stop.get(), &one, sizeof one);
    if (thread.joinable()) thread.join();
  }

  void watch(Served* served) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = served;
    ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, served->socket.get(), &event);
  }

  void accept_all(const Served& listener) {
    for (;;) {
      auto connection = std::make_unique<Served>();
      KernelAddress& peer = connection->peer;
      peer.length = sizeof peer.storage;
      connection->socket.reset(
          ::accept4(listener.socket.get(), peer.get(), &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!connection->socket.valid()) return;
      connection->name = listener.name;
      connection->local = local_address(connection->socket.get());
      if (say(*connection)) {
        watch(connection.get());
        connections.insert(std::move(connection));
      }
    }
  }

  static bool say(const Served& connection) {
    const std::string line = answer_line(connection, connection.peer);
    return ::send(connection.socket.get(), line.data(), line.size(), MSG_NOSIGNAL) > 0;
  }

  static void answer_datagrams(const Served& served) {
    for (;;) {
      char buffer[2048];
      KernelAddress peer;
      peer.length = sizeof peer.storage;
      const ssize_t count =
          ::recvfrom(served.socket.get(), buffer, sizeof buffer, 0, peer.get(), &peer.length);
      // An ICMP error that an earlier answer drew is reported here once; the socket goes on.
      if (count < 0 && errno != EAGAIN && errno != EBADF) continue;
      if (count < 0) return;
      const std::string line = answer_line(served, peer);
      ::sendto(served.socket.get(), line.data(), line.size(), 0, peer.get(), peer.length);
    }
  }

  // False when the connection is over.
  static bool answer_lines(const Served& connection) {
    char buffer[2048];
    const ssize_t count = ::recv(connection.socket.get(), buffer, sizeof buffer, 0);
    if (count < 0) return errno == EAGAIN;
    if (count == 0) return false;
    for (auto lines = std::count(buffer, buffer + count, '\n'); lines > 0; --lines) {
      if (!say(connection)) return false;
    }
    return true;
  }

  void drop(const Served* connection) {
    const auto found = std::find_if(connections.begin(), connections.end(),
                                    [&](const auto& each) { return each.get() == connection; });
    if (found == connections.end()) return;
    // Closing alone does not end the watch while a child of this process, on its way to exec, has a
    // copy.
    ::epoll_ctl(epoll.get(), EPOLL_CTL_DEL, connection->socket.get(), nullptr);
    connections.erase(found);
  }

  void serve() {
    std::array<epoll_event, 64> events;
    for (;;) {
      const int count = ::epoll_wait(epoll.get(), events.data(), events.size(), -1);
      for (int i = 0; i < count; ++i) {
        const auto* served = static_cast<const Served*>(events[static_cast<size_t>(i)].data.ptr);
        if (served == nullptr) return;  // the stop event
        if (served->listens) {
          accept_all(*served);
        } else if (served->datagrams) {
          answer_datagrams(*served);
        } else if (!answer_lines(*served)) {
          drop(served);
        }
      }
    }
  }
};

EchoServers::EchoServers(std::unique_ptr<State> state) : state_(std::move(state)) {}
EchoServers::~EchoServers() = default;

Result<std::unique_ptr<EchoServers>> EchoServers::start() {
  auto state = std::make_unique<State>();
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  if (::epoll_ctl(state->epoll.get(), EPOLL_CTL_ADD, state->stop.get(), &event) != 0) {
    return Status::from_errno(errno, "watch", "echo servers");
  }
  state->thread = std::thread([state = state.get()] { state->serve(); });
  return std::unique_ptr<EchoServers>(new EchoServers(std::move(state)));
}

Status EchoServers::listen(Namespace& where, std::string name, Protocol protocol,
                           std::string_view address, uint16_t port) {
  auto served = std::make_unique<Served>();
  served->datagrams = protocol == Protocol::kUdp;
  served->listens = !served->datagrams;
  served->local = kernel_address(address, port);
  served->name = std::move(name);
  const std::string object = where.name() + " " + host_and_port(address, port);
  const Status bound = where.run([&]() -> Status {
    const int type = served->datagrams ? SOCK_DGRAM : SOCK_STREAM;
    Fd& socket = served->socket;
    socket.reset(::socket(served->local.family(), type | SOCK_NONBLOCK | SOCK_CLOEXEC,
                          static_cast<int>(protocol)));
    if (!socket.valid()) return Status::from_errno(errno, "create socket", object);
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(socket.get(), served->local.get(), served->local.length) != 0) {
      return Status::from_errno(errno, "bind", object);
    }
    if (served->listens && ::listen(socket.get(), 1024) != 0) {
      return Status::from_errno(errno, "listen", object);
    }
    return {};
  });
  RETURN_IF_ERROR(bound);
  const std::lock_guard lock(state_->mutex);
  state_->watch(served.get());
  state_->listeners.push_back(std::move(served));
  return {};
}

}  // namespace fairlead::harness
