#include "control/net/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>

#include "control/net/text.h"

namespace fairlead::net {

bool accepts_gzip(std::string_view accept_encoding) {
  bool accepted = false;
  for_each_element(accept_encoding, [&](std::string_view element) {
    const size_t semicolon = element.find(';');
    const std::string_view coding = trim(element.substr(0, semicolon));
    if (!equals_ignoring_case(coding, "gzip") && coding != "*") return;
    std::string_view weight = semicolon == std::string_view::npos
                                  ? std::string_view()
                                  : trim(element.substr(semicolon + 1));
    const bool zero = weight.starts_with("q=0") &&
                      weight.substr(3).find_first_not_of(".0") == std::string_view::npos;
    accepted = accepted || !zero;
  });
  return accepted;
}

std::optional<std::string> gzip_compress(std::string_view bytes) {
  z_stream stream{};
  constexpr int kGzipWindow = 15 + 16;
  if (deflateInit2(&stream, 1, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    return std::nullopt;
  }
  std::string compressed;
  compressed.resize(bytes.size() / 8 + 1024);
  size_t used = 0;
  int result = Z_OK;
  do {
    const size_t piece = std::min<size_t>(bytes.size(), size_t{1} << 30);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(piece);
    bytes.remove_prefix(piece);
    const int flush = bytes.empty() ? Z_FINISH : Z_NO_FLUSH;
    do {
      if (used == compressed.size()) compressed.resize(compressed.size() * 2);
      const size_t room = std::min<size_t>(compressed.size() - used, size_t{1} << 30);
      stream.next_out = reinterpret_cast<Bytef*>(compressed.data() + used);
      stream.avail_out = static_cast<uInt>(room);
      result = deflate(&stream, flush);
      used += room - stream.avail_out;
    } while (stream.avail_out == 0 && result == Z_OK);
  } while (!bytes.empty());
  deflateEnd(&stream);
  if (result != Z_STREAM_END) return std::nullopt;
  compressed.resize(used);
  return compressed;
}

}  // namespace fairlead::net
