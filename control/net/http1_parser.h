// An incremental parser of HTTP/1.0 and HTTP/1.1 requests (RFC 9112). Does no I/O.
//
// Strict where leniency lets two parsers disagree about where a request ends: lines end in CRLF, no
// folded headers, one Content-Length, never together with Transfer-Encoding, "chunked" and nothing
// else as a coding. How the bytes were cut into pieces never changes the result.
//
// Threads: one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "control/net/server.h"

namespace fairlead::net {

class Http1Parser {
 public:
  struct Limits {
    size_t max_head = size_t{64} << 10;
    size_t max_body = size_t{3} << 20;
  };

  explicit Http1Parser(Limits limits) : limits_(limits) {}

  // Takes bytes up to the end of one request and says how many. Takes none once complete() or
  // failed().
  size_t feed(std::string_view bytes);

  bool started() const { return head_bytes_ > 0; }
  bool head_complete() const { return state_ >= State::kBody && state_ != State::kFailed; }
  // Of the request that is being read.
  size_t held_bytes() const { return head_bytes_ + request_.body.size(); }
  bool complete() const { return state_ == State::kComplete; }
  bool failed() const { return state_ == State::kFailed; }

  // When failed(): the HTTP status to answer with, and why. The connection must end after that.
  int error_status() const { return error_status_; }
  const std::string& error_reason() const { return error_reason_; }

  // Once head_complete():
  bool keep_alive() const { return keep_alive_; }
  bool http_1_0() const { return minor_version_ == 0; }
  // The client waits for "100 Continue" before it sends its body.
  bool expects_continue() const { return expects_continue_; }

  // Precondition: complete(). Ready for the next request afterwards.
  HttpRequest take();

 private:
  enum class State {
    kRequestLine,
    kHeaders,
    kBody,
    kChunkSize,
    kChunkData,
    kChunkEnd,
    kTrailers,
    kComplete,
    kFailed
  };

  size_t take_line(std::string_view bytes);
  size_t take_body(std::string_view bytes);
  void on_line(std::string_view line);
  void on_request_line(std::string_view line);
  void on_header(std::string_view line);
  void on_head_end();
  void on_chunk_size(std::string_view line);
  bool read_framing_headers();
  void fail(int status, std::string_view reason);

  Limits limits_;
  State state_ = State::kRequestLine;
  HttpRequest request_;
  std::string line_;        // of the current line what earlier pieces held
  size_t head_bytes_ = 0;   // of head, chunk lines and trailers: all bounded by max_head together
  uint64_t remaining_ = 0;  // of the body or the chunk
  bool chunked_ = false;
  int minor_version_ = 1;
  bool keep_alive_ = true;
  bool expects_continue_ = false;
  int error_status_ = 0;
  std::string error_reason_;
};

}  // namespace fairlead::net
