#include "control/apiserver/service_families.h"

#include <fmt/format.h>

#include <algorithm>

namespace fairlead::apiserver {

namespace {

using schema::Value;

ApiError invalid_field(const Write& write, std::string_view field, std::string_view value,
                       std::string_view why) {
  return invalid(*write.resource, write.name,
                 {{schema::FieldError::Type::kInvalid, std::string(field),
                   fmt::format("Invalid value: \"{}\": {}", value, why)}});
}

std::string other_family(std::string_view family) {
  return family == "IPv4" ? "IPv6" : "IPv4";
}

std::vector<std::string> texts(const Value& list) {
  std::vector<std::string> made;
  for (const Value& each : list.items()) made.emplace_back(each.as_string());
  return made;
}

}  // namespace

Outcome<std::vector<std::string>> settle_families(Write& write, const ServiceRanges& ranges) {
  schema::Arena& arena = write.next->arena;
  Value& spec = write.next->root.ensure(arena, "spec");
  if (spec.get("type").as_string() == "ExternalName") {
    for (const std::string_view field :
         {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"}) {
      spec.erase(field);
    }
    return std::vector<std::string>();
  }
  const std::string first(spec.get("clusterIP").as_string());
  std::vector<std::string> addresses = texts(spec.get("clusterIPs"));
  if (addresses.empty() && !first.empty()) addresses = {first};
  const bool headless = !addresses.empty() && addresses[0] == "None";
  std::vector<std::string> families = texts(spec.get("ipFamilies"));
  std::string policy(spec.get("ipFamilyPolicy").as_string());

  // A service that goes back to one family gives up the other.
  if (policy == "SingleStack") {
    const bool was_dual = write.previous && write.previous->at("spec.ipFamilies").size() == 2;
    if (was_dual) {
      if (addresses.size() == 2) addresses.pop_back();
      if (families.size() == 2) families.pop_back();
    } else if (addresses.size() == 2 || families.size() == 2) {
      return invalid_field(write, "spec.ipFamilyPolicy", policy,
                           "must be \"RequireDualStack\" or \"PreferDualStack\" when multiple "
                           "families or addresses are given");
    }
  }
  if (policy.empty()) {
    if (addresses.size() == 2 || families.size() == 2) {
      return invalid_field(write, "spec.ipFamilyPolicy", policy,
                           "must be \"RequireDualStack\" or \"PreferDualStack\" when multiple "
                           "families or addresses are given");
    }
    // Endpoints of a service without selector may be of any family.
    policy = headless && spec.get("selector").empty() && families.empty() ? "RequireDualStack"
                                                                          : "SingleStack";
  } else if (policy == "RequireDualStack" && ranges.addresses.size() < 2 &&
             !(headless && spec.get("selector").empty())) {
    return invalid_field(write, "spec.ipFamilyPolicy", policy,
                         "this cluster is not configured for dual-stack services");
  }
  for (size_t i = 0; !headless && i < addresses.size(); ++i) {
    const std::string family = is_v6(addresses[i]) ? "IPv6" : "IPv4";
    if (i >= families.size()) {
      families.push_back(family);
    } else if (families[i] != family) {
      return invalid_field(
          write, fmt::format("spec.clusterIPs[{}]", i), addresses[i],
          fmt::format("expected an {} value as indicated by `ipFamilies[{}]`", families[i], i));
    }
  }
  if (families.empty()) families.emplace_back(ranges.addresses[0].family());
  const bool any_family = headless && spec.get("selector").empty();
  if (families.size() == 1 && policy != "SingleStack") {
    const std::string second = other_family(families[0]);
    if (any_family || ranges.of_family(second) != nullptr) families.push_back(second);
  }
  for (size_t i = 0; i < families.size(); ++i) {
    if (!any_family && ranges.of_family(families[i]) == nullptr) {
      return invalid_field(write, fmt::format("spec.ipFamilies[{}]", i), families[i],
                           "not configured on this cluster");
    }
  }
  const auto list_of = [&arena](const std::vector<std::string>& of) {
    Value list = Value::array();
    for (const std::string& each : of) list.push(arena, Value::string(arena.copy(each)));
    return list;
  };
  spec.set(arena, "ipFamilies", list_of(families));
  spec.set(arena, "ipFamilyPolicy", Value::string(arena.copy(policy)));
  if (!addresses.empty()) {
    spec.set(arena, "clusterIP", Value::string(arena.copy(addresses[0])));
    spec.set(arena, "clusterIPs", list_of(addresses));
  }
  return families;
}

}  // namespace fairlead::apiserver
