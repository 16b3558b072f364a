// One case for every rule of service semantics: a service, its endpoints, the expected entries as
// text.
#include "dataplane/compile.h"

#include <gtest/gtest.h>

#include <functional>

#include "text.h"

namespace fairlead::dataplane {
namespace {

using testing::address;
using testing::describe;
using testing::group;
using testing::prefix;

struct Case {
  const char* rule;
  std::function<void(Service&, CompileView&)> given;  // changes to a plain ClusterIP service
  std::vector<std::string_view> endpoints;
  const char* expected;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.rule;
}

Service plain_service() {
  Service service;
  service.name = {"default", "web"};
  service.cluster_ips = {address("10.96.0.1")};
  service.ports = {{"", Protocol::kTcp, 80, 0}};
  return service;
}

class Compile : public ::testing::TestWithParam<Case> {};

TEST_P(Compile, Gives) {
  Service service = plain_service();
  CompileView view;
  view.node_addresses = {address("192.0.2.10")};
  GetParam().given(service, view);
  const EndpointGroup endpoints = group(GetParam().endpoints);
  EXPECT_EQ(describe(compile(service, {&endpoints, 1}, view)), GetParam().expected);
}

const auto kNothing = [](Service&, CompileView&) {};
const auto kExternal = [](Service& s, CompileView&) { s.external_ips = {address("203.0.113.1")}; };
const auto kExternalLocal = [](Service& s, CompileView&) {
  s.external_ips = {address("203.0.113.1")};
  s.external_traffic_local = true;
};
const auto kInternalLocal = [](Service& s, CompileView&) { s.internal_traffic_local = true; };

INSTANTIATE_TEST_SUITE_P(
    ClusterIp, Compile,
    ::testing::Values(
        Case{"pods keep their source, others are masqueraded",
             kNothing,
             {"10.1.0.1:8080", "10.1.0.2:8080"},
             "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\n"
             "C: 10.1.0.1:8080 10.1.0.2:8080\n"},
        Case{"without a detector nobody is masqueraded",
             [](Service&, CompileView& v) {
               v.detects_local_traffic = {false, false};
             },
             {"10.1.0.1:8080"},
             "ClusterIP 10.96.0.1:80 pod=C node=C other=C\nC: 10.1.0.1:8080\n"},
        Case{"masqueradeAll masquerades everybody",
             [](Service&, CompileView& v) { v.masquerade_all = true; },
             {"10.1.0.1:8080"},
             "ClusterIP 10.96.0.1:80 pod=C+snat node=C+snat other=C+snat\nC: 10.1.0.1:8080\n"},
        Case{"internal policy Local takes local endpoints only",
             kInternalLocal,
             {"10.1.0.1:8080", "10.1.0.2:8080 local"},
             "ClusterIP 10.96.0.1:80 pod=L node=L+snat other=L+snat\nL: 10.1.0.2:8080*\n"},
        Case{"internal policy Local drops when endpoints are only elsewhere",
             kInternalLocal,
             {"10.1.0.1:8080"},
             "ClusterIP 10.96.0.1:80 pod=L node=L+snat other=L+snat\nL: drop\n"},
        Case{"internal policy Local rejects when there are none at all",
             kInternalLocal,
             {"10.1.0.1:8080 unready"},
             "ClusterIP 10.96.0.1:80 pod=L node=L+snat other=L+snat\nL: reject\n"},
        Case{"no endpoints: reject",
             kNothing,
             {},
             "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\nC: reject\n"},
        Case{"affinity belongs to the entry",
             [](Service& s, CompileView&) { s.affinity_seconds = 10800; },
             {"10.1.0.1:8080"},
             "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\nC: 10.1.0.1:8080\n"
             "affinity 10800s\n"}));

INSTANTIATE_TEST_SUITE_P(
    External, Compile,
    ::testing::Values(
        Case{"policy Cluster masquerades everybody",
             kExternal,
             {"10.1.0.1:8080"},
             "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\n"
             "ExternalIP 203.0.113.1:80 pod=C+snat node=C+snat other=C+snat\nC: 10.1.0.1:8080\n"},
        Case{"policy Local keeps the client and short-circuits pods and the node",
             kExternalLocal,
             {"10.1.0.1:8080", "10.1.0.2:8080 local"},
             "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\n"
             "ExternalIP 203.0.113.1:80 pod=C node=C+snat other=L\n"
             "C: 10.1.0.1:8080 10.1.0.2:8080*\nL: 10.1.0.2:8080*\n"},
        Case{"policy Local drops for others when endpoints are only elsewhere",
             kExternalLocal,
             {"10.1.0.1:8080"},
             "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\n"
             "ExternalIP 203.0.113.1:80 pod=C node=C+snat other=L\nC: 10.1.0.1:8080\nL: drop\n"},
        Case{"policy Local rejects when there are none at all",
             kExternalLocal,
             {},
             "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\n"
             "ExternalIP 203.0.113.1:80 pod=C node=C+snat other=L\nC: reject\nL: reject\n"},
        Case{"a node port counts on the family's unspecified address",
             [](Service& s, CompileView&) { s.ports[0].node_port = 30080; },
             {"10.1.0.1:8080"},
             "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\n"
             "NodePort 0.0.0.0:30080 pod=C+snat node=C+snat other=C+snat\nC: 10.1.0.1:8080\n"},
        Case{"load-balancer addresses obey source ranges, others do not",
             [](Service& s, CompileView&) {
               s.external_ips = {address("203.0.113.1")};
               s.load_balancer_ips = {address("198.51.100.1")};
               s.ports[0].node_port = 30080;
               s.source_ranges = {prefix("192.168.0.0/16")};
             },
             {"10.1.0.1:8080"},
             "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\n"
             "ExternalIP 203.0.113.1:80 pod=C+snat node=C+snat other=C+snat\n"
             "LoadBalancer 198.51.100.1:80 pod=C+snat node=C+snat other=C+snat from "
             "192.168.0.0/16\n"
             "NodePort 0.0.0.0:30080 pod=C+snat node=C+snat other=C+snat\nC: 10.1.0.1:8080\n"},
        Case{"a node inside the source ranges admits the virtual address itself",
             [](Service& s, CompileView&) {
               s.load_balancer_ips = {address("198.51.100.1")};
               s.source_ranges = {prefix("192.0.2.0/24")};
             },
             {"10.1.0.1:8080"},
             "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\n"
             "LoadBalancer 198.51.100.1:80 pod=C+snat node=C+snat other=C+snat from 192.0.2.0/24 "
             "198.51.100.1/32\nC: 10.1.0.1:8080\n"},
        Case{"ranges of the other family close this one",
             [](Service& s, CompileView&) {
               s.load_balancer_ips = {address("198.51.100.1")};
               s.source_ranges = {prefix("fd00::/8")};
             },
             {"10.1.0.1:8080"},
             "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\n"
             "LoadBalancer 198.51.100.1:80 pod=C+snat node=C+snat other=C+snat from\n"
             "C: 10.1.0.1:8080\n"},
        Case{"an address given as external and load balancer is one, and restricted",
             [](Service& s, CompileView&) {
               s.external_ips = s.load_balancer_ips = {address("198.51.100.1")};
               s.source_ranges = {prefix("192.168.0.0/16")};
             },
             {"10.1.0.1:8080"},
             "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\n"
             "ExternalIP 198.51.100.1:80 pod=C+snat node=C+snat other=C+snat from "
             "192.168.0.0/16\nC: 10.1.0.1:8080\n"},
        Case{"a service without a cluster IP of the family has nothing in it",
             [](Service& s, CompileView&) {
               s.cluster_ips = {address("fd00::1")};
               s.external_ips = {address("203.0.113.1")};
               s.ports[0].node_port = 30080;
             },
             {"10.1.0.1:8080"},
             ""}));

const char* const kFromAll = "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\n";

struct ChoiceCase {
  const char* rule;
  std::vector<std::string_view> endpoints;
  const char* expected;  // the line of cluster endpoints
};
void PrintTo(const ChoiceCase& c, std::ostream* out) {
  *out << c.rule;
}

class ClusterChoice : public ::testing::TestWithParam<ChoiceCase> {};

TEST_P(ClusterChoice, Is) {
  const EndpointGroup endpoints = group(GetParam().endpoints);
  EXPECT_EQ(describe(compile(plain_service(), {&endpoints, 1}, CompileView())),
            std::string(kFromAll) + GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(Readiness, ClusterChoice,
                         ::testing::Values(ChoiceCase{"ready beats terminating",
                                                      {"10.1.0.1:80", "10.1.0.2:80 terminating"},
                                                      "C: 10.1.0.1:80\n"},
                                           ChoiceCase{
                                               "terminating endpoints that serve are the fallback",
                                               {"10.1.0.1:80 unready", "10.1.0.2:80 terminating",
                                                "10.1.0.3:80 gone"},
                                               "C: 10.1.0.2:80\n"},
                                           ChoiceCase{"the same target from two slices counts once",
                                                      {"10.1.0.1:80", "10.1.0.1:80"},
                                                      "C: 10.1.0.1:80\n"},
                                           ChoiceCase{"targets are sorted and local ones marked",
                                                      {"10.1.0.2:80 anywhere", "10.1.0.1:80 local"},
                                                      "C: 10.1.0.1:80* 10.1.0.2:80*\n"}));

INSTANTIATE_TEST_SUITE_P(
    Topology, ClusterChoice,
    ::testing::Values(
        ChoiceCase{"all zone hints, one for ours: same zone",
                   {"10.1.0.1:80 zone-here", "10.1.0.2:80 zone-away"},
                   "C: 10.1.0.1:80\n"},
        ChoiceCase{"one endpoint without a hint: everything",
                   {"10.1.0.1:80 zone-here", "10.1.0.2:80"},
                   "C: 10.1.0.1:80 10.1.0.2:80\n"},
        ChoiceCase{"no hint for our zone: everything",
                   {"10.1.0.1:80 zone-away", "10.1.0.2:80 zone-away"},
                   "C: 10.1.0.1:80 10.1.0.2:80\n"},
        ChoiceCase{"unready endpoints are not asked for hints",
                   {"10.1.0.1:80 zone-here", "10.1.0.2:80 zone-away", "10.1.0.3:80 unready"},
                   "C: 10.1.0.1:80\n"},
        ChoiceCase{"node hints come before zone hints",
                   {"10.1.0.1:80 zone-here node-away", "10.1.0.2:80 zone-here node-here"},
                   "C: 10.1.0.2:80\n"},
        ChoiceCase{"node hints for others only: zone hints decide",
                   {"10.1.0.1:80 zone-here node-away", "10.1.0.2:80 zone-away node-away"},
                   "C: 10.1.0.1:80\n"},
        ChoiceCase{"the terminating fallback ignores topology",
                   {"10.1.0.1:80 terminating zone-away", "10.1.0.2:80 terminating zone-here"},
                   "C: 10.1.0.1:80 10.1.0.2:80\n"}));

TEST(CompileLocal, FallsBackToLocalTerminatingIndependently) {
  Service service = plain_service();
  kExternalLocal(service, *std::make_unique<CompileView>());
  const EndpointGroup endpoints = group({"10.1.0.1:80", "10.1.0.2:80 local terminating"});
  EXPECT_EQ(describe(compile(service, {&endpoints, 1}, CompileView())),
            std::string(kFromAll) +
                "ExternalIP 203.0.113.1:80 pod=C node=C+snat other=L\n"
                "C: 10.1.0.1:80\nL: 10.1.0.2:80*\n");
}

TEST(CompileLocal, TopologyDoesNotNarrowLocalEndpoints) {
  Service service = plain_service();
  service.internal_traffic_local = true;
  const EndpointGroup endpoints = group({"10.1.0.1:80 zone-here", "10.1.0.2:80 local zone-away"});
  EXPECT_EQ(describe(compile(service, {&endpoints, 1}, CompileView())),
            "ClusterIP 10.96.0.1:80 pod=L node=L+snat other=L+snat\nL: 10.1.0.2:80*\n");
}

TEST(CompileFamilies, EachFamilyIsAnEntryOfItsOwn) {
  Service service = plain_service();
  service.cluster_ips.push_back(address("fd00::1"));
  service.external_ips = {address("203.0.113.1"), address("2001:db8::1")};
  CompileView view;
  view.families = {Family::kIPv4, Family::kIPv6};
  const std::vector<EndpointGroup> groups = {group({"10.1.0.1:80"}), group({"[fd00:1::1]:80"})};
  EXPECT_EQ(describe(compile(service, groups, view)),
            "default/web/TCP/IPv4\n"
            "ClusterIP 10.96.0.1:80 pod=C node=C+snat other=C+snat\n"
            "ExternalIP 203.0.113.1:80 pod=C+snat node=C+snat other=C+snat\n"
            "C: 10.1.0.1:80\n"
            "default/web/TCP/IPv6\n"
            "ClusterIP [fd00::1]:80 pod=C node=C+snat other=C+snat\n"
            "ExternalIP [2001:db8::1]:80 pod=C+snat node=C+snat other=C+snat\n"
            "C: [fd00:1::1]:80\n");
}

TEST(CompilePorts, EndpointsFollowPortNameAndProtocol) {
  Service service = plain_service();
  service.ports = {{"dns", Protocol::kUdp, 53, 0},
                   {"dns-tcp", Protocol::kTcp, 53, 0},
                   {"assoc", Protocol::kSctp, 9899, 0}};
  const std::vector<EndpointGroup> groups = {group({"10.1.0.1:53"}, "dns", Protocol::kUdp),
                                             group({"10.1.0.2:53"}, "dns-tcp"),
                                             group({"10.1.0.3:99"}, "assoc", Protocol::kSctp)};
  EXPECT_EQ(describe(compile(service, groups, CompileView())),
            "default/web:dns/UDP/IPv4\n"
            "ClusterIP 10.96.0.1:53 pod=C node=C+snat other=C+snat\nC: 10.1.0.1:53\n"
            "default/web:dns-tcp/TCP/IPv4\n"
            "ClusterIP 10.96.0.1:53 pod=C node=C+snat other=C+snat\nC: 10.1.0.2:53\n"
            "default/web:assoc/SCTP/IPv4\n"
            "ClusterIP 10.96.0.1:9899 pod=C node=C+snat other=C+snat\nC: 10.1.0.3:99\n");
}

TEST(CompilePorts, ARepeatedPortCountsOnce) {
  Service service = plain_service();
  service.ports.push_back({"", Protocol::kTcp, 81, 0});
  EXPECT_EQ(describe(compile(service, {}, CompileView())), std::string(kFromAll) + "C: reject\n");
}

TEST(HealthCheck, CountsADualStackPodOnce) {
  const std::vector<EndpointGroup> groups = {group({"10.1.0.1:80 local", "10.1.0.2:80 local"}),
                                             group({"[fd00::1]:80 local"})};
  EXPECT_EQ(count_local_ready_addresses(groups), 2U);
}

TEST(HealthCheck, CountsDistinctLocalReadyAddresses) {
  const std::vector<EndpointGroup> groups = {
      group({"10.1.0.1:80 local", "10.1.0.2:80 local terminating", "10.1.0.3:80"}),
      group({"10.1.0.1:443 local", "10.1.0.4:443 local unready"}, "https")};
  EXPECT_EQ(count_local_ready_addresses(groups), 1U);
}

}  // namespace
}  // namespace fairlead::dataplane
