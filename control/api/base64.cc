#include "control/api/base64.h"

#include <array>
#include <cstdint>

namespace fairlead::api {

namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr uint8_t kInvalid = 255;

constexpr std::array<uint8_t, 256> make_values() {
  std::array<uint8_t, 256> values{};
  values.fill(kInvalid);
  for (uint8_t i = 0; i < 64; ++i) values[static_cast<unsigned char>(kAlphabet[i])] = i;
  return values;
}

constexpr std::array<uint8_t, 256> kValues = make_values();

}  // namespace

std::optional<std::string> decode_base64(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  size_t symbols = 0;  // in this group of four, padding included
  size_t padding = 0;
  for (const char c : text) {
    if (c == '\n' || c == '\r') continue;
    const uint8_t value = kValues[static_cast<unsigned char>(c)];
    if (c == '=') {
      // Only the last one or two symbols of the last group.
      if (symbols < 2 || ++padding > 2) return std::nullopt;
    } else if (value == kInvalid || padding > 0) {
      return std::nullopt;
    }
    bits = bits << 6 | (c == '=' ? 0u : value);
    if (++symbols < 4) continue;
    bytes.push_back(static_cast<char>(bits >> 16));
    if (padding < 2) bytes.push_back(static_cast<char>(bits >> 8));
    if (padding < 1) bytes.push_back(static_cast<char>(bits));
    bits = 0;
    symbols = 0;
  }
  if (symbols != 0) return std::nullopt;
  return bytes;
}

std::string encode_base64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto at = [&](size_t offset) -> uint32_t {
      return i + offset < bytes.size() ? static_cast<unsigned char>(bytes[i + offset]) : 0u;
    };
    const uint32_t bits = at(0) << 16 | at(1) << 8 | at(2);
    text.push_back(kAlphabet[bits >> 18]);
    text.push_back(kAlphabet[bits >> 12 & 63]);
    text.push_back(i + 1 < bytes.size() ? kAlphabet[bits >> 6 & 63] : '=');
    text.push_back(i + 2 < bytes.size() ? kAlphabet[bits & 63] : '=');
  }
  return text;
}

}  // namespace fairlead::api
