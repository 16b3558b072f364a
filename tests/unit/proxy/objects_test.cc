// API objects as JSON in, typed values and problems out: one case for every field that can be
// wrong.
#include "proxy/objects.h"

#include <gtest/gtest.h>

#include "control/api/decode.h"

namespace fairlead::proxy {
namespace {

std::string join(const std::vector<dataplane::Address>& addresses) {
  std::string text;
  for (const auto& address : addresses) text += " " + address.to_string();
  return text;
}

std::string describe(const std::vector<api::Problem>& problems) {
  std::string text;
  for (const api::Problem& problem : problems) {
    text += "\n! " + problem.field + ": " + problem.reason;
  }
  return text;
}

// "ip 10.96.0.1 ports web/TCP:80" and so on, then a line for each problem; "not ours".
std::string convert(const std::string& json) {
  api::Decoder decoder;
  auto decoded = decoder.service(json);
  if (!decoded) return decoded.status().message();
  const auto service = convert_service(decoded->object, decoded->problems);
  if (!service) return "not ours" + describe(decoded->problems);
  std::string text = "ip" + join(service->cluster_ips);
  if (!service->external_ips.empty()) text += " ext" + join(service->external_ips);
  if (!service->load_balancer_ips.empty()) text += " lb" + join(service->load_balancer_ips);
  for (const auto& port : service->ports) {
    text += " " + port.name + "/" + std::string(to_string(port.protocol)) + ":" +
            std::to_string(port.port);
    if (port.node_port != 0) text += ":" + std::to_string(port.node_port);
  }
  if (service->affinity_seconds != 0) {
    text += " sticky " + std::to_string(service->affinity_seconds);
  }
  if (service->internal_traffic_local) text += " iLocal";
  if (service->external_traffic_local) text += " eLocal";
  for (const auto& range : service->source_ranges) text += " from " + range.to_string();
  if (service->health_check_node_port != 0) {
    text += " health " + std::to_string(service->health_check_node_port);
  }
  return text + describe(decoded->problems);
}

struct Case {
  const char* what;
  const char* spec;  // of service default/web, with the rest of the object after it
  const char* expected;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.what;
}

class ServiceObject : public ::testing::TestWithParam<Case> {};

TEST_P(ServiceObject, Becomes) {
  const std::string json = R"({"metadata":{"namespace":"default","name":"web"},"spec":{)" +
                           std::string(GetParam().spec) + "}";
  EXPECT_EQ(convert(json), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(
    Good, ServiceObject,
    ::testing::Values(
        Case{"plain", R"("clusterIP":"10.96.0.1","ports":[{"port":80}]})", "ip 10.96.0.1 /TCP:80"},
        Case{"dual stack",
             R"("clusterIPs":["10.96.0.1","fd00::1"],"ports":[{"name":"w","port":80}]})",
             "ip 10.96.0.1 fd00::1 w/TCP:80"},
        Case{"headless", R"("clusterIP":"None","ports":[{"port":80}]})", "not ours"},
        Case{"no address", R"("ports":[{"port":80}]})", "not ours"},
        Case{"external name", R"("type":"ExternalName","clusterIP":"10.96.0.1"})", "not ours"},
        Case{
            "everything",
            R"("clusterIP":"10.96.0.1","externalIPs":["203.0.113.1"],"sessionAffinity":"ClientIP",
                "sessionAffinityConfig":{"clientIP":{"timeoutSeconds":60}},
                "externalTrafficPolicy":"Local","internalTrafficPolicy":"Local",
                "healthCheckNodePort":31000,"loadBalancerSourceRanges":[" 10.0.0.0/8 "],
                "ports":[{"name":"d","protocol":"UDP","port":53,"nodePort":30053},
                         {"name":"s","protocol":"SCTP","port":9}]},
                "status":{"loadBalancer":{"ingress":[{"ip":"198.51.100.1"},
                  {"ip":"198.51.100.2","ipMode":"Proxy"},{"hostname":"x"}]}})",
            "ip 10.96.0.1 ext 203.0.113.1 lb 198.51.100.1 d/UDP:53:30053 s/SCTP:9 sticky 60 iLocal "
            "eLocal from 10.0.0.0/8 health 31000"},
        Case{"affinity without a time-out",
             R"("clusterIP":"10.96.0.1","sessionAffinity":"ClientIP"})",
             "ip 10.96.0.1 sticky 10800"},
        Case{"null fields",
             R"("clusterIP":"10.96.0.1","ports":null,"externalIPs":null,"type":null})",
             "ip 10.96.0.1"}));

INSTANTIATE_TEST_SUITE_P(
    Bad, ServiceObject,
    ::testing::Values(
        Case{"address", R"("clusterIP":"10.96.0.999","ports":[{"port":80}]})",
             "ip /TCP:80\n! spec.clusterIP: \"10.96.0.999\" is not an IP address"},
        Case{"two of a family", R"("clusterIPs":["10.96.0.1","10.96.0.2"]})",
             "ip 10.96.0.1\n! spec.clusterIPs[1]: is a second address of its family"},
        Case{"port 0", R"("clusterIP":"10.96.0.1","ports":[{"port":0},{"name":"ok","port":81}]})",
             "ip 10.96.0.1 ok/TCP:81\n! spec.ports[0].port: 0 is not between 1 and 65535"},
        Case{"port 70000", R"("clusterIP":"10.96.0.1","ports":[{"port":70000}]})",
             "ip 10.96.0.1\n! spec.ports[0].port: 70000 is not between 1 and 65535"},
        Case{"node port 70000",
             R"("clusterIP":"10.96.0.1","ports":[{"port":80,"nodePort":70000}]})",
             "ip 10.96.0.1 /TCP:80\n! spec.ports[0].nodePort: 70000 is not between 0 and 65535"},
        Case{"protocol", R"("clusterIP":"10.96.0.1","ports":[{"port":80,"protocol":"ICMP"}]})",
             "ip 10.96.0.1\n! spec.ports[0].protocol: \"ICMP\" is not TCP, UDP or SCTP"},
        Case{"port name twice",
             R"("clusterIP":"10.96.0.1","ports":[{"name":"a","port":80},{"name":"a","port":81}]})",
             "ip 10.96.0.1 a/TCP:80\n! spec.ports[1].name: \"a\" is used twice"},
        Case{"external address",
             R"("clusterIP":"10.96.0.1","externalIPs":["127.0.0.1","x","203.0.113.1"]})",
             "ip 10.96.0.1 ext 203.0.113.1\n! spec.externalIPs[0]: 127.0.0.1 is a loopback address"
             "\n! spec.externalIPs[1]: \"x\" is not an IP address"},
        Case{
            "time-out",
            R"("clusterIP":"10.96.0.1","sessionAffinity":"ClientIP",
                "sessionAffinityConfig":{"clientIP":{"timeoutSeconds":0}}})",
            "ip 10.96.0.1 sticky 10800\n! spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0 is "
            "not between 1 and 86400"},
        Case{"unreadable ranges admit nobody",
             R"("clusterIP":"10.96.0.1","loadBalancerSourceRanges":["everywhere"]})",
             "ip 10.96.0.1 from 0.0.0.0/32\n! spec.loadBalancerSourceRanges[0]: \"everywhere\" is "
             "not a CIDR block"}));

