// Logging: one line a message, to standard error, in text or JSON.
//
//   LOG_INFO("synced {} services in {} ms", count, ms);
//   LOG_V(2, "...");   only when --v is at least 2
//
// Threads: all functions from any thread. set_* before the threads start.
#pragma once

#include <fmt/core.h>

#include <string_view>

namespace fairlead::log {

enum class Level { kDebug, kInfo, kWarning, kError };
enum class Format { kText, kJson };

void set_format(Format format);
void set_verbosity(int verbosity);  // klog's -v; LOG_V(n) is written when n <= verbosity
int verbosity();

// Writes one line. Control characters in the text are escaped, so that hostile object names cannot
// forge lines.
void vwrite(Level level, fmt::string_view format, fmt::format_args args);

template <typename... Args>
void write(Level level, fmt::format_string<Args...> format, Args&&... args) {
  vwrite(level, fmt::string_view(format), fmt::make_format_args(args...));
}

}  // namespace fairlead::log

#define LOG_INFO(...) ::fairlead::log::write(::fairlead::log::Level::kInfo, __VA_ARGS__)
#define LOG_WARNING(...) ::fairlead::log::write(::fairlead::log::Level::kWarning, __VA_ARGS__)
#define LOG_ERROR(...) ::fairlead::log::write(::fairlead::log::Level::kError, __VA_ARGS__)
#define LOG_V(level, ...)                                                  \
  do {                                                                     \
    if ((level) <= ::fairlead::log::verbosity())                           \
      ::fairlead::log::write(::fairlead::log::Level::kDebug, __VA_ARGS__); \
  } while (false)
