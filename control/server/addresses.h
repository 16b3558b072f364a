// Where this server can be reached: the machine's addresses and names.
//
// Threads: pure functions but for asking the system.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead::server {

// Of the interfaces that are up; loopback and link-local ones left out.
std::vector<std::string> host_addresses();
std::string host_name();

bool is_ipv6(std::string_view address);
// "10.0.0.1:6443", "[::1]:6443"
std::string host_port(std::string_view address, uint16_t port);

}  // namespace fairlead::server
