#include "control/net/http2_stream.h"

#include <algorithm>
#include <cstring>

#include "control/net/text.h"

namespace fairlead::net {

void Http2Stream::add_header(std::string_view name, std::string_view value, size_t max_head) {
  header_bytes += name.size() + value.size() + 32;  // as RFC 9113, 6.5.2 counts
  if (header_bytes > max_head || request.headers.size() == kMaxHeaders) {
    refusal = "request head too large";
    refusal_status = 431;
    return;
  }
  if (name == ":method") {
    request.method = value;
    head_request = value == "HEAD";
    if (value == "CONNECT") {
      refusal = "CONNECT is not supported";
      refusal_status = 501;
    }
  } else if (name == ":path") {
    if (!split_target(value, request.path, request.query)) refusal = "malformed request target";
  } else if (name == ":authority") {
    request.headers.emplace_back("host", value);
  } else if (!name.starts_with(':')) {
    if (name == "host" && request.header("host") != nullptr) return;  // :authority came first
    if (name == "expect") expects_continue = equals_ignoring_case(value, "100-continue");
    request.headers.emplace_back(name, value);
  }
}

void Http2Stream::add_body(std::string_view bytes, size_t max_body) {
  last_progress = Clock::now();
  if (dispatched) discarded += bytes.size();
  if (!refusal.empty() || dispatched) return;
  if (request.body.size() + bytes.size() > max_body) {
    request.body = std::string();
    refusal = "request body too large";
    refusal_status = 413;
    return;
  }
  request.body.append(bytes);
  account();
}

void Http2Stream::account() {
  if (dispatched || !refusal.empty() || incomplete.set(header_bytes + request.body.size())) return;
  request.body = std::string();
  refusal = kTooMuchIncomplete;
  refusal_status = kOverloaded;
}

ssize_t Http2Stream::read_body(uint8_t* out, size_t room, uint32_t* flags) {
  size_t filled = 0;
  while (filled < room && !body.empty()) {
    const std::string& bytes = *body.front();
    const size_t piece = std::min(room - filled, bytes.size() - offset);
    std::memcpy(out + filled, bytes.data() + offset, piece);
    filled += piece;
    offset += piece;
    if (offset == bytes.size()) {
      body.pop_front();
      offset = 0;
    }
  }
  if (filled > 0) {
    last_progress = Clock::now();
    if (exchange) exchange->sent(filled);
  }
  if (body.empty() && finished) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
  } else if (filled == 0) {
    if (aborted) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // resets the stream
    deferred = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  return static_cast<ssize_t>(filled);
}

}  // namespace fairlead::net
