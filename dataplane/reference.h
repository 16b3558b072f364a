// The reference evaluator: what happens to the first packet of a connection, in plain C++.
//
// It reads the same entries and rules as the backends, slowly and obviously. Tests compare real
// datapaths with it, and it is the engine of `fairlead trace`.
//
// Threads: const after construction.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "dataplane/table.h"

namespace fairlead::dataplane {

struct Packet {
  SocketAddress source;
  SocketAddress destination;
  Protocol protocol = Protocol::kTcp;
  std::string in_interface;  // empty: generated on the node itself
};

enum class Fate : uint8_t {
  kUntouched,  // not a service's: passes as it is
  kForwarded,  // to one of Outcome::targets
  kRejected,   // refused with TCP RST or ICMP port unreachable
  kDropped,    // silently
};

struct Outcome {
  Fate fate = Fate::kUntouched;
  EntryPointer entry;           // the matched entry, null when none
  std::vector<Target> targets;  // any of them is right; only for kForwarded
  bool masquerade = false;  // for every target; a target equal to the source is masqueraded anyhow
  std::string reason;       // one clause, for people
};

class ReferenceEvaluator {
 public:
  // `node_addresses` are the addresses of this node's interfaces.
  ReferenceEvaluator(const std::vector<EntryPointer>& entries, NodeRules rules,
                     std::vector<Address> node_addresses);

  Outcome evaluate(const Packet& packet) const;
  SourceClass classify(const Packet& packet) const;

 private:
  struct Match {
    EntryPointer entry;
    const Frontend* frontend;
  };
  const Match* find(const Packet& packet) const;

  NodeRules rules_;
  std::vector<Address> node_addresses_;
  std::map<std::tuple<Address, uint16_t, Protocol>, Match> by_address_;
  std::map<std::tuple<Family, uint16_t, Protocol>, Match> by_node_port_;
};

}  // namespace fairlead::dataplane
