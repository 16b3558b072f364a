// The fixture of every scenario: it runs once for each mode and family, asks the world from
// different places and compares who answered, and whom the answering endpoint saw.
//
//   TEST_P(NodePort, ReachesEveryEndpoint) {
//     auto web = service().endpoints({"a1", "b1"}).node_port();
//     web.apply();
//     reaches({outside(), pod()}, web.at_node_port(family()), {"a1", "b1"}, Seen::kNode);
//   }
//
// Threads: the test's thread.
#pragma once

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "tests/e2e/behaviour.h"
#include "tests/e2e/world.h"

namespace fairlead::e2e {

using namespace std::chrono_literals;
using dataplane::Family;
using dataplane::Protocol;
using harness::Answer;
using harness::Conversation;
using harness::DualAddress;
using harness::EndpointObject;
using harness::eventually;
using harness::Fate;
using harness::hinted;
using harness::kPatience;
using harness::kSilence;
using harness::not_ready;
using harness::Question;
using harness::ServiceObject;
using harness::Target;
using harness::terminating;
using harness::Topology;
using harness::Traffic;

using Targets = std::vector<Target>;
using Pods = std::set<std::string>;

// A place to ask from.
struct Place {
  std::string name;
  std::string source;         // the address that its packets carry
  bool bind = false;          // ask for that address rather than take the kernel's choice
  bool packets_only = false;  // its sockets are outside the node's cgroup (leave_cgroup())
};

// Which source address the endpoint sees.
enum class Seen {
  kAny,
  kOwn,          // the client's; when the client is the endpoint itself: the node's (hairpin)
  kNode,         // one of node-a's, where the mode masquerades at all: Behaviour
  kMasqueraded,  // one of node-a's in every mode, since the operator demands it
};

class Scenario : public testing::TestWithParam<std::tuple<std::string, Family>> {
 protected:
  void SetUp() override;
  void TearDown() override;
  // Flags of the daemon beside the usual ones; the same for all tests of a suite.
  virtual std::vector<std::string> flags() const { return {}; }

  World& world() { return *world_; }
  const std::string& mode() const { return std::get<0>(GetParam()); }
  Family family() const { return std::get<1>(GetParam()); }
  const std::string& of(const DualAddress& address) const { return address.of(family()); }

  ServiceObject service(const std::string& prefix = "web") {
    return world().cluster().service(prefix);
  }
  void settle() { world().cluster().settle(); }

  Place outside(int n = 0) const { return {"outside", of(Topology::outside(n)), n != 0}; }
  Place pod(const std::string& name = "pod") const {
    return {name, of(Topology::pod(name)), false};
  }
  Place node() const { return {"node-a", of(Topology::node_a()), false}; }
  std::vector<Place> everywhere() const { return {outside(), pod(), node()}; }

  Question question(const Place& from, const Target& to);
  Answer ask(const Place& from, const Target& to, std::chrono::milliseconds patience = kPatience);

  // Each place reaches every one of `pods` and nothing else, over every target.
  void reaches(const std::vector<Place>& from, const Targets& to, const Pods& pods,
               Seen seen = Seen::kAny, const char* file = __builtin_FILE(),
               int line = __builtin_LINE());
  // Each place is refused at once, or hears nothing at all.
  void refused(const std::vector<Place>& from, const Targets& to,
               const char* file = __builtin_FILE(), int line = __builtin_LINE());
  void dropped(const std::vector<Place>& from, const Targets& to,
               const char* file = __builtin_FILE(), int line = __builtin_LINE());

 private:
  struct Asked {
    Place from;
    Target to;
    Answer answer;

    std::string to_string() const;
  };
  std::vector<Asked> ask_all(const std::vector<Place>& from, const Targets& to, size_t times,
                             std::chrono::milliseconds patience);
  bool source_is_right(Seen seen, const Place& from, const Answer& answer) const;
  void fails_as(Fate expected, const std::vector<Place>& from, const Targets& to,
                std::chrono::milliseconds patience, const char* file, int line);

  World* world_ = nullptr;
};

// "nftables_IPv4": the name of a test's parameters.
std::string parameter_name(const testing::TestParamInfo<std::tuple<std::string, Family>>& info);
std::vector<std::string> mode_names();

// Every suite runs in every mode and family, unless it is about what one mode alone has.
#define FAIRLEAD_SCENARIOS(Suite) FAIRLEAD_SCENARIOS_IN(Suite, mode_names())
#define FAIRLEAD_SCENARIOS_OF(Suite, mode) \
  FAIRLEAD_SCENARIOS_IN(Suite, std::vector<std::string>{mode})
#define FAIRLEAD_SCENARIOS_IN(Suite, modes)                                                      \
  INSTANTIATE_TEST_SUITE_P(                                                                      \
      Modes, Suite,                                                                              \
      testing::Combine(testing::ValuesIn(modes), testing::Values(Family::kIPv4, Family::kIPv6)), \
      parameter_name)

}  // namespace fairlead::e2e
