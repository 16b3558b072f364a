#include "control/client/token_source.h"

#include <cerrno>
#include <utility>

#include "control/client/kubeconfig.h"

namespace fairlead::client {

namespace {

constexpr std::chrono::minutes kReadAgain{1};

// Trims white space around it; empty when what remains cannot stand in a header.
std::string clean(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  text = text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f') return {};
  }
  return std::string(text);
}

}  // namespace

bool TokenSource::changed(const struct stat& seen) const {
  return seen.st_mtim.tv_sec != seen_.st_mtim.tv_sec ||
         seen.st_mtim.tv_nsec != seen_.st_mtim.tv_nsec || seen.st_ino != seen_.st_ino ||
         seen.st_size != seen_.st_size;
}

const std::string& TokenSource::token(Clock::time_point now) {
  if (file_.empty()) return token_;
  struct stat seen {};
  if (::stat(file_.c_str(), &seen) != 0) {
    status_ = Status::from_errno(errno, "read token", file_);
    return token_;
  }
  const bool never_read = read_at_ == Clock::time_point();
  if (!never_read && now - read_at_ < kReadAgain && !changed(seen)) return token_;
  Result<std::string> content = read_whole_file(file_);
  if (!content.ok()) {
    status_ = content.status();
    return token_;
  }
  std::string cleaned = clean(content.value());
  if (cleaned.empty()) {
    status_ = Status::error(StatusCode::kInvalid, "read token", file_, "holds no token");
    return token_;
  }
  token_ = std::move(cleaned);
  status_ = Status();
  seen_ = seen;
  read_at_ = now;
  return token_;
}

}  // namespace fairlead::client
