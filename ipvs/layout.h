// The names of what the mode leaves in the kernel, in one place: the device, the sets, the marks.
//
// Names and types are kube-proxy's where kube-proxy has the thing, so that operators find what they
// know and an existing kube-proxy's state is taken over; what only Fairlead has begins with
// FAIRLEAD. Everything of these names is ours; nothing else is.
//
// Threads: constants and pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "dataplane/address.h"
#include "ipvs/sets.h"

namespace fairlead::ipvs {

enum class SetId : uint8_t {
  kLoopBack,                // endpoints that may be here, with themselves as source: hairpins
  kClusterIp,               // cluster IPs and their ports
  kMasqueradeAll,           // those of them whose clients are all masqueraded
  kExternalIp,              // external IPs of policy Cluster
  kExternalIpLocal,         // and of policy Local
  kLoadBalancer,            // load-balancer addresses, all
  kLoadBalancerLocal,       // of policy Local
  kLoadBalancerFirewall,    // with source ranges
  kLoadBalancerSourceIp,    // themselves as admitted source
  kLoadBalancerSourceCidr,  // admitted sources
  kNodePortTcp,
  kNodePortLocalTcp,  // of policy Local; in the one above as well
  kNodePortUdp,
  kNodePortLocalUdp,
  kNodePortSctp,
  kNodePortLocalSctp,
  kNodePortServers,      // of TCP and UDP, with their addresses: no rule's, but a record
  kHealthCheckNodePort,  // where the daemon answers for services of policy Local
  kAddresses,            // what is on our device
  kNoLocal,              // policy Local without an endpoint here: dropped
  kMarks,  // where pods and the node reach other endpoints than the rest of the world: a mark
  kCount,
};
inline constexpr size_t kSetCount = static_cast<size_t>(SetId::kCount);

// Name, type and family of a set. IPv6 sets have "6-" inside their names.
SetSpec describe(SetId set, dataplane::Family family);

// Packet marks that choose a virtual server. The upper byte tells ours from others'; a bit that
// means masquerading is never used, nor the one by which kubelet drops.
class MarkSpace {
 public:
  explicit MarkSpace(uint32_t masquerade_mark);

  uint32_t value() const { return value_; }  // of the upper byte
  uint32_t mask() const { return mask_; }
  // The mark of number n; precondition: n < limit(). Number 0 is no entry's: a server by it is made
  // and removed again to see what the kernel can do.
  uint32_t mark(uint32_t n) const;
  uint32_t number(uint32_t mark) const;  // the inverse; limit() when it is none of ours
  uint32_t limit() const;

 private:
  uint32_t value_;
  uint32_t mask_;
  uint32_t usable_;  // bits that numbers are made of
};

}  // namespace fairlead::ipvs
