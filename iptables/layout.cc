#include "iptables/layout.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "iptables/save_text.h"

namespace fairlead::iptables {

using dataplane::Address;
using dataplane::Family;
using dataplane::NodeRules;
using dataplane::Prefix;
using dataplane::Protocol;

namespace {

constexpr std::array<std::string_view, 6> kServiceKinds = {"KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-",
                                                           "KUBE-EXT-", "KUBE-FW-",  "KUBE-XLB-"};

constexpr const char* kNew = "-m conntrack --ctstate NEW";

// Comments of the built-in chains' rules stand behind their matches.
Jump jump(Table table, std::string_view from, std::string_view to, std::string_view comment,
          std::string_view matches = {}) {
  return {table, from,
          fmt::format("{}{}-m comment --comment \"{}\" -j {}", matches, matches.empty() ? "" : " ",
                      comment, to)};
}

std::string mark(const NodeRules& rules) {
  return fmt::format("{:#x}", rules.masquerade_mark);
}

std::string_view loopback(Family family) {
  return family == Family::kIPv4 ? "127.0.0.0/8" : "::1/128";
}

// The rules at the end of KUBE-SERVICES: from an address of this node to the node ports.
std::vector<std::string> node_port_jumps(Family family, const NodeRules& rules,
                                         const FixedOptions& options) {
  RuleText rule;
  rule.comment = "kubernetes service nodeports; NOTE: this must be the last rule in this chain";
  rule.target = kNodePorts;
  std::vector<std::string> result;
  if (rules.node_ports_everywhere(family)) {
    rule.matches = "-m addrtype --dst-type LOCAL";
    if (!node_ports_on_loopback(family, rules, options)) {
      rule.destination = fmt::format("! {}", loopback(family));
    }
    result.push_back(rule.to_string());
    return result;
  }
  for (const Address& address : rules.node_port_addresses) {
    if (address.family() != family) continue;
    if (address.is_loopback() && !node_ports_on_loopback(family, rules, options)) continue;
    rule.destination = host_text(address);
    result.push_back(rule.to_string());
  }
  return result;
}

std::vector<std::string> forward_rules(Family family, const NodeRules& rules,
                                       const FixedOptions& options) {
  std::vector<std::string> result;
  // An answer that came late and is not translated back would make the client reset a connection
  // that lives. A packet without a connection tells by its source port alone what may have been a
  // service's; others' asymmetric routes are none of our business, nor are those who are no pods.
  if (!options.tcp_be_liberal) {
    std::vector<PodMatch> pods = pod_matches(family, rules.detector);
    if (pods.empty()) pods.emplace_back();  // nobody knows who is one
    for (const PodMatch& pod : pods) {
      RuleText check{.source = pod.source, .in = pod.in, .protocol = "tcp"};
      check.comment = "answers that connection tracking does not know";
      check.matches = "-m conntrack --ctstate INVALID";
      check.target = kInvalid;
      result.push_back(check.to_string());
    }
  }
  result.push_back(RuleText{.source = {},
                            .comment = "kubernetes forwarding rules",
                            .matches = fmt::format("-m mark --mark {0}/{0}", mark(rules)),
                            .target = "ACCEPT"}
                       .to_string());
  result.push_back(RuleText{.source = {},
                            .comment = "kubernetes forwarding conntrack rule",
                            .matches = "-m conntrack --ctstate RELATED,ESTABLISHED",
                            .target = "ACCEPT"}
                       .to_string());
  return result;
}

// What is left of traffic to cluster IPs when the services have taken theirs. Packets that were
// translated are not looked at.
std::vector<std::string> service_tail(Family family, const NodeRules& rules) {
  std::vector<std::string> result;
  const std::string untranslated = "-m conntrack ! --ctstate DNAT";
  RuleText check{.source = {}, .matches = untranslated, .target = std::string(kClusterIps)};
  RuleText drop{.source = {}, .matches = untranslated, .target = "DROP"};
  check.comment = "ports that a cluster IP does not have";
  drop.comment = "addresses that no service has";
  for (const Prefix& prefix : rules.service_prefixes) {
    if (prefix.family() != family) continue;
    drop.destination = prefix_text(prefix);
    result.push_back(drop.to_string());
  }
  // A service may have a cluster IP outside of the ranges that the server tells of.
  result.insert(result.begin(), check.to_string());
  return result;
}

}  // namespace

std::string_view to_string(Table table) {
  constexpr std::array<std::string_view, 3> names = {"nat", "filter", "mangle"};
  return names[static_cast<size_t>(table)];
}

std::string service_port_name(const dataplane::EntryKey& key) {
  std::string name = key.service.to_string();
  if (!key.port_name.empty()) name += ":" + key.port_name;
  return name;
}

std::string chain_suffix(std::string_view hashed) {
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest{};
  ::SHA256(reinterpret_cast<const uint8_t*>(hashed.data()), hashed.size(), digest.data());
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";  // RFC 4648, 6
  std::string suffix;
  for (size_t bit = 0; suffix.size() < 16; bit += 5) {
    const size_t byte = bit / 8;
    const auto pair = static_cast<unsigned>(digest[byte] << 8 | digest[byte + 1]);
    suffix += alphabet[pair >> (11 - bit % 8) & 31];
  }
  return suffix;
}

std::string service_chain(std::string_view kind, const dataplane::EntryKey& key) {
  return std::string(kind) +
         chain_suffix(service_port_name(key) + std::string(lower_case(key.protocol)));
}

std::string endpoint_chain(const dataplane::EntryKey& key,
                           const dataplane::SocketAddress& endpoint) {
  return "KUBE-SEP-" + chain_suffix(service_port_name(key) + std::string(lower_case(key.protocol)) +
                                    endpoint.to_string());
}

bool is_service_chain(std::string_view name) {
  return std::any_of(kServiceKinds.begin(), kServiceKinds.end(), [name](std::string_view kind) {
    return name.starts_with(kind) && name.size() == kind.size() + 16;
  });
}

bool is_proxy_chain(Table table, std::string_view name) {
  constexpr std::array<std::string_view, 12> everywhere = {
      kServices,      kNodePorts,         kExternalServices,
      kProxyFirewall, kForward,           kCanary,
      kClusterIps,    "KUBE-NODE-PORT",   "KUBE-LOAD-BALANCER",
      kMarkOffPod,    "KUBE-IPVS-FILTER", "KUBE-IPVS-OUT-FILTER"};
  if (std::find(everywhere.begin(), everywhere.end(), name) != everywhere.end()) return true;
  switch (table) {
    case Table::kNat:
      return name == kMarkMasq || name == kPostrouting || is_service_chain(name);
    case Table::kFilter:
      return name == kInvalid || name == "KUBE-SOURCE-RANGES-FIREWALL" || is_service_chain(name);
    case Table::kMangle:
      return name == kOwner || name == kIpvsOwner;
  }
  return false;
}

bool is_proxy_jump(Table table, std::string_view chain, std::string_view rule) {
  struct Way {
    Table table;
    std::string_view from;
    std::string_view to;
  };
  constexpr std::array<Way, 20> ways = {{
      {Table::kNat, "PREROUTING", kServices},
      {Table::kNat, "OUTPUT", kServices},
      {Table::kNat, "POSTROUTING", kPostrouting},
      {Table::kFilter, "INPUT", kServices},
      {Table::kFilter, "INPUT", kExternalServices},
      {Table::kFilter, "INPUT", kNodePorts},
      {Table::kFilter, "INPUT", kProxyFirewall},
      {Table::kFilter, "INPUT", kFirewall},
      {Table::kFilter, "INPUT", "KUBE-NODE-PORT"},
      {Table::kFilter, "INPUT", "KUBE-IPVS-FILTER"},
      {Table::kFilter, "FORWARD", kServices},
      {Table::kFilter, "FORWARD", kExternalServices},
      {Table::kFilter, "FORWARD", kForward},
      {Table::kFilter, "FORWARD", kProxyFirewall},
      {Table::kFilter, "OUTPUT", kServices},
      {Table::kFilter, "OUTPUT", kExternalServices},
      {Table::kFilter, "OUTPUT", kProxyFirewall},
      {Table::kFilter, "OUTPUT", kFirewall},
      {Table::kFilter, "OUTPUT", "KUBE-IPVS-OUT-FILTER"},
      {Table::kFilter, "OUTPUT", "KUBE-IPVS-FILTER"},
  }};
  const std::string_view target = target_of(rule);
  if (std::none_of(ways.begin(), ways.end(), [&](const Way& way) {
        return way.table == table && way.from == chain && way.to == target;
      })) {
    return false;
  }
  const std::string text = canonical(rule);
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view option = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(option.size() + 1);
    if (option.starts_with("-j ") || option.starts_with("--comment ")) continue;
    if (option != "--ctstate NEW") return false;
  }
  return true;
}

