// One HTTP/2 request and the body of its answer, between nghttp2's call-backs and an Exchange.
//
// Threads: io thread only.
#pragma once

#include <nghttp2/nghttp2.h>

#include <deque>
#include <memory>
#include <string_view>

#include "control/net/connection.h"

namespace fairlead::net {

struct Http2Stream {
  explicit Http2Stream(IncompleteRequests& all) : incomplete(all) {}

  HttpRequest request;
  std::string_view refusal;  // not empty: the request is bad and this is why
  int refusal_status = 400;
  size_t header_bytes = 0;
  bool expects_continue = false;
  bool request_complete = false;  // the peer has sent its end
  bool dispatched = false;
  const Clock::time_point begun = Clock::now();
  IncompleteBytes incomplete;  // until dispatch
  size_t discarded = 0;        // of a body that came after the answer

  std::shared_ptr<Exchange> exchange;  // since dispatch
  std::deque<Buffer> body;
  size_t offset = 0;  // in body.front()
  bool finished = false;
  bool aborted = false;
  bool deferred = false;  // nghttp2 waits until told that there is more
  bool head_request = false;
  Clock::time_point last_progress = Clock::now();

  // Takes one request header; notes a refusal when it cannot be accepted.
  void add_header(std::string_view name, std::string_view value, size_t max_head);
  // Notes a refusal when all requests on their way are too much.
  void account();
  void add_body(std::string_view bytes, size_t max_body);

  // nghttp2's data source: fills `out`, or defers, or ends.
  ssize_t read_body(uint8_t* out, size_t room, uint32_t* flags);
};

}  // namespace fairlead::net
