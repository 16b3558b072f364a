#include "proxy/runtime/request_head.h"

#include <algorithm>

namespace fairlead::proxy {
namespace {

constexpr size_t kMaxMethod = 32;

bool is_token(char c) {
  constexpr std::string_view kSymbols = "!#$%&'*+-.^_`|~";
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
         kSymbols.find(c) != std::string_view::npos;
}

// "GET /path HTTP/1.1" -> true, and where the method ends.
bool is_request_line(std::string_view line, size_t& method_end) {
  method_end = line.find(' ');
  const size_t target_end = line.rfind(' ');
  if (method_end == std::string_view::npos || method_end == 0 || target_end <= method_end + 1) {
    return false;
  }
  const std::string_view version = line.substr(target_end + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return false;
  if (!std::all_of(line.begin(), line.begin() + static_cast<ptrdiff_t>(method_end), is_token)) {
    return false;
  }
  return std::all_of(line.begin() + static_cast<ptrdiff_t>(method_end) + 1,
                     line.begin() + static_cast<ptrdiff_t>(target_end), [](char c) {
                       const auto byte = static_cast<unsigned char>(c);
                       return byte > 0x20 && byte != 0x7f;
                     });
}

}  // namespace

HeadState read_request_head(std::string_view bytes) {
  // Junk is turned away before it has filled the buffer.
  const size_t first = std::min(bytes.find(' '), bytes.size());
  if (first > kMaxMethod ||
      !std::all_of(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(first), is_token)) {
    return HeadState::kBad;
  }
  const size_t end = bytes.find("\r\n\r\n");
  if (end == std::string_view::npos) {
    return bytes.size() >= kMaxRequestHead + 4 ? HeadState::kBad : HeadState::kIncomplete;
  }
  if (end > kMaxRequestHead) return HeadState::kBad;
  const std::string_view line = bytes.substr(0, bytes.find("\r\n"));
  size_t method_end = 0;
  if (!is_request_line(line, method_end)) return HeadState::kBad;
  const std::string_view method = line.substr(0, method_end);
  if (method == "GET") return HeadState::kGet;
  if (method == "HEAD") return HeadState::kHead;
  return HeadState::kOtherMethod;
}

}  // namespace fairlead::proxy
