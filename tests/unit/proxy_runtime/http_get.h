// A blocking HTTP/1.1 request to a loopback port, for tests.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace fairlead::proxy {

struct HttpReply {
  int status = 0;    // 0: no answer
  std::string head;  // status line and headers
  std::string body;
};

// `host` is a numeric address.
Fd connect_to(uint16_t port, const std::string& host = "127.0.0.1");
// Sends `bytes` and reads until the peer closes.
HttpReply send_and_read(uint16_t port, std::string_view bytes,
                        const std::string& host = "127.0.0.1");
HttpReply http_get(uint16_t port, std::string_view path, const std::string& host = "127.0.0.1",
                   std::string_view method = "GET");

// A listening socket on 127.0.0.1, to keep a port from others; the port is written to `port`.
Fd occupy_port(uint16_t& port);
// A port that nobody had a moment ago.
uint16_t free_port();

}  // namespace fairlead::proxy