// "default/web IPv4 http/TCP:8080 | 10.1.0.1 ready serving local" and problems.
std::string convert_endpoint_slice(const std::string& json) {
  api::Decoder decoder;
  auto decoded = decoder.endpoint_slice(json);
  if (!decoded) return decoded.status().message();
  ZoneHints hints;
  const auto slice = convert_slice(decoded->object, "node-a", hints, decoded->problems);
  if (!slice) return "not ours" + describe(decoded->problems);
  std::string text = slice->service.to_string() + " " + std::string(to_string(slice->family));
  for (const SlicePort& port : slice->ports) {
    text += " " + port.name + "/" + std::string(to_string(port.protocol)) + ":" +
            std::to_string(port.port);
  }
  for (const SliceEndpoint& endpoint : slice->endpoints) {
    text += " | " + endpoint.address.to_string();
    static constexpr std::pair<uint8_t, const char*> kNames[] = {
        {SliceEndpoint::kReady, "ready"},
        {SliceEndpoint::kServing, "serving"},
        {SliceEndpoint::kTerminating, "terminating"},
        {SliceEndpoint::kLocal, "local"},
        {SliceEndpoint::kNodeUnknown, "anywhere"},
        {SliceEndpoint::kNodeHintHere, "node-here"},
        {SliceEndpoint::kNodeHintElsewhere, "node-away"}};
    for (const auto& [flag, name] : kNames) {
      if ((endpoint.flags & flag) != 0) text += std::string(" ") + name;
    }
    const dataplane::Hint zone = hints.match(endpoint.zones, "zone-1");
    if (zone != dataplane::Hint::kNone) {
      text += zone == dataplane::Hint::kHere ? " zone-here" : " zone-away";
    }
  }
  return text + describe(decoded->problems);
}

