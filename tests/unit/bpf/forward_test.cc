// The first packet of a flow and its answer: addresses, ports, masquerading, which endpoint.
#include <set>

#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::PacketBuilder;
using harness::ParsedPacket;
using harness::tcp;
using harness::udp;

// Clients, a virtual address and endpoints of one family.
struct Addresses {
  std::string pod, outside, service, endpoint, remote, node;

  static Addresses v4() {
    return {"10.1.0.5", "198.51.100.7", "10.96.0.1", "10.1.0.2", "10.2.0.2", "192.168.7.1"};
  }
  static Addresses v6() {
    return {"[fd01::5]", "[2001:db8::7]", "[fd96::1]", "[fd01::2]", "[fd02::2]", "[fd07::1]"};
  }
};

struct Kind {
  Addresses family;
  uint8_t protocol;
  std::string port;  // the client's: a slot's class need not tell one kind from another

  PacketBuilder packet(const std::string& source, const std::string& destination) const {
    return PacketBuilder(harness::socket_address_of(source),
                         harness::socket_address_of(destination), protocol)
        .payload("some words");
  }
};

const std::vector<Kind>& every_kind() {
  static const std::vector<Kind> kinds = [] {
    std::vector<Kind> out;
    for (const Addresses& family : {Addresses::v4(), Addresses::v6()}) {
      for (const uint8_t protocol : {6, 17, 132}) {
        out.push_back({family, protocol, ":" + std::to_string(4000 + out.size())});
      }
    }
    return out;
  }();
  return kinds;
}

class Forward : public PacketTest {
 protected:
  // One service, "80" to "8080", and the conversation of one client with it.
  Served serve_one(const Kind& kind, std::string endpoint, Routes routes = {"-", "-", "m"}) {
    const std::string at = kind.family.service + ":80";
    endpoint += ":8080";
    return serve({.at = at, .protocol = kind.protocol, .endpoints = {endpoint}, .routes = routes});
  }
};

TEST_F(Forward, ThereAndBack) {
  for (const Kind& kind : every_kind()) {
    const Addresses& w = kind.family;
    serve_one(kind, w.endpoint);
    expect_forward(kind.packet(w.pod + kind.port, w.service + ":80"),
                   kind.packet(w.pod + kind.port, w.endpoint + ":8080").ttl(63));
    expect_forward(kind.packet(w.endpoint + ":8080", w.pod + kind.port),
                   kind.packet(w.service + ":80", w.pod + kind.port).ttl(63));
    expect_forward(kind.packet(w.pod + kind.port, w.service + ":80"),
                   kind.packet(w.pod + kind.port, w.endpoint + ":8080").ttl(63));
  }
}

TEST_F(Forward, CountsWhatItDoes) {
  serve_one(every_kind()[0], "10.1.0.2");
  using Counted = std::map<std::string, uint64_t>;
  const auto there = tcp("10.1.0.5:4000", "10.96.0.1:80");
  EXPECT_EQ(run(there).counted, (Counted{{"forwarded", 1}, {"flows_created", 1}}));
  EXPECT_EQ(run(there).counted, (Counted{{"forwarded", 1}}));
  EXPECT_EQ(run(tcp("10.1.0.2:8080", "10.1.0.5:4000")).counted, (Counted{{"returned", 1}}));
  EXPECT_EQ(run(there).counted, (Counted{{"forwarded", 1}, {"flows_established", 1}}));
  EXPECT_EQ(datapath().flows().size(), 1U);
}

TEST_F(Forward, MasqueradedThereAndBack) {
  for (const Kind& kind : every_kind()) {
    const Addresses& w = kind.family;
    serve_one(kind, w.remote);
    const uint16_t port = expect_masquerade(kind.packet(w.outside + kind.port, w.service + ":80"),
                                            kind.packet(w.node + ":1", w.remote + ":8080").ttl(63));
    const std::string seen = w.node + ":" + std::to_string(port);
    expect_forward(kind.packet(w.remote + ":8080", seen),
                   kind.packet(w.service + ":80", w.outside + kind.port).ttl(63));
    expect_forward(kind.packet(w.outside + kind.port, w.service + ":80"),
                   kind.packet(seen, w.remote + ":8080").ttl(63));
  }
}

