// The small text rules of HTTP that both protocol versions share.
//
// Threads: pure functions (http_date() keeps its last answer per thread).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead::net {

inline constexpr size_t kMaxHeaders = 256;  // of a request; with more it is refused (431)

// Decodes %XX. nullopt when an escape is malformed or decodes to NUL. `plus_is_space` as in
// queries.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space);

// Splits a request target into a decoded path and the raw query. Takes the origin form ("/a?b"),
// the absolute form ("http://host/a?b") and "*"; false for anything else.
bool split_target(std::string_view target, std::string& path, std::string& query);

// The values of `name` in a raw query, percent-decoded; a malformed one is empty.
std::vector<std::string> query_values(std::string_view query, std::string_view name);
// The first of them; empty when there is none. `found` may be null.
std::string query_value(std::string_view query, std::string_view name, bool* found = nullptr);

std::string_view status_reason(int status);  // "Not Found"; "Unknown" for others

std::string http_date();  // now, as in a Date header

bool equals_ignoring_case(std::string_view a, std::string_view b);
std::string to_lower(std::string_view text);
std::string_view trim(std::string_view text);  // spaces and tabs

// Calls `each` with every trimmed element of a comma-separated header value.
template <typename Each>
void for_each_element(std::string_view value, Each each) {
  while (true) {
    const size_t comma = value.find(',');
    each(trim(value.substr(0, comma)));
    if (comma == std::string_view::npos) return;
    value.remove_prefix(comma + 1);
  }
}

bool is_token(std::string_view text);        // RFC 9110 token: methods and header names
bool is_field_value(std::string_view text);  // no control characters but tab

}  // namespace fairlead::net
