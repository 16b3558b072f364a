#include "proxy/families.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/log.h"

namespace fairlead::proxy {

using dataplane::Family;

std::string FamilyChoice::left_out_note(const FamilyLeftOut& which) const {
  return fmt::format(
      "{} does not work here and is left out, services are served over {} only: {}. Mend it and "
      "restart{}",
      to_string(which.family), to_string(served.front()), which.reason.message(),
      which.family == Family::kIPv6 ? "; a node that wants no IPv6 boots with ipv6.disable=1" : "");
}

std::vector<Family> kernel_families() {
  std::vector<Family> families = {Family::kIPv4};
  // Absent when IPv6 is compiled out or ipv6.disable=1 was given.
  if (::access("/proc/net/if_inet6", F_OK) == 0) families.push_back(Family::kIPv6);
  return families;
}

Result<FamilyChoice> choose_families(dataplane::Backend& backend, std::span<const Family> families,
                                     std::optional<Family> primary) {
  FamilyChoice choice;
  std::string reasons;
  for (const Family family : families) {
    const Status works = backend.can_serve(family);
    if (works || works.code() == StatusCode::kUnavailable) {
      if (!works) LOG_V(1, "{}: {}", to_string(family), works.message());
      choice.served.push_back(family);
      continue;
    }
    reasons +=
        fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", to_string(family), works.message());
    choice.left_out.push_back({family, works});
  }
  if (choice.served.empty()) {
    const StatusCode code =
        choice.left_out.empty() ? StatusCode::kUnsupported : choice.left_out.front().reason.code();
    return Status::error(code, "serve", "any IP family", reasons);
  }
  RETURN_IF_ERROR(check_primary(primary, choice.left_out));
  return choice;
}

Status check_primary(std::optional<Family> primary, std::span<const FamilyLeftOut> left_out) {
  for (const FamilyLeftOut& each : left_out) {
    if (each.family != primary) continue;
    return Status::error(each.reason.code(), "serve",
                         std::string(to_string(each.family)) + ", the node's primary family",
                         each.reason.message());
  }
  return {};
}

}  // namespace fairlead::proxy