TEST_F(Forward, MasqueradesWithTheAddressOfTheWayOut) {
  serve_one(every_kind()[0], "10.1.0.2");
  expect_masquerade(tcp("198.51.100.7:4000", "10.96.0.1:80"),
                    tcp("192.168.7.1:1", "10.1.0.2:8080").ttl(63));
  datapath().put(Map::kDevices, datapath().device("pod0"),
                 fl_device{wire("10.1.0.1"), wire("fd01::1"), 0, 1500});
  expect_masquerade(tcp("198.51.100.7:4001", "10.96.0.1:80"),
                    tcp("10.1.0.1:1", "10.1.0.2:8080").ttl(63));
}

// One node port, two addresses of the node, one port of the client: two flows.
TEST_F(Forward, EachAddressOfANodePortAnswersForItself) {
  serve({.at = "0.0.0.0:30080",
         .kind = FL_KIND_NODE_PORT,
         .endpoints = {"10.1.0.2:8080"},
         .routes = {"m", "m", "m"}});
  for (const std::string_view own : {"192.168.7.1", "10.1.0.1"}) {
    datapath().put(Map::kNodeAddresses, wire(own), fl_node_address{FL_NODE_ADDRESS_NODE_PORTS});
  }
  for (const std::string asked : {"192.168.7.1:30080", "10.1.0.1:30080", "192.168.7.1:30080"}) {
    const ParsedPacket there = after(tcp("198.51.100.7:4000", asked));
    EXPECT_EQ(there.destination.to_string(), "10.1.0.2:8080");
    EXPECT_EQ(after(answer_to(there)).source.to_string(), asked);
  }
  EXPECT_EQ(datapath().flows().size(), 2U);
}

TEST_F(Forward, WithoutAnAddressToMasqueradeWith) {
  serve_one(every_kind()[0], "10.1.0.2");
  configure([](fl_config& config) { config.source_v4 = {}; });
  expect_drop(tcp("198.51.100.7:4000", "10.96.0.1:80"), "no_source_address");
  EXPECT_TRUE(datapath().flows().empty());
}

TEST_F(Forward, AnEndpointThatAsksItsOwnService) {
  for (const Kind& kind : every_kind()) {
    const Addresses& w = kind.family;
    serve_one(kind, w.endpoint);
    const uint16_t port =
        expect_masquerade(kind.packet(w.endpoint + kind.port, w.service + ":80"),
                          kind.packet(w.node + ":1", w.endpoint + ":8080").ttl(63));
    expect_forward(kind.packet(w.endpoint + ":8080", w.node + ":" + std::to_string(port)),
                   kind.packet(w.service + ":80", w.endpoint + kind.port).ttl(63));
  }
}

// A server in the node's own network: its answer passes fl_egress, so it may see its client.
TEST_F(Forward, AnEndpointOnThisNodeSeesItsClient) {
  for (const Kind& kind : every_kind()) {
    const Addresses& w = kind.family;
    serve_one(kind, w.node);
    via(Program::kIngress);
    expect_deliver(kind.packet(w.outside + kind.port, w.service + ":80"),
                   kind.packet(w.outside + kind.port, w.node + ":8080"));
    via(Program::kEgress, {.made_here = true});
    expect_deliver(kind.packet(w.node + ":8080", w.outside + kind.port),
                   kind.packet(w.service + ":80", w.outside + kind.port));
  }
}

// Each class has a route of its own; the endpoint tells which one was taken.
TEST_F(Forward, EachSourceClassHasItsRoute) {
  serve({.at = "10.96.0.1:80",
         .endpoints = {"10.1.0.2:8080"},
         .local = {},
         .routes = {"-", "l", "m"}});
  expect_forward(tcp("10.1.0.5:1", "10.96.0.1:80"), tcp("10.1.0.5:1", "10.1.0.2:8080").ttl(63));
  expect_forward(tcp("10.2.0.5:1", "10.96.0.1:80"), tcp("10.2.0.5:1", "10.1.0.2:8080").ttl(63));
  expect_refusal(tcp("192.168.7.1:1", "10.96.0.1:80").flags("S"));
  expect_masquerade(tcp("198.51.100.7:1", "10.96.0.1:80"),
                    tcp("192.168.7.1:1", "10.1.0.2:8080").ttl(63));
  expect_masquerade(tcp("10.3.0.5:1", "10.96.0.1:80"),
                    tcp("192.168.7.1:1", "10.1.0.2:8080").ttl(63));
}

