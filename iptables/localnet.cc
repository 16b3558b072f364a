#include "iptables/localnet.h"

#include <fstream>

namespace fairlead::iptables {

bool localnet_routed(const std::string& path) {
  std::ifstream file(path);
  int value = 0;
  return file >> value && value != 0;
}

Status route_localnet(const std::string& path, bool on) {
  std::ofstream file(path);
  file << (on ? 1 : 0) << std::flush;
  if (file) return {};
  return Status::error(StatusCode::kPermission, "set", path,
                       std::string("cannot be set to ") + (on ? "1" : "0"));
}

}  // namespace fairlead::iptables
