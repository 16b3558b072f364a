// The scalars that JSON spells as strings: times and durations.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fairlead::schema {

// "2006-01-02T15:04:05Z"; control/api has the parser, and the form with microseconds.
std::string format_time(int64_t seconds);

// Go's time.Duration in nanoseconds: "1h30m", "-1.5s", "0".
std::optional<int64_t> parse_duration(std::string_view text);
std::string format_duration(int64_t nanoseconds);
// The age of an object as tables print it: "5m10s", "3d4h", "2y19d".
std::string human_duration(int64_t seconds);

}  // namespace fairlead::schema
