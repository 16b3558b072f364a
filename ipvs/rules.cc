#include "ipvs/rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "iptables/layout.h"
#include "iptables/save_text.h"
#include "ipvs/layout.h"

namespace fairlead::ipvs {
namespace {

using dataplane::Family;
using dataplane::NodeRules;
using dataplane::Prefix;

constexpr const char* kNotPods = "FAIRLEAD-NOT-PODS";
constexpr const char* kNew = "-m conntrack --ctstate NEW ";

std::string comment(std::string_view text) {
  return fmt::format("-m comment --comment \"{}\" ", text);
}

// Writes the rules of one family.
class Writer {
 public:
  Writer(Family family, const NodeRules& rules)
      : family_(family), rules_(rules), marks_(rules.masquerade_mark) {}

  TableRules nat() const;
  TableRules mangle() const;
  TableRules filter() const;
  std::vector<TableRules> guard() const;

 private:
  std::string in_set(SetId set, const char* what) const {
    return fmt::format("-m set --match-set {} {} ", describe(set, family_).name, what);
  }
  bool is_v4() const { return family_ == Family::kIPv4; }
  // What tells a packet from a pod; any of them.
  std::vector<std::string> pod_matches() const;
  Chain postrouting() const;
  Chain services(bool& needs_not_pods) const;
  Chain source_ranges(const char* name) const;
  std::vector<std::string> no_local_drop() const;
  std::vector<std::string> refusals() const;
  std::vector<std::string> unallocated_drops() const;

