#include "nftables/ruleset.h"

#include <fmt/format.h>

#include <algorithm>

namespace fairlead::nftables {
namespace {

using dataplane::Family;
using dataplane::NodeRules;
using dataplane::SourceClass;

constexpr const char* kNoEndpoints = "no-endpoints";
constexpr const char* kNoLocalEndpoints = "no-local-endpoints";
constexpr const char* kSourceRefused = "source-refused";
constexpr const char* kUndefinedPort = "undefined-port";
constexpr const char* kUnallocated = "unallocated-address";

RuleSpec text(std::string comment, std::string rule) {
  return {std::move(comment), std::move(rule), nullptr};
}
RuleSpec program(std::string comment, std::function<void(RuleWriter&)> write) {
  return {std::move(comment), {}, std::move(write)};
}

bool has_prefixes(const NodeRules& rules, Family family) {
  const auto& prefixes = rules.detector.pod_prefixes;
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [family](const auto& prefix) { return prefix.family() == family; });
}

// The matches that tell a pod's packet, in nft's language; none without a detector.
std::vector<std::string> pod_matches(Family family, const NodeRules& rules) {
  std::vector<std::string> matches;
  if (has_prefixes(rules, family)) {
    matches.push_back(fmt::format("{} saddr @pod-prefixes", nft_family(family)));
  }
  if (!rules.detector.bridge_interface.empty()) {
    matches.push_back(fmt::format("iifname \"{}\"", rules.detector.bridge_interface));
  }
  if (!rules.detector.interface_name_prefix.empty()) {
    matches.push_back(fmt::format("iifname \"{}*\"", rules.detector.interface_name_prefix));
  }
  return matches;
}

void match_node_port_address(RuleWriter& rule, Family family, const NodeRules& rules) {
  if (rules.node_ports_everywhere(family)) {
    rule.destination_is_local().not_loopback_destination();
  } else {
    rule.load_destination(rule.r.frontend())
        .lookup_member(number_of(SetId::kNodePortAddresses), rule.r.frontend());
  }
}

ChainSpec services_chain(Family family, const NodeRules& rules) {
  const auto dispatch = [](RuleWriter& rule, KeySource source) {
    rule.load_frontend(source)
        .lookup_number(SetId::kServicePolicy, rule.r.frontend(), rule.r.set())
        .lookup_verdict(SetId::kPolicies, rule.r.set());
  };
  return {"services",
          "",
          {program("a virtual address",
                   [=](RuleWriter& rule) { dispatch(rule, KeySource::kDestination); }),
           program("a node port", [=](RuleWriter& rule) {
             match_node_port_address(rule, family, rules);
             dispatch(rule, KeySource::kNodePort);
           })}};
}

std::vector<ChainSpec> policy_chains(Family family, const NodeRules& rules) {
  const std::string mark = fmt::format("meta mark set meta mark or {:#x}", rules.masquerade_mark);
  const std::vector<std::string> pods = pod_matches(family, rules);
  const auto chain = [](Policy policy) {
    return ChainSpec{std::string(chain_name(policy)), "", {}};
  };
  ChainSpec plain = chain(Policy::kPlain);
  plain.rules.push_back(text("the source stays", "goto pick"));

  ChainSpec off_pod = chain(Policy::kSnatOffPod);
  ChainSpec split = chain(Policy::kSplit);
  for (const std::string& match : pods) {
    off_pod.rules.push_back(text("pods keep their address", match + " goto pick"));
    split.rules.push_back(text("pods use every endpoint", match + " goto pick"));
  }
  off_pod.rules.push_back(text("others come back through this node", mark + " goto pick"));
  split.rules.push_back(text("so does the node, under its own address",
                             fmt::format("fib saddr type local {} goto pick", mark)));
  split.rules.push_back(text("others use this node's endpoints", "goto pick-local"));

  ChainSpec snat = chain(Policy::kSnat);
  snat.rules.push_back(text("the answer comes back through this node", mark + " goto pick"));
  return {std::move(plain), std::move(off_pod), std::move(snat), std::move(split)};
}

// From a frontend to the chain that chooses among its set's endpoints.
ChainSpec dispatch_chain(const char* name, SetId set_map) {
  const auto dispatch = [set_map](RuleWriter& rule, KeySource source) {
    rule.load_frontend(source)
        .lookup_number(set_map, rule.r.frontend(), rule.r.set())
        .lookup_number(SetId::kSetClass, rule.r.set(), rule.r.slot())
        .lookup_verdict(SetId::kClasses, rule.r.slot());
  };
  return {
      name,
      "",
      {program("a virtual address",
               [=](RuleWriter& rule) { dispatch(rule, KeySource::kDestination); }),
       program("a node port", [=](RuleWriter& rule) { dispatch(rule, KeySource::kNodePort); })}};
}

ChainSpec checks_chain(Family family, const NodeRules& rules) {
  const auto check = [](RuleWriter& rule, KeySource source) {
    rule.load_frontend(source)
        .lookup_number(SetId::kChecks, rule.r.frontend(), rule.r.set())
        .lookup_verdict(SetId::kCheckClasses, rule.r.set());
  };
  ChainSpec chain{"checks",
                  "",
                  {program("virtual addresses with conditions",
                           [=](RuleWriter& rule) { check(rule, KeySource::kDestination); }),
                   program("node ports with conditions",
                           [=](RuleWriter& rule) {
                             match_node_port_address(rule, family, rules);
                             check(rule, KeySource::kNodePort);
                           }),
                   program("a port that a service has",
                           [](RuleWriter& rule) {
                             rule.load_frontend(KeySource::kDestination)
                                 .lookup_number(SetId::kServicePolicy, rule.r.frontend(),
                                                rule.r.set())
                                 .back();
                           }),
                   program("a port that the cluster IP does not have", [](RuleWriter& rule) {
                     rule.load_destination(rule.r.frontend())
                         .lookup_member(number_of(SetId::kClusterIps), rule.r.frontend())
                         .go_to("reject-undefined-port");
                   })}};
  const bool has_service_prefixes =
      std::any_of(rules.service_prefixes.begin(), rules.service_prefixes.end(),
                  [family](const auto& prefix) { return prefix.family() == family; });
  if (has_service_prefixes) {
    chain.rules.push_back(program("an address that no service has", [](RuleWriter& rule) {
      rule.load_destination(rule.r.frontend())
          .lookup_member(number_of(SetId::kServicePrefixes), rule.r.frontend())
          .drop(kUnallocated);
    }));
  }
  return chain;
}

const char* verdict_text(Check check) {
  switch (check) {
    case Check::kPass:
      return "return";
    case Check::kReject:
      return "goto reject-no-endpoints";
    case Check::kDrop:
      return "counter name \"no-local-endpoints\" drop";
  }
  return "";
}

ChainSpec check_chain(const CheckClass& check, Family family, const NodeRules& rules) {
  ChainSpec chain{check.chain_name(), "", {}};
  if (check.source_ranges) {
    chain.rules.push_back(text("loadBalancerSourceRanges", "jump source-ranges"));
  }
  const auto verdict = [&](SourceClass source) {
    return check.verdicts[static_cast<size_t>(source)];
  };
  const Check others = verdict(SourceClass::kOther);
  if (verdict(SourceClass::kPod) != others) {
    for (const std::string& match : pod_matches(family, rules)) {
      chain.rules.push_back(text("pods", match + " " + verdict_text(verdict(SourceClass::kPod))));
    }
  }
  if (verdict(SourceClass::kNode) != others) {
    chain.rules.push_back(text("the node", fmt::format("fib saddr type local {}",
                                                       verdict_text(verdict(SourceClass::kNode)))));
  }
  chain.rules.push_back(text("everybody else", verdict_text(others)));
  return chain;
}

ChainSpec reject_chain(const char* name, const char* counter) {
  return {name,
          "",
          {text("refuse at once", fmt::format("counter name \"{}\"", counter)),
           text("TCP", "meta l4proto tcp reject with tcp reset"),
           text("others: ICMP port unreachable", "reject")}};
}

}  // namespace

