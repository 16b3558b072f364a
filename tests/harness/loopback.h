// Sockets on 127.0.0.1, for programs that a test or a benchmark has started.
//
// Threads: pure functions.
#pragma once

#include <netinet/in.h>

#include <cstdint>

#include "base/fd.h"

namespace fairlead::harness {

sockaddr_in loopback(uint16_t port);
// Invalid when nobody listens there.
Fd connect_loopback(uint16_t port);
// One that nobody has now.
uint16_t free_loopback_port();

}  // namespace fairlead::harness