  Family family_;
  const NodeRules& rules_;
  MarkSpace marks_;
};

std::vector<std::string> Writer::pod_matches() const {
  std::vector<std::string> matches;
  for (const Prefix& prefix : rules_.detector.pod_prefixes) {
    if (prefix.family() == family_) matches.push_back("-s " + prefix.to_string());
  }
  if (!rules_.detector.bridge_interface.empty()) {
    matches.push_back("-i " + rules_.detector.bridge_interface);
  }
  if (!rules_.detector.interface_name_prefix.empty()) {
    matches.push_back("-i " + rules_.detector.interface_name_prefix + "+");
  }
  return matches;
}

Chain Writer::services(bool& needs_not_pods) const {
  Chain chain{"KUBE-SERVICES", {}};
  chain.rules.push_back(comment("load-balancer addresses") +
                        in_set(SetId::kLoadBalancer, "dst,dst") + "-j KUBE-LOAD-BALANCER");
  chain.rules.push_back(comment("cluster IPs under --masquerade-all") +
                        in_set(SetId::kMasqueradeAll, "dst,dst") + "-j KUBE-MARK-MASQ");
  const std::vector<std::string> pods = pod_matches();
  needs_not_pods = pods.size() > 1;
  if (pods.size() == 1) {
    chain.rules.push_back("! " + pods[0] + " " + comment("cluster IPs, asked by others than pods") +
                          in_set(SetId::kClusterIp, "dst,dst") + "-j KUBE-MARK-MASQ");
  } else if (needs_not_pods) {
    chain.rules.push_back(comment("cluster IPs, asked by others than pods") +
                          in_set(SetId::kClusterIp, "dst,dst") + "-j " + kNotPods);
  }
  chain.rules.push_back(comment("external IPs") + in_set(SetId::kExternalIp, "dst,dst") +
                        "-j KUBE-MARK-MASQ");
  chain.rules.push_back("-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT");
  return chain;
}

Chain Writer::postrouting() const {
  const uint32_t bit = rules_.masquerade_mark;
  return {"KUBE-POSTROUTING",
          {comment("endpoints that reach themselves") + in_set(SetId::kLoopBack, "dst,dst,src") +
               "-j MASQUERADE",
           // A process of the node that asks a virtual address has that address as its own: no
           // answer to it would find the way back.
           comment("from the node itself through IPVS") +
               "-m ipvs --ipvs -m addrtype --src-type LOCAL -j MASQUERADE --random-fully",
           fmt::format("-m mark ! --mark {0:#x}/{0:#x} -j RETURN", bit),
           fmt::format("-j MARK --set-xmark {:#x}/0x0", bit),
           comment("what needs it") + "-j MASQUERADE --random-fully"}};
}

TableRules Writer::nat() const {
  TableRules table{"nat", {}, {}};
  bool needs_not_pods = false;
  table.chains.push_back(services(needs_not_pods));
  if (needs_not_pods) {
    Chain chain{kNotPods, {}};
    for (const std::string& match : pod_matches()) chain.rules.push_back(match + " -j RETURN");
    chain.rules.push_back("-j KUBE-MARK-MASQ");
    table.chains.push_back(std::move(chain));
  }
  table.chains.push_back({"KUBE-LOAD-BALANCER",
                          {comment("policy Local keeps the client's address") +
                               in_set(SetId::kLoadBalancerLocal, "dst,dst") + "-j RETURN",
                           "-j KUBE-MARK-MASQ"}});
  Chain node_ports{"KUBE-NODE-PORT", {}};
  struct Sets {
    const char* protocol;
    SetId local;
    SetId all;
    const char* what;
  };
  for (const Sets& row :
       {Sets{"tcp", SetId::kNodePortLocalTcp, SetId::kNodePortTcp, "dst"},
        Sets{"udp", SetId::kNodePortLocalUdp, SetId::kNodePortUdp, "dst"},
        Sets{"sctp", SetId::kNodePortLocalSctp, SetId::kNodePortSctp, "dst,dst"}}) {
    node_ports.rules.push_back(
        fmt::format("-p {} {}-j RETURN", row.protocol, in_set(row.local, row.what)));
    node_ports.rules.push_back(
        fmt::format("-p {} {}-j KUBE-MARK-MASQ", row.protocol, in_set(row.all, row.what)));
  }
  table.chains.push_back(std::move(node_ports));
  table.chains.push_back(
      {"KUBE-MARK-MASQ",
       {fmt::format("-j MARK --set-xmark {0:#x}/{0:#x}", rules_.masquerade_mark)}});
  table.chains.push_back(postrouting());
  const std::string portals = comment("kubernetes service portals") + "-j KUBE-SERVICES";
  table.jumps = {{"PREROUTING", portals, "KUBE-SERVICES"},
                 {"OUTPUT", portals, "KUBE-SERVICES"},
                 {"POSTROUTING", comment("kubernetes postrouting rules") + "-j KUBE-POSTROUTING",
                  "KUBE-POSTROUTING"}};
  return table;
}

Chain Writer::source_ranges(const char* name) const {
  return {name,
          {in_set(SetId::kLoadBalancerSourceCidr, "dst,dst,src") + "-j RETURN",
           in_set(SetId::kLoadBalancerSourceIp, "dst,dst,src") + "-j RETURN", "-j DROP"}};
}

TableRules Writer::mangle() const {
  const std::string set = describe(SetId::kMarks, family_).name;
  const std::string mark = fmt::format("-j SET --map-set {} dst,dst --map-mark", set);
  TableRules table{"mangle", {}, {}};
  Chain input{"FAIRLEAD-INPUT", {}};
  for (const std::string& match : pod_matches()) input.rules.push_back(match + " " + mark);
  table.chains.push_back(std::move(input));
  // What the node itself sends meets IPVS before it meets table filter.
  table.chains.push_back(
      {"FAIRLEAD-OUTPUT",
       {kNew + in_set(SetId::kLoadBalancerFirewall, "dst,dst") + "-j FAIRLEAD-SOURCE-RANGES",
        mark}});
  std::vector<std::string>& output = table.chains.back().rules;
  const std::vector<std::string> drop =
      no_local_drop();  // a mark tells who has endpoints elsewhere
  output.insert(output.end(), drop.begin(), drop.end());
  table.chains.push_back(source_ranges("FAIRLEAD-SOURCE-RANGES"));
  // Whose the chains of all tables are.
  table.chains.push_back({std::string(iptables::kIpvsOwner), {}});
  table.jumps = {{"INPUT", "-j FAIRLEAD-INPUT", "FAIRLEAD-INPUT"},
                 {"OUTPUT", "-j FAIRLEAD-OUTPUT", "FAIRLEAD-OUTPUT"}};
  return table;
}

std::vector<std::string> Writer::no_local_drop() const {
  return {comment("policy Local, no endpoint here") + kNew + in_set(SetId::kNoLocal, "dst,dst") +
          fmt::format("-m mark ! --mark {:#x}/{:#x} -j DROP", marks_.value(), marks_.mask())};
}

std::vector<std::string> Writer::refusals() const {
  const std::string ours = in_set(SetId::kAddresses, "dst");
  return {"-p tcp " + std::string(kNew) + ours + "-j REJECT --reject-with tcp-reset",
          kNew + ours + "-j REJECT --reject-with " +
              (is_v4() ? "icmp-port-unreachable" : "icmp6-port-unreachable")};
}

std::vector<std::string> Writer::unallocated_drops() const {
  std::vector<std::string> drops;
  for (const Prefix& prefix : rules_.service_prefixes) {
    if (prefix.family() != family_) continue;
    drops.push_back("-d " + prefix.to_string() + " " + comment("no service has the address") +
                    kNew + "-j DROP");
  }
  return drops;
}

TableRules Writer::filter() const {
  TableRules table{"filter", {}, {}};
  const auto append = [](Chain& chain, const std::vector<std::string>& rules) {
    chain.rules.insert(chain.rules.end(), rules.begin(), rules.end());
  };
  table.chains.push_back({"KUBE-PROXY-FIREWALL",
                          {kNew + in_set(SetId::kLoadBalancerFirewall, "dst,dst") +
                           "-j KUBE-SOURCE-RANGES-FIREWALL"}});
  table.chains.push_back(source_ranges("KUBE-SOURCE-RANGES-FIREWALL"));

  // Load balancers ask the daemon here, whatever the node's own firewall says of the port.
  table.chains.push_back({"KUBE-NODE-PORT",
                          {comment("Kubernetes health check node port") + "-p tcp " +
                           in_set(SetId::kHealthCheckNodePort, "dst") + "-j ACCEPT"}});

  Chain input{"KUBE-IPVS-FILTER", no_local_drop()};
  for (const SetId served :
       {SetId::kLoadBalancer, SetId::kClusterIp, SetId::kExternalIp, SetId::kExternalIpLocal}) {
    input.rules.push_back(in_set(served, "dst,dst") + "-j RETURN");
  }
  append(input, refusals());
  table.chains.push_back(std::move(input));

  Chain output{"KUBE-IPVS-OUT-FILTER", refusals()};
  append(output, unallocated_drops());
  table.chains.push_back(std::move(output));

  const uint32_t bit = rules_.masquerade_mark;
  Chain forward{"KUBE-FORWARD", unallocated_drops()};
  append(forward, {comment("kubernetes forwarding rules") +
                       fmt::format("-m mark --mark {0:#x}/{0:#x} -j ACCEPT", bit),
                   comment("kubernetes forwarding conntrack rule") +
                       "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"});
  table.chains.push_back(std::move(forward));

  const std::string firewall = comment("kube-proxy firewall rules") + "-j KUBE-PROXY-FIREWALL";
  const std::string access = comment("kubernetes ipvs access filter");
  table.jumps = {
      {"INPUT", firewall, "KUBE-PROXY-FIREWALL"},
      {"INPUT", access + "-j KUBE-IPVS-FILTER", "KUBE-IPVS-FILTER"},
      {"INPUT", comment("kubernetes health check rules") + "-j KUBE-NODE-PORT", "KUBE-NODE-PORT"},
      {"FORWARD", firewall, "KUBE-PROXY-FIREWALL"},
      {"FORWARD", comment("kubernetes forwarding rules") + "-j KUBE-FORWARD", "KUBE-FORWARD"},
      {"OUTPUT", access + "-j KUBE-IPVS-OUT-FILTER", "KUBE-IPVS-OUT-FILTER"}};
  return table;
}

std::vector<TableRules> Writer::guard() const {
  const std::string jump = fmt::format("-j {}", kGuard);
  // Its own connections to such an address have it as their source.
  const std::string masquerade = comment("the node itself") + in_set(SetId::kAddresses, "src") +
                                 "-m addrtype --src-type LOCAL -j MASQUERADE --random-fully";
  return {{"filter", {{kGuard, refusals()}}, {{"INPUT", jump, kGuard}}},
          {"nat", {{kGuard, {masquerade}}}, {{"POSTROUTING", jump, kGuard}}}};
}

template <typename Each>
void for_each_line(std::string_view text, Each each) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    each(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

// "-A CHAIN rest": the two parts; empty when the line is no rule.
std::pair<std::string_view, std::string_view> rule_parts(std::string_view line) {
  if (!line.starts_with("-A ")) return {};
  line.remove_prefix(3);
  const size_t end = line.find(' ');
  if (end == std::string_view::npos) return {line, {}};
  return {line.substr(0, end), line.substr(end + 1)};
}

// The chain that a rule leads to, as its last words say: "-j X", "-g X". Empty when they do not.
std::string_view target_of(std::string_view rule) {
  for (const std::string_view word : {" -j ", " -g "}) {
    const size_t at = (" " + std::string(rule)).rfind(word);
    if (at == std::string::npos) continue;
    const std::string_view rest = rule.substr(at + word.size() - 1);
    return rest.substr(0, rest.find(' '));
  }
  return {};
}

bool is_ours(const TableRules& wanted, std::string_view chain) {
  return std::any_of(wanted.chains.begin(), wanted.chains.end(),
                     [chain](const Chain& each) { return each.name == chain; });
}

bool is_kernels(std::string_view chain) {
  return chain == "PREROUTING" || chain == "INPUT" || chain == "FORWARD" || chain == "OUTPUT" ||
         chain == "POSTROUTING";
}

iptables::Table table_of(const TableRules& wanted) {
  if (wanted.table == "nat") return iptables::Table::kNat;
  return wanted.table == "filter" ? iptables::Table::kFilter : iptables::Table::kMangle;
}

// Names of chains, in the order of the text.
std::vector<std::string_view> chains_of(std::string_view saved) {
  std::vector<std::string_view> names;
  for_each_line(saved, [&](std::string_view line) {
    if (line.starts_with(":")) names.push_back(line.substr(1, line.find(' ') - 1));
  });
  return names;
}

// Has the chain nothing but the iptables mode's guard against foreign packets to loopback?
bool guards_only(std::string_view chain, std::string_view saved) {
  bool only = true;
  for_each_line(saved, [&](std::string_view line) {
    const auto [name, rule] = rule_parts(line);
    if (name == chain) only &= iptables::same_rule(rule, iptables::martian_rule());
  });
  return only;
}

// A jump into `known`'s chains that this mode, another one or kube-proxy has put into a chain of
// the kernel's. Others may make use of our chains from there, too.
bool is_proxys_jump(const TableRules& known, std::string_view chain, std::string_view rule) {
  if (!is_kernels(chain) || !is_ours(known, target_of(rule))) return false;
  return target_of(rule).starts_with("FAIRLEAD-") ||
         iptables::is_proxy_jump(table_of(known), chain, rule);
}

// Does a rule outside of `chains`, that is no jump of ours, lead into `chain`?
bool used_by_others(const TableRules& chains, std::string_view chain, std::string_view saved) {
  bool used = false;
  for_each_line(saved, [&](std::string_view line) {
    const auto [from, rule] = rule_parts(line);
    used |= !from.empty() && !is_ours(chains, from) && target_of(rule) == chain &&
            !is_proxys_jump(chains, from, rule);
  });
  return used;
}

// The lines that fill empty chains and lead into them.
std::string rule_lines(const TableRules& wanted) {
  std::string text;
  for (const Chain& chain : wanted.chains) {
    for (const std::string& rule : chain.rules) text += "-A " + chain.name + " " + rule + "\n";
  }
  for (auto jump = wanted.jumps.rbegin(); jump != wanted.jumps.rend(); ++jump) {
    text += "-I " + jump->from + " 1 " + jump->rule + "\n";
  }
  return text;
}

// The lines that take our jumps out of the kernel's chains.
std::string jump_removals(const TableRules& wanted, std::string_view saved) {
  std::string text;
  for_each_line(saved, [&](std::string_view line) {
    const auto [chain, rule] = rule_parts(line);
    if (is_proxys_jump(wanted, chain, rule)) text += fmt::format("-D {} {}\n", chain, rule);
  });
  return text;
}

}  // namespace

size_t TableRules::size() const {
  size_t rules = jumps.size();
  for (const Chain& chain : chains) rules += chain.rules.size();
  return rules;
}

std::vector<TableRules> wanted_rules(Family family, const NodeRules& rules) {
  const Writer writer(family, rules);
  return {writer.mangle(), writer.nat(), writer.filter()};
}

std::string our_part(const TableRules& wanted, std::string_view saved) {
  std::string part;
  for_each_line(saved, [&](std::string_view line) {
    const auto [chain, rule] = rule_parts(line);
    if (chain.empty()) return;
    if (is_ours(wanted, chain) || is_proxys_jump(wanted, chain, rule)) {
      part += line;
      part += '\n';
    }
  });
  return part;
}

bool has_kubelet(std::string_view saved_mangle) {
  return has_chain(saved_mangle, "KUBE-KUBELET-CANARY") ||
         has_chain(saved_mangle, "KUBE-IPTABLES-HINT");
}

std::string install_text(const TableRules& wanted, std::string_view saved, bool keep_firewall) {
  // What another mode or kube-proxy has made: `known` is that and ours.
  TableRules known = wanted;
  std::vector<std::string> stale;
  for (const std::string_view name : chains_of(saved)) {
    const bool proxys = iptables::is_proxy_chain(table_of(wanted), name) || name == kNotPods ||
                        name == kGuard ||
                        (!keep_firewall && name == iptables::kFirewall && guards_only(name, saved));
    if (is_ours(wanted, name) || !proxys) continue;
    known.chains.push_back({std::string(name), {}});
    stale.emplace_back(name);
  }
  std::string text = "*" + wanted.table + "\n";
  for (const Chain& chain : known.chains) text += ":" + chain.name + " - [0:0]\n";
  text += jump_removals(known, saved);
  for (const std::string& name : stale) {
    if (!used_by_others(known, name, saved)) text += "-X " + name + "\n";
  }
  return text + rule_lines(wanted) + "COMMIT\n";
}

std::vector<TableRules> guard_rules(Family family) {
  return Writer(family, NodeRules{}).guard();
}

std::string guard_text(const TableRules& guard, std::string_view saved) {
  const std::string there = our_part(guard, saved);
  if (static_cast<size_t>(std::count(there.begin(), there.end(), '\n')) == guard.size()) return "";
  return fmt::format("*{}\n:{} - [0:0]\n", guard.table, kGuard) + jump_removals(guard, saved) +
         rule_lines(guard) + "COMMIT\n";
}

std::string removal_text(const TableRules& wanted, std::string_view saved, bool owned,
                         Guard guard) {
  TableRules removed{wanted.table, {}, {}};
  for (const std::string_view name : chains_of(saved)) {
    const bool fairleads = name.starts_with("FAIRLEAD-");
    if ((is_ours(wanted, name) && (owned || fairleads)) || name == kNotPods ||
        (name == kGuard && guard == Guard::kRemove)) {
      removed.chains.push_back({std::string(name), {}});
    }
  }
  if (removed.chains.empty()) return "";
  std::string text = "*" + wanted.table + "\n";
  for (const Chain& chain : removed.chains) text += ":" + chain.name + " - [0:0]\n";
  text += jump_removals(removed, saved);
  for (const Chain& chain : removed.chains) {
    if (!used_by_others(removed, chain.name, saved)) text += "-X " + chain.name + "\n";
  }
  return text + "COMMIT\n";
}

bool has_chain(std::string_view saved, std::string_view chain) {
  return saved.find("\n:" + std::string(chain) + " ") != std::string_view::npos;
}

bool foreign_proxy_rules(std::string_view saved_nat, std::string_view saved_mangle) {
  return has_chain(saved_nat, "KUBE-SERVICES") && !has_chain(saved_mangle, iptables::kIpvsOwner);
}

}  // namespace fairlead::ipvs
