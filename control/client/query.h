// Building the query part of a request path.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>

namespace fairlead::client {

// Everything but letters, digits and "-._~" as %XX.
std::string percent_encode(std::string_view text);

// Appends "?key=value" or "&key=value", encoded.
void add_query(std::string* path, std::string_view key, std::string_view value);

}  // namespace fairlead::client
