#include "control/store/etcd/address.h"

#include <algorithm>
#include <charconv>

namespace fairlead::store {
namespace {

constexpr std::string_view kScheme = "etcd://";

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port >= 1 && port <= 65535;
}

bool is_host(std::string_view text) {
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
    return text.find_first_not_of("0123456789abcdefABCDEF:.", 1) == text.size() - 1;
  }
  const auto allowed = [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '-' || c == '_';
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), allowed);
}

Status wrong(std::string_view text, std::string_view detail) {
  return Status::error(StatusCode::kInvalid, "parse", "store address " + std::string(text), detail);
}

}  // namespace

Result<EtcdAddress> parse_etcd_address(std::string_view text) {
  if (!text.starts_with(kScheme)) return wrong(text, "does not begin with etcd://");
  std::string_view rest = text.substr(kScheme.size());
  EtcdAddress address;
  if (const size_t slash = rest.find('/'); slash != std::string_view::npos) {
    std::string_view prefix = rest.substr(slash);
    while (prefix.ends_with('/')) prefix.remove_suffix(1);
    if (prefix.find_first_of("?#") != std::string_view::npos) {
      return wrong(text, "has options behind the prefix, of which there are none");
    }
    address.prefix = prefix;
    rest = rest.substr(0, slash);
  }
  for (;;) {
    const size_t comma = rest.find(',');
    const std::string_view endpoint = rest.substr(0, comma);
    const size_t colon = endpoint.rfind(':');
    if (colon == std::string_view::npos || !is_host(endpoint.substr(0, colon)) ||
        !is_port(endpoint.substr(colon + 1))) {
      return wrong(text, "\"" + std::string(endpoint) + "\" is not host:port");
    }
    address.endpoints.emplace_back(endpoint);
    if (comma == std::string_view::npos) return address;
    rest.remove_prefix(comma + 1);
  }
}

}  // namespace fairlead::store
