// Removing what a proxy left in iptables, and nothing else.
//
// Threads: any.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "iptables/tool.h"

namespace fairlead::iptables {

// When table mangle has the chain `owner`, removes all of kube-proxy's and Fairlead's chains of
// this family and the jumps to them that a proxy has put into built-in chains. Without it the rules
// are somebody else's, whatever their names: kConflict, with the chains that stay and what to do,
// unless they are mode ipvs's. Chains that others' rules lead to are emptied and stay.
//
// KUBE-FIREWALL goes when the kubelet has no part in it and nothing is left to guard: the file
// `localnet_file` is set to 0 before, if it was Fairlead that had set it, else its guard stays
// with it. An empty name: another guard is in effect.
Status remove_rules(Tool& tool, dataplane::Family family, std::string_view owner,
                    const std::string& localnet_file);

}  // namespace fairlead::iptables
