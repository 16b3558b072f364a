// Node ports on 127.0.0.1, which mode iptables alone has, and the flag that turns them off.
#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

class Loopback : public Scenario {
 protected:
  Targets on_loopback(const ServiceObject& service) const {
    Targets targets = service.at_node_port(family());
    for (Target& target : targets) {
      target.address = family() == Family::kIPv4 ? "127.0.0.1" : "::1";
    }
    return targets;
  }
};
FAIRLEAD_SCENARIOS_OF(Loopback, "iptables");

// ::1 has nothing like route_localnet: nobody answers there.
TEST_P(Loopback, NodePortsAnswerInIPv4) {
  auto web = service().endpoints({"a1", "b1"}).node_port();
  web.apply();
  if (family() == Family::kIPv4) {
    reaches({node()}, on_loopback(web), {"a1", "b1"}, Seen::kMasqueraded);
  } else {
    refused({node()}, on_loopback(web));
  }
  reaches({node()}, web.at_node_port(family()), {"a1", "b1"});
}

class NoLoopback : public Loopback {
 protected:
  std::vector<std::string> flags() const override {
    return {"--iptables-localhost-nodeports=false"};
  }
};
FAIRLEAD_SCENARIOS_OF(NoLoopback, "iptables");

TEST_P(NoLoopback, NodePortsDoNotAnswer) {
  auto web = service().endpoints({"a1", "b1"}).node_port();
  web.apply();
  refused({node()}, on_loopback(web));
  reaches({node()}, web.at_node_port(family()), {"a1", "b1"});
}

}  // namespace
}  // namespace fairlead::e2e
