#include "ipvs/virtual_server.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>

namespace fairlead::ipvs {

using dataplane::Family;

ServerKey ServerKey::marked(Family family, uint32_t mark) {
  ServerKey key;
  key.family = family;
  key.mark = mark;
  return key;
}

std::string ServerKey::to_string() const {
  if (mark != 0) return fmt::format("{} mark {:#x}", dataplane::to_string(family), mark);
  return fmt::format("{} {}", dataplane::to_string(protocol), address.to_string());
}

size_t ServerKeyHash::operator()(const ServerKey& key) const {
  const uint64_t rest = uint64_t{key.mark} << 16 | static_cast<uint64_t>(key.protocol) << 8 |
                        static_cast<uint64_t>(key.family);
  return dataplane::stable_hash(key.address) ^ (rest * 0x9e3779b97f4a7c15U);
}

std::string Operation::to_string() const {
  static constexpr std::array<const char*, 3> kVerbs = {"add", "change", "remove"};
  const auto number = static_cast<size_t>(kind);
  if (number < kVerbs.size()) {
    return fmt::format("{} virtual server {}", kVerbs[number], server.to_string());
  }
  return fmt::format("{} destination {} of {}", kVerbs[number - kVerbs.size()],
                     destination.address.to_string(), server.to_string());
}

Status refusal_of(const Operation& operation, int system_errno) {
  const bool with_scheduler = operation.kind == Operation::Kind::kAddServer ||
                              operation.kind == Operation::Kind::kChangeServer;
  if (system_errno != ENOENT || !with_scheduler) {
    return Status::from_errno(system_errno, "ask IPVS to", operation.to_string());
  }
  const std::string& scheduler = operation.settings.scheduler;
  return Status::error(
      StatusCode::kUnsupported, "ask IPVS to", operation.to_string(),
      fmt::format("the kernel has no scheduler {0} (try: modprobe ip_vs_{0})", scheduler));
}

}  // namespace fairlead::ipvs
