// The small texts of options: durations, numbers, lists, addresses with a port.
//
// A parser returns the reason why a text is bad as a clause that fits behind "name: "; it does not
// know whose text it is.
//
// Threads: pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/address.h"

namespace fairlead::proxy {

std::string_view trim(std::string_view text);  // ASCII space on both ends
std::string lower_case(std::string_view text);

// Go's duration syntax: "1h15m30.5s", "500ms", "-1.5h", "0". nullopt when it is malformed or does
// not fit 64 bits of nanoseconds.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);
// The way Go prints one: "1h0m0s", "1.5s", "250ms", "0s".
std::string format_duration(std::chrono::nanoseconds duration);

// The words that Go's tools take: 1, t, T, TRUE, true, True and their opposites.
std::optional<bool> parse_bool(std::string_view text);
// Decimal, octal (0, 0o), hexadecimal (0x) or binary (0b), with sign.
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);  // finite

// Comma-separated, as one record of CSV: an item may be quoted. "" has no items. nullopt when a
// quote is misplaced.
std::optional<std::vector<std::string>> parse_list(std::string_view text);

// "10.0.0.1:80", "[fd00::1]:80"; without a port (`10.0.0.1`, `fd00::1`, `[fd00::1]`) it is
// `default_port`.
std::optional<dataplane::SocketAddress> parse_bind_address(std::string_view text,
                                                           uint16_t default_port);

// The number of single-character edits between two words.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace fairlead::proxy
