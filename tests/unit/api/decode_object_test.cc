#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "control/api/decode.h"

namespace fairlead::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

template <typename T>
using Method = Result<Decoded<T>> (Decoder::*)(std::string_view);

template <typename T>
Decoded<T> decode(Method<T> method, std::string_view json) {
  Decoder decoder;
  Result<Decoded<T>> result = (decoder.*method)(json);
  EXPECT_TRUE(result.ok()) << json << "\n" << result.status().message();
  return result.ok() ? std::move(result).value() : Decoded<T>{};
}

Decoded<Service> service(std::string_view json) {
  return decode(&Decoder::service, json);
}
Decoded<EndpointSlice> slice(std::string_view json) {
  return decode(&Decoder::endpoint_slice, json);
}

// A service with only a name and this spec.
Decoded<Service> service_spec(const std::string& spec) {
  return service(R"({"metadata":{"name":"a"},"spec":)" + spec + "}");
}

TEST(DecodeService, EveryField) {
  const auto [web, problems] = service(R"({
    "kind": "Service", "apiVersion": "v1",
    "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "resourceVersion": "42",
      "creationTimestamp": "2026-01-02T03:04:05Z", "deletionTimestamp": "2026-01-02T03:04:06Z",
      "labels": {"a": "1", "b": "2"},
      "annotations": {"service.kubernetes.io/topology-mode": "Auto", "other": "x"},
      "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]},
    "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"],
      "externalIPs": ["1.2.3.4"], "sessionAffinity": "ClientIP",
      "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
      "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster",
      "loadBalancerSourceRanges": ["10.0.0.0/8"], "healthCheckNodePort": 32000,
      "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080, "nodePort": 30080},
                {"port": 53, "protocol": "UDP", "targetPort": "dns"}]},
    "status": {"loadBalancer": {"ingress": [{"ip": "5.6.7.8", "ipMode": "Proxy"}, {"hostname": "h"}]}}})");
  EXPECT_THAT(problems, IsEmpty());
  EXPECT_EQ(web.meta.name_space + "/" + web.meta.name, "shop/web");
  EXPECT_EQ(web.meta.uid, "u-1");
  EXPECT_EQ(web.meta.resource_version, "42");
  EXPECT_EQ(web.meta.creation_timestamp, 1767323045);
  EXPECT_EQ(web.meta.deletion_timestamp, 1767323046);
  ASSERT_NE(web.meta.label("b"), nullptr);
  EXPECT_EQ(*web.meta.label("b"), "2");
  EXPECT_EQ(web.meta.label("c"), nullptr);
  EXPECT_THAT(web.meta.annotations,
              ElementsAre(Pair("service.kubernetes.io/topology-mode", "Auto")));
  EXPECT_EQ(web.type, "LoadBalancer");
  EXPECT_EQ(web.cluster_ip, "10.0.0.1");
  EXPECT_THAT(web.cluster_ips, ElementsAre("10.0.0.1", "fd00::1"));
  EXPECT_THAT(web.external_ips, ElementsAre("1.2.3.4"));
  EXPECT_EQ(web.session_affinity, "ClientIP");
  EXPECT_EQ(web.affinity_timeout_seconds, 10800);
  EXPECT_EQ(web.external_traffic_policy, "Local");
  EXPECT_EQ(web.internal_traffic_policy, "Cluster");
  EXPECT_THAT(web.load_balancer_source_ranges, ElementsAre("10.0.0.0/8"));
  EXPECT_EQ(web.health_check_node_port, 32000);
  ASSERT_THAT(web.ports, SizeIs(2));
  EXPECT_EQ(web.ports[0].name, "http");
  EXPECT_EQ(web.ports[0].port, 80);
  EXPECT_EQ(web.ports[0].node_port, 30080);
  EXPECT_EQ(web.ports[1].protocol, "UDP");
  ASSERT_THAT(web.load_balancer_ingress, SizeIs(2));
  EXPECT_EQ(web.load_balancer_ingress[0].ip, "5.6.7.8");
  EXPECT_EQ(web.load_balancer_ingress[0].ip_mode, "Proxy");
  EXPECT_EQ(web.load_balancer_ingress[1].ip, "");
}

