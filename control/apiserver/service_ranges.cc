#include <algorithm>
#include <charconv>

#include "control/apiserver/service_reserver.h"

namespace fairlead::apiserver {

Result<ServiceRanges> ServiceRanges::parse(std::string_view cidrs, std::string_view ports) {
  ServiceRanges ranges;
  while (!cidrs.empty()) {
    const size_t comma = std::min(cidrs.find(','), cidrs.size());
    AddressRange range;
    ASSIGN_OR_RETURN(range, AddressRange::parse(cidrs.substr(0, comma)));
    ranges.addresses.push_back(std::move(range));
    cidrs.remove_prefix(std::min(comma + 1, cidrs.size()));
  }
  if (ranges.addresses.empty() || ranges.addresses.size() > 2 ||
      (ranges.addresses.size() == 2 && ranges.addresses[0].v6() == ranges.addresses[1].v6())) {
    return Status::error(StatusCode::kInvalid, "parse", "ranges of services",
                         "one range, or one of each family");
  }
  const size_t dash = ports.find('-');
  const auto number = [](std::string_view text, int* out) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
    return error == std::errc() && end == text.data() + text.size();
  };
  if (dash == std::string_view::npos || !number(ports.substr(0, dash), &ranges.first_port) ||
      !number(ports.substr(dash + 1), &ranges.last_port) || ranges.first_port < 1 ||
      ranges.last_port > 65535 || ranges.first_port > ranges.last_port) {
    return Status::error(StatusCode::kInvalid, "parse", ports, "no range of ports");
  }
  return ranges;
}

const AddressRange* ServiceRanges::of_family(std::string_view family) const {
  for (const AddressRange& range : addresses) {
    if (range.family() == family) return &range;
  }
  return nullptr;
}

std::string reservation_owner(const schema::Value& service) {
  std::string owner(service.at("metadata.namespace").as_string());
  owner.append("/").append(service.at("metadata.name").as_string());
  return owner.append("/").append(service.at("metadata.uid").as_string());
}

std::vector<std::string> reservation_keys(const schema::Value& service) {
  std::vector<std::string> keys;
  const schema::Value& spec = service.get("spec");
  if (spec.get("type").as_string() == "ExternalName") return keys;
  const auto add = [&keys](std::string_view prefix, std::string_view name) {
    std::string key = std::string(prefix).append(name);
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(std::move(key));
  };
  const auto add_address = [&](const schema::Value& value) {
    const std::string address = canonical_address(value.as_string());
    if (!address.empty()) add(kAddressKeys, address);
  };
  add_address(spec.get("clusterIP"));
  for (const schema::Value& each : spec.get("clusterIPs").items()) add_address(each);
  for (const schema::Value& port : spec.get("ports").items()) {
    if (port.get("nodePort").as_int() != 0) {
      add(kPortKeys, std::to_string(port.get("nodePort").as_int()));
    }
  }
  if (spec.get("healthCheckNodePort").as_int() != 0) {
    add(kPortKeys, std::to_string(spec.get("healthCheckNodePort").as_int()));
  }
  return keys;
}

}  // namespace fairlead::apiserver
