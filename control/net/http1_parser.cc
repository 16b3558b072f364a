#include "control/net/http1_parser.h"

#include <algorithm>
#include <charconv>

#include "control/net/text.h"

namespace fairlead::net {
namespace {

constexpr size_t kMaxMethod = 32;
constexpr size_t kMaxChunkLine = 1024;  // a size and extensions nobody uses

}  // namespace

size_t Http1Parser::feed(std::string_view bytes) {
  size_t used = 0;
  while (used < bytes.size() && state_ < State::kComplete) {
    const std::string_view rest = bytes.substr(used);
    const bool in_body = state_ == State::kBody || state_ == State::kChunkData;
    used += in_body ? take_body(rest) : take_line(rest);
  }
  return used;
}

HttpRequest Http1Parser::take() {
  HttpRequest taken = std::move(request_);
  *this = Http1Parser(limits_);
  return taken;
}

void Http1Parser::fail(int status, std::string_view reason) {
  state_ = State::kFailed;
  error_status_ = status;
  error_reason_ = reason;
}

size_t Http1Parser::take_line(std::string_view bytes) {
  const size_t newline = bytes.find('\n');
  const size_t used = newline == std::string_view::npos ? bytes.size() : newline + 1;
  // Chunk lines are paid for by their data: only each one's length is bounded, not their sum.
  const bool chunk_line = state_ == State::kChunkSize || state_ == State::kChunkEnd;
  if (!chunk_line) head_bytes_ += used;
  if (head_bytes_ > limits_.max_head) {
    fail(431, "request head too large");
    return used;
  }
  if (chunk_line && line_.size() + used > kMaxChunkLine) {
    fail(400, "chunk line too long");
    return used;
  }
  if (newline == std::string_view::npos) {
    line_.append(bytes);
    return used;
  }
  std::string_view line = bytes.substr(0, used);
  std::string joined;
  if (!line_.empty()) {
    joined = std::move(line_);
    line_.clear();
    joined.append(line);
    line = joined;
  }
  if (!line.ends_with("\r\n")) {
    fail(400, "line does not end in CRLF");
    return used;
  }
  line.remove_suffix(2);
  on_line(line);
  return used;
}

void Http1Parser::on_line(std::string_view line) {
  switch (state_) {
    case State::kRequestLine:
      // Empty lines before a request are a courtesy to old clients (RFC 9112, 2.2).
      if (!line.empty()) on_request_line(line);
      return;
    case State::kHeaders:
      return line.empty() ? on_head_end() : on_header(line);
    case State::kChunkSize:
      return on_chunk_size(line);
    case State::kChunkEnd:
      if (!line.empty()) return fail(400, "chunk data is longer than its size");
      state_ = State::kChunkSize;
      return;
    case State::kTrailers:
      if (line.empty()) {
        state_ = State::kComplete;
      } else if (const size_t colon = line.find(':'); colon == std::string_view::npos ||
                                                      !is_token(line.substr(0, colon)) ||
                                                      !is_field_value(line.substr(colon + 1))) {
        fail(400, "malformed trailer");
      }
      return;
    default:
      return;
  }
}

void Http1Parser::on_request_line(std::string_view line) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return fail(400, "malformed request line");
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method) || method.size() > kMaxMethod) return fail(400, "malformed method");
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    return version.starts_with("HTTP/") ? fail(505, "HTTP version not supported")
                                        : fail(400, "malformed request line");
  }
  minor_version_ = version.back() - '0';
  if (method == "CONNECT") return fail(501, "CONNECT is not supported");
  const bool printable = std::all_of(target.begin(), target.end(), [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) != 0x7f;
  });
  if (!printable || !split_target(target, request_.path, request_.query)) {
    return fail(400, "malformed request target");
  }
  request_.method = method;
  state_ = State::kHeaders;
}

void Http1Parser::on_header(std::string_view line) {
  if (line.front() == ' ' || line.front() == '\t') return fail(400, "folded header");
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
    return fail(400, "malformed header name");
  }
  const std::string_view value = trim(line.substr(colon + 1));
  if (!is_field_value(value)) return fail(400, "control character in a header");
  if (request_.headers.size() == kMaxHeaders) return fail(431, "too many headers");
  request_.headers.emplace_back(to_lower(line.substr(0, colon)), std::string(value));
}

// Host, Content-Length and Transfer-Encoding: what decides where the request ends.
bool Http1Parser::read_framing_headers() {
  size_t hosts = 0;
  bool has_length = false;
  for (const auto& [name, value] : request_.headers) {
    if (name == "host") {
      ++hosts;
    } else if (name == "content-length") {
      const char* end = value.data() + value.size();
      const bool digits =
          std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
      const auto parsed = std::from_chars(value.data(), end, remaining_);
      if (has_length || !digits || parsed.ec != std::errc() || parsed.ptr != end) {
        fail(400, "malformed Content-Length");
        return false;
      }
      has_length = true;
    } else if (name == "transfer-encoding") {
      if (chunked_ || minor_version_ == 0 || !equals_ignoring_case(value, "chunked")) {
        fail(minor_version_ == 0 || chunked_ ? 400 : 501, "unsupported Transfer-Encoding");
        return false;
      }
      chunked_ = true;
    }
  }
  if (hosts > 1 || (hosts == 0 && minor_version_ == 1)) {
    fail(400, "a request needs exactly one Host header");
    return false;
  }
  if (has_length && chunked_) {
    fail(400, "both Content-Length and Transfer-Encoding");
    return false;
  }
  return true;
}

void Http1Parser::on_head_end() {
  if (!read_framing_headers()) return;
  keep_alive_ = minor_version_ == 1;
  for (const auto& [name, value] : request_.headers) {
    if (name == "connection") {
      bool close = false;
      bool keep = false;
      for_each_element(value, [&](std::string_view element) {
        close = close || equals_ignoring_case(element, "close");
        keep = keep || equals_ignoring_case(element, "keep-alive");
      });
      keep_alive_ = !close && (keep_alive_ || keep);
    } else if (name == "expect") {
      if (!equals_ignoring_case(value, "100-continue")) return fail(417, "unknown expectation");
      expects_continue_ = minor_version_ == 1;
    }
  }
  if (remaining_ > limits_.max_body) return fail(413, "request body too large");
  if (chunked_) {
    state_ = State::kChunkSize;
  } else {
    state_ = remaining_ > 0 ? State::kBody : State::kComplete;
  }
  expects_continue_ = expects_continue_ && state_ != State::kComplete;
}

void Http1Parser::on_chunk_size(std::string_view line) {
  const std::string_view digits = line.substr(0, line.find_first_of("; \t"));
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, remaining_, 16);
  const std::string_view extension = trim(line.substr(digits.size()));
  if (digits.empty() || parsed.ec != std::errc() || parsed.ptr != end ||
      !(extension.empty() || extension.front() == ';') || !is_field_value(extension)) {
    return fail(400, "malformed chunk size");
  }
  if (remaining_ > limits_.max_body - request_.body.size()) {
    return fail(413, "request body too large");
  }
  state_ = remaining_ > 0 ? State::kChunkData : State::kTrailers;
}

size_t Http1Parser::take_body(std::string_view bytes) {
  const size_t used = static_cast<size_t>(std::min<uint64_t>(remaining_, bytes.size()));
  request_.body.append(bytes.substr(0, used));
  remaining_ -= used;
  if (remaining_ == 0) state_ = chunked_ ? State::kChunkEnd : State::kComplete;
  return used;
}

}  // namespace fairlead::net