TEST_F(Forward, ADeviceMaySayThatItIsAPod) {
  serve_one(every_kind()[0], "10.1.0.2");
  datapath().put(Map::kDevices, datapath().device("thin0"),
                 fl_device{{}, {}, FL_DEVICE_PODS, 1280});
  via(Program::kIngress, {.device = "thin0"});
  expect_forward(tcp("10.3.0.5:1", "10.96.0.1:80"), tcp("10.3.0.5:1", "10.1.0.2:8080").ttl(63));
  configure([](fl_config& config) { config.has_detector[0] = 0; });
  expect_masquerade(tcp("10.3.0.5:2", "10.96.0.1:80"),
                    tcp("192.168.7.1:1", "10.1.0.2:8080").ttl(63));
}

TEST_F(Forward, NobodyIsAPodWithoutADetector) {
  serve_one(every_kind()[0], "10.1.0.2");
  configure([](fl_config& config) { config.has_detector[0] = 0; });
  expect_masquerade(tcp("10.1.0.5:1", "10.96.0.1:80"),
                    tcp("192.168.7.1:1", "10.1.0.2:8080").ttl(63));
  serve_one(every_kind()[3], "[fd01::2]");  // the other family's detector is there
  expect_forward(tcp("[fd01::5]:1", "[fd96::1]:80"), tcp("[fd01::5]:1", "[fd01::2]:8080").ttl(63));
}

TEST_F(Forward, TheLocalChoice) {
  serve({.at = "10.96.0.1:80",
         .endpoints = {"10.2.0.2:80", "10.2.0.3:80"},
         .local = {"10.1.0.2:80"},
         .routes = {"-", "-", "l"}});
  for (int port = 1; port < 32; ++port) {
    const std::string client = "198.51.100.7:" + std::to_string(port);
    expect_forward(tcp(client, "10.96.0.1:80"), tcp(client, "10.1.0.2:80").ttl(63));
  }
}

TEST_F(Forward, SourceRanges) {
  serve({.at = "192.0.2.80:80",
         .kind = FL_KIND_LOAD_BALANCER,
         .endpoints = {"10.1.0.2:80"},
         .routes = {"-", "-", "-"},
         .source_ranges = {"198.51.100.0/28", "203.0.113.9/32"}});
  serve({.at = "[2001:db8::80]:80",
         .kind = FL_KIND_LOAD_BALANCER,
         .endpoints = {"[fd01::2]:80"},
         .routes = {"-", "-", "-"},
         .source_ranges = {"2001:db8:1::/48"}});
  serve({.at = "192.0.2.81:80", .endpoints = {"10.1.0.2:81"}, .routes = {"-", "-", "-"}});
  expect_forward(tcp("198.51.100.15:11", "192.0.2.80:80"),
                 tcp("198.51.100.15:11", "10.1.0.2:80").ttl(63));
  expect_forward(tcp("203.0.113.9:12", "192.0.2.80:80"),
                 tcp("203.0.113.9:12", "10.1.0.2:80").ttl(63));
  expect_drop(tcp("198.51.100.16:1", "192.0.2.80:80"), "source_range");
  expect_drop(tcp("203.0.113.8:1", "192.0.2.80:80"), "source_range");
  expect_forward(tcp("[2001:db8:1:9::1]:13", "[2001:db8::80]:80"),
                 tcp("[2001:db8:1:9::1]:13", "[fd01::2]:80").ttl(63));
  expect_drop(tcp("[2001:db8:2::1]:13", "[2001:db8::80]:80"), "source_range");
  expect_forward(tcp("198.51.100.16:14", "192.0.2.81:80"),
                 tcp("198.51.100.16:14", "10.1.0.2:81").ttl(63));
}

