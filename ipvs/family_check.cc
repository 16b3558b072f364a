#include "ipvs/family_check.h"

#include <cerrno>
#include <vector>

namespace fairlead::ipvs {
namespace {

using dataplane::Family;

Status check_sets(Sets& sets, Family family) {
  for (const SetType type :
       {SetType::kHashIp, SetType::kHashIpPort, SetType::kHashIpPortIp, SetType::kHashIpPortNet}) {
    const SetSpec spec = {family == Family::kIPv4 ? "FAIRLEAD-CHECK" : "FAIRLEAD-6-CHECK", type,
                          family};
    // One that is there is of a check that was killed.
    if (const Status left = sets.destroy(spec.name);
        !left && left.code() != StatusCode::kNotFound) {
      return left;
    }
    if (const Status created = sets.create(spec, 1); !created) {
      return Status::error(created.code(), "use",
                           "IP sets of type " + std::string(to_string(type)) + " for " +
                               std::string(to_string(family)),
                           created.detail() + " (CONFIG_IP_SET_HASH_*)");
    }
    RETURN_IF_ERROR(sets.destroy(spec.name));
  }
  return {};
}

// A kernel whose IPVS does not know the family says so even when it is asked to remove what nobody
// has: a virtual server at the unspecified address.
Status check_servers(VirtualServers& servers, Family family) {
  Operation nobody;
  nobody.kind = Operation::Kind::kRemoveServer;
  nobody.server.family = family;
  nobody.server.address = {
      family == Family::kIPv4 ? dataplane::Address() : dataplane::Address::v6({}), 1};
  std::vector<Failure> failures;
  ASSIGN_OR_RETURN(failures, servers.apply({&nobody, 1}));
  for (const Failure& failure : failures) {
    if (failure.status.system_errno() != EAFNOSUPPORT) continue;
    return Status::error(StatusCode::kUnsupported, "use", "IPVS for IPv6",
                         failure.status.detail() + " (CONFIG_IP_VS_IPV6)");
  }
  return {};
}

}  // namespace

Status check_family(VirtualServers& servers, Sets& sets, iptables::Tool& tool, Family family) {
  RETURN_IF_ERROR(iptables::check_family(tool, family));
  RETURN_IF_ERROR(check_sets(sets, family));
  return check_servers(servers, family);
}

}  // namespace fairlead::ipvs
