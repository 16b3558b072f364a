// Services without endpoints refuse at once, at every kind of address and for every source, so that
// clients need not wait for a timeout.
#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

class NoEndpoints : public Scenario {};
FAIRLEAD_SCENARIOS(NoEndpoints);

TEST_P(NoEndpoints, EveryAddressRefusesEverybody) {
  auto web = service().no_endpoints().load_balancer().node_port().external_ip();
  web.apply();
  refused(everywhere(), web.at_cluster_ip(family()));
  refused(everywhere(), web.at_load_balancer(family()));
  refused(everywhere(), web.at_external_ip(family()));
  refused(everywhere(), web.at_node_port(family()));
}

TEST_P(NoEndpoints, AServiceWithoutAnySliceRefuses) {
  auto web = service().node_port();
  web.write_service();
  settle();
  refused(everywhere(), web.at_cluster_ip(family()));
  refused(everywhere(), web.at_node_port(family()));
}

TEST_P(NoEndpoints, TheFirstEndpointOpensAndTheLastOneCloses) {
  auto web = service().no_endpoints().node_port().external_ip();
  web.apply();
  refused(everywhere(), web.at_cluster_ip(family()));
  web.endpoints({"a1"}).apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1"});
  reaches(everywhere(), web.at_node_port(family()), {"a1"});
  reaches(everywhere(), web.at_external_ip(family()), {"a1"});
  web.no_endpoints().apply();
  refused(everywhere(), web.at_cluster_ip(family()));
  refused(everywhere(), web.at_node_port(family()));
  refused(everywhere(), web.at_external_ip(family()));
}

TEST_P(NoEndpoints, SlicesBeforeTheirServiceWait) {
  auto web = service().endpoints({"a1"});
  web.write_endpoints();
  settle();
  dropped({outside()}, web.at_cluster_ip(family()));
  web.write_service();
  settle();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1"});
}

}  // namespace
}  // namespace fairlead::e2e