// ---- Which endpoint ----

TEST_F(Forward, FlowsSpreadOverTheEndpoints) {
  serve({.at = "10.96.0.1:80", .endpoints = {"10.1.0.2:80", "10.1.0.3:80", "10.1.0.4:80"}});
  std::map<std::string, int> share;
  for (int port = 1; port <= 300; ++port) {
    const std::string client = "10.1.0.5:" + std::to_string(port);
    share[after(tcp(client, "10.96.0.1:80").flags("S")).destination.to_string()]++;
  }
  EXPECT_EQ(share.size(), 3U);
  for (const auto& [endpoint, flows] : share) EXPECT_GT(flows, 50) << endpoint;
}

TEST_F(Forward, AFlowKeepsItsEndpointWhenTheChoiceChanges) {
  const Served served = serve({.at = "10.96.0.1:80", .endpoints = {"10.1.0.2:80", "10.1.0.3:80"}});
  const auto packet = tcp("10.1.0.5:4000", "10.96.0.1:80");
  const ParsedPacket first = after(packet);
  for (const uint32_t only : served.endpoints) {
    choose_among(served, {only});
    EXPECT_EQ(after(packet).destination, first.destination);
  }
}

class Affinity : public Forward {
 protected:
  Served serve_sticky() {
    return serve({.at = "10.96.0.1:80",
                  .endpoints = {"10.1.0.2:80", "10.1.0.3:80", "10.1.0.4:80", "10.1.0.6:80"},
                  .routes = {"-", "-", "-"},
                  .affinity_seconds = 100});
  }
  std::string endpoint_of(const std::string& client, int port,
                          std::string_view at = "10.96.0.1:80") {
    return after(tcp(client + ":" + std::to_string(port), at).flags("S")).destination.to_string();
  }
  std::set<std::string> endpoints_of(const std::string& client, int first) {
    std::set<std::string> out;
    for (int port = first; port < first + 20; ++port) out.insert(endpoint_of(client, port));
    return out;
  }
};

TEST_F(Affinity, OneClientOneEndpoint) {
  serve_sticky();
  std::set<std::string> all;
  for (int client = 1; client < 20; ++client) {
    const auto endpoints = endpoints_of("198.51.100." + std::to_string(client), 1000);
    EXPECT_EQ(endpoints.size(), 1U);
    all.insert(*endpoints.begin());
  }
  EXPECT_GT(all.size(), 1U);
}

TEST_F(Affinity, IsRememberedAnewByEveryFlow) {
  serve_sticky();
  const std::string first = endpoint_of("198.51.100.1", 1);
  for (int i = 2; i < 10; ++i) {
    datapath().let_pass(90);
    EXPECT_EQ(endpoint_of("198.51.100.1", i), first);
  }
}

TEST_F(Affinity, EndsWithItsTime) {
  const Served served = serve_sticky();
  const std::string first = endpoint_of("198.51.100.1", 1);
  // From now on everybody else is chosen: only memory leads to the first one.
  std::vector<uint32_t> others;
  for (const uint32_t index : served.endpoints) {
    fl_endpoint endpoint;
    ASSERT_TRUE(datapath().get(Map::kEndpoints, index, endpoint));
    if (address(endpoint.address).to_string() + ":80" != first) others.push_back(index);
  }
  ASSERT_EQ(others.size(), 3U);
  choose_among(served, others);
  EXPECT_EQ(endpoint_of("198.51.100.1", 2), first);
  datapath().let_pass(101);
  EXPECT_NE(endpoint_of("198.51.100.1", 3), first);
}

TEST_F(Affinity, EndsWithTheEndpoint) {
  const Served served = serve_sticky();
  const std::string first = endpoint_of("198.51.100.1", 1);
  for (size_t i = 0; i < served.endpoints.size(); ++i) {
    fl_endpoint endpoint;
    ASSERT_TRUE(datapath().get(Map::kEndpoints, served.endpoints[i], endpoint));
    if (address(endpoint.address).to_string() + ":80" == first) retire(served, i);
  }
  const std::string second = endpoint_of("198.51.100.1", 2);
  EXPECT_NE(second, first);
  EXPECT_EQ(endpoint_of("198.51.100.1", 3), second);
}

