#include "tests/unit/proxy_runtime/http_get.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstdlib>

namespace fairlead::proxy {

Fd connect_to(uint16_t port, const std::string& host) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return Fd();
  Fd fd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // A server that never answers fails the test instead of hanging it.
  const timeval limit{20, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  const bool connected = ::connect(fd.get(), found->ai_addr, found->ai_addrlen) == 0;
  ::freeaddrinfo(found);
  return connected ? std::move(fd) : Fd();
}

HttpReply send_and_read(uint16_t port, std::string_view bytes, const std::string& host) {
  const Fd fd = connect_to(port, host);
  HttpReply reply;
  if (!fd.valid() || ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) return reply;
  std::string all;
  char chunk[4096];
  ssize_t size = 0;
  while ((size = ::recv(fd.get(), chunk, sizeof chunk, 0)) > 0) {
    all.append(chunk, static_cast<size_t>(size));
  }
  const size_t end = all.find("\r\n\r\n");
  if (end == std::string::npos || all.size() < 12) return reply;
  reply.status = std::atoi(all.c_str() + 9);
  reply.head = all.substr(0, end + 2);
  reply.body = all.substr(end + 4);
  return reply;
}

HttpReply http_get(uint16_t port, std::string_view path, const std::string& host,
                   std::string_view method) {
  return send_and_read(port,
                       std::string(method) + " " + std::string(path) +
                           " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
                       host);
}

Fd occupy_port(uint16_t& port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::listen(fd.get(), 8) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return Fd();
  }
  port = ntohs(address.sin_port);
  return fd;
}

uint16_t free_port() {
  uint16_t port = 0;
  occupy_port(port).reset();
  return port;
}

}  // namespace fairlead::proxy
