// Reads the head of an HTTP/1.x request, as far as a server needs it that answers every path alike.
//
// Threads: pure function.
#pragma once

#include <cstddef>
#include <string_view>

namespace fairlead::proxy {

enum class HeadState {
  kIncomplete,  // more bytes are needed
  kGet,         // a complete head
  kHead,
  kOtherMethod,  // complete, neither GET nor HEAD
  kBad,          // never going to be a request
};

inline constexpr size_t kMaxRequestHead = 8 << 10;

// `bytes`: everything received so far. kBad when it is longer than kMaxRequestHead without an end.
HeadState read_request_head(std::string_view bytes);

}  // namespace fairlead::proxy
