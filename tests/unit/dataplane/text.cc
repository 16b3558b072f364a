#include "text.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>

namespace fairlead::dataplane::testing {
namespace {

SocketAddress socket_address(const std::string& text) {
  const size_t colon = text.rfind(':');
  std::string host = text.substr(0, colon);
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  return {address(host), static_cast<uint16_t>(std::stoi(text.substr(colon + 1)))};
}

std::string describe(const Route& route) {
  return std::string(route.choice == Choice::kCluster ? "C" : "L") +
         (route.masquerade ? "+snat" : "");
}

std::string describe(std::string_view label, const EndpointChoice& choice) {
  std::string text(label);
  for (const Target& target : choice.targets) {
    text += " " + target.address.to_string() + (target.maybe_local ? "*" : "");
  }
  if (choice.targets.empty()) {
    text += choice.when_empty == EmptyVerdict::kReject ? " reject" : " drop";
  }
  return text + "\n";
}

}  // namespace

Service service(int n) {
  Service service;
  service.name = {"default", "svc" + std::to_string(n)};
  const auto low = static_cast<uint32_t>(n);
  service.cluster_ips = {Address::v4(0x0a600000U + low), address("fd00:96::" + std::to_string(n))};
  service.external_ips = {Address::v4(0xcb007100U + low)};
  service.ports = {{"http", Protocol::kTcp, 80, static_cast<uint16_t>(30000 + n)}};
  return service;
}

std::vector<EndpointGroup> pods(int n, int count) {
  std::vector<EndpointGroup> groups(2);
  for (size_t f = 0; f < 2; ++f) {
    groups[f] = {"http", Protocol::kTcp, f == 0 ? Family::kIPv4 : Family::kIPv6, {}};
    for (int i = 0; i < count; ++i) {
      Endpoint endpoint;
      const std::string host = std::to_string(n % 250) + (f == 0 ? "." : ":") + std::to_string(i);
      endpoint.target = {address((f == 0 ? "10.244." : "fd00:244::") + host), 8080};
      endpoint.local = i == 0;
      groups[f].endpoints.push_back(endpoint);
    }
  }
  return groups;
}

Address address(std::string_view text) {
  const std::optional<Address> parsed = Address::parse(text);
  if (!parsed) throw std::invalid_argument(std::string(text));
  return *parsed;
}

Prefix prefix(std::string_view text) {
  const std::optional<Prefix> parsed = Prefix::parse(text);
  if (!parsed) throw std::invalid_argument(std::string(text));
  return *parsed;
}

Endpoint endpoint(std::string_view text) {
  std::istringstream words{std::string(text)};
  std::string word;
  words >> word;
  Endpoint result;
  result.target = socket_address(word);
  while (words >> word) {
    if (word == "unready") {
      result.ready = result.serving = false;
    } else if (word == "terminating") {  // still serving
      result.ready = false;
      result.terminating = true;
    } else if (word == "gone") {  // terminating and no longer serving
      result.ready = result.serving = false;
      result.terminating = true;
    } else if (word == "local") {
      result.local = true;
    } else if (word == "anywhere") {
      result.node_unknown = true;
    } else if (word == "zone-here") {
      result.zone_hint = Hint::kHere;
    } else if (word == "zone-away") {
      result.zone_hint = Hint::kElsewhere;
    } else if (word == "node-here") {
      result.node_hint = Hint::kHere;
    } else if (word == "node-away") {
      result.node_hint = Hint::kElsewhere;
    } else {
      throw std::invalid_argument(word);
    }
  }
  return result;
}

std::vector<Endpoint> endpoints(std::vector<std::string_view> texts) {
  std::vector<Endpoint> result;
  for (const std::string_view text : texts) result.push_back(endpoint(text));
  return result;
}

EndpointGroup group(std::vector<std::string_view> texts, std::string port_name, Protocol protocol) {
  EndpointGroup result{std::move(port_name), protocol, Family::kIPv4, endpoints(std::move(texts))};
  if (!result.endpoints.empty()) result.family = result.endpoints[0].target.address.family();
  return result;
}

std::string describe(const ForwardingEntry& entry) {
  std::string text;
  bool uses_cluster = false;
  bool uses_local = false;
  for (const Frontend& frontend : entry.frontends) {
    text += std::string(to_string(frontend.kind)) + " " + frontend.address.to_string();
    static constexpr std::string_view kNames[] = {" pod=", " node=", " other="};
    for (size_t i = 0; i < kSourceClassCount; ++i) {
      text += std::string(kNames[i]) + describe(frontend.routes[i]);
      (frontend.routes[i].choice == Choice::kCluster ? uses_cluster : uses_local) = true;
    }
    if (frontend.source_ranges_apply) {
      text += " from";
      for (const Prefix& range : entry.source_ranges) text += " " + range.to_string();
    }
    text += "\n";
  }
  if (uses_cluster) text += describe("C:", entry.cluster);
  if (uses_local) text += describe("L:", entry.local);
  if (entry.affinity_seconds != 0) {
    text += "affinity " + std::to_string(entry.affinity_seconds) + "s\n";
  }
  return text;
}

std::string describe(const std::vector<ForwardingEntry>& entries) {
  std::string text;
  for (const ForwardingEntry& entry : entries) {
    if (entries.size() > 1) text += entry.key.to_string() + "\n";
    text += describe(entry);
  }
  return text;
}

}  // namespace fairlead::dataplane::testing
