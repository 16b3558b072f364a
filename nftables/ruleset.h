// The chains of table `fairlead` and their rules: what a packet meets, in order.
//
//   filter-prerouting, filter-output   new connections: refuse what nobody answers (checks)
//   nat-prerouting, nat-output         services: frontend -> policy chain -> pick -> pick-<n>: DNAT
//   nat-postrouting                    masquerade what was marked, and hairpins
//
// None of it depends on a service. What depends on the node (how to tell a pod, which addresses
// answer node ports, the mark) is in NodeRules. docs/nftables.md walks a packet through it.
//
// Threads: pure functions.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "dataplane/forwarding.h"
#include "nftables/layout.h"
#include "nftables/program.h"

namespace fairlead::nftables {

// A rule in nft's language or as expressions; exactly one of the two.
struct RuleSpec {
  std::string comment;
  std::string text;
  std::function<void(RuleWriter&)> program;
};

// A chain is all text or all expressions.
struct ChainSpec {
  std::string name;
  std::string
      hook;  // "type nat hook prerouting priority dstnat"; empty for chains that others jump to
  std::vector<RuleSpec> rules;

  bool is_text() const { return !rules.empty() && !rules.front().text.empty(); }
};

// `range_lengths`: the prefix lengths that source ranges use, each a set of its own.
std::vector<ChainSpec> static_chains(dataplane::Family family, const dataplane::NodeRules& rules,
                                     const std::set<uint8_t>& range_lengths);
ChainSpec source_ranges_chain(const std::set<uint8_t>& range_lengths);
ChainSpec pick_chain(const PickClass& pick);

// What is stored as the rule's comment: its words and a digest of its content, by which a later run
// knows whether a rule is still as this version writes it.
std::vector<std::string> fingerprints(const ChainSpec& chain, dataplane::Family family);

// The counters that rules refer to, exported as metrics; packets that began a connection in vain.
struct CounterSpec {
  const char* name;
  const char* help;
};
const std::vector<CounterSpec>& counters();

// The command that creates the table, its sets, maps, counters and chains. Harmless when they
// exist.
std::string declare_command(dataplane::Family family, const std::vector<ChainSpec>& chains,
                            uint32_t affinity_limit);
// Empties the text chains among `chains` and writes their rules; one transaction.
std::string text_rules_command(dataplane::Family family, const std::vector<ChainSpec>& chains);
// Replaces the contents of the sets that hold node facts.
std::string node_sets_command(dataplane::Family family, const dataplane::NodeRules& rules);

std::string_view nft_family(dataplane::Family family);  // "ip", "ip6"

}  // namespace fairlead::nftables
