// A ForwardingEntry as iptables rules: pure, and the same text for the same entry.
//
// Rules of one entry are of two kinds. Chains of its own (KUBE-SVC-, KUBE-SEP-, ...) are rewritten
// as a whole when they change; rules in chains that all services share (KUBE-SERVICES,
// KUBE-NODEPORTS, ...) are inserted and deleted one by one, so that a change costs the change.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "dataplane/forwarding.h"
#include "iptables/layout.h"

namespace fairlead::iptables {

// How much is written for an entry beyond what the kernel needs.
struct Style {
  bool comments = true;
  // Endpoints that need no chain of their own (they cannot be the client, and have no affinity) are
  // translated in the service's chain.
  bool fold = false;

  friend bool operator==(const Style&, const Style&) = default;
};

struct SharedRule {
  Table table = Table::kNat;
  std::string_view chain;
  std::string rule;

  friend bool operator==(const SharedRule&, const SharedRule&) = default;
};

struct OwnChain {
  std::string name;  // in table nat
  std::vector<std::string> rules;

  friend bool operator==(const OwnChain&, const OwnChain&) = default;
};

struct Rendered {
  std::vector<SharedRule> shared;  // those of one chain in the order in which they must stand
  std::vector<OwnChain> chains;    // by name, each once
};

// kInternal for routes that no chain can express.
Result<Rendered> render(const dataplane::ForwardingEntry& entry, const dataplane::NodeRules& rules,
                        const FixedOptions& options, const Style& style);

// Rules that several entries may want, of which one stands while any does; each once. In
// KUBE-CLUSTER-IPS for the entry's cluster IPs, in FAIRLEAD-INVALID for its TCP endpoints' ports.
std::vector<SharedRule> common_rules(const dataplane::ForwardingEntry& entry,
                                     const FixedOptions& options);

// Of the first of `remaining` endpoints that are left to choose from, as iptables-save prints it:
// xt_statistic keeps 31 bits of kube-proxy's ten decimals. Precondition: remaining > 1.
std::string probability(size_t remaining);

}  // namespace fairlead::iptables