std::string_view nft_family(Family family) {
  return family == Family::kIPv4 ? "ip" : "ip6";
}

const std::vector<CounterSpec>& counters() {
  static const std::vector<CounterSpec> all = {
      {kNoEndpoints, "New connections refused because the service has no endpoints."},
      {kNoLocalEndpoints,
       "New connections dropped because the service has no endpoints on this node."},
      {kSourceRefused, "New connections dropped by loadBalancerSourceRanges."},
      {kUndefinedPort, "New connections refused because the cluster IP has no such port."},
      {kUnallocated, "New connections dropped because no service has the address."},
  };
  return all;
}

ChainSpec source_ranges_chain(const std::set<uint8_t>& range_lengths) {
  ChainSpec chain{"source-ranges", "", {}};
  for (const uint8_t length : range_lengths) {
    chain.rules.push_back(program(fmt::format("sources in a /{} that the frontend admits", length),
                                  [length](RuleWriter& rule) {
                                    rule.load_frontend(KeySource::kDestination)
                                        .load_source(rule.r.after_frontend())
                                        .mask_address(rule.r.after_frontend(), length)
                                        .lookup_member(source_range_set(length), rule.r.frontend())
                                        .back();
                                  }));
  }
  chain.rules.push_back(
      program("nobody else", [](RuleWriter& rule) { rule.drop(kSourceRefused); }));
  return chain;
}

