// Base64 as kubeconfig files and API objects carry it.
//
// Threads: pure function.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fairlead::api {

// Line breaks are ignored, padding is required; nullopt when malformed.
std::optional<std::string> decode_base64(std::string_view text);
std::string encode_base64(std::string_view bytes);

}  // namespace fairlead::api
