#include "dataplane/reference.h"

#include <gtest/gtest.h>

#include "dataplane/compile.h"
#include "text.h"

namespace fairlead::dataplane {
namespace {

using testing::address;
using testing::group;
using testing::prefix;

struct PathCase {
  const char* what;
  const char* source;
  const char* destination;
  uint16_t port;
  const char* expected;  // fate, targets, snat
};
void PrintTo(const PathCase& c, std::ostream* out) {
  *out << c.what;
}

std::string describe(const Outcome& outcome) {
  static constexpr const char* kFates[] = {"untouched", "forwarded", "rejected", "dropped"};
  std::string text = kFates[static_cast<size_t>(outcome.fate)];
  for (const Target& target : outcome.targets) text += " " + target.address.address.to_string();
  return text + (outcome.masquerade ? " snat" : "");
}

// One node 192.0.2.10 with a local and a remote endpoint behind every kind of address.
ReferenceEvaluator world() {
  Service service;
  service.name = {"default", "web"};
  service.cluster_ips = {address("10.96.0.1")};
  service.load_balancer_ips = {address("203.0.113.1")};
  service.source_ranges = {prefix("198.51.100.0/24")};
  service.external_traffic_local = true;
  service.ports = {{"", Protocol::kTcp, 80, 30080}};
  const EndpointGroup endpoints = group({"10.1.0.1:80 local", "10.2.0.1:80"});
  CompileView view;
  std::vector<EntryPointer> entries;
  for (ForwardingEntry& entry : compile(service, {&endpoints, 1}, view)) {
    entries.push_back(std::make_shared<const ForwardingEntry>(std::move(entry)));
  }
  Service empty = service;
  empty.name.name = "empty";
  empty.cluster_ips = {address("10.96.0.2")};
  empty.load_balancer_ips.clear();
  empty.ports[0].node_port = 30081;
  const EndpointGroup remote = group({"10.2.0.1:80"});
  for (ForwardingEntry& entry : compile(empty, {&remote, 1}, view)) {
    entries.push_back(std::make_shared<const ForwardingEntry>(std::move(entry)));
  }
  NodeRules rules;
  rules.detector.pod_prefixes = {prefix("10.0.0.0/12")};
  rules.node_port_addresses = {address("192.0.2.10")};
  rules.service_prefixes = {prefix("10.96.0.0/16")};
  return {std::move(entries), rules, {address("192.0.2.10"), address("127.0.0.1")}};
}

class Reference : public ::testing::TestWithParam<PathCase> {};

TEST_P(Reference, Says) {
  const PathCase& c = GetParam();
  const Packet packet{
      {address(c.source), 40000}, {address(c.destination), c.port}, Protocol::kTcp, ""};
  EXPECT_EQ(describe(world().evaluate(packet)), c.expected);
}

INSTANTIATE_TEST_SUITE_P(
    Packets, Reference,
    ::testing::Values(
        PathCase{"pod to cluster IP", "10.1.0.9", "10.96.0.1", 80, "forwarded 10.1.0.1 10.2.0.1"},
        PathCase{"node to cluster IP", "192.0.2.10", "10.96.0.1", 80,
                 "forwarded 10.1.0.1 10.2.0.1 snat"},
        PathCase{"outside to node port", "198.51.100.7", "192.0.2.10", 30080, "forwarded 10.1.0.1"},
        PathCase{"pod to node port", "10.1.0.9", "192.0.2.10", 30080,
                 "forwarded 10.1.0.1 10.2.0.1"},
        PathCase{"node port on loopback", "127.0.0.1", "127.0.0.1", 30080, "untouched"},
        PathCase{"allowed source", "198.51.100.7", "203.0.113.1", 80, "forwarded 10.1.0.1"},
        PathCase{"other source", "198.51.101.7", "203.0.113.1", 80, "dropped"},
        PathCase{"no local endpoint", "198.51.100.7", "192.0.2.10", 30081, "dropped"},
        PathCase{"no local endpoint, from a pod", "10.1.0.9", "192.0.2.10", 30081,
                 "forwarded 10.2.0.1"},
        PathCase{"port that the service lacks", "10.1.0.9", "10.96.0.1", 81, "rejected"},
        PathCase{"address that no service has", "10.1.0.9", "10.96.0.77", 80, "dropped"},
        PathCase{"somebody else", "10.1.0.9", "192.0.2.99", 80, "untouched"}));

}  // namespace
}  // namespace fairlead::dataplane
