#include "control/server/addresses.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

namespace fairlead::server {
namespace {

std::string address_text(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
  } else if (address->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    if (!IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr)) {
      ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    }
  }
  return text;
}

}  // namespace

std::vector<std::string> host_addresses() {
  std::vector<std::string> found;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return found;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);
  for (const ifaddrs* each = list; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || (each->ifa_flags & IFF_UP) == 0) continue;
    if ((each->ifa_flags & IFF_LOOPBACK) != 0) continue;
    std::string text = address_text(each->ifa_addr);
    if (!text.empty()) found.push_back(std::move(text));
  }
  // IPv4 first, as most clients want it.
  std::stable_partition(found.begin(), found.end(),
                        [](const std::string& address) { return !is_ipv6(address); });
  return found;
}

std::string host_name() {
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) != 0) return "localhost";
  return name;
}

bool is_ipv6(std::string_view address) {
  return address.find(':') != std::string_view::npos;
}

std::string host_port(std::string_view address, uint16_t port) {
  return is_ipv6(address) ? fmt::format("[{}]:{}", address, port)
                          : fmt::format("{}:{}", address, port);
}

}  // namespace fairlead::server
