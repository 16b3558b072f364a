// The IPVS mode: a virtual server for each virtual address, sets and a few iptables rules beside
// them.
//
// docs/ipvs.md describes what is left in the kernel, and how a packet goes through it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "dataplane/backend.h"
#include "iptables/localnet.h"
#include "iptables/tool.h"
#include "ipvs/host.h"
#include "ipvs/options.h"
#include "ipvs/sets.h"
#include "ipvs/virtual_servers.h"

namespace fairlead::ipvs {

// What the kernel, the tools and this process lack for the mode, each with how to get it; ok when
// nothing.
Status probe();

// A backend on the network namespace of the calling thread.
Result<std::unique_ptr<dataplane::Backend>> create_backend(Options options);

// The same on given seams, for tests.
struct OwnedSeams {
  std::unique_ptr<VirtualServers> servers;
  std::unique_ptr<Sets> sets;
  std::unique_ptr<VirtualDevice> device;
  std::unique_ptr<KernelSettings> settings;
  std::unique_ptr<iptables::Tool> iptables;
  // Tools of the other variants that are installed: rules that an earlier run left by one of them
  // go when the first delta is complete.
  std::vector<std::unique_ptr<iptables::Tool>> other_iptables = {};
  std::string route_localnet = iptables::kRouteLocalnet;
};
std::unique_ptr<dataplane::Backend> create_backend(OwnedSeams seams, Options options);

}  // namespace fairlead::ipvs
