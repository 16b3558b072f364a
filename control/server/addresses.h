// Where this server can be reached: the machine's addresses and names.
//
// Threads: pure functions but for asking the system.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::server {

// Of the interfaces that are up; loopback and link-local ones left out.
std::vector<std::string> host_addresses();
std::string host_name();

// The first address of a range that services use: that of the service `kubernetes`.
// "10.96.0.0/16" to "10.96.0.1".
Result<std::string> first_service_address(std::string_view range);

bool is_ipv6(std::string_view address);
// "10.0.0.1:6443", "[::1]:6443"
std::string host_port(std::string_view address, uint16_t port);

}  // namespace fairlead::server