TEST_F(Affinity, HoldsOverAllAddressesOfAService) {
  Served served = serve_sticky();
  also(served, {.at = "192.0.2.80:80", .kind = FL_KIND_EXTERNAL_IP, .routes = {"-", "-", "-"}});
  for (int client = 1; client < 10; ++client) {
    const std::string from = "198.51.100." + std::to_string(client);
    EXPECT_EQ(endpoint_of(from, 1), endpoint_of(from, 2, "192.0.2.80:80"));
  }
}

// ---- Nobody there ----

TEST_F(Forward, NoEndpoints) {
  for (const Kind& kind : every_kind()) {
    const Addresses& w = kind.family;
    serve({.at = w.service + ":80", .protocol = kind.protocol});
    expect_refusal(kind.packet(w.pod + kind.port, w.service + ":80").flags("S"));
    serve({.at = w.service + ":81", .protocol = kind.protocol, .when_empty = FL_EMPTY_DROP});
    expect_drop(kind.packet(w.pod + kind.port, w.service + ":81").flags("S"), "no_endpoints");
  }
  EXPECT_TRUE(datapath().flows().empty());
}

TEST_F(Forward, APortThatAClusterIpDoesNotServe) {
  serve_one(every_kind()[0], "10.1.0.2");
  expect_refusal(tcp("10.1.0.5:4000", "10.96.0.1:81").flags("S"));
  expect_refusal(udp("10.1.0.5:4000", "10.96.0.1:80"));
  serve_one(every_kind()[3], "[fd01::2]");
  expect_refusal(tcp("[fd01::5]:4000", "[fd96::1]:81").flags("S"));
  expect_refusal(udp("[fd01::5]:4000", "[fd96::1]:80"));
}

TEST_F(Forward, AnAddressOfTheServiceRangeThatNobodyHas) {
  claim_services("10.96.0.0/12");
  claim_services("fd96::/112");
  expect_drop(tcp("10.1.0.5:4000", "10.96.0.2:80").flags("S"), "no_such_service");
  expect_drop(udp("[fd01::5]:4000", "[fd96::9]:80"), "no_such_service");
  expect_pass(tcp("10.1.0.5:4000", "10.112.0.1:80").flags("S"));
  expect_pass(udp("[fd01::5]:4000", "[fd96::1:9]:80"));
}

TEST_F(Forward, NodePortsOnTheChosenAddressesOnly) {
  for (const std::string any : {"0.0.0.0", "[::]"}) {
    const bool v4 = any == "0.0.0.0";
    serve({.at = any + ":30080",
           .kind = FL_KIND_NODE_PORT,
           .endpoints = {v4 ? "10.1.0.2:80" : "[fd01::2]:80"},
           .routes = {"-", "-", "-"}});
  }
  expect_forward(tcp("198.51.100.7:1", "192.168.7.1:30080"),
                 tcp("198.51.100.7:1", "10.1.0.2:80").ttl(63));
  expect_forward(tcp("10.1.0.2:80", "198.51.100.7:1"),
                 tcp("192.168.7.1:30080", "198.51.100.7:1").ttl(63));
  expect_forward(tcp("[2001:db8::7]:1", "[fd07::1]:30080"),
                 tcp("[2001:db8::7]:1", "[fd01::2]:80").ttl(63));
  expect_pass(tcp("198.51.100.7:2", "10.1.0.1:30080"));     // ours, but not chosen
  expect_pass(tcp("198.51.100.7:2", "192.168.7.8:30080"));  // somebody else's
  expect_pass(tcp("[2001:db8::7]:2", "[fd01::1]:30080"));
  expect_pass(udp("198.51.100.7:2", "192.168.7.1:30080"));  // another protocol
  expect_pass(tcp("198.51.100.7:2", "192.168.7.1:30081"));
}

}  // namespace
}  // namespace fairlead::bpf::testing
