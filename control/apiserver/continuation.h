// The "continue" of a list: at which revision it goes on, and behind which key.
//
// The key is relative to what is listed, so that no token leads out of it.
//
// Threads: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "control/store/store.h"

namespace fairlead::apiserver {

struct Continuation {
  store::Revision revision = 0;
  std::string last;
};

std::string encode_continuation(store::Revision revision, std::string_view last);
// Empty when it is none of ours.
std::optional<Continuation> decode_continuation(std::string_view text);

}  // namespace fairlead::apiserver