TEST(DecodeService, AWrongFieldIsNamedAndTheRestStays) {
  const struct {
    const char* spec;
    const char* field;
    const char* reason;
  } cases[] = {
      {R"({"ports":[{"port":80},{"port":70000}]})", "spec.ports[1].port",
       "70000 is not between 1 and 65535"},
      {R"({"ports":[{"port":0}]})", "spec.ports[0].port", "0 is not between 1 and 65535"},
      {R"({"ports":[{"port":-1}]})", "spec.ports[0].port", "-1 is not between 1 and 65535"},
      {R"({"ports":[{"port":80.0}]})", "spec.ports[0].port",
       "80.0 is not an integer that fits here"},
      {R"({"ports":[{"port":8e1}]})", "spec.ports[0].port", "8e1 is not an integer that fits here"},
      {R"({"ports":[{"port":"80"}]})", "spec.ports[0].port", "is a string, not a number"},
      {R"({"ports":[{"port":123456789012345678901234567890}]})", "spec.ports[0].port",
       "123456789012345678901234567890 is not an integer that fits here"},
      {R"({"ports":[{"port":{}}]})", "spec.ports[0].port", "is an object, not a number"},
      {R"({"ports":[7]})", "spec.ports[0]", "is a number, not an object"},
      {R"({"ports":{"port":80}})", "spec.ports", "is an object, not an array"},
      {R"({"type":true})", "spec.type", "is a boolean, not a string"},
      {R"({"clusterIPs":["10.0.0.1",5]})", "spec.clusterIPs[1]", "is a number, not a string"},
      {R"({"clusterIPs":"10.0.0.1"})", "spec.clusterIPs", "is a string, not an array"},
      {R"({"clusterIP":"\ud800"})", "spec.clusterIP", "has an escape that stands for no character"},
      {R"([])", "spec", "is an array, not an object"},
  };
  for (const auto& c : cases) {
    const auto decoded =
        service(std::string(R"({"spec":)") + c.spec +
                R"(,"metadata":{"name":"a"},"status":{"loadBalancer":{"ingress":[{"ip":"x"}]}}})");
    EXPECT_THAT(decoded.problems, ElementsAre(Problem{c.field, c.reason})) << c.spec;
    EXPECT_EQ(decoded.object.meta.name, "a");
    EXPECT_THAT(decoded.object.load_balancer_ingress, SizeIs(1));
  }
}

TEST(DecodeService, AProblemLeavesTheDefault) {
  const auto decoded = service_spec(
      R"({"ports":[{"port":70000,"nodePort":1}],"clusterIPs":[1,"a"],"type":1,"healthCheckNodePort":65536})");
  EXPECT_THAT(decoded.problems, SizeIs(4));
  ASSERT_THAT(decoded.object.ports, SizeIs(1));
  EXPECT_EQ(decoded.object.ports[0].port, 0);
  EXPECT_EQ(decoded.object.ports[0].node_port, 1);
  EXPECT_THAT(decoded.object.cluster_ips, ElementsAre("a"));
  EXPECT_EQ(decoded.object.type, "ClusterIP");
  EXPECT_EQ(decoded.object.health_check_node_port, 0);
}

TEST(DecodeService, NullIsAbsent) {
  const auto decoded = service_spec(
      R"({"ports":null,"type":null,"clusterIPs":null,"sessionAffinityConfig":null,"healthCheckNodePort":null})");
  EXPECT_THAT(decoded.problems, IsEmpty());
  EXPECT_EQ(decoded.object.type, "ClusterIP");
  EXPECT_EQ(decoded.object.affinity_timeout_seconds, std::nullopt);
  EXPECT_THAT(service(R"({"metadata":{"name":"a"},"spec":null,"status":null})").problems,
              IsEmpty());
}

TEST(DecodeService, TheLastOfDuplicateKeysCounts) {
  const auto decoded = service_spec(
      R"({"type":"A","type":"B","clusterIPs":["x"],"clusterIPs":["y","z"],"ports":[{"port":1}],"ports":[]})");
  EXPECT_EQ(decoded.object.type, "B");
  EXPECT_THAT(decoded.object.cluster_ips, ElementsAre("y", "z"));
  EXPECT_THAT(decoded.object.ports, IsEmpty());
  const auto labelled = service(R"({"metadata":{"name":"a","labels":{"k":"1","k":"2"}}})");
  EXPECT_EQ(*labelled.object.meta.label("k"), "2");
}

TEST(DecodeService, EscapesInKeysAndStrings) {
  const auto decoded = service(
      R"({"met\u0061data":{"n\u0061me":"\u0061\"\\\/\n\ud83d\ude00"},"spec":{"typ\u0065":"B\u00e4"}})");
  EXPECT_EQ(decoded.object.meta.name, "a\"\\/\n\xF0\x9F\x98\x80");
  EXPECT_EQ(decoded.object.type, "B\xC3\xA4");
}

