// Endpoints and mirrored slices: objects in, writes out.
#include "control/controllers/endpoints.h"

#include <algorithm>

#include "control/controllers/slice_mirroring.h"
#include "support.h"

namespace fairlead::controllers {
namespace {

std::string endpoint_service(std::string_view spec, std::string_view labels = "{}") {
  return fmt::format(
      "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: d, uid: s1, labels: "
      "{}}}, "
      "spec: {{{}}}}}",
      labels, spec);
}

std::string endpoint_pod(std::string_view name, std::string_view ip,
                         std::string_view ready = "True", std::string_view meta = "",
                         std::string_view spec = "nodeName: n1") {
  return fmt::format(
      "{{metadata: {{name: {0}, namespace: d, uid: u-{0}{3}}}, spec: {{{4}}}, status: {{podIP: "
      "'{1}', conditions: [{{type: Ready, status: '{2}'}}]}}}}",
      name, ip, ready, meta, spec);
}

// "80+443: 10.1.0.1 | 10.1.0.2; ...": ports, ready, not ready.
std::string subsets_text(const Value& endpoints) {
  std::string made;
  for (const Value& subset : endpoints.get("subsets").items()) {
    made += made.empty() ? "" : "; ";
    for (const Value& port : subset.get("ports").items()) {
      made += fmt::format("{}{}", made.empty() || made.ends_with(" ") ? "" : "+",
                          port.get("port").as_int());
    }
    made += ":";
    for (const Value& address : subset.get("addresses").items()) {
      made += fmt::format(" {}", address.get("ip").as_string());
    }
    if (subset.get("notReadyAddresses").empty()) continue;
    made += " |";
    for (const Value& address : subset.get("notReadyAddresses").items()) {
      made += fmt::format(" {}", address.get("ip").as_string());
    }
  }
  return made;
}

TEST(Endpoints, Subsets) {
  const std::string two_ports =
      "clusterIP: 10.0.0.1, selector: {a: b}, ports: [{name: http, port: 80, targetPort: 8080}, "
      "{name: https, port: 443}]";
  const std::string named =
      "clusterIP: 10.0.0.1, selector: {a: b}, ports: [{port: 80, targetPort: web}]";
  const auto with_port = [](int number) {
    return fmt::format("nodeName: n1, containers: [{{ports: [{{name: web, containerPort: {}}}]}}]",
                       number);
  };
  struct {
    std::string_view what;
    std::string spec;
    std::vector<std::string> pods;
    std::string_view expected;
  } cases[] = {
      {"sorted, by ready and not",
       two_ports,
       {endpoint_pod("b", "10.1.0.2"), endpoint_pod("a", "10.1.0.1"),
        endpoint_pod("c", "10.1.0.3", "False")},
       "8080+443: 10.1.0.1 10.1.0.2 | 10.1.0.3"},
      {"different ports, different subsets",
       named,
       {endpoint_pod("a", "10.1.0.1", "True", "", with_port(91)),
        endpoint_pod("b", "10.1.0.2", "True", "", with_port(90)), endpoint_pod("c", "10.1.0.3")},
       "90: 10.1.0.2; 91: 10.1.0.1"},
      {"terminating pods are left out",
       two_ports,
       {endpoint_pod("a", "10.1.0.1", "True", ", deletionTimestamp: '2024-01-01T00:00:00Z'")},
       ""},
      {"but where everything is published",
       two_ports + ", publishNotReadyAddresses: true",
       {endpoint_pod("a", "10.1.0.1", "False", ", deletionTimestamp: '2024-01-01T00:00:00Z'")},
       "8080+443: 10.1.0.1"},
      {"ports that two sets share",
       "clusterIP: 10.0.0.1, selector: {a: b}, ports: [{name: some, port: 80, targetPort: web}, "
       "{name: tls, port: 443}]",
       {endpoint_pod("a", "10.1.0.1", "True", "", with_port(90)),
        endpoint_pod("b", "10.1.0.2", "True", "", with_port(91))},
       "90: 10.1.0.1; 91: 10.1.0.2; 443: 10.1.0.1 10.1.0.2"},
      {"headless without ports",
       "clusterIP: None, selector: {a: b}",
       {endpoint_pod("a", "10.1.0.1")},
       ": 10.1.0.1"},
      {"the first family only",
       two_ports + ", ipFamilies: [IPv6, IPv4]",
       {endpoint_pod("a", "10.1.0.1"), endpoint_pod("b", "fd00::1")},
       "8080+443: fd00::1"},
  };
  for (const auto& row : cases) {
    EndpointsInput input;
    input.service = object(endpoint_service(row.spec));
    input.pods = objects(row.pods);
    const Plan plan = plan_endpoints(input);
    ASSERT_EQ(plan.writes.size(), 1u) << row.what;
    EXPECT_EQ(subsets_text(plan.writes[0].body.root), row.expected) << row.what;
    // In whichever order somebody else has written it.
    Document other = copy_of(plan.writes[0].body.root);
    if (Value* subsets = other.root.find("subsets")) {
      const auto turn = [](Value* list) {
        if (list != nullptr) std::reverse(list->items().begin(), list->items().end());
      };
      turn(subsets);
      for (Value& subset : subsets->items()) {
        turn(subset.find("addresses"));
        turn(subset.find("ports"));
      }
    }
    input.existing = share(std::move(other));
    EXPECT_TRUE(plan_endpoints(input).writes.empty()) << row.what;
    // What was written is what is wanted.
    input.existing = share(copy_of(plan.writes[0].body.root));
    EXPECT_TRUE(plan_endpoints(input).writes.empty()) << row.what;
    input.service = object(endpoint_service(row.spec, "{new: label}"));
    EXPECT_EQ(plan_endpoints(input).writes.size(), 1u) << row.what;
  }
}

TEST(Endpoints, AreCutAtAThousandAndSaySo) {
  EndpointsInput input;
  input.service =
      object(endpoint_service("clusterIP: 10.0.0.1, selector: {a: b}, ports: [{port: 80}]"));
  const auto fill = [&](int ready, int not_ready) {
    input.pods.clear();
    for (int i = 0; i < ready + not_ready; ++i) {
      input.pods.push_back(
          object(endpoint_pod(fmt::format("p{}", i), fmt::format("10.1.{}.{}", i / 250, i % 250),
                              i < ready ? "True" : "False")));
    }
  };
  struct {
    int ready, not_ready;
    size_t then_ready, then_not_ready;
    bool cut;
  } cases[] = {{900, 100, 900, 100, false}, {900, 200, 900, 100, true}, {1200, 50, 1000, 0, true}};
  for (const auto& row : cases) {
    fill(row.ready, row.not_ready);
    const Plan plan = plan_endpoints(input);
    const Value& body = plan.writes.at(0).body.root;
    const Value& subset = body.get("subsets").items()[0];
    EXPECT_EQ(subset.get("addresses").size(), row.then_ready);
    EXPECT_EQ(subset.get("notReadyAddresses").size(), row.then_not_ready);
    EXPECT_EQ(body.get("metadata")
                      .get("annotations")
                      .get("endpoints.kubernetes.io/over-capacity")
                      .as_string() == "truncated",
              row.cut);
  }
}

TEST(SliceMirroring, Plans) {
  const std::string bare = endpoint_service("clusterIP: 10.0.0.1");
  const auto endpoints = [](std::string_view subsets, std::string_view meta = "labels: {a: b}") {
    return fmt::format(
        "{{apiVersion: v1, kind: Endpoints, metadata: {{name: web, namespace: d, uid: e1, {}}}, "
        "subsets: {}}}",
        meta, subsets);
  };
  const std::string subsets =
      "[{addresses: [{ip: 192.0.2.1}, {ip: '2001:db8::1'}], notReadyAddresses: [{ip: 192.0.2.2}], "
      "ports: [{name: x, port: 80, protocol: TCP}]}]";
  const std::string mirror =
      "{metadata: {name: web-m, namespace: d, uid: m1, resourceVersion: '3', labels: {a: b, "
      "kubernetes.io/service-name: web, endpointslice.kubernetes.io/managed-by: "
      "endpointslicemirroring-controller.k8s.io}, ownerReferences: [{uid: e1, controller: true}]}, "
      "addressType: IPv4, endpoints: [{addresses: [192.0.2.1], conditions: {ready: true}}], ports: "
      "[{name: x, port: 80, protocol: TCP}]}";
  std::string left = mirror;
  left.replace(left.find("uid: e1"), 7, "uid: e0");
  struct {
    std::string_view what;
    std::string service, endpoints;
    std::vector<std::string> existing;
    std::string_view expected;
  } cases[] = {
      {"by family",
       bare,
       endpoints(subsets),
       {},
       "create IPv4 x/TCP/80 [192.0.2.1 r, 192.0.2.2]\ncreate IPv6 x/TCP/80 [2001:db8::1 r]"},
      {"the same",
       bare,
       endpoints("[{addresses: [{ip: 192.0.2.1}], ports: [{name: x, port: 80}]}]"),
       {mirror},
       ""},
      {"one more",
       bare,
       endpoints("[{addresses: [{ip: 192.0.2.1}, {ip: 192.0.2.9}], ports: [{name: x, port: 80}]}]"),
       {mirror},
       "update web-m IPv4 x/TCP/80 [192.0.2.1 r, 192.0.2.9 r]"},
      {"another annotation",
       bare,
       endpoints("[{addresses: [{ip: 192.0.2.1}], ports: [{name: x, port: 80}]}]",
                 "labels: {a: b}, annotations: {x: y}"),
       {mirror},
       "update web-m IPv4 x/TCP/80 [192.0.2.1 r]"},
      {"made for Endpoints that had the name before",
       bare,
       endpoints("[{addresses: [{ip: 192.0.2.1}], ports: [{name: x, port: 80}]}]"),
       {left},
       "update web-m IPv4 x/TCP/80 [192.0.2.1 r]"},
      {"no addresses left", bare, endpoints("[]"), {mirror}, "remove web-m"},
      {"not wanted",
       bare,
       endpoints(subsets, "labels: {endpointslice.kubernetes.io/skip-mirror: 'true'}"),
       {mirror},
       "remove web-m"},
      {"an election's record",
       bare,
       endpoints(subsets, "annotations: {control-plane.alpha.kubernetes.io/leader: x}"),
       {},
       ""},
      {"the service has a selector: its slices come from pods",
       endpoint_service("clusterIP: 10.0.0.1, selector: {a: b}"),
       endpoints(subsets),
       {mirror},
       "remove web-m"},
      {"no service", "", endpoints(subsets), {mirror}, "remove web-m"},
      {"no endpoints", bare, "", {mirror}, "remove web-m"},
  };
  for (const auto& row : cases) {
    MirrorInput input;
    if (!row.service.empty()) input.service = object(row.service);
    if (!row.endpoints.empty()) input.endpoints = object(row.endpoints);
    input.existing = objects(row.existing);
    EXPECT_EQ(plan_text(plan_mirror(input)), row.expected) << row.what;
  }
}

}  // namespace
}  // namespace fairlead::controllers
