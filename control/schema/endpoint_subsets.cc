#include "control/schema/endpoint_subsets.h"

#include <cstdint>
#include <map>
#include <string_view>
#include <tuple>
#include <vector>

namespace fairlead::schema {
namespace {

using AddressKey = std::tuple<std::string_view, std::string_view>;  // IP, uid
using PortKey = std::tuple<std::string_view, std::string_view, int64_t, std::string_view>;
using Readiness = std::map<AddressKey, bool>;

// Stands for "no ports at all", so that such addresses are kept. Sorts before every port.
constexpr int64_t kNoPort = -1;

PortKey key_of_port(const Value& port) {
  return {port.get("name").as_string(), port.get("protocol").as_string(), port.get("port").as_int(),
          port.get("appProtocol").as_string()};
}

struct Repacked {
  std::map<AddressKey, const Value*> addresses;
  std::map<PortKey, const Value*> ports;
  std::map<PortKey, Readiness> offered;

  void take(const Value& subset, const PortKey& port) {
    const auto take_list = [&](std::string_view list, bool ready) {
      for (const Value& address : subset.get(list).items()) {
        const AddressKey key{address.get("ip").as_string(),
                             address.at("targetRef.uid").as_string()};
        addresses.emplace(key, &address);
        const auto [place, fresh] = offered[port].emplace(key, ready);
        if (!fresh && !ready) place->second = false;
      }
    };
    take_list("addresses", true);
    take_list("notReadyAddresses", false);
  }
};

}  // namespace

Value repack_subsets(Arena& arena, const Value& subsets) {
  Repacked all;
  for (const Value& subset : subsets.items()) {
    if (subset.get("ports").empty()) all.take(subset, {"", "", kNoPort, ""});
    for (const Value& port : subset.get("ports").items()) {
      all.ports.emplace(key_of_port(port), &port);
      all.take(subset, key_of_port(port));
    }
  }
  std::map<Readiness, std::vector<PortKey>> by_addresses;
  for (const auto& [port, readiness] : all.offered) {
    std::vector<PortKey>& ports = by_addresses[readiness];
    if (std::get<int64_t>(port) != kNoPort) ports.push_back(port);
  }
  std::map<std::vector<PortKey>, const Readiness*> sorted;
  for (const auto& [readiness, ports] : by_addresses) sorted.emplace(ports, &readiness);

  Value made = Value::array();
  for (const auto& [ports, readiness] : sorted) {
    Value subset = Value::object();
    for (const bool ready : {true, false}) {
      Value list = Value::array();
      for (const auto& [address, is_ready] : *readiness) {
        if (is_ready == ready) list.push(arena, all.addresses[address]->clone(arena));
      }
      if (!list.empty()) subset.append(arena, ready ? "addresses" : "notReadyAddresses", list);
    }
    Value list = Value::array();
    for (const PortKey& port : ports) list.push(arena, all.ports[port]->clone(arena));
    if (!list.empty()) subset.append(arena, "ports", list);
    made.push(arena, subset);
  }
  return made;
}

}  // namespace fairlead::schema