TEST(DecodeService, TextThatIsNoObjectIsAnError) {
  const std::string deep = R"({"metadata":{"name":"a"},"x":)" + std::string(1000000, '[') + "}";
  for (const std::string& text :
       {std::string(), std::string(" "), std::string("null"), std::string("[]"), std::string("7"),
        std::string("{"), std::string(R"({"metadata":{"name":"a"})"),
        std::string(R"({"metadata":{"name":"a"}}x)"), std::string(R"({"metadata":{"name":"a"}}{})"),
        std::string(R"({"metadata":{"name":"a"} "spec":{}})"),
        std::string(R"({"metadata":{"name":"a)"), std::string("{\"metadata\":{\"name\":\"\xff\"}}"),
        std::string("{\"metadata\":{\"name\":\"a\nb\"}}"),
        std::string(R"({"metadata":{"name":"a"},"spec":})"),
        std::string(R"({"metadata":{"name":"a"},"spec":x})"), std::string("\0{}", 3), deep}) {
    Decoder decoder;
    const auto result = decoder.service(text);
    ASSERT_FALSE(result.ok()) << text.substr(0, 100);
    EXPECT_EQ(result.status().code(), StatusCode::kInvalid);
    EXPECT_EQ(result.status().operation(), "decode Service");
  }
}

TEST(DecodeService, AnObjectWithoutANameIsAnError) {
  for (const char* text : {"{}", R"({"metadata":{}})", R"({"metadata":{"name":""}})",
                           R"({"metadata":{"name":5}})", R"({"metadata":null})"}) {
    Decoder decoder;
    const auto result = decoder.service(text);
    ASSERT_FALSE(result.ok()) << text;
    EXPECT_THAT(result.status().message(), HasSubstr("metadata.name is missing"));
  }
}

TEST(DecodeService, DeepAndLargeThingsNobodyAsksForAreSkipped) {
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  const std::string large(1 << 20, 'x');
  const auto decoded = service(R"({"metadata":{"annotations":{"big":")" + large +
                               R"("},"name":"a"},"unknown":)" + deep + R"(,"spec":{"type":"T"}})");
  EXPECT_EQ(decoded.object.type, "T");
  EXPECT_THAT(decoded.problems, IsEmpty());
}

TEST(DecodeService, ProblemsAreBounded) {
  std::string ports;
  for (int i = 0; i < 1000; ++i) ports += std::string(i ? "," : "") + R"({"port":0})";
  const auto decoded = service_spec(R"({"ports":[)" + ports + "]}");
  EXPECT_THAT(decoded.object.ports, SizeIs(1000));
  EXPECT_THAT(decoded.problems, SizeIs(33));
  EXPECT_EQ(decoded.problems.back().reason, "more problems than are listed here");
}

TEST(DecodeEndpointSlice, EveryField) {
  const auto [web, problems] = slice(R"({
    "metadata": {"name": "web-abc", "namespace": "shop",
      "labels": {"kubernetes.io/service-name": "web"},
      "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-02T03:04:05Z"}},
    "addressType": "IPv4",
    "endpoints": [
      {"addresses": ["10.1.0.1", "10.1.0.2"], "conditions": {"ready": true, "serving": true, "terminating": false},
       "nodeName": "n1", "zone": "z1", "targetRef": {"kind": "Pod", "name": "p"},
       "hints": {"forZones": [{"name": "z1"}, {"name": "z2"}], "forNodes": [{"name": "n1"}]}},
      {"addresses": ["10.1.0.3"], "conditions": {"ready": null}}],
    "ports": [{"name": "http", "protocol": "TCP", "port": 8080}, {"name": "", "port": 1}, {"port": null}]})");
  EXPECT_THAT(problems, IsEmpty());
  EXPECT_EQ(web.address_type, "IPv4");
  ASSERT_THAT(web.endpoints, SizeIs(2));
  const Endpoint& first = web.endpoints[0];
  EXPECT_THAT(first.addresses, ElementsAre("10.1.0.1", "10.1.0.2"));
  EXPECT_EQ(first.ready, true);
  EXPECT_EQ(first.serving, true);
  EXPECT_EQ(first.terminating, false);
  EXPECT_EQ(first.node_name, "n1");
  EXPECT_THAT(first.hints_for_zones, ElementsAre("z1", "z2"));
  EXPECT_THAT(first.hints_for_nodes, ElementsAre("n1"));
  EXPECT_EQ(web.endpoints[1].ready, std::nullopt);
  EXPECT_EQ(web.endpoints[1].node_name, std::nullopt);
  EXPECT_EQ(web.endpoints.capacity(), 2u);
  ASSERT_THAT(web.ports, SizeIs(3));
  EXPECT_EQ(web.ports[0].name, "http");
  EXPECT_EQ(web.ports[0].port, 8080);
  EXPECT_EQ(web.ports[1].name, "");
  EXPECT_EQ(web.ports[2].name, std::nullopt);
  EXPECT_EQ(web.ports[2].port, std::nullopt);
}

