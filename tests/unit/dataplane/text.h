// Entries and outcomes as text, and short ways to write their inputs, so that a test case reads as
// a table row.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dataplane/compile.h"
#include "dataplane/reference.h"

namespace fairlead::dataplane::testing {

// "10.1.0.1:80 ready local zone-here ..." : flags after the address; see the .cc for the words.
// Without a word an endpoint is ready, serving, on another node, without hints.
Endpoint endpoint(std::string_view text);
std::vector<Endpoint> endpoints(std::vector<std::string_view> texts);
// An unnamed TCP port's group of the family of its first endpoint.
EndpointGroup group(std::vector<std::string_view> texts, std::string port_name = "",
                    Protocol protocol = Protocol::kTcp);

Address address(std::string_view text);
Prefix prefix(std::string_view text);

// Service number `n`, below 250: a cluster IP of each family, an external IP and a node port.
Service service(int n);
// What its port "http" leads to: `count` pods of each family, the first of them on this node.
std::vector<EndpointGroup> pods(int n, int count);

// One line a frontend, one for each choice that a route uses:
//   "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat"
//   "C: 10.1.0.1:80 10.1.0.2:80"      "L: drop"
std::string describe(const ForwardingEntry& entry);
std::string describe(const std::vector<ForwardingEntry>& entries);

}  // namespace fairlead::dataplane::testing
