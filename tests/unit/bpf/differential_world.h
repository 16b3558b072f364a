// Random services and random packets, biased towards each other, out of one seed.
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "dataplane/reference.h"
#include "dataplane/table.h"

namespace fairlead::bpf::testing {

class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}
  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(engine_() % limit); }
  bool one_in(uint32_t n) { return below(n) == 0; }
  template <typename T>
  const T& pick(const std::vector<T>& from) {
    return from[below(static_cast<uint32_t>(from.size()))];
  }

 private:
  std::mt19937_64 engine_;
};

// The node of Datapath, as the reference evaluator wants it.
dataplane::NodeRules node_rules();
std::vector<dataplane::Address> node_addresses();
inline constexpr std::string_view kServicePrefixes[] = {"10.96.0.0/16", "fd96::/64"};

class RandomTable {
 public:
  explicit RandomTable(Dice& dice) : dice_(dice) {}

  // Replaces, adds or removes a service.
  void mutate();
  dataplane::Packet packet();

  dataplane::ForwardingTable& table() { return table_; }
  std::string describe() const;

 private:
  dataplane::ForwardingEntry entry(uint32_t number);
  dataplane::EndpointChoice choice(dataplane::Family family);
  dataplane::Address source(dataplane::Family family);
  dataplane::SocketAddress destination(dataplane::Protocol& protocol);

  Dice& dice_;
  dataplane::ForwardingTable table_;
};

std::string describe(const dataplane::ForwardingEntry& entry);
std::string describe(const dataplane::Outcome& outcome);

}  // namespace fairlead::bpf::testing
