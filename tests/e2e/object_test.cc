// Services that are not ours to serve, and objects that nobody could serve.
#include "tests/e2e/api.h"
#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

class Untouched : public Scenario {
 protected:
  void expect_untouched(ServiceObject& web) {
    web.write();
    auto neighbour = service("neighbour").endpoints({"a2"});
    neighbour.apply();
    dropped({outside(), pod()}, web.at_cluster_ip(family()));
    dropped({outside()}, web.at_external_ip(family()));
    reaches(everywhere(), neighbour.at_cluster_ip(family()), {"a2"});
  }
};
FAIRLEAD_SCENARIOS(Untouched);

TEST_P(Untouched, ServiceOfAnotherProxy) {
  auto web = service().endpoints({"a1"}).external_ip();
  web.label("service.kubernetes.io/service-proxy-name", "another");
  expect_untouched(web);
}

TEST_P(Untouched, HeadlessByLabel) {
  auto web = service().endpoints({"a1"}).external_ip();
  web.label("service.kubernetes.io/headless", "");
  expect_untouched(web);
}

TEST_P(Untouched, HeadlessService) {
  auto web = service().endpoints({"a1"}).external_ip().headless();
  expect_untouched(web);
}

TEST_P(Untouched, ExternalNameService) {
  auto web = service().endpoints({"a1"}).external_ip().external_name();
  expect_untouched(web);
}

TEST_P(Untouched, ServiceThatComesToAnotherProxyAndBack) {
  auto web = service().endpoints({"a1"}).external_ip();
  web.apply();
  reaches({outside()}, web.at_external_ip(family()), {"a1"});
  auto given_away = web;
  given_away.label("service.kubernetes.io/service-proxy-name", "another");
  given_away.write_service();
  settle();
  dropped({outside()}, web.at_external_ip(family()));
  web.write_service();
  settle();
  reaches({outside()}, web.at_external_ip(family()), {"a1"});
}

class Malformed : public Scenario {
 protected:
  // Replaces `what` in the object's text, which must occur.
  static std::string spoil(std::string json, const std::string& what, const std::string& by) {
    const size_t at = json.find(what);
    EXPECT_NE(at, std::string::npos) << what << " is not in " << json;
    return at == std::string::npos ? json : json.replace(at, what.size(), by);
  }

  // Writes the spoilt object beside a service that must go on working, and expects that the daemon
  // names it, once, in its log, in a metric and in an Event.
  void expect_reported(const std::string& resource, const std::string& name, std::string json) {
    auto neighbour = service("neighbour").endpoints({"a2", "b2"}).node_port();
    neighbour.apply();
    harness::ProxyProcess& proxy = world().proxy();
    const double before = proxy.metric("fairlead_malformed_objects_total");
    world().cluster().write_raw(resource, name, std::move(json));
    neighbour.endpoints({"a2"}).apply();
    reaches(everywhere(), neighbour.at_cluster_ip(family()), {"a2"});
    reaches({outside()}, neighbour.at_node_port(family()), {"a2"});
    EXPECT_TRUE(eventually([&] {
      return proxy.metric("fairlead_malformed_objects_total") > before;
    })) << name;
    EXPECT_GT(proxy.metric("fairlead_malformed_objects"), 0) << name;
    EXPECT_EQ(count_lines(proxy.log(), name), 1) << name;
    EXPECT_TRUE(eventually([&] { return world().api().count_events("MalformedObject", name) > 0; }))
        << name;
    neighbour.apply();  // further changes say nothing new about the spoilt object
    EXPECT_EQ(count_lines(proxy.log(), name), 1) << name;
    world().cluster().remove_raw(resource, name);
    settle();
    EXPECT_TRUE(eventually([&] { return proxy.metric("fairlead_malformed_objects") == 0; }));
  }

  // Lines of warnings and errors that name the object.
  static int count_lines(const std::string& log, const std::string& name) {
    int count = 0;
    size_t begin = 0;
    while (begin < log.size()) {
      const size_t end = std::min(log.find('\n', begin), log.size());
      const std::string_view line = std::string_view(log).substr(begin, end - begin);
      const bool named = line.find(name) != std::string_view::npos;
      const bool complains = line.find(" warning ") != std::string_view::npos ||
                             line.find(" error ") != std::string_view::npos;
      if (named && complains) {
        ++count;
      }
      begin = end + 1;
    }
    return count;
  }
};
FAIRLEAD_SCENARIOS(Malformed);

TEST_P(Malformed, ServicePortOutOfRange) {
  for (const std::string port : {"0", "70000", "-1", "\"eighty\"", "null"}) {
    SCOPED_TRACE(port);
    auto web = service("spoilt").endpoints({"a1"});
    expect_reported("services", web.name(),
                    spoil(web.service_json(), "\"port\":80,", "\"port\":" + port + ","));
  }
}

TEST_P(Malformed, ServiceOfUnknownProtocol) {
  auto web = service("spoilt").endpoints({"a1"});
  expect_reported("services", web.name(), spoil(web.service_json(), "\"TCP\"", "\"DCCP\""));
}

