// Addresses as text, as the kernel wants them, and back.
//
// Threads: pure functions.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace fairlead::harness {

struct KernelAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }

  std::string host() const;  // "" when it is neither IPv4 nor IPv6
  uint16_t port() const;
};

// Precondition: `host` is an IPv4 or IPv6 address; anything else gives length 0.
KernelAddress kernel_address(std::string_view host, uint16_t port);

// "10.0.0.1:80", "[fd00::1]:80".
std::string host_and_port(std::string_view host, uint16_t port);

// The same address in the spelling that the kernel prints.
std::string canonical_host(std::string_view host);

}  // namespace fairlead::harness
