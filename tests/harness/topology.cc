#include "tests/harness/topology.h"

#include <algorithm>
#include <cassert>
#include <set>

#include "tests/harness/features.h"
#include "tests/harness/socket_address.h"

namespace fairlead::harness {
namespace {

using dataplane::Protocol;

// A pod's last address byte on its node: a1..a4 are 2..5, pod is 9, b1..b4 likewise on node-b.
int index_of(std::string_view pod) {
  return pod == "pod" ? 9 : 1 + (pod[1] - '0');
}

DualAddress numbered(std::string_view v4, std::string_view v6, int n) {
  char hex[8];
  std::snprintf(hex, sizeof hex, "%x", n);
  return {std::string(v4) + std::to_string(n), canonical_host(std::string(v6) + hex)};
}

// The n-th address of a /16 and a /112.
DualAddress in_range(std::string_view v4, std::string_view v6, int n) {
  DualAddress address = numbered("", v6, n + 1);
  address.v4 = std::string(v4) + std::to_string(n / 250) + "." + std::to_string(1 + n % 250);
  return address;
}

// The gateway of the pods: the node's address on every pod cable.
DualAddress gateway_of(std::string_view node) {
  return node == "node-a" ? DualAddress{"10.244.1.1", "fd00:10:244:1::1"}
                          : DualAddress{"10.244.2.1", "fd00:10:244:2::1"};
}

// ICMP errors are what tells refused from dropped, so none of them may be held back; redirects and
// duplicate address detection only cost time.
Status prepare(Namespace& where) {
  for (const auto& [key, value] : std::initializer_list<std::pair<const char*, const char*>>{
           {"net.ipv4.icmp_ratemask", "0"},
           {"net.ipv6.icmp.ratemask", "255"},  // a type that nobody sends
           {"net.ipv4.conf.all.send_redirects", "0"},
           {"net.ipv4.conf.default.send_redirects", "0"},
           {"net.ipv4.conf.all.accept_redirects", "0"},
           {"net.ipv6.conf.all.accept_redirects", "0"},
           {"net.ipv6.conf.default.accept_redirects", "0"},
           {"net.ipv6.conf.default.accept_dad", "0"},
           {"net.ipv6.conf.default.accept_ra", "0"},
           {"net.ipv4.ip_local_port_range", "32768 60999"}}) {
    RETURN_IF_ERROR(where.sysctl(key, value));
  }
  return {};
}

Status forward(Namespace& node) {
  RETURN_IF_ERROR(node.sysctl("net.ipv4.ip_forward", "1"));
  return node.sysctl("net.ipv6.conf.all.forwarding", "1");
}

// A deprecated address is not chosen as a source unless it is asked for.
std::string add_address(const DualAddress& address, int v4_length, int v6_length,
                        const std::string& interface, bool deprecated = false) {
  return "address add " + address.v4 + "/" + std::to_string(v4_length) + " dev " + interface +
         "\naddress add " + address.v6 + "/" + std::to_string(v6_length) + " dev " + interface +
         " nodad" + (deprecated ? " preferred_lft 0\n" : "\n");
}

std::string add_route(const std::string& v4, const std::string& v6, const DualAddress& via) {
  return "route add " + v4 + " via " + via.v4 + "\nroute add " + v6 + " via " + via.v6 + "\n";
}

}  // namespace

DualAddress Topology::pod(std::string_view name) {
  return name[0] == 'b' ? numbered("10.244.2.", "fd00:10:244:2::", index_of(name))
                        : numbered("10.244.1.", "fd00:10:244:1::", index_of(name));
}
DualAddress Topology::outside(int n) {
  return numbered("198.51.100.", "2001:db8:100::", 100 + n);
}
DualAddress Topology::node_a() {
  return {"198.51.100.11", "2001:db8:100::11"};
}
DualAddress Topology::node_a_secondary() {
  return {"172.31.0.11", "2001:db8:31::11"};
}
DualAddress Topology::node_b() {
  return {"172.31.0.12", "2001:db8:31::12"};
}
DualAddress Topology::service_ip(int n) {
  return in_range("10.96.", "fd00:10:96::", n);
}
DualAddress Topology::external_ip(int n) {
  return in_range("10.97.", "2001:db8:97::", n);
}
DualAddress Topology::load_balancer_ip(int n) {
  return in_range("10.98.", "2001:db8:98::", n);
}
std::string Topology::cluster_cidrs() {
  return "10.244.0.0/16,fd00:10:244::/56";
}
std::string Topology::service_cidrs() {
  return "10.96.0.0/16,fd00:10:96::/112";
}

bool Topology::is_node_a(std::string_view address) {
  const std::string text = canonical_host(address);
  for (const DualAddress& own : {node_a(), node_a_secondary(), gateway_of("node-a")}) {
    if (text == canonical_host(own.v4) || text == canonical_host(own.v6)) return true;
  }
  return text == "127.0.0.1" || text == "::1";
}

std::string_view Topology::node_of(std::string_view pod) {
  return pod[0] == 'b' ? "node-b" : "node-a";
}

const std::vector<std::string>& Topology::pods() {
  static const std::vector<std::string> names = {"a1", "a2", "a3", "a4", "pod",
                                                 "b1", "b2", "b3", "b4"};
  return names;
}

bool Topology::runs_on_node_a(std::string_view name) {
  if (name == "node-a") return true;
  return name != "outside" && name != "node-b" && node_of(name) == "node-a";
}

Result<std::unique_ptr<Topology>> Topology::create(const Furnish& furnish) {
  if (const std::string missing =
          missing_features({Feature::kRoot, Feature::kNetns, Feature::kVeth, Feature::kIPv6});
      !missing.empty()) {
    return Status::error(StatusCode::kUnsupported, "build", "test network", missing);
  }
  std::unique_ptr<Topology> made(new Topology());
  RETURN_IF_ERROR(made->build(furnish));
  return made;
}

Namespace& Topology::at(std::string_view name) const {
  const auto found = namespaces_.find(name);
  assert(found != namespaces_.end());
  return *found->second;
}

Status Topology::build(const Furnish& furnish) {
  std::vector<std::string> names = {"outside", "node-a", "node-b"};
  names.insert(names.end(), pods().begin(), pods().end());
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(namespaces_[name], Namespace::create(name));
    if (furnish) RETURN_IF_ERROR(at(name).run([&] { return furnish(name); }));
    RETURN_IF_ERROR(prepare(at(name)));
  }
  RETURN_IF_ERROR(build_nodes());
  ASSIGN_OR_RETURN(servers_, EchoServers::start());
  for (const std::string& name : pods()) RETURN_IF_ERROR(build_pod(name));
  // A process in the host's network, such as an API server, is an endpoint too.
  return listen(at("node-a"), "node-a", node_a());
}

