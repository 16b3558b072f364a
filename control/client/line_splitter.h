// Cuts a byte stream into lines, with a bound on how long a line may be.
//
// A line that is whole inside one chunk is handed on without being copied. What follows the last
// line break waits for the next chunk and is dropped by reset(): half a line is never delivered.
//
// Threads: one owner.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fairlead::client {

class LineSplitter {
 public:
  explicit LineSplitter(size_t max_line) : max_line_(max_line) {}

  enum class Outcome { kMore, kStopped, kTooLong };

  // Calls line(view) -> bool for every line, without its line break; empty lines are left out.
  // false stops: the rest of the chunk is dropped.
  template <typename Line>
  Outcome feed(std::string_view bytes, Line&& line) {
    while (!bytes.empty()) {
      const size_t end = bytes.find('\n');
      const std::string_view part = bytes.substr(0, end);
      if (part.size() > max_line_ - partial_.size()) return Outcome::kTooLong;
      if (end == std::string_view::npos) {
        partial_.append(part);
        return Outcome::kMore;
      }
      bytes.remove_prefix(end + 1);
      if (partial_.empty()) {
        if (!part.empty() && !line(part)) return Outcome::kStopped;
        continue;
      }
      partial_.append(part);
      const bool more = line(std::string_view(partial_));
      forget();
      if (!more) return Outcome::kStopped;
    }
    return Outcome::kMore;
  }

  void reset() { forget(); }

 private:
  void forget();

  size_t max_line_;
  std::string partial_;
};

}  // namespace fairlead::client