std::string_view lower_case(Protocol protocol) {
  switch (protocol) {
    case Protocol::kTcp:
      return "tcp";
    case Protocol::kUdp:
      return "udp";
    case Protocol::kSctp:
      return "sctp";
  }
  return "";
}

std::string RuleText::to_string() const {
  std::string text;
  const auto out = std::back_inserter(text);
  const auto part = [&](const char* option, std::string_view value) {
    if (value.empty()) return;
    const bool negated = value.starts_with("! ");
    if (negated) value.remove_prefix(2);
    fmt::format_to(out, "{}{} {} ", negated ? "! " : "", option, value);
  };
  part("-s", source);
  part("-d", destination);
  part("-i", in);
  part("-p", protocol);
  if (!comment.empty()) {
    std::string plain = comment.substr(0, 255);  // XT_MAX_COMMENT_LEN, with the ending zero
    for (char& c : plain) {
      if (c < ' ' || c > '~' || c == '"' || c == '\\' || c == '\'' || c == '`') c = '?';
    }
    fmt::format_to(out, "-m comment --comment \"{}\" ", plain);
  }
  if (!matches.empty()) fmt::format_to(out, "{} ", matches);
  if (port != 0) {
    fmt::format_to(out, "-m {} --dport {} ", protocol, port);
  } else if (protocol_match) {
    fmt::format_to(out, "-m {} ", protocol);
  }
  if (!target.empty()) {
    fmt::format_to(out, "-j {} ", target);
  }
  if (!text.empty()) text.pop_back();
  return text;
}

