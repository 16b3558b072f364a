#include "iptables/render.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

namespace fairlead::iptables {

using dataplane::Address;
using dataplane::Choice;
using dataplane::EmptyVerdict;
using dataplane::EndpointChoice;
using dataplane::Family;
using dataplane::ForwardingEntry;
using dataplane::Frontend;
using dataplane::FrontendKind;
using dataplane::NodeRules;
using dataplane::Prefix;
using dataplane::Protocol;
using dataplane::Route;
using dataplane::SourceClass;
using dataplane::Target;

namespace {

constexpr const char* kFromNode = "-m addrtype --src-type LOCAL";

// What happens with the sources of a frontend.
enum class Policy { kPlain, kMasqueradeOffPod, kMasquerade, kSplit };

Result<Policy> policy_of(const Frontend& frontend) {
  const Route& pod = frontend.route(SourceClass::kPod);
  const Route& node = frontend.route(SourceClass::kNode);
  const Route& other = frontend.route(SourceClass::kOther);
  if (pod.choice == other.choice && node == other) {
    if (pod == other) return other.masquerade ? Policy::kMasquerade : Policy::kPlain;
    if (other.masquerade) return Policy::kMasqueradeOffPod;
  }
  if (pod == Route{Choice::kCluster, false} && node == Route{Choice::kCluster, true} &&
      other == Route{Choice::kLocal, false}) {
    return Policy::kSplit;
  }
  return Status::error(StatusCode::kInternal, "render", frontend.address.to_string(),
                       "no chain for these routes");
}

class Renderer {
 public:
  Renderer(const ForwardingEntry& entry, const NodeRules& rules, const FixedOptions& options,
           const Style& style)
      : entry_(entry),
        rules_(rules),
        options_(options),
        style_(style),
        family_(entry.key.family),
        name_(service_port_name(entry.key)),
        protocol_(lower_case(entry.key.protocol)),
        pods_(pod_matches(family_, rules.detector)) {}

  Result<Rendered> run();

 private:
  std::string comment(std::string_view format_before, std::string_view format_after = {}) const {
    return style_.comments ? fmt::format("{}{}{}", format_before, name_, format_after) : "";
  }
  const std::vector<Target>& targets(Choice choice) const { return entry_.choice(choice).targets; }
  bool serves(Choice choice) const { return !targets(choice).empty(); }
  std::string chain(std::string_view kind) const { return service_chain(kind, entry_.key); }
  std::string chain(Choice choice) const {
    return chain(choice == Choice::kCluster ? "KUBE-SVC-" : "KUBE-SVL-");
  }
  // A rule for a frontend's address, or for a node port.
  RuleText at(const Frontend& frontend) const {
    RuleText rule;
    rule.protocol = protocol_;
    rule.port = frontend.address.port;
    if (frontend.kind != FrontendKind::kNodePort) {
      rule.destination = host_text(frontend.address.address);
    }
    return rule;
  }
  void share(Table table, std::string_view chain, const RuleText& rule) {
    result_.shared.push_back({table, chain, rule.to_string()});
  }

  void cluster_ip(const Frontend& frontend, Policy policy);
  void external(const Frontend& frontend, bool served);
  void firewall(const Frontend& frontend);
  void unserved(const Frontend& frontend, Choice choice, std::string_view chain);
  void health_check();
  void external_chain(Policy policy);
  void firewall_chain();
  void choice_chain(Choice choice);
  void endpoint(OwnChain& from, const Target& target, size_t remaining);