Status Topology::build_nodes() {
  Namespace& outside_ns = at("outside");
  Namespace& node_a_ns = at("node-a");
  Namespace& node_b_ns = at("node-b");
  RETURN_IF_ERROR(forward(node_a_ns));
  RETURN_IF_ERROR(forward(node_b_ns));
  RETURN_IF_ERROR(connect(node_a_ns, "eth0", outside_ns, "eth0"));
  RETURN_IF_ERROR(connect(node_a_ns, "eth1", node_b_ns, "eth0"));

  std::string outside_commands;
  for (int n = 0; n < kOutsideAddresses; ++n) {
    outside_commands += add_address(outside(n), 24, 64, "eth0", n != 0);
  }
  // Everything beyond the link, service addresses above all, goes to the node under test.
  outside_commands += add_route("0.0.0.0/0", "::/0", node_a());
  RETURN_IF_ERROR(node_a_ns.ip(add_address(node_a(), 24, 64, "eth0") +
                               add_address(node_a_secondary(), 24, 64, "eth1") +
                               add_route("0.0.0.0/0", "::/0", outside()) +
                               add_route("10.244.2.0/24", "fd00:10:244:2::/64", node_b())));
  RETURN_IF_ERROR(node_b_ns.ip(add_address(node_b(), 24, 64, "eth0") +
                               add_route("0.0.0.0/0", "::/0", node_a_secondary())));
  return outside_ns.ip(outside_commands);
}

Status Topology::build_pod(const std::string& name) {
  Namespace& node = at(node_of(name));
  const DualAddress own = pod(name);
  const DualAddress gateway = gateway_of(node_of(name));
  const std::string cable = "veth-" + name;
  RETURN_IF_ERROR(connect(node, cable, at(name), "eth0"));
  RETURN_IF_ERROR(node.ip(add_address(gateway, 32, 128, cable) + "route add " + own.v4 + " dev " +
                          cable + "\nroute add " + own.v6 + " dev " + cable + "\n"));
  RETURN_IF_ERROR(at(name).ip(add_address(own, 32, 128, "eth0") + "route add " + gateway.v4 +
                              " dev eth0\nroute add " + gateway.v6 + " dev eth0\n" +
                              add_route("0.0.0.0/0", "::/0", gateway)));
  return listen(at(name), name, own);
}

Status Topology::listen(Namespace& where, const std::string& name, const DualAddress& address) {
  for (const std::string& host : {address.v4, address.v6}) {
    for (const uint16_t port : {kEchoPort, kOtherPort}) {
      RETURN_IF_ERROR(servers_->listen(where, name, Protocol::kTcp, host, port));
      RETURN_IF_ERROR(servers_->listen(where, name, Protocol::kUdp, host, port));
      if (missing_features({Feature::kSctp}).empty()) {
        RETURN_IF_ERROR(servers_->listen(where, name, Protocol::kSctp, host, port));
      }
    }
  }
  return {};
}

}  // namespace fairlead::harness