TEST_P(Malformed, ServiceAddressThatIsNone) {
  for (const std::string address : {"10.96.0.300", "10.96.00.7", "::g", "web", "10.96.0.0/16"}) {
    SCOPED_TRACE(address);
    auto web = service("spoilt").endpoints({"a1"}).external_ip();
    expect_reported(
        "services", web.name(),
        spoil(web.service_json(), "\"externalIPs\":[", "\"externalIPs\":[\"" + address + "\","));
  }
}

TEST_P(Malformed, SourceRangeThatIsNone) {
  auto web = service("spoilt").endpoints({"a1"}).load_balancer().source_ranges({"10.0.0.0/33"});
  expect_reported("services", web.name(), web.service_json());
}

TEST_P(Malformed, ServiceFieldsOfTheWrongType) {
  auto web = service("spoilt").endpoints({"a1"});
  expect_reported("services", web.name(),
                  spoil(web.service_json(), "\"ports\":[", "\"ports\":[7,"));
}

TEST_P(Malformed, EndpointAddressThatIsNone) {
  for (const std::string address : {"10.244.1.999", "", "fd00::1::2"}) {
    SCOPED_TRACE(address);
    auto web = service("spoilt").endpoints({"a1"});
    const std::string name = web.name() + (family() == Family::kIPv4 ? "-v4" : "-v6");
    web.write_service();
    expect_reported("endpointslices", name,
                    spoil(web.slice_json(family()), of(Topology::pod("a1")), address));
  }
}

TEST_P(Malformed, EndpointAddressOfTheOtherFamily) {
  const Family other = family() == Family::kIPv4 ? Family::kIPv6 : Family::kIPv4;
  auto web = service("spoilt").endpoints({"a1"});
  const std::string name = web.name() + (family() == Family::kIPv4 ? "-v4" : "-v6");
  web.write_service();
  expect_reported(
      "endpointslices", name,
      spoil(web.slice_json(family()), of(Topology::pod("a1")), Topology::pod("a1").of(other)));
}

TEST_P(Malformed, EndpointPortOutOfRange) {
  auto web = service("spoilt").endpoints({"a1"});
  const std::string name = web.name() + (family() == Family::kIPv4 ? "-v4" : "-v6");
  web.write_service();
  expect_reported("endpointslices", name,
                  spoil(web.slice_json(family()), "\"port\":8080", "\"port\":70000"));
}

// One bad piece costs that piece; the rest of the same object works.
TEST_P(Malformed, TheGoodPartOfAServiceIsServed) {
  auto web = service("spoilt").endpoints({"a1"}).external_ip();
  web.write_endpoints();
  world().cluster().write_raw(
      "services", web.name(),
      spoil(web.service_json(), "\"externalIPs\":[", "\"externalIPs\":[\"nonsense\","));
  settle();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1"});
  reaches({outside()}, web.at_external_ip(family()), {"a1"});
}

TEST_P(Malformed, TheGoodEndpointsOfASliceServe) {
  auto web = service("spoilt").endpoints({"a1", "b1"});
  web.write_service();
  const std::string name = web.name() + (family() == Family::kIPv4 ? "-v4" : "-v6");
  world().cluster().write_raw("endpointslices", name,
                              spoil(web.slice_json(family()), of(Topology::pod("a1")), "nonsense"));
  settle();
  reaches(everywhere(), web.at_cluster_ip(family()), {"b1"});
}

// Nulls are what a careless client writes for "not set".
TEST_P(Malformed, NullFieldsMeanUnset) {
  auto web = service("nulls").endpoints({"a1"});
  std::string json = spoil(web.service_json(), "\"sessionAffinity\":\"None\"",
                           "\"sessionAffinity\":null,\"externalIPs\":null,"
                           "\"sessionAffinityConfig\":null,\"loadBalancerSourceRanges\":null");
  json = spoil(json, "\"labels\":{}", "\"labels\":null");
  std::string slice = spoil(web.slice_json(family()), "\"conditions\":{\"ready\":true",
                            "\"zone\":null,\"targetRef\":null,\"conditions\":{\"ready\":null");
  world().cluster().write_raw("services", web.name(), json);
  world().cluster().write_raw("endpointslices",
                              web.name() + (family() == Family::kIPv4 ? "-v4" : "-v6"), slice);
  settle();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1"});
}

TEST_P(Malformed, AMegabyteOfAnnotationsIsNoBurden) {
  auto web = service().endpoints({"a1"}).annotation("example.com/blob", std::string(1 << 20, 'x'));
  web.apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1"});
}

TEST_P(Malformed, NamesThatForgeLogLinesDoNot) {
  const std::string forged = "E0101 forged line";
  auto spoilt = service("forger").endpoints({"a1"}).external_ip();
  world().cluster().write_raw("services", spoilt.name(),
                              spoil(spoilt.service_json(), "\"externalIPs\":[",
                                    "\"externalIPs\":[\"x\\n" + forged + "\\n\","));
  settle();
  EXPECT_EQ(world().proxy().log().find("\n" + forged), std::string::npos);
}

}  // namespace
}  // namespace fairlead::e2e