std::string prefix_text(const Prefix& prefix) {
  return prefix.length() == 0 ? std::string() : prefix.to_string();
}

std::string host_text(const Address& address) {
  return Prefix::host(address).to_string();
}

std::string reject_target(Family family) {
  return family == Family::kIPv4 ? "REJECT --reject-with icmp-port-unreachable"
                                 : "REJECT --reject-with icmp6-port-unreachable";
}

std::vector<PodMatch> pod_matches(Family family, const dataplane::SourceDetector& by) {
  std::vector<PodMatch> matches;
  for (const Prefix& prefix : by.pod_prefixes) {
    if (prefix.family() == family) matches.push_back({prefix_text(prefix), ""});
  }
  if (!by.bridge_interface.empty()) matches.push_back({"", by.bridge_interface});
  if (!by.interface_name_prefix.empty()) matches.push_back({"", by.interface_name_prefix + "+"});
  return matches;
}

std::vector<FixedChain> fixed_chains(Family family, const NodeRules& rules,
                                     const FixedOptions& options) {
  const std::string bit = mark(rules);
  std::vector<FixedChain> chains;
  chains.push_back({Table::kNat, kMarkMasq, {fmt::format("-j MARK --set-xmark {0}/{0}", bit)}});
  FixedChain off_pod{Table::kNat, kMarkOffPod};
  for (const PodMatch& pod : pod_matches(family, rules.detector)) {
    off_pod.rules.push_back(
        RuleText{.source = pod.source, .in = pod.in, .target = "RETURN"}.to_string());
  }
  off_pod.rules.push_back(fmt::format("-j {}", kMarkMasq));
  chains.push_back(std::move(off_pod));
  FixedChain postrouting{Table::kNat, kPostrouting};
  if (node_ports_on_loopback(family, rules, options)) {
    RuleText count{.source = {}, .comment = std::string(kLocalhostComment)};
    count.matches = "-m conntrack --ctstate DNAT --ctorigdst 127.0.0.0/8";
    postrouting.rules.push_back(count.to_string());
  }
  postrouting.rules.insert(postrouting.rules.end(),
                           {fmt::format("-m mark ! --mark {0}/{0} -j RETURN", bit),
                            fmt::format("-j MARK --set-xmark {}/0x0", bit),
                            "-m comment --comment \"kubernetes service traffic requiring SNAT\" "
                            "-j MASQUERADE --random-fully"});
  chains.push_back(std::move(postrouting));
  chains.push_back({Table::kNat, kServices, node_port_jumps(family, rules, options), true});
  chains.push_back({Table::kNat, kNodePorts, {}, true});
  chains.push_back({Table::kNat, kCanary});
  chains.push_back({Table::kFilter, kClusterIps, {}, true});
  chains.push_back({Table::kFilter, kServices, service_tail(family, rules), true});
  chains.push_back({Table::kFilter, kExternalServices, {}, true});
  chains.push_back({Table::kFilter, kProxyFirewall, {}, true});
  chains.push_back({Table::kFilter, kNodePorts, {}, true});
  if (!options.tcp_be_liberal) chains.push_back({Table::kFilter, kInvalid, {}, true});
  chains.push_back({Table::kFilter, kForward, forward_rules(family, rules, options)});
  chains.push_back({Table::kFilter, kCanary});
  chains.push_back({Table::kMangle, kCanary});
  chains.push_back({Table::kMangle, kOwner});
  return chains;
}

