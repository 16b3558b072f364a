// Kubeconfigs of any bytes, with files that hold any bytes. What loads must be usable as it is: an
// address that is one, certificates only together with their keys.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "control/client/kubeconfig.h"

using fairlead::Result;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto read_file = [text](const std::string& path) -> Result<std::string> {
    return std::string(text.substr(path.size() % (text.size() + 1)));
  };
  for (const std::string_view context : {std::string_view(), std::string_view("a")}) {
    const auto config = fairlead::client::parse_kubeconfig(text, "/etc/conf", context, read_file);
    if (!config.ok()) {
      if (config.status().message().empty()) std::abort();
      continue;
    }
    if (!config->server.starts_with("http")) std::abort();
    if (config->client_certificate_pem.empty() != config->client_key_pem.empty()) std::abort();
  }
  return 0;
}
