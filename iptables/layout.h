// Names and fixed rules of the iptables mode: kube-proxy's chains, as kube-proxy 1.30 lays them
// out, and the few that Fairlead has beside them. docs/iptables.md shows them in use.
//
// All rules are written in the words and the order in which iptables-save prints them, so that what
// is installed can be compared with what is wanted as text.
//
// Threads: pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/forwarding.h"

namespace fairlead::iptables {

enum class Table : uint8_t { kNat, kFilter, kMangle };
inline constexpr std::array<Table, 3> kTables = {Table::kNat, Table::kFilter, Table::kMangle};
std::string_view to_string(Table table);  // "nat", "filter", "mangle"

inline constexpr std::string_view kServices = "KUBE-SERVICES";  // of nat, and of filter
inline constexpr std::string_view kNodePorts = "KUBE-NODEPORTS";
inline constexpr std::string_view kExternalServices = "KUBE-EXTERNAL-SERVICES";
inline constexpr std::string_view kProxyFirewall = "KUBE-PROXY-FIREWALL";
inline constexpr std::string_view kMarkMasq = "KUBE-MARK-MASQ";
inline constexpr std::string_view kPostrouting = "KUBE-POSTROUTING";
inline constexpr std::string_view kForward = "KUBE-FORWARD";
inline constexpr std::string_view kFirewall = "KUBE-FIREWALL";  // shared with the kubelet
inline constexpr std::string_view kCanary = "KUBE-PROXY-CANARY";
// Fairlead's own: cluster IPs, to refuse ports that they do not have; marks every source but pods
// where several matches are needed to tell a pod; ports of endpoints whose invalid answers are
// dropped; in table mangle: whose all of this is.
inline constexpr std::string_view kClusterIps = "KUBE-CLUSTER-IPS";
inline constexpr std::string_view kMarkOffPod = "KUBE-MARK-OFF-POD";
inline constexpr std::string_view kInvalid = "FAIRLEAD-INVALID";
inline constexpr std::string_view kOwner = "FAIRLEAD-IPTABLES";
inline constexpr std::string_view kIpvsOwner = "FAIRLEAD-IPVS";

// "ns/name:port"; without ":port" when the port has no name.
std::string service_port_name(const dataplane::EntryKey& key);
// The first 16 characters of base32(sha256(name + lower-case protocol [+ endpoint])).
std::string chain_suffix(std::string_view hashed);
// `kind`: "KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-".
std::string service_chain(std::string_view kind, const dataplane::EntryKey& key);
std::string endpoint_chain(const dataplane::EntryKey& key,
                           const dataplane::SocketAddress& endpoint);

// A chain that belongs to one service port or endpoint, of this proxy or an older one.
bool is_service_chain(std::string_view name);
// Any chain that kube-proxy (iptables or IPVS) or Fairlead makes, but for KUBE-FIREWALL.
bool is_proxy_chain(Table table, std::string_view name);
// A rule of a built-in chain (as iptables-save prints it, without "-A CHAIN") that kube-proxy, in
// any of its modes, or Fairlead puts there to lead to its chains. What leads to them from
// elsewhere, or looks at more than the connection's state, is somebody else's, who makes use of
// them.
bool is_proxy_jump(Table table, std::string_view chain, std::string_view rule);

// A rule in the order in which iptables-save prints its parts; empty parts are left out. `source`,
// `destination` and `in` may begin with "! ".
struct RuleText {
  std::string source;  // "10.0.0.0/8"; a prefix of length 0 matches everything and must be empty
  std::string destination = {};
  std::string in = {};
  std::string_view protocol = {};  // "tcp"
  std::string comment = {};        // what could end a quoted word is replaced
  std::string matches = {};        // "-m addrtype --dst-type LOCAL"
  uint16_t port = 0;               // of the destination
  bool protocol_match = false;     // "-m tcp" without a port
  std::string target = {};         // "KUBE-MARK-MASQ", "REJECT --reject-with ..."

  std::string to_string() const;
};
std::string_view lower_case(dataplane::Protocol protocol);
// "10.0.0.0/8"; empty for a prefix that matches every address.
std::string prefix_text(const dataplane::Prefix& prefix);
std::string host_text(const dataplane::Address& address);  // "10.0.0.1/32"
std::string reject_target(dataplane::Family family);

// The matches that tell a pod's packet, as parts of RuleText: a source or an interface.
struct PodMatch {
  std::string source;
  std::string in;
};
std::vector<PodMatch> pod_matches(dataplane::Family family, const dataplane::SourceDetector& by);

struct FixedOptions {
  bool localhost_node_ports = true;  // IPv4: node ports answer on 127.0.0.0/8 too
  bool tcp_be_liberal = false;       // connection tracking takes out-of-window packets: no rule

  friend bool operator==(const FixedOptions&, const FixedOptions&) = default;
};

// A chain whose rules do not depend on services. `tail`: services put rules before these.
struct FixedChain {
  Table table = Table::kNat;
  std::string_view name;
  std::vector<std::string> rules = {};
  bool tail = false;
};
std::vector<FixedChain> fixed_chains(dataplane::Family family, const dataplane::NodeRules& rules,
                                     const FixedOptions& options);

// A rule in a built-in chain, which is others' too: only its presence is seen to.
struct Jump {
  Table table = Table::kNat;
  std::string_view from;
  std::string rule;
};
// In the order in which they shall stand, from the top.
std::vector<Jump> jumps(dataplane::Family family, const dataplane::NodeRules& rules,
                        const FixedOptions& options);
// Node ports answer on 127.0.0.0/8; never on ::1, which has nothing like route_localnet.
bool node_ports_on_loopback(dataplane::Family family, const dataplane::NodeRules& rules,
                            const FixedOptions& options);
// The rule of KUBE-FIREWALL that keeps others from reaching 127.0.0.0/8 by way of route_localnet.
std::string martian_rule();
// The rule beside it, which does nothing: says that Fairlead has set route_localnet.
std::string localnet_rule();
inline constexpr std::string_view kLocalnetComment = "route_localnet has been set to 1 by fairlead";
// The comment of the rule that counts connections to node ports on 127.0.0.0/8.
inline constexpr std::string_view kLocalhostComment = "node ports on the loopback interface";

}  // namespace fairlead::iptables
