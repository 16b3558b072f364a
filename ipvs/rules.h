// The few iptables rules beside IPVS: who is masqueraded, who is let in, what is refused or
// dropped. They look addresses up in the sets and never change with a service.
//
// Chains have kube-proxy's names where kube-proxy has the chain; the others begin with FAIRLEAD.
// docs/ipvs.md walks a packet through them.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dataplane/forwarding.h"

namespace fairlead::ipvs {

struct Chain {
  std::string name;
  std::vector<std::string> rules;  // without "-A NAME"

  friend bool operator==(const Chain&, const Chain&) = default;
};

// A rule in one of the kernel's own chains that leads into one of ours.
struct Jump {
  std::string from;  // "PREROUTING"
  std::string rule;  // "-m comment ... -j KUBE-SERVICES"
  std::string to;    // "KUBE-SERVICES"

  friend bool operator==(const Jump&, const Jump&) = default;
};

struct TableRules {
  std::string table;
  std::vector<Chain> chains;
  std::vector<Jump> jumps;  // in the order in which they stand, before all other rules

  size_t size() const;  // rules of the chains, and jumps
  friend bool operator==(const TableRules&, const TableRules&) = default;
};

std::vector<TableRules> wanted_rules(dataplane::Family family, const dataplane::NodeRules& rules);

// What belongs to `wanted`'s chains in iptables-save's text of the table: their rules, and the
// jumps into them that a proxy puts into the kernel's chains, a line each. Equal texts: nobody
// touched them.
std::string our_part(const TableRules& wanted, std::string_view saved);

// For iptables-restore --noflush: makes the table's chains exactly as wanted, in one step, whatever
// `saved` says of them. Chains of the iptables mode, and of kube-proxy, that are not wanted go;
// everything else stays. So does KUBE-FIREWALL with `keep_firewall`: there is a kubelet, whose it
// is too, or packets to 127.0.0.0/8 are routed and need its guard.
std::string install_text(const TableRules& wanted, std::string_view saved, bool keep_firewall);
// Does a kubelet keep rules on this node?
bool has_kubelet(std::string_view saved_mangle);

// What remains while another mode serves, and connections of this one go on, whose addresses are on
// the device for their sake: in table filter, that these addresses admit nothing new; in table nat,
// that the node does not speak to anybody else by one of them.
std::vector<TableRules> guard_rules(dataplane::Family family);
inline constexpr const char* kGuard = "FAIRLEAD-IPVS-LAST";  // its chains
// For iptables-restore --noflush, whatever `saved` has of it; empty when all of it is there.
std::string guard_text(const TableRules& guard, std::string_view saved);
enum class Guard : bool { kKeep, kRemove };

// Removes them; chains that others still lead into are emptied only. `owned`: table mangle has our
// mark; without it only chains that no other mode and no kube-proxy has are ours. Empty: nothing to
// remove.
std::string removal_text(const TableRules& wanted, std::string_view saved, bool owned, Guard guard);

// Has somebody who makes chains of our names, but without our mark, made rules for services?
bool foreign_proxy_rules(std::string_view saved_nat, std::string_view saved_mangle);
bool has_chain(std::string_view saved, std::string_view chain);

}  // namespace fairlead::ipvs