TEST(DecodeEndpointSlice, AnEndpointThatIsNoObjectIsLeftOut) {
  const auto decoded = slice(
      R"({"metadata":{"name":"a"},"endpoints":[7,null,{"addresses":["x"],"conditions":{"ready":"yes"}}]})");
  EXPECT_THAT(decoded.problems,
              ElementsAre(Problem{"endpoints[0]", "is a number, not an object"},
                          Problem{"endpoints[2].conditions.ready", "is a string, not a boolean"}));
  ASSERT_THAT(decoded.object.endpoints, SizeIs(1));
  EXPECT_EQ(decoded.object.endpoints[0].ready, std::nullopt);
}

TEST(DecodeEndpointSlice, OneDecoderReadsManyWithoutMixingThem) {
  Decoder decoder;
  for (int round = 0; round < 3; ++round) {
    const auto full = decoder.endpoint_slice(
        R"({"metadata":{"name":"a","labels":{"x":"y"}},"endpoints":[{"addresses":["x"]},{"nodeName":"n"}]})");
    ASSERT_TRUE(full.ok());
    EXPECT_THAT(full->object.endpoints, SizeIs(2));
    EXPECT_FALSE(
        decoder.endpoint_slice(R"({"metadata":{"name":"b"},"endpoints":[{"addresses":["x"]})")
            .ok());
    const auto empty = decoder.endpoint_slice(R"({"metadata":{"name":"b"}})");
    ASSERT_TRUE(empty.ok());
    EXPECT_THAT(empty->object.endpoints, IsEmpty());
    EXPECT_THAT(empty->object.meta.labels, IsEmpty());
  }
}

TEST(DecodeNode, EveryField) {
  const auto [node, problems] = decode(&Decoder::node, R"({
    "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}},
    "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00:1::/64"],
             "taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}], "images": [{"names": ["x"]}]}})");
  EXPECT_THAT(problems, IsEmpty());
  EXPECT_THAT(node.pod_cidrs, ElementsAre("10.1.0.0/24", "fd00:1::/64"));
  ASSERT_THAT(node.taints, SizeIs(1));
  EXPECT_EQ(node.taints[0].key + node.taints[0].value + node.taints[0].effect, "kvNoSchedule");
  ASSERT_THAT(node.addresses, SizeIs(1));
  EXPECT_EQ(node.addresses[0].type, "InternalIP");
  EXPECT_EQ(node.addresses[0].address, "192.0.2.1");
}

TEST(DecodeNode, TheSingularPodCidrStandsInForTheList) {
  const auto node =
      decode(&Decoder::node, R"({"metadata":{"name":"n"},"spec":{"podCIDR":"10.1.0.0/24"}})");
  EXPECT_THAT(node.object.pod_cidrs, ElementsAre("10.1.0.0/24"));
}

TEST(DecodeServiceCidr, Cidrs) {
  const auto cidr =
      decode(&Decoder::service_cidr,
             R"({"metadata":{"name":"kubernetes"},"spec":{"cidrs":["10.96.0.0/12"]}})");
  EXPECT_THAT(cidr.object.cidrs, ElementsAre("10.96.0.0/12"));
}

TEST(DecodeMeta, AMalformedTimeIsAProblem) {
  const auto decoded = service(R"({"metadata":{"name":"a","creationTimestamp":"yesterday"}})");
  EXPECT_THAT(decoded.problems,
              ElementsAre(Problem{"metadata.creationTimestamp", "is not an RFC 3339 time"}));
  EXPECT_EQ(decoded.object.meta.creation_timestamp, 0);
}

}  // namespace
}  // namespace fairlead::api