class SliceObject : public ::testing::TestWithParam<Case> {};

TEST_P(SliceObject, Becomes) {
  const std::string json =
      R"({"metadata":{"namespace":"default","name":"web-1","labels":{"kubernetes.io/service-name":"web"}},)" +
      std::string(GetParam().spec) + "}";
  EXPECT_EQ(convert_endpoint_slice(json), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(
    Slices, SliceObject,
    ::testing::Values(
        Case{"conditions: unknown ones are good",
             R"("addressType":"IPv4","ports":[{"name":"http","port":8080}],"endpoints":[
                {"addresses":["10.1.0.1"],"nodeName":"node-a"},
                {"addresses":["10.1.0.2","10.1.0.9"],"conditions":{"ready":false},"nodeName":"b"},
                {"addresses":["10.1.0.3"],"conditions":{"ready":false,"serving":true,"terminating":true}}])",
             "default/web IPv4 http/TCP:8080 | 10.1.0.1 ready serving local | 10.1.0.2 serving | "
             "10.1.0.3 serving terminating anywhere"},
        Case{"hints",
             R"("addressType":"IPv4","endpoints":[
                {"addresses":["10.1.0.1"],"nodeName":"b","hints":{"forZones":[{"name":"zone-1"}]}},
                {"addresses":["10.1.0.2"],"nodeName":"b","hints":{"forZones":[{"name":"zone-2"}],
                 "forNodes":[{"name":"node-a"}]}}])",
             "default/web IPv4 | 10.1.0.1 ready serving zone-here | 10.1.0.2 ready serving "
             "node-here "
             "zone-away"},
        Case{"names of hosts are not ours", R"("addressType":"FQDN","endpoints":[])", "not ours"},
        Case{"unknown kind of address", R"("addressType":"MAC","endpoints":[])",
             "not ours\n! addressType: \"MAC\" is not IPv4, IPv6 or FQDN"},
        Case{
            "wrong family costs the endpoint",
            R"("addressType":"IPv4","endpoints":[{"addresses":["fd00::1"]},{"addresses":["10.1.0.2"]}])",
            "default/web IPv4 | 10.1.0.2 ready serving anywhere\n! endpoints[0].addresses[0]: "
            "fd00::1 is not of the slice's address type IPv4"},
        Case{"ports without a name or number fit nothing",
             R"("addressType":"IPv4","ports":[{"port":1},{"name":"a"},{"name":"b","port":0},
                {"name":"c","port":70000},{"name":"","port":5}],"endpoints":[])",
             "default/web IPv4 /TCP:5\n! ports[3].port: 70000 is not between 0 and 65535"},
        Case{"no address",
             R"("addressType":"IPv4","endpoints":[{"addresses":[]},{"addresses":["x"]}])",
             "default/web IPv4\n! endpoints[0].addresses: is empty\n! endpoints[1].addresses[0]: "
             "\"x\" is not an IP address"}));

TEST(SliceObject, WithoutAServiceNameIsNotOurs) {
  EXPECT_EQ(convert_endpoint_slice(
                R"({"metadata":{"namespace":"d","name":"x"},"addressType":"IPv4","endpoints":[]})"),
            "not ours");
}

}  // namespace
}  // namespace fairlead::proxy