ChainSpec pick_chain(const PickClass& pick) {
  ChainSpec chain{pick.chain_name(), "", {}};
  const SetId set_map = pick.local ? SetId::kLocalSet : SetId::kServiceSet;
  const auto add = [&](const char* comment, auto write) {
    for (const KeySource source : {KeySource::kDestination, KeySource::kNodePort}) {
      chain.rules.push_back(program(
          fmt::format("{}{}", comment, source == KeySource::kNodePort ? ", by node port" : ""),
          [=](RuleWriter& rule) {
            rule.load_frontend(source).lookup_number(set_map, rule.r.frontend(), rule.r.set());
            write(rule);
          }));
    }
  };
  const uint32_t count = pick.endpoints;
  const uint32_t timeout = pick.affinity_seconds;
  if (timeout != 0) {
    add("a client known here", [=](RuleWriter& rule) {
      rule.load_source(rule.r.source())
          .lookup_number(SetId::kAffinity, rule.r.source(), rule.r.slot())
          .lookup_target(SetId::kStickyEndpoints, rule.r.set())
          .remember_affinity(timeout)
          .destination_nat();
    });
    add("its endpoint is gone",
        [](RuleWriter& rule) { rule.load_source(rule.r.source()).forget_affinity(); });
    // Two packets of one client may race: whoever remembers first wins, and both look that up.
    add("a new client", [=](RuleWriter& rule) {
      rule.load_source(rule.r.source())
          .random_slot(count)
          .lookup_number(SetId::kStickySlots, rule.r.set(), rule.r.slot())
          .remember_affinity(timeout)
          .lookup_number(SetId::kAffinity, rule.r.source(), rule.r.slot())
          .lookup_target(SetId::kStickyEndpoints, rule.r.set())
          .destination_nat();
    });
  }
  add("evenly at random", [=](RuleWriter& rule) {
    rule.random_slot(count).lookup_target(SetId::kEndpoints, rule.r.set()).destination_nat();
  });
  return chain;
}

std::vector<ChainSpec> static_chains(Family family, const NodeRules& rules,
                                     const std::set<uint8_t>& range_lengths) {
  const std::string_view ip = nft_family(family);
  std::vector<ChainSpec> chains;
  chains.push_back(reject_chain("reject-no-endpoints", kNoEndpoints));
  chains.push_back(reject_chain("reject-undefined-port", kUndefinedPort));
  chains.push_back(source_ranges_chain(range_lengths));
  for (const CheckClass& check : all_check_classes()) {
    chains.push_back(check_chain(check, family, rules));
  }
  chains.push_back(checks_chain(family, rules));
  chains.push_back(dispatch_chain("pick", SetId::kServiceSet));
  chains.push_back(dispatch_chain("pick-local", SetId::kLocalSet));
  for (ChainSpec& chain : policy_chains(family, rules)) chains.push_back(std::move(chain));
  chains.push_back(services_chain(family, rules));

  const std::string check_new = "ct state new jump checks";
  chains.push_back({"filter-prerouting",
                    "type filter hook prerouting priority -110",
                    {text("only what begins a connection", check_new)}});
  chains.push_back({"filter-output",
                    "type filter hook output priority -110",
                    {text("only what begins a connection", check_new)}});
  chains.push_back({"nat-prerouting",
                    "type nat hook prerouting priority -100",
                    {text("from outside and from pods", "jump services")}});
  chains.push_back({"nat-output",
                    "type nat hook output priority -100",
                    {text("from the node itself", "jump services")}});
  const uint32_t bit = rules.masquerade_mark;
  chains.push_back(
      {"nat-postrouting",
       "type nat hook postrouting priority 100",
       {text("what a policy marked",
             fmt::format("meta mark and {0:#x} == {0:#x} meta mark set meta "
                         "mark and {1:#x} masquerade fully-random",
                         bit, ~bit)),
        text("an endpoint that reached itself",
             fmt::format("ct status dnat {0} saddr . {0} daddr @hairpin masquerade fully-random",
                         ip))}});
  return chains;
}