  const ForwardingEntry& entry_;
  const NodeRules& rules_;
  const FixedOptions& options_;
  const Style style_;
  const Family family_;
  const std::string name_;
  const std::string_view protocol_;
  const std::vector<PodMatch> pods_;
  // Masquerading rules of cluster IPs, at the head of the choices' chains.
  std::vector<std::string> cluster_head_;
  std::vector<std::string> local_head_;
  Rendered result_;
};

Result<Rendered> Renderer::run() {
  bool uses_cluster = false;
  bool uses_local = false;
  bool restricted = false;
  const Frontend* first_external = nullptr;
  for (const Frontend& frontend : entry_.frontends) {
    for (const Route& route : frontend.routes) {
      (route.choice == Choice::kCluster ? uses_cluster : uses_local) = true;
    }
    restricted |= frontend.source_ranges_apply;
    if (frontend.kind != FrontendKind::kClusterIp && first_external == nullptr) {
      first_external = &frontend;
    }
  }
  const bool external_served =
      first_external != nullptr &&
      std::any_of(first_external->routes.begin(), first_external->routes.end(),
                  [this](const Route& route) { return serves(route.choice); });
  for (const Frontend& frontend : entry_.frontends) {
    Policy policy{};
    ASSIGN_OR_RETURN(policy, policy_of(frontend));
    if (frontend.kind == FrontendKind::kClusterIp) {
      if (policy == Policy::kSplit) {
        return Status::error(StatusCode::kInternal, "render", frontend.address.to_string(),
                             "a cluster IP has one choice of endpoints");
      }
      cluster_ip(frontend, policy);
    } else {
      if (frontend.routes != first_external->routes) {
        return Status::error(StatusCode::kInternal, "render", frontend.address.to_string(),
                             "external addresses of one port have the same routes");
      }
      external(frontend, external_served);
    }
  }
  if (entry_.health_check_node_port != 0) health_check();
  if (external_served) {
    external_chain(*policy_of(*first_external));
    if (restricted) firewall_chain();
  }
  if (uses_cluster && serves(Choice::kCluster)) choice_chain(Choice::kCluster);
  if (uses_local && serves(Choice::kLocal)) choice_chain(Choice::kLocal);
  std::sort(result_.chains.begin(), result_.chains.end(),
            [](const OwnChain& a, const OwnChain& b) { return a.name < b.name; });
  result_.chains.erase(std::unique(result_.chains.begin(), result_.chains.end()),
                       result_.chains.end());
  return std::move(result_);
}

void Renderer::cluster_ip(const Frontend& frontend, Policy policy) {
  const Choice choice = frontend.route(SourceClass::kOther).choice;
  if (!serves(choice)) {
    unserved(frontend, choice, kServices);
    return;
  }
  RuleText rule = at(frontend);
  rule.comment = comment("", " cluster IP");
  rule.target = chain(choice);
  share(Table::kNat, kServices, rule);

  if (policy == Policy::kPlain) return;
  rule.target = kMarkMasq;
  if (policy == Policy::kMasqueradeOffPod) {
    if (pods_.size() == 1) {
      if (!pods_[0].source.empty()) rule.source = "! " + pods_[0].source;
      if (!pods_[0].in.empty()) rule.in = "! " + pods_[0].in;
      // Every source is a pod's: nobody is left.
      if (pods_[0].source.empty() && pods_[0].in.empty()) return;
    } else {
      rule.target = kMarkOffPod;
    }
  }
  (choice == Choice::kCluster ? cluster_head_ : local_head_).push_back(rule.to_string());
}

void Renderer::external(const Frontend& frontend, bool served) {
  if (served) {
    RuleText rule = at(frontend);
    rule.target = chain(frontend.source_ranges_apply ? "KUBE-FW-" : "KUBE-EXT-");
    if (frontend.kind == FrontendKind::kNodePort) {
      rule.comment = comment("");
      share(Table::kNat, kNodePorts, rule);
    } else {
      rule.comment = comment(
          "", frontend.kind == FrontendKind::kExternalIp ? " external IP" : " loadbalancer IP");
      share(Table::kNat, kServices, rule);
    }
  }
  if (frontend.source_ranges_apply) firewall(frontend);
  // Whoever has endpoints was translated and does not match here.
  const Choice choice = frontend.route(SourceClass::kOther).choice;
  if (!serves(choice)) unserved(frontend, choice, kExternalServices);
}

void Renderer::firewall(const Frontend& frontend) {
  const bool refuses =
      std::any_of(frontend.routes.begin(), frontend.routes.end(), [this](const Route& route) {
        return !serves(route.choice) &&
               entry_.choice(route.choice).when_empty == EmptyVerdict::kReject;
      });
  const std::string chain_name = chain("KUBE-FW-");
  if (refuses) {
    for (const Prefix& range : entry_.source_ranges) {
      RuleText rule = at(frontend);
      rule.source = prefix_text(range);
      rule.comment = comment("", " traffic accepted by " + chain_name);
      rule.target = "RETURN";
      share(Table::kFilter, kProxyFirewall, rule);
    }
  }
  RuleText rule = at(frontend);
  rule.comment = comment("", " traffic not accepted by " + chain_name);
  rule.target = "DROP";
  share(Table::kFilter, kProxyFirewall, rule);
}

void Renderer::unserved(const Frontend& frontend, Choice choice, std::string_view chain_name) {
  const bool reject = entry_.choice(choice).when_empty == EmptyVerdict::kReject;
  RuleText rule = at(frontend);
  rule.comment = comment("", reject ? " has no endpoints" : " has no local endpoints");
  rule.target = reject ? reject_target(family_) : "DROP";
  if (frontend.kind != FrontendKind::kNodePort) {
    share(Table::kFilter, chain_name, rule);
    return;
  }
  if (rules_.node_ports_everywhere(family_)) {
    rule.matches = "-m addrtype --dst-type LOCAL";
    if (!node_ports_on_loopback(family_, rules_, options_)) {
      rule.destination = family_ == Family::kIPv4 ? "! 127.0.0.0/8" : "! ::1/128";
    }
    share(Table::kFilter, chain_name, rule);
    return;
  }
  for (const Address& address : rules_.node_port_addresses) {
    if (address.family() != family_) continue;
    rule.destination = host_text(address);
    share(Table::kFilter, chain_name, rule);
  }
}

// The daemon answers there, whether there are endpoints here or not. With the comment always, as
// kube-proxy has it: it tells apart the rules of a service's several ports.
void Renderer::health_check() {
  RuleText rule;
  rule.protocol = "tcp";
  rule.comment = name_ + " health check node port";
  rule.port = entry_.health_check_node_port;
  rule.target = "ACCEPT";
  share(Table::kFilter, kNodePorts, rule);
}

void Renderer::external_chain(Policy policy) {
  OwnChain own{chain("KUBE-EXT-"), {}};
  const auto add = [&](RuleText rule) { own.rules.push_back(rule.to_string()); };
  const auto about = [this](std::string_view what) {
    return comment(fmt::format("{} traffic for ", what), " external destinations");
  };
  const auto go_to = [&](Choice choice) {
    if (serves(choice)) add({.source = {}, .target = chain(choice)});
  };
  const Frontend& external = *std::find_if(
      entry_.frontends.begin(), entry_.frontends.end(),
      [](const Frontend& frontend) { return frontend.kind != FrontendKind::kClusterIp; });
  if (policy != Policy::kSplit) {
    if (policy != Policy::kPlain) {
      const bool everybody = policy == Policy::kMasquerade;
      add({.source = {},
           .comment = about("masquerade"),
           .target = std::string(everybody ? kMarkMasq : kMarkOffPod)});
    }
    go_to(external.route(SourceClass::kOther).choice);
    result_.chains.push_back(std::move(own));
    return;
  }
  if (serves(Choice::kCluster)) {
    const std::string everywhere = chain(Choice::kCluster);
    for (const PodMatch& pod : pods_) {
      add({.source = pod.source, .in = pod.in, .comment = about("pod"), .target = everywhere});
    }
    add({.source = {},
         .comment = about("masquerade LOCAL"),
         .matches = kFromNode,
         .target = std::string(kMarkMasq)});
    add({.source = {},
         .comment = about("route LOCAL"),
         .matches = kFromNode,
         .target = everywhere});
  }
  go_to(Choice::kLocal);
  result_.chains.push_back(std::move(own));
}

void Renderer::firewall_chain() {
  OwnChain own{chain("KUBE-FW-"), {}};
  for (const Prefix& range : entry_.source_ranges) {
    own.rules.push_back(RuleText{.source = prefix_text(range),
                                 .comment = comment("", " loadbalancer IP"),
                                 .target = chain("KUBE-EXT-")}
                            .to_string());
  }
  if (style_.comments) {
    own.rules.push_back(
        RuleText{.source = {},
                 .comment = comment("other traffic to ", " will be dropped by KUBE-PROXY-FIREWALL")}
            .to_string());
  }
  result_.chains.push_back(std::move(own));
}

void Renderer::choice_chain(Choice choice) {
  OwnChain own{chain(choice), choice == Choice::kCluster ? cluster_head_ : local_head_};
  const std::vector<Target>& all = targets(choice);
  if (entry_.affinity_seconds != 0) {
    for (const Target& target : all) {
      const std::string sep = endpoint_chain(entry_.key, target.address);
      own.rules.push_back(RuleText{
          .source = {},
          .comment = comment("", " -> " + target.address.to_string()),
          .matches =
              fmt::format("-m recent --rcheck --seconds {} --reap --name {} --mask {} --rsource",
                          entry_.affinity_seconds, sep,
                          family_ == Family::kIPv4 ? "255.255.255.255"
                                                   : "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
          .target = sep}
                              .to_string());
    }
  }
  for (size_t i = 0; i < all.size(); ++i) endpoint(own, all[i], all.size() - i);
  result_.chains.push_back(std::move(own));
}

void Renderer::endpoint(OwnChain& from, const Target& target, size_t remaining) {
  RuleText choose;
  choose.comment = comment("", " -> " + target.address.to_string());
  if (remaining > 1) {
    choose.matches =
        fmt::format("-m statistic --mode random --probability {}", probability(remaining));
  }
  const std::string translate = "DNAT --to-destination " + target.address.to_string();
  if (style_.fold && !target.maybe_local && entry_.affinity_seconds == 0) {
    choose.protocol = protocol_;
    choose.target = translate;
    from.rules.push_back(choose.to_string());
    return;
  }
  OwnChain sep{endpoint_chain(entry_.key, target.address), {}};
  choose.target = sep.name;
  from.rules.push_back(choose.to_string());

  sep.rules.push_back(RuleText{.source = host_text(target.address.address),
                               .comment = comment(""),
                               .target = std::string(kMarkMasq)}
                          .to_string());
  RuleText dnat;
  dnat.protocol = protocol_;
  dnat.protocol_match = true;
  dnat.comment = comment("");
  if (entry_.affinity_seconds != 0) {
    dnat.matches = fmt::format(
        "-m recent --set --name {} --mask {} --rsource", sep.name,
        family_ == Family::kIPv4 ? "255.255.255.255" : "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
  }
  dnat.target = translate;
  sep.rules.push_back(dnat.to_string());
  result_.chains.push_back(std::move(sep));
}

}  // namespace

Result<Rendered> render(const ForwardingEntry& entry, const NodeRules& rules,
                        const FixedOptions& options, const Style& style) {
  return Renderer(entry, rules, options, style).run();
}

std::vector<SharedRule> common_rules(const ForwardingEntry& entry, const FixedOptions& options) {
  std::vector<SharedRule> result;
  std::set<Address> addresses;
  for (const Frontend& frontend : entry.frontends) {
    if (frontend.kind == FrontendKind::kClusterIp) addresses.insert(frontend.address.address);
  }
  for (const Address& address : addresses) {
    result.push_back({Table::kFilter, kClusterIps,
                      RuleText{.source = {},
                               .destination = host_text(address),
                               .target = reject_target(address.family())}
                          .to_string()});
  }
  if (options.tcp_be_liberal || entry.key.protocol != Protocol::kTcp) return result;
  std::set<uint16_t> ports;
  for (const Choice choice : {Choice::kCluster, Choice::kLocal}) {
    for (const Target& target : entry.choice(choice).targets) ports.insert(target.address.port);
  }
  for (const uint16_t port : ports) {
    result.push_back({Table::kFilter, kInvalid,
                      RuleText{.source = {},
                               .protocol = "tcp",
                               .matches = fmt::format("-m tcp --sport {}", port),
                               .target = "DROP"}
                          .to_string()});
  }
  return result;
}

std::string probability(size_t remaining) {
  const std::string decimals = fmt::format("{:.10f}", 1.0 / static_cast<double>(remaining));
  constexpr double kOne = 2147483648.0;  // what xt_statistic means by certainty
  const double kept = std::round(kOne * std::strtod(decimals.c_str(), nullptr)) / kOne;
  return fmt::format("{:.11f}", kept);
}

}  // namespace fairlead::iptables
