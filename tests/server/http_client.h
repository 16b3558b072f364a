// One blocking connection of HTTP/1.1 to a server on loopback, and a watch on such a connection.
//
// Threads: one owner each.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "control/schema/json_text.h"

namespace fairlead::server_test {

struct Answer {
  int status = 0;
  std::string head;
  std::string body;

  // The body as a document; null when it is none.
  schema::Document json() const;
  // "404 NotFound" of a Status; the code alone where the body is none.
  std::string verdict() const;
};

class HttpClient {
 public:
  explicit HttpClient(uint16_t port);

  // Nothing when the server is not there, or went before the answer was complete.
  std::optional<Answer> send(std::string_view method, std::string_view path,
                             std::string_view body = {},
                             std::string_view content_type = "application/json");
  // The pieces of which send() is made.
  bool send_bytes(std::string_view bytes);
  std::optional<Answer> read_answer();
  // Bytes of the peer; nothing at its end, or when none came in time.
  std::optional<std::string> read_some(std::chrono::milliseconds at_most);
  int fd() const { return fd_.get(); }

 private:
  friend class WatchClient;
  bool fill();
  std::optional<Answer> read_head();

  Fd fd_;
  std::string buffer_;
};

class WatchClient {
 public:
  // `status()` is 200 when it has begun.
  WatchClient(uint16_t port, std::string_view path);

  int status() const { return status_; }
  // The next line. Nothing when the stream has ended or nothing came in time; ended() tells which.
  std::optional<std::string> next(std::chrono::milliseconds at_most);
  bool ended() const { return ended_; }

 private:
  HttpClient client_;
  std::string text_;  // without chunks' frames
  int status_ = 0;
  bool ended_ = false;
};

}  // namespace fairlead::server_test
