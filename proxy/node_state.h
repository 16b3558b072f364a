// The node as far as rules depend on it: from the configuration, the Node object, the interfaces'
// addresses and the ServiceCIDRs to the view that compile() and the rules that a backend need.
//
// Threads: one owner (the sync thread).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/api/types.h"
#include "dataplane/forwarding.h"
#include "dataplane/model.h"
#include "proxy/config/config.h"
#include "proxy/runtime/addresses.h"

namespace fairlead::proxy {

class NodeState {
 public:
  NodeState(const ProxyConfig& config, ProxyMode mode, std::vector<dataplane::Family> families);

  // Each returns the sentences to warn with, if the input has something wrong.
  std::vector<api::Problem> set_node(const api::Node& node);
  void set_node_absent();  // the API server has no such Node
  void set_interface_addresses(std::vector<InterfaceAddress> addresses);
  std::vector<api::Problem> set_service_cidrs(const std::vector<api::ServiceCidr>& cidrs);

  // False while detect-local-mode NodeCIDR waits for the Node's podCIDRs.
  bool complete() const;
  // The podCIDRs are other ones than those first seen, which the mode cannot follow.
  bool pod_cidrs_changed() const { return pod_cidrs_changed_; }

  // That of the first of the node's addresses; nullopt: none is known.
  std::optional<dataplane::Family> primary_family() const;
  const std::string& zone() const { return zone_; }
  dataplane::CompileView view() const;
  dataplane::NodeRules rules() const;
  // Where node ports and health check ports answer; empty: everywhere.
  std::vector<dataplane::Address> node_port_addresses() const;
  // Every address on which node ports may be reached, for conntrack.
  std::vector<dataplane::Address> local_addresses() const;

 private:
  std::vector<dataplane::Address> primary_addresses() const;

  const ProxyConfig config_;
  const NodePortAddresses node_port_addresses_;
  const std::vector<dataplane::Family> families_;
  std::vector<dataplane::Address> node_addresses_;  // InternalIPs, then ExternalIPs
  std::vector<dataplane::Prefix> pod_cidrs_;
  bool pod_cidrs_changed_ = false;
  std::string zone_;
  std::vector<InterfaceAddress> interfaces_;
  std::vector<dataplane::Prefix> service_prefixes_;
};

}  // namespace fairlead::proxy
