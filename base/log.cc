#include "base/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <iterator>

namespace fairlead::log {
namespace {

std::atomic<int> g_verbosity{0};
std::atomic<Format> g_format{Format::kText};

std::string_view name_of(Level level) {
  switch (level) {
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarning:
      return "warning";
    case Level::kError:
      return "error";
  }
  return "info";
}

void append_escaped(fmt::memory_buffer& out, std::string_view text, bool quote) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out.append(std::string_view("\\n"));
    } else if (quote && (c == '"' || c == '\\')) {
      out.push_back('\\');
      out.push_back(c);
    } else if (byte < 0x20 || byte == 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
    } else {
      out.push_back(c);
    }
  }
}

}  // namespace

void set_format(Format format) {
  g_format = format;
}
void set_verbosity(int verbosity) {
  g_verbosity = verbosity;
}
int verbosity() {
  return g_verbosity.load(std::memory_order_relaxed);
}

void vwrite(Level level, fmt::string_view format, fmt::format_args args) {
  fmt::memory_buffer text;
  fmt::vformat_to(std::back_inserter(text), format, args);
  const std::string_view body(text.data(), text.size());

  const auto now = std::chrono::system_clock::now();
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() %
      1000000;
  fmt::memory_buffer line;
  const auto out = std::back_inserter(line);
  const std::tm utc = fmt::gmtime(std::chrono::system_clock::to_time_t(now));
  if (g_format.load(std::memory_order_relaxed) == Format::kJson) {
    fmt::format_to(out, R"({{"ts":"{:%Y-%m-%dT%H:%M:%S}.{:06}Z","level":"{}","msg":")", utc, micros,
                   name_of(level));
    append_escaped(line, body, true);
    line.append(std::string_view("\"}\n"));
  } else {
    fmt::format_to(out, "{:%Y-%m-%dT%H:%M:%S}.{:06}Z {:<7} ", utc, micros, name_of(level));
    append_escaped(line, body, false);
    line.push_back('\n');
  }
  // One write(2) a line: lines of different threads never mix.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace fairlead::log
