#include "control/client/query.h"

namespace fairlead::client {

std::string percent_encode(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || c == '-' || c == '.' || c == '_' || c == '~') {
      encoded += c;
    } else {
      encoded += '%';
      encoded += kHex[byte >> 4];
      encoded += kHex[byte & 15];
    }
  }
  return encoded;
}

void add_query(std::string* path, std::string_view key, std::string_view value) {
  *path += path->find('?') == std::string::npos ? '?' : '&';
  path->append(key);
  *path += '=';
  path->append(percent_encode(value));
}

}  // namespace fairlead::client
