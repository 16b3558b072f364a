#include "tests/e2e/behaviour.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace fairlead::e2e {

bool has(std::string_view mode, Behaviour behaviour) {
  static constexpr std::pair<std::string_view, Behaviour> kRows[] = {
      {"ebpf", Behaviour::kPodSocketsAreNeverMasqueraded},
      {"ebpf", Behaviour::kStaleUdpSocketsAreAborted},
      {"ebpf", Behaviour::kTerminatingEndpointsLoseUdpFlows},
      {"ipvs", Behaviour::kTerminatingEndpointsLoseUdpFlows},
      {"ipvs", Behaviour::kADatagramIsLostWithItsEndpoint},
      {"ipvs", Behaviour::kAffinityIsPerAddress},
      {"ipvs", Behaviour::kAffinityOutlivesConnections},
      {"iptables", Behaviour::kHealthChecksPassTheFirewall},
      {"ipvs", Behaviour::kHealthChecksPassTheFirewall},
  };
  return std::find(std::begin(kRows), std::end(kRows), std::pair(mode, behaviour)) !=
         std::end(kRows);
}

}  // namespace fairlead::e2e