std::vector<std::string> fingerprints(const ChainSpec& chain, Family family) {
  std::vector<std::string> result;
  for (const RuleSpec& rule : chain.rules) {
    uint64_t digest = dataplane::stable_hash(rule.text);
    if (rule.program) {
      MessageWriter scratch;
      {
        RuleWriter writer(scratch, family, chain.name, "");
        rule.program(writer);
      }
      digest = dataplane::stable_hash(scratch.bytes());
    }
    result.push_back(fmt::format("{} #{:08x}", rule.comment, static_cast<uint32_t>(digest)));
  }
  return result;
}

std::string declare_command(Family family, const std::vector<ChainSpec>& chains,
                            uint32_t affinity_limit) {
  const std::string_view ip = nft_family(family);
  std::string command = fmt::format("add table {} {}\n", ip, kTable);
  const auto out = std::back_inserter(command);
  fmt::format_to(out, "add set {} {} {} {{ type mark; }}\n", ip, kTable, kLayoutVersion);
  for (SetNumber set = 0; set < number_of(SetId::kCount); ++set) {
    const SetSpec spec = describe_set(set, family);
    fmt::format_to(out, "add {} {} {} {} {{ type {};", spec.is_map() ? "map" : "set", ip, kTable,
                   spec.name, spec.type);
    if (!spec.flags.empty()) fmt::format_to(out, " flags {};", spec.flags);
    if (set == number_of(SetId::kAffinity)) fmt::format_to(out, " size {};", affinity_limit);
    fmt::format_to(out, " }}\n");
  }
  for (const CounterSpec& counter : counters()) {
    fmt::format_to(out, "add counter {} {} {}\n", ip, kTable, counter.name);
  }
  for (const ChainSpec& chain : chains) {
    fmt::format_to(out, "add chain {} {} {}", ip, kTable, chain.name);
    if (!chain.hook.empty()) fmt::format_to(out, " {{ {}; policy accept; }}", chain.hook);
    command += '\n';
  }
  return command;
}

std::string text_rules_command(Family family, const std::vector<ChainSpec>& chains) {
  const std::string_view ip = nft_family(family);
  std::string command;
  const auto out = std::back_inserter(command);
  for (const ChainSpec& chain : chains) {
    if (!chain.is_text()) continue;
    fmt::format_to(out, "flush chain {} {} {}\n", ip, kTable, chain.name);
    const std::vector<std::string> comments = fingerprints(chain, family);
    for (size_t i = 0; i < chain.rules.size(); ++i) {
      fmt::format_to(out, "add rule {} {} {} {} comment \"{}\"\n", ip, kTable, chain.name,
                     chain.rules[i].text, comments[i]);
    }
  }
  return command;
}

std::string node_sets_command(Family family, const NodeRules& rules) {
  const std::string_view ip = nft_family(family);
  std::string command;
  const auto fill = [&](SetId set, const std::vector<std::string>& elements) {
    const std::string name = describe_set(number_of(set), family).name;
    command += fmt::format("flush set {} {} {}\n", ip, kTable, name);
    if (!elements.empty()) {
      command += fmt::format("add element {} {} {} {{ {} }}\n", ip, kTable, name,
                             fmt::join(elements, ", "));
    }
  };
  // Intervals that contain each other would be refused as overlapping: the outermost are enough.
  const auto texts = [family](const std::vector<dataplane::Prefix>& prefixes) {
    std::vector<std::string> result;
    for (size_t i = 0; i < prefixes.size(); ++i) {
      const dataplane::Prefix& prefix = prefixes[i];
      bool covered = prefix.family() != family;
      for (size_t j = 0; j < prefixes.size() && !covered; ++j) {
        const dataplane::Prefix& other = prefixes[j];
        covered = j != i && other.contains(prefix.base()) &&
                  (other.length() < prefix.length() || (other == prefix && j < i));
      }
      if (!covered) result.push_back(prefix.to_string());
    }
    return result;
  };
  std::vector<std::string> addresses;
  for (const dataplane::Address& address : rules.node_port_addresses) {
    if (address.family() == family && !address.is_loopback()) {
      addresses.push_back(address.to_string());
    }
  }
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  fill(SetId::kPodPrefixes, texts(rules.detector.pod_prefixes));
  fill(SetId::kServicePrefixes, texts(rules.service_prefixes));
  fill(SetId::kNodePortAddresses, addresses);
  return command;
}

}  // namespace fairlead::nftables
