// The bearer token to send: fixed, or from a file that is replaced from time to time.
//
// The file is looked at for every request and read when it has changed, and at least once a minute.
// When it cannot be read, the last token goes on serving: the file may be in the middle of being
// replaced.
//
// Threads: one owner.
#pragma once

#include <sys/stat.h>

#include <chrono>
#include <string>

#include "base/status.h"

namespace fairlead::client {

class TokenSource {
 public:
  using Clock = std::chrono::steady_clock;

  // `token` is used when there is no file or nothing could be read from it yet.
  TokenSource(std::string token, std::string file)
      : token_(std::move(token)), file_(std::move(file)) {}

  // Empty: send no token.
  const std::string& token(Clock::time_point now);
  // The server refused the token: read the file again at the next call, whatever it looks like.
  void refused() { read_at_ = {}; }

  // Why the file could not be read at the last look; ok otherwise.
  const Status& status() const { return status_; }

 private:
  bool changed(const struct stat& seen) const;

  std::string token_;
  std::string file_;
  Status status_;
  struct stat seen_ {};
  Clock::time_point read_at_{};
};

}  // namespace fairlead::client
