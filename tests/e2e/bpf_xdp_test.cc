// The eBPF mode with its XDP program at work, in the driver and in front of the stack. By itself
// the mode leaves veth devices without, and those are all that tests have.
#include <utility>

#include "tests/e2e/bpf_maps.h"
#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

class Xdp : public Scenario {
 protected:
  void SetUp() override {
    Scenario::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    connect_by_wires(true);
  }
  void TearDown() override {
    if (!IsSkipped()) connect_by_wires(false);
    Scenario::TearDown();
  }

  // What the program has sent on since the last call.
  uint64_t sent() {
    const uint64_t before = std::exchange(sent_, counted(FL_COUNT_xdp_forwarded));
    return sent_ - before;
  }

  void serves_what_leaves_the_node_again() {
    auto web = service().endpoints({"b1", "b2"}).load_balancer().node_port().external_ip();
    web.apply();
    sent();
    reaches({outside()}, web.at_cluster_ip(family()), {"b1", "b2"}, Seen::kNode);
    EXPECT_GT(sent(), 0U) << "cluster IP";
    reaches({outside()}, web.at_node_port(family()), {"b1", "b2"}, Seen::kNode);
    EXPECT_GT(sent(), 0U) << "node port";
    reaches({outside()}, web.at_external_ip(family()), {"b1", "b2"}, Seen::kNode);
    EXPECT_GT(sent(), 0U) << "external IP";
    reaches({outside()}, web.at_load_balancer(family()), {"b1", "b2"}, Seen::kNode);
    EXPECT_GT(sent(), 0U) << "load balancer";
  }

  void leaves_the_rest_to_the_stack() {
    auto here = service("here").endpoints({"a1"}).node_port().external_local();
    auto nobody = service("nobody").no_endpoints().node_port().external_ip();
    auto mixed = service("mixed").endpoints({"a1", "b1"}).node_port();
    here.apply();
    nobody.apply();
    mixed.apply();
    reaches({outside()}, here.at_node_port(family()), {"a1"}, Seen::kOwn);
    reaches(everywhere(), mixed.at_cluster_ip(family()), {"a1", "b1"});
    reaches(everywhere(), mixed.at_node_port(family()), {"a1", "b1"}, Seen::kNode);
    refused({outside(), pod()}, nobody.at_node_port(family()));
    refused({outside()}, nobody.at_external_ip(family()));
  }

  // One connection, spoken over again and again, while the endpoint that it has not moves away.
  void carries_connections_on() {
    auto web = service().endpoints({"b1", "b2"}).node_port().protocols({Protocol::kTcp});
    web.apply();
    Conversation open(question(outside(), web.at_node_port(family()).front()));
    const std::string endpoint = open.exchange().endpoint;
    EXPECT_TRUE(endpoint == "b1" || endpoint == "b2") << endpoint;
    web.endpoints({"b3"}).apply();
    sent();
    for (int i = 0; i < 20; ++i) EXPECT_EQ(open.exchange().endpoint, endpoint);
    EXPECT_GE(sent(), 40U) << "there and back";
    reaches({outside()}, web.at_node_port(family()), {"b3"}, Seen::kNode);
  }

 private:
  void connect_by_wires(bool wires) {
    std::vector<std::string> ends = Topology::pods();
    ends.insert(ends.end(), {"outside", "node-b"});
    for (const std::string& name : ends) {
      const Status set = world().at(name).as_on_a_wire("eth0", wires);
      EXPECT_TRUE(set.ok()) << set.message();
    }
  }

  uint64_t sent_ = 0;
};

class XdpInTheDriver : public Xdp {
  std::vector<std::string> flags() const override { return {"--ebpf-xdp=native"}; }
};
FAIRLEAD_SCENARIOS_OF(XdpInTheDriver, "ebpf");

TEST_P(XdpInTheDriver, ServesWhatLeavesTheNodeAgain) {
  serves_what_leaves_the_node_again();
}
TEST_P(XdpInTheDriver, LeavesTheRestToTheStack) {
  leaves_the_rest_to_the_stack();
}
TEST_P(XdpInTheDriver, CarriesConnectionsOn) {
  carries_connections_on();
}

class XdpInFrontOfTheStack : public Xdp {
  std::vector<std::string> flags() const override { return {"--ebpf-xdp=generic"}; }
};
FAIRLEAD_SCENARIOS_OF(XdpInFrontOfTheStack, "ebpf");

TEST_P(XdpInFrontOfTheStack, ServesWhatLeavesTheNodeAgain) {
  serves_what_leaves_the_node_again();
}
TEST_P(XdpInFrontOfTheStack, LeavesTheRestToTheStack) {
  leaves_the_rest_to_the_stack();
}
TEST_P(XdpInFrontOfTheStack, CarriesConnectionsOn) {
  carries_connections_on();
}

}  // namespace
}  // namespace fairlead::e2e
