// What one entry is in the kernel: elements of sets, virtual addresses, virtual servers.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "dataplane/forwarding.h"
#include "ipvs/layout.h"
#include "ipvs/virtual_server.h"

namespace fairlead::ipvs {

// What rendering depends on beside the entry. References outlive every use.
struct View {
  dataplane::Family family = dataplane::Family::kIPv4;
  std::vector<dataplane::Address> node_port_addresses;  // of the family
  std::string scheduler = "rr";
  MarkSpace marks{0x4000};
};

struct WantedServer {
  ServerKey key;
  ServerSettings settings;
  const std::vector<dataplane::Target>* targets = nullptr;  // of the entry, which outlives this
  bool graceful = false;  // a destination that goes keeps its connections (TCP)
  // Packets are to vanish, so there shall be no server, but for connections that it has. It is
  // never made for this.
  bool ending = false;
};

struct Rendering {
  std::vector<std::pair<SetId, SetElement>> elements;
  std::vector<dataplane::Address> addresses;  // to be the node's own
  std::vector<WantedServer> servers;
};

// The scheduler of servers by mark under affinity.
inline constexpr const char* kAffinityScheduler = "sh";

// Does the entry need a mark: do pods and the node have another choice of endpoints than others?
bool needs_mark(const dataplane::ForwardingEntry& entry);

// kUnsupported: routes that IPVS cannot tell apart (compile() makes none). `mark`: of MarkSpace;
// counts when needs_mark().
Result<Rendering> render(const dataplane::ForwardingEntry& entry, const View& view, uint32_t mark);

}  // namespace fairlead::ipvs
