// What a test needs of the machine, checked up front and by name.
//
// Threads: any; every feature is tried once.
#pragma once

#include <initializer_list>
#include <span>
#include <string>

namespace fairlead::harness {

enum class Feature {
  kRoot,      // the process may administer the network
  kNetns,     // network namespaces
  kVeth,      // virtual cables
  kIPv6,      // IPv6 in namespaces
  kNftables,  // NAT rules in nftables
  kIptables,  // the programs, in whichever variant
  kSctp,      // SCTP sockets
  kBpf,       // programs in the kernel
  kIpvs,      // virtual servers, IP sets, iptables
  kCgroup2,   // cgroups of threads, which programs at sockets are attached to
};

// Empty when all are there, otherwise one line that names what is missing and why.
std::string missing_features(std::span<const Feature> features);
inline std::string missing_features(std::initializer_list<Feature> features) {
  return missing_features(std::span(features.begin(), features.size()));
}

}  // namespace fairlead::harness
