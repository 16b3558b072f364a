#include "dataplane/forwarding.h"

namespace fairlead::dataplane {

std::string_view to_string(FrontendKind kind) {
  switch (kind) {
    case FrontendKind::kClusterIp:
      return "ClusterIP";
    case FrontendKind::kExternalIp:
      return "ExternalIP";
    case FrontendKind::kLoadBalancer:
      return "LoadBalancer";
    case FrontendKind::kNodePort:
      return "NodePort";
  }
  return "?";
}

std::string EntryKey::to_string() const {
  std::string text = service.to_string();
  if (!port_name.empty()) text.append(":").append(port_name);
  text.append("/").append(dataplane::to_string(protocol));
  text.append("/").append(dataplane::to_string(family));
  return text;
}

size_t EntryKeyHash::operator()(const EntryKey& key) const {
  uint64_t hash = static_cast<uint64_t>(key.protocol) << 8 | static_cast<uint64_t>(key.family);
  hash = stable_hash(key.service.name_space, hash);
  hash = stable_hash(key.service.name, hash);
  return stable_hash(key.port_name, hash);
}

}  // namespace fairlead::dataplane
