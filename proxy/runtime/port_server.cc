#include "proxy/runtime/port_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace fairlead::proxy {
namespace {

constexpr int kBacklog = 128;

socklen_t to_sockaddr(const dataplane::SocketAddress& from, sockaddr_storage& to) {
  std::memset(&to, 0, sizeof to);
  const auto bytes = from.address.bytes();
  if (from.address.is_v4()) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(to);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(from.port);
    std::memcpy(&v4.sin_addr, bytes.data(), bytes.size());
    return sizeof v4;
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(to);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(from.port);
  std::memcpy(&v6.sin6_addr, bytes.data(), bytes.size());
  return sizeof v6;
}

bool no_ipv6(const Status& status) {
  return status.system_errno() == EAFNOSUPPORT || status.system_errno() == EADDRNOTAVAIL;
}

Fd open_reserve() {
  return Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

}  // namespace

Result<PortServer> PortServer::create(PortServerOptions options, Answer answer) {
  PortServer server(options, std::move(answer));
  server.epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!server.epoll_.valid()) return Status::from_errno(errno, "create", "an epoll instance");
  server.wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!server.wake_.valid()) return Status::from_errno(errno, "create", "an eventfd");
  server.reserve_ = open_reserve();
  RETURN_IF_ERROR(server.watch(server.wake_.get(), EPOLLIN));
  return server;
}

Status PortServer::watch(int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return Status::from_errno(errno, "watch", "a socket");
  }
  return Status();
}

Status PortServer::open(PortId id, std::span<const dataplane::Address> addresses, uint16_t port) {
  Status status;
  if (addresses.empty()) {
    status = listen(id, {dataplane::Address::v6({}), port}, true);
    if (no_ipv6(status)) status = listen(id, {dataplane::Address(), port}, false);
  }
  for (const dataplane::Address& address : addresses) {
    if (status.ok()) status = listen(id, {address, port}, false);
  }
  if (!status.ok()) close(id);
  return status;
}

Status PortServer::listen(PortId id, const dataplane::SocketAddress& address, bool both_families) {
  sockaddr_storage name;
  const socklen_t size = to_sockaddr(address, name);
  Fd fd(::socket(name.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto failed = [&] { return Status::from_errno(errno, "listen on", address.to_string()); };
  if (!fd.valid()) return failed();
  const int on = 1;
  const int only_v6 = both_families ? 0 : 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (name.ss_family == AF_INET6 &&
      ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof only_v6) != 0) {
    return failed();
  }
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), size) != 0) return failed();
  if (::listen(fd.get(), kBacklog) != 0) return failed();
  RETURN_IF_ERROR(watch(fd.get(), EPOLLIN));
  const int number = fd.get();
  listeners_.emplace(number, Listener{std::move(fd), id});
  return Status();
}

void PortServer::close(PortId id) {
  std::erase_if(listeners_, [id](const auto& entry) { return entry.second.id == id; });
}

void PortServer::close_all() {
  listeners_.clear();
  connections_.clear();
  deadlines_.clear();
}

void PortServer::wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

void PortServer::run_once(std::optional<Time> until) {
  if (!deadlines_.empty()) until = std::min(until.value_or(Time::max()), deadlines_.front().time);
  int timeout = -1;
  if (until) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(*until - std::chrono::steady_clock::now());
    timeout = static_cast<int>(std::clamp<int64_t>(left.count(), 0, 3'600'000));
  }
  std::array<epoll_event, 64> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), timeout);
  for (int i = 0; i < count; ++i) {
    const int fd = events[static_cast<size_t>(i)].data.fd;
    if (fd == wake_.get()) {
      uint64_t ignored = 0;
      [[maybe_unused]] const ssize_t read = ::read(fd, &ignored, sizeof ignored);
    } else if (const auto listener = listeners_.find(fd); listener != listeners_.end()) {
      accept(listener->second);
    } else if (const auto found = connections_.find(fd); found != connections_.end()) {
      serve(found->second);
    }
  }
  expire(std::chrono::steady_clock::now());
}

void PortServer::accept(Listener& listener) {
  constexpr int kAtOnce = 64;
  for (int i = 0; i < kAtOnce; ++i) {
    Fd fd(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) {
      if (errno == EMFILE || errno == ENFILE) {
        // Turn the caller away; otherwise the waiting connection would wake us for ever.
        reserve_.reset();
        Fd(::accept(listener.fd.get(), nullptr, nullptr)).reset();
        reserve_ = open_reserve();
      }
      return;
    }
    if (connections_.size() >= options_.max_connections) continue;
    const int number = fd.get();
    if (!watch(number, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET).ok()) continue;
    const uint64_t serial = next_serial_++;
    connections_[number] = Connection{std::move(fd), listener.id, serial, "", "", 0};
    deadlines_.push_back({std::chrono::steady_clock::now() + options_.io_timeout, number, serial});
  }
}

void PortServer::serve(Connection& connection) {
  if (!receive(connection) || !send(connection)) connections_.erase(connection.fd.get());
}

// Reads what there is. False when the connection is over.
bool PortServer::receive(Connection& connection) {
  std::array<char, 2048> chunk;
  while (true) {
    const ssize_t size = ::recv(connection.fd.get(), chunk.data(), chunk.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    if (size == 0) {
      // The peer may have closed only its half; it still gets what is on its way.
      return !connection.answer.empty() && connection.sent < connection.answer.size();
    }
    if (!connection.answer.empty()) continue;  // whatever follows the head is of no interest
    connection.received.append(chunk.data(), static_cast<size_t>(size));
    const HeadState state = read_request_head(connection.received);
    if (state == HeadState::kIncomplete) continue;
    connection.answer = answer_(connection.id, state);
    connection.received.clear();
    if (!send(connection)) return false;
  }
}

// Writes what can be written. False when the connection is broken.
bool PortServer::send(Connection& connection) {
  const bool something = connection.sent < connection.answer.size();
  while (connection.sent < connection.answer.size()) {
    const ssize_t size = ::send(connection.fd.get(), connection.answer.data() + connection.sent,
                                connection.answer.size() - connection.sent, MSG_NOSIGNAL);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    connection.sent += static_cast<size_t>(size);
  }
  // Not closed yet: closing with bytes unread would reset the connection and lose the answer.
  if (something) ::shutdown(connection.fd.get(), SHUT_WR);
  return true;
}

void PortServer::expire(Time now) {
  while (!deadlines_.empty() && deadlines_.front().time <= now) {
    const auto found = connections_.find(deadlines_.front().fd);
    if (found != connections_.end() && found->second.serial == deadlines_.front().serial) {
      connections_.erase(found);
    }
    deadlines_.pop_front();
  }
}

}  // namespace fairlead::proxy