std::vector<Jump> jumps(Family family, const NodeRules& rules, const FixedOptions& options) {
  constexpr const char* services = "kubernetes service portals";
  constexpr const char* external = "kubernetes externally-visible service portals";
  constexpr const char* firewall = "kubernetes load balancer firewall";
  std::vector<Jump> all = {
      jump(Table::kNat, "PREROUTING", kServices, services),
      jump(Table::kNat, "OUTPUT", kServices, services),
      jump(Table::kNat, "POSTROUTING", kPostrouting, "kubernetes postrouting rules"),
      jump(Table::kFilter, "INPUT", kProxyFirewall, firewall, kNew),
      jump(Table::kFilter, "INPUT", kNodePorts, "kubernetes health check service ports"),
      jump(Table::kFilter, "INPUT", kExternalServices, external, kNew),
      jump(Table::kFilter, "FORWARD", kProxyFirewall, firewall, kNew),
      jump(Table::kFilter, "FORWARD", kForward, "kubernetes forwarding rules"),
      jump(Table::kFilter, "FORWARD", kServices, services, kNew),
      jump(Table::kFilter, "FORWARD", kExternalServices, external, kNew),
      jump(Table::kFilter, "OUTPUT", kProxyFirewall, firewall, kNew),
      jump(Table::kFilter, "OUTPUT", kServices, services, kNew),
      // kube-proxy leaves it out: from the node itself, an external address without endpoints is
      // refused here as from everywhere.
      jump(Table::kFilter, "OUTPUT", kExternalServices, external, kNew),
  };
  if (node_ports_on_loopback(family, rules, options)) {
    all.push_back({Table::kFilter, "INPUT", fmt::format("-j {}", kFirewall)});
    all.push_back({Table::kFilter, "OUTPUT", fmt::format("-j {}", kFirewall)});
  }
  return all;
}

bool node_ports_on_loopback(Family family, const NodeRules& rules, const FixedOptions& options) {
  return family == Family::kIPv4 && options.localhost_node_ports &&
         (rules.node_ports_everywhere(family) ||
          std::any_of(rules.node_port_addresses.begin(), rules.node_port_addresses.end(),
                      [](const Address& address) {
                        return address.is_loopback() && address.family() == Family::kIPv4;
                      }));
}

std::string martian_rule() {
  return RuleText{.source = "! 127.0.0.0/8",
                  .destination = "127.0.0.0/8",
                  .comment = "block incoming localnet connections",
                  .matches = "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT",
                  .target = "DROP"}
      .to_string();
}

std::string localnet_rule() {
  return RuleText{.source = {}, .comment = std::string(kLocalnetComment)}.to_string();
}

}  // namespace fairlead::iptables
