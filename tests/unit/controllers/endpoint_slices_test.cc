// EndpointSlices: (service, pods, nodes, slices that exist) to writes.
#include "control/controllers/endpoint_slices.h"

#include "support.h"

namespace fairlead::controllers {
namespace {

constexpr std::string_view kWeb =
    "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: d, uid: s1, labels: {t: x}}, "
    "spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{name: http, port: 80, "
    "targetPort: 8080, protocol: TCP}]}}";
constexpr std::string_view kLabels =
    "{t: x, kubernetes.io/service-name: web, endpointslice.kubernetes.io/managed-by: "
    "endpointslice-controller.k8s.io}";

std::string pod(std::string_view name, std::string_view ip, std::string_view more = "",
                std::string_view ready = "True", std::string_view spec = "nodeName: n1") {
  return fmt::format(
      "{{apiVersion: v1, kind: Pod, metadata: {{name: {0}, namespace: d, uid: u-{0}{2}}}, "
      "spec: {{{4}}}, status: {{podIP: {1}, podIPs: [{{ip: '{1}'}}], conditions: [{{type: Ready, "
      "status: '{3}'}}]}}}}",
      name, ip, more, ready, spec);
}

std::string slice(std::string_view name, std::string_view endpoints,
                  std::string_view ports = "[{name: http, port: 8080, protocol: TCP}]",
                  std::string_view type = "IPv4", std::string_view owner = "s1",
                  std::string_view labels = kLabels) {
  return fmt::format(
      "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {}, namespace: d, "
      "uid: i-{}, resourceVersion: '7', labels: {}, ownerReferences: [{{uid: {}, controller: "
      "true}}]}}, addressType: {}, ports: {}, endpoints: [{}]}}",
      name, name, labels, owner, type, ports, endpoints);
}

std::string endpoint(std::string_view pod, std::string_view ip) {
  return fmt::format(
      "{{addresses: [{1}], conditions: {{ready: true, serving: true, terminating: false}}, "
      "nodeName: n1, zone: a, targetRef: {{kind: Pod, namespace: d, name: {0}, uid: u-{0}}}}}",
      pod, ip);
}

std::string planned(std::string_view service, const std::vector<std::string>& pods,
                    const std::vector<std::string>& slices = {}, size_t most = 100) {
  SliceInput input;
  input.service = object(service);
  input.pods = objects(pods);
  input.existing = objects(slices);
  input.most = most;
  input.node = [](std::string_view name) {
    return name.empty() || name == "gone"
               ? nullptr
               : object(fmt::format("{{metadata: {{name: {}, labels: {{topology.kubernetes.io/"
                                    "zone: {}}}}}}}",
                                    name, name == "n1" ? "a" : "b"));
  };
  return plan_text(plan_endpoint_slices(input));
}

struct SliceCase {
  std::string_view what;
  std::string service;
  std::vector<std::string> pods;
  std::vector<std::string> slices;
  std::string_view expected;
};

std::string with(std::string_view from, std::string_view to) {
  std::string made(kWeb);
  const size_t at = made.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return made.replace(at, from.size(), to);
}

TEST(EndpointSlices, Plans) {
  const std::string web(kWeb);
  const std::string headless = with("10.0.0.1", "None");
  const std::vector<SliceCase> cases = {
      {"a placeholder where nothing is selected", web, {}, {}, "create IPv4 []"},
      {"a placeholder stays", web, {}, {slice("web-1", "", "[]")}, ""},
      {"the last endpoint goes: its slice becomes the placeholder",
       web,
       {},
       {slice("web-1", endpoint("p1", "10.1.0.1"))},
       "update web-1 IPv4 []"},
      {"ready, and not",
       web,
       {pod("p1", "10.1.0.1"), pod("p2", "10.1.0.2", "", "False", "nodeName: n2")},
       {},
       "create IPv4 http/TCP/8080 [10.1.0.1 r s ~n1 @a, 10.1.0.2 ~n2 @b]"},
      {"terminating, still serving",
       web,
       {pod("p1", "10.1.0.1", ", deletionTimestamp: '2024-01-01T00:00:00Z'")},
       {},
       "create IPv4 http/TCP/8080 [10.1.0.1 s t ~n1 @a]"},
      {"published whatever its state",
       with("selector:", "publishNotReadyAddresses: true, selector:"),
       {pod("p1", "10.1.0.1", "", "False"), pod("p2", "10.1.0.2", "", "False", "nodeName: gone")},
       {},
       "create IPv4 http/TCP/8080 [10.1.0.1 r ~n1 @a, 10.1.0.2 r ~gone]"},
      {"no node, no endpoint",
       web,
       {pod("p1", "10.1.0.1", "", "True", "nodeName: gone")},
       {},
       "create IPv4 []"},
      {"nothing changes",
       web,
       {pod("p1", "10.1.0.1")},
       {slice("web-1", endpoint("p1", "10.1.0.1"))},
       ""},
      {"a change of readiness keeps its place",
       web,
       {pod("p1", "10.1.0.1", "", "False"), pod("p2", "10.1.0.2")},
       {slice("web-1", endpoint("p1", "10.1.0.1") + ", " + endpoint("p2", "10.1.0.2"))},
       "update web-1 IPv4 http/TCP/8080 [10.1.0.1 ~n1 @a, 10.1.0.2 r s ~n1 @a]"},
      {"the same name again is another pod",
       web,
       {pod("p1", "10.1.0.9", "x")},
       {slice("web-1", endpoint("p1", "10.1.0.9"))},
       "update web-1 IPv4 http/TCP/8080 [10.1.0.9 r s ~n1 @a]"},
      {"other ports: the slice is used again",
       with("targetPort: 8080", "targetPort: 9090"),
       {pod("p1", "10.1.0.1")},
       {slice("web-1", endpoint("p1", "10.1.0.1"))},
       "update web-1 IPv4 http/TCP/9090 [10.1.0.1 r s ~n1 @a]"},
      {"labels follow the service",
       with("{t: x}", "{t: y}"),
       {pod("p1", "10.1.0.1")},
       {slice("web-1", endpoint("p1", "10.1.0.1"))},
       "update web-1 IPv4 http/TCP/8080 [10.1.0.1 r s ~n1 @a]"},
      {"ports by name, pod by pod",
       with("targetPort: 8080", "targetPort: web"),
       {pod("p1", "10.1.0.1", "", "True",
            "nodeName: n1, containers: [{ports: [{name: web, containerPort: 81}]}]"),
        pod("p2", "10.1.0.2", "", "True",
            "nodeName: n1, containers: [{ports: [{name: web, containerPort: 82}]}]"),
        pod("p3", "10.1.0.3", "", "True",
            "nodeName: n1, containers: [{ports: [{name: web, containerPort: 83, protocol: "
            "UDP}]}]")},
       {},
       "create IPv4 [10.1.0.3 r s ~n1 @a]\n"
       "create IPv4 http/TCP/81 [10.1.0.1 r s ~n1 @a]\n"
       "create IPv4 http/TCP/82 [10.1.0.2 r s ~n1 @a]"},
      {"two families",
       with("clusterIP:", "ipFamilies: [IPv6, IPv4], clusterIP:"),
       {pod("p1", "fd00::1")},
       {},
       "create IPv6 http/TCP/8080 [fd00::1 r s ~n1 @a]\ncreate IPv4 []"},
      {"a family that is no more",
       with("clusterIP:", "ipFamilies: [IPv4], clusterIP:"),
       {pod("p1", "10.1.0.1")},
       {slice("web-1", endpoint("p1", "10.1.0.1")), slice("web-2", "", "[]", "IPv6")},
       "remove web-2"},
      {"what belongs to the service before this one",
       web,
       {pod("p1", "10.1.0.1")},
       {slice("web-1", endpoint("p1", "10.1.0.1"), "[{name: http, port: 8080, protocol: TCP}]",
              "IPv4", "s0")},
       "create IPv4 http/TCP/8080 [10.1.0.1 r s ~n1 @a]\nremove web-1"},
      {"a hostname below a headless service",
       with("10.0.0.1", "None, ipFamilies: [IPv4]"),
       {pod("p1", "10.1.0.1", "", "True", "nodeName: n1, hostname: h1, subdomain: web")},
       {},
       "create IPv4 http/TCP/8080 [10.1.0.1 r s ~n1 @a #h1]"},
      {"pods that have ended",
       web,
       {"{metadata: {name: p, namespace: d}, spec: {nodeName: n1}, status: {podIP: 10.1.0.1, "
        "phase: Succeeded}}"},
       {},
       "create IPv4 []"},
      {"a service without selector is nobody's here",
       with("selector: {app: web}, ", ""),
       {pod("p1", "10.1.0.1")},
       {},
       ""},
      {"an external name has no endpoints",
       with("selector:", "type: ExternalName, selector:"),
       {pod("p1", "10.1.0.1")},
       {},
       ""},
      {"nothing is made for a service that goes",
       with("uid: s1", "uid: s1, deletionTimestamp: '2024-01-01T00:00:00Z'"),
       {pod("p1", "10.1.0.1")},
       {},
       ""},
  };
  for (const SliceCase& row : cases) {
    EXPECT_EQ(planned(row.service, row.pods, row.slices), row.expected) << row.what;
  }
}

// Slices of three: what is there is filled before anything is made.
TEST(EndpointSlices, PacksWithLittleChange) {
  const auto e = [](int i) { return endpoint(fmt::format("p{}", i), fmt::format("10.1.0.{}", i)); };
  const auto p = [](int i) { return pod(fmt::format("p{}", i), fmt::format("10.1.0.{}", i)); };
  const auto t = [](int i) { return fmt::format("10.1.0.{} r s ~n1 @a", i); };
  const std::string http = " IPv4 http/TCP/8080 [";
  struct {
    std::string_view what;
    std::vector<int> pods;
    std::vector<std::vector<int>> slices;
    std::string expected;
  } cases[] = {
      {"fresh slices are full but for the last",
       {1, 2, 3, 4},
       {},
       "create" + http + t(1) + ", " + t(2) + ", " + t(3) + "]\ncreate" + http + t(4) + "]"},
      {"the fullest that has room",
       {1, 2, 3, 4},
       {{1}, {2, 3}},
       "update web-2" + http + t(2) + ", " + t(3) + ", " + t(4) + "]"},
      {"not split over two that have some room",
       {1, 2, 3, 4, 5, 6},
       {{1, 2}, {3, 4}},
       "create" + http + t(5) + ", " + t(6) + "]"},
      {"the one that changes anyway comes first",
       {1, 3, 4, 5},
       {{1, 2}, {3, 4}},
       "update web-1" + http + t(1) + ", " + t(5) + "]"},
      {"an empty one is removed", {1}, {{1}, {2}}, "remove web-2"},
  };
  for (const auto& row : cases) {
    std::vector<std::string> pods;
    for (const int i : row.pods) pods.push_back(p(i));
    std::vector<std::string> slices;
    for (const std::vector<int>& members : row.slices) {
      std::vector<std::string> endpoints;
      for (const int i : members) endpoints.push_back(e(i));
      slices.push_back(slice(fmt::format("web-{}", slices.size() + 1),
                             fmt::format("{}", fmt::join(endpoints, ", "))));
    }
    EXPECT_EQ(planned(kWeb, pods, slices, 3), row.expected) << row.what;
  }
}

TEST(EndpointSlices, SayWhoseTheyAre) {
  SliceInput input;
  input.service = object(
      "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: d, uid: s1, labels: "
      "{service.kubernetes.io/headless: fake}}, spec: {clusterIP: None, selector: {app: web}, "
      "ipFamilies: [IPv4]}}");
  input.node = [](std::string_view) { return nullptr; };
  input.trigger_time = "2024-01-01T00:00:00Z";
  const Plan plan = plan_endpoint_slices(input);
  ASSERT_EQ(plan.writes.size(), 1u);
  EXPECT_EQ(schema::to_json(plan.writes[0].body.root.get("metadata")),
            "{\"namespace\":\"d\",\"generateName\":\"web-\",\"labels\":{"
            "\"endpointslice.kubernetes.io/managed-by\":\"endpointslice-controller.k8s.io\","
            "\"kubernetes.io/service-name\":\"web\",\"service.kubernetes.io/headless\":\"\"},"
            "\"annotations\":{\"endpoints.kubernetes.io/last-change-trigger-time\":"
            "\"2024-01-01T00:00:00Z\"},\"ownerReferences\":[{\"apiVersion\":\"v1\","
            "\"blockOwnerDeletion\":true,\"controller\":true,\"kind\":\"Service\",\"name\":\"web\","
            "\"uid\":\"s1\"}]}");
}

TEST(TriggerTimes, AreTheEarliestThatIsNew) {
  TriggerTimes times;
  const auto service = object("{metadata: {creationTimestamp: '2024-01-01T00:00:05Z'}}");
  const auto ready = [](std::string_view name, std::string_view at) {
    return object(
        fmt::format("{{metadata: {{name: {}}}, status: {{conditions: [{{type: Ready, "
                    "lastTransitionTime: '2024-01-01T00:00:{}Z'}}]}}}}",
                    name, at));
  };
  EXPECT_EQ(times.next("d/web", *service, {ready("p", "07")}), "2024-01-01T00:00:05Z");
  EXPECT_EQ(times.next("d/web", *service, {ready("p", "07")}), "");
  EXPECT_EQ(times.next("d/web", *service, {ready("p", "09"), ready("q", "08")}),
            "2024-01-01T00:00:08Z");
  EXPECT_EQ(times.next("d/web", *service, {ready("q", "08")}), "");
  EXPECT_EQ(times.next("d/other", *service, {}), "2024-01-01T00:00:05Z");
}

}  // namespace
}  // namespace fairlead::controllers
