// In which IP families a node is served: those that its kernel has and its datapath works in. A
// family that does not work must not take the other one down with it.
//
// Threads: call at start; the results are values.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "dataplane/backend.h"

namespace fairlead::proxy {

struct FamilyLeftOut {
  dataplane::Family family = dataplane::Family::kIPv4;
  Status reason;
};

struct FamilyChoice {
  std::vector<dataplane::Family> served;  // never empty
  std::vector<FamilyLeftOut> left_out;

  // For people: what is not served, why, and what to do.
  std::string left_out_note(const FamilyLeftOut& which) const;
};

// The families that the node's kernel has: IPv4, and IPv6 unless it is compiled out or switched
// off.
std::vector<dataplane::Family> kernel_families();

// Asks the backend, which has not been started, about each of `families`. One of which it cannot
// say anything now counts as working: start() will tell. An error when none works, or `primary`
// does not.
Result<FamilyChoice> choose_families(dataplane::Backend& backend,
                                     std::span<const dataplane::Family> families,
                                     std::optional<dataplane::Family> primary);

// An error when the node's primary family is one of those.
Status check_primary(std::optional<dataplane::Family> primary,
                     std::span<const FamilyLeftOut> left_out);

}  // namespace fairlead::proxy
