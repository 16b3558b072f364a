#include "tests/unit/bpf/differential_world.h"

#include <algorithm>

#include "tests/harness/packet.h"

namespace fairlead::bpf::testing {

using dataplane::Address;
using dataplane::Choice;
using dataplane::EmptyVerdict;
using dataplane::EndpointChoice;
using dataplane::Fate;
using dataplane::ForwardingEntry;
using dataplane::Frontend;
using dataplane::FrontendKind;
using dataplane::Protocol;
using dataplane::SocketAddress;

namespace {

constexpr uint32_t kServices = 24;

bool is_v4(dataplane::Family family) {
  return family == dataplane::Family::kIPv4;
}

Address numbered(dataplane::Family family, const char* v4, const char* v6, uint32_t number) {
  return harness::address_of((is_v4(family) ? v4 : v6) + std::to_string(number));
}

}  // namespace

dataplane::NodeRules node_rules() {
  dataplane::NodeRules rules;
  rules.families = {dataplane::Family::kIPv4, dataplane::Family::kIPv6};
  for (const char* prefix : {"10.1.0.0/16", "10.2.0.0/16", "fd01::/64", "fd02::/64"}) {
    rules.detector.pod_prefixes.push_back(*dataplane::Prefix::parse(prefix));
  }
  for (const char* address : {"192.168.7.1", "fd07::1"}) {
    rules.node_port_addresses.push_back(harness::address_of(address));
  }
  for (const std::string_view prefix : kServicePrefixes) {
    rules.service_prefixes.push_back(*dataplane::Prefix::parse(prefix));
  }
  return rules;
}

std::vector<Address> node_addresses() {
  std::vector<Address> out;
  for (const char* address :
       {"192.168.7.1", "10.1.0.1", "10.3.0.1", "fd07::1", "fd01::1", "fd03::1"}) {
    out.push_back(harness::address_of(address));
  }
  return out;
}

EndpointChoice RandomTable::choice(dataplane::Family family) {
  EndpointChoice out;
  out.when_empty = dice_.one_in(2) ? EmptyVerdict::kReject : EmptyVerdict::kDrop;
  const uint32_t count = dice_.one_in(5) ? 0 : 1 + dice_.below(dice_.one_in(6) ? 12 : 4);
  for (uint32_t i = 0; i < count; ++i) {
    Address at;
    switch (dice_.below(8)) {
      case 0:
        at = harness::address_of(is_v4(family) ? "192.168.7.1" : "fd07::1");
        break;
      case 1:
      case 2:
      case 3:
        at = numbered(family, "10.2.0.", "fd02::", 2 + dice_.below(7));
        break;
      default:
        at = numbered(family, "10.1.0.", "fd01::", 2 + dice_.below(7));
    }
    const auto port = static_cast<uint16_t>(dice_.one_in(3) ? 80 : 8080);
    out.targets.push_back({{at, port}, dice_.one_in(2)});
  }
  const auto same = [](const auto& a, const auto& b) { return a.address == b.address; };
  std::sort(out.targets.begin(), out.targets.end());
  out.targets.erase(std::unique(out.targets.begin(), out.targets.end(), same), out.targets.end());
  return out;
}

ForwardingEntry RandomTable::entry(uint32_t number) {
  static const std::vector<Protocol> protocols = {Protocol::kTcp, Protocol::kTcp, Protocol::kUdp,
                                                  Protocol::kSctp};
  ForwardingEntry out;
  out.key = {{"default", "s" + std::to_string(number)},
             "",
             dice_.pick(protocols),
             number % 2 == 0 ? dataplane::Family::kIPv4 : dataplane::Family::kIPv6};
  const dataplane::Family family = out.key.family;
  out.created_at = dice_.below(3);
  const auto add = [&](FrontendKind kind, const Address& address, uint16_t port) {
    Frontend frontend;
    frontend.kind = kind;
    frontend.address = {address, port};
    for (dataplane::Route& route : frontend.routes) {
      route = {dice_.one_in(3) ? Choice::kLocal : Choice::kCluster, dice_.one_in(2)};
    }
    frontend.source_ranges_apply = kind == FrontendKind::kLoadBalancer && dice_.one_in(2);
    out.frontends.push_back(frontend);
  };
  add(FrontendKind::kClusterIp, numbered(family, "10.96.0.", "fd96::", number + 1), 80);
  if (dice_.one_in(2)) {
    add(FrontendKind::kExternalIp, numbered(family, "203.0.113.", "fd98::", 1 + dice_.below(6)),
        80);
  }
  if (dice_.one_in(2)) {
    add(FrontendKind::kLoadBalancer, numbered(family, "203.0.114.", "fd99::", 1 + dice_.below(6)),
        443);
  }
  if (dice_.one_in(2)) {
    const Address any = is_v4(family) ? Address() : Address::v6({});
    add(FrontendKind::kNodePort, any, static_cast<uint16_t>(30000 + dice_.below(12)));
  }
  std::sort(out.frontends.begin(), out.frontends.end(), [](const Frontend& a, const Frontend& b) {
    return std::tie(a.kind, a.address) < std::tie(b.kind, b.address);
  });
  out.cluster = choice(family);
  out.local = choice(family);
  out.affinity_seconds = dice_.one_in(4) ? 1000 : 0;
  for (const char* range : is_v4(family)
                               ? std::vector<const char*>{"10.1.0.0/28", "198.51.100.0/29"}
                               : std::vector<const char*>{"2001:db8::/125", "fd01::/126"}) {
    if (dice_.one_in(2)) out.source_ranges.push_back(*dataplane::Prefix::parse(range));
  }
  return out;
}

void RandomTable::mutate() {
  const uint32_t number = dice_.below(kServices);
  const dataplane::ObjectName name{"default", "s" + std::to_string(number)};
  if (dice_.one_in(8)) {
    table_.replace(name, {});
    return;
  }
  ForwardingEntry next = entry(number);
  const std::vector<dataplane::EntryPointer> present = table_.find_service(name);
  // Most changes are to the endpoints alone.
  if (!present.empty() && dice_.below(4) != 0) {
    ForwardingEntry changed = *present.front();
    (dice_.one_in(3) ? changed.local : changed.cluster) = next.cluster;
    next = changed;
  }
  table_.replace(name, {next});
}

Address RandomTable::source(dataplane::Family family) {
  switch (dice_.below(6)) {
    case 0:
    case 1:
      return numbered(family, "10.1.0.", "fd01::", 2 + dice_.below(8));
    case 2:
      return numbered(family, "10.2.0.", "fd02::", 2 + dice_.below(8));
    case 3:
      return dice_.one_in(3) ? harness::address_of(is_v4(family) ? "192.168.7.1" : "fd07::1")
                             : numbered(family, "10.3.0.", "fd03::", 2 + dice_.below(7));
    default:
      return numbered(family, "198.51.100.", "2001:db8::", 1 + dice_.below(9));
  }
}

SocketAddress RandomTable::destination(Protocol& protocol) {
  static const std::vector<std::string> own[2] = {{"192.168.7.1", "10.1.0.1", "192.168.7.1"},
                                                  {"fd07::1", "fd01::1", "fd07::1"}};
  const std::vector<dataplane::EntryPointer> entries = table_.entries();
  if (entries.empty() || dice_.one_in(12)) {
    const auto family = dice_.one_in(2) ? dataplane::Family::kIPv4 : dataplane::Family::kIPv6;
    return {numbered(family, "10.96.0.", "fd96::", 1 + dice_.below(kServices + 4)), 80};
  }
  // By key, since entries() has no order of its own and the seed must tell everything.
  const auto smaller = [](const auto& a, const auto& b) { return a->key < b->key; };
  std::vector<dataplane::EntryPointer> sorted = entries;
  std::sort(sorted.begin(), sorted.end(), smaller);
  const ForwardingEntry& chosen = *dice_.pick(sorted);
  protocol = chosen.key.protocol;
  if (chosen.frontends.empty()) {
    return {numbered(chosen.key.family, "10.96.0.", "fd96::", 200), 80};
  }
  SocketAddress out = dice_.pick(chosen.frontends).address;
  if (out.address.is_unspecified()) {
    out.address = harness::address_of(dice_.pick(own[is_v4(chosen.key.family) ? 0 : 1]));
  }
  if (dice_.one_in(12)) out.port ^= 1;
  if (dice_.one_in(16)) protocol = protocol == Protocol::kUdp ? Protocol::kTcp : Protocol::kUdp;
  return out;
}

dataplane::Packet RandomTable::packet() {
  dataplane::Packet out;
  out.destination = destination(out.protocol);
  out.source = {source(out.destination.address.family()),
                static_cast<uint16_t>(1024 + dice_.below(64000))};
  out.in_interface = "out0";
  return out;
}

std::string describe(const ForwardingEntry& entry) {
  std::string out =
      entry.key.to_string() + " affinity " + std::to_string(entry.affinity_seconds) + "\n";
  for (const Frontend& frontend : entry.frontends) {
    out += "  " + std::string(to_string(frontend.kind)) + " " + frontend.address.to_string();
    for (const dataplane::Route& route : frontend.routes) {
      out += route.choice == Choice::kLocal ? " local" : " cluster";
      if (route.masquerade) out += "+masquerade";
    }
    out += frontend.source_ranges_apply ? " ranges\n" : "\n";
  }
  for (const Choice which : {Choice::kCluster, Choice::kLocal}) {
    const EndpointChoice& choice = entry.choice(which);
    out += which == Choice::kCluster ? "  cluster:" : "  local:";
    for (const dataplane::Target& target : choice.targets) out += " " + target.address.to_string();
    out += choice.when_empty == EmptyVerdict::kReject ? " else reject\n" : " else drop\n";
  }
  for (const dataplane::Prefix& range : entry.source_ranges)
    out += "  from " + range.to_string() + "\n";
  return out;
}

std::string describe(const dataplane::Outcome& outcome) {
  static const char* fates[] = {"untouched", "forwarded", "rejected", "dropped"};
  std::string out = fates[static_cast<size_t>(outcome.fate)];
  out += ": " + outcome.reason + (outcome.masquerade ? ", masqueraded" : "");
  for (const dataplane::Target& target : outcome.targets) out += " " + target.address.to_string();
  return out;
}

std::string RandomTable::describe() const {
  std::string out;
  for (const dataplane::EntryPointer& entry : table_.entries()) out += testing::describe(*entry);
  return out;
}

}  // namespace fairlead::bpf::testing
