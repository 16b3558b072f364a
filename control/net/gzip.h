// gzip content coding for large answers.
//
// Threads: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fairlead::net {

// Whether an Accept-Encoding header's value admits gzip ("gzip;q=0" does not).
bool accepts_gzip(std::string_view accept_encoding);

// zlib level 1: on a fast network anything stronger costs more time than it saves. nullopt when
// zlib runs out of memory.
std::optional<std::string> gzip_compress(std::string_view bytes);

}  // namespace fairlead::net
