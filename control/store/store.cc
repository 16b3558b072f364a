#include "control/store/store.h"

#include <fmt/core.h>

namespace fairlead::store {

std::string prefix_end(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && end.back() == '\xff') end.pop_back();
  if (end.empty()) return std::string(kNoEnd);
  end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

std::string key_after(std::string_view key) {
  std::string next(key);
  next.push_back('\0');
  return next;
}

Status check_write(std::string_view key, std::string_view value) {
  if (key.empty()) return Status::error(StatusCode::kInvalid, "write", "key", "is empty");
  if (key.size() > kMaxKeyBytes) {
    return Status::error(
        StatusCode::kInvalid, "write", fmt::format("key {}...", key.substr(0, 64)),
        fmt::format("has {} bytes, more than the limit of {}", key.size(), kMaxKeyBytes));
  }
  if (value.size() > kMaxValueBytes) {
    return Status::error(StatusCode::kInvalid, "write", key,
                         fmt::format("a value of {} bytes is more than the limit of {}",
                                     value.size(), kMaxValueBytes));
  }
  return {};
}

Status check_ttl(std::chrono::seconds ttl) {
  if (ttl.count() >= 1 && ttl <= kMaxTtl) return {};
  return Status::error(
      StatusCode::kInvalid, "grant", "lease",
      fmt::format("a time to live of {} s is not in 1 ... {}", ttl.count(), kMaxTtl.count()));
}

}  // namespace fairlead::store
