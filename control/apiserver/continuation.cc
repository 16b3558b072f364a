#include "control/apiserver/continuation.h"

#include <charconv>
#include <cstdint>

namespace fairlead::apiserver {

// The revision and the last key, in hexadecimal.
std::string encode_continuation(store::Revision revision, std::string_view last) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text = std::to_string(revision) + '-';
  for (const char c : last) {
    text += kHex[static_cast<unsigned char>(c) >> 4];
    text += kHex[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

std::optional<Continuation> decode_continuation(std::string_view text) {
  Continuation made;
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + dash, made.revision);
  if (error != std::errc() || end != text.data() + dash || made.revision <= 0) return std::nullopt;
  const std::string_view hex = text.substr(dash + 1);
  if (hex.size() % 2 != 0 || hex.empty() || hex.size() > 2 * store::kMaxKeyBytes) {
    return std::nullopt;
  }
  for (size_t i = 0; i < hex.size(); i += 2) {
    uint8_t byte = 0;
    const auto [stop, bad] = std::from_chars(hex.data() + i, hex.data() + i + 2, byte, 16);
    if (bad != std::errc() || stop != hex.data() + i + 2) return std::nullopt;
    made.last += static_cast<char>(byte);
  }
  return made;
}

}  // namespace fairlead::apiserver
