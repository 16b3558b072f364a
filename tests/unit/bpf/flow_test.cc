// The life of a flow: when it is established, when it ends, what it holds on to, and what happens
// when there is no room for another one.
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <sched.h>

#include <atomic>
#include <optional>
#include <set>
#include <thread>

#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::ParsedPacket;
using harness::sctp;
using harness::tcp;
using harness::udp;

constexpr std::string_view kClient = "10.1.0.5:4000";
constexpr std::string_view kService = "10.96.0.1:80";

class FlowLife : public PacketTest {
 protected:
  // The first of two endpoints alone; move_on() lets new flows go to the second one.
  void serve_two(uint8_t protocol = 6) {
    served_ = serve({.at = kService,
                     .protocol = protocol,
                     .endpoints = {"10.1.0.2:8080", "10.1.0.3:8080"},
                     .routes = {"-", "-", "m"}});
    choose_among(served_, {served_.endpoints[0]});
  }
  void move_on() { choose_among(served_, {served_.endpoints[1]}); }
  std::string endpoint_of(const harness::Packet& packet) {
    return after(packet).destination.to_string();
  }
  int established() const {
    int count = 0;
    for (const Flow& flow : const_cast<FlowLife*>(this)->datapath().flows())
      count += flow.established;
    return count;
  }

  Served served_;
};

// ---- Beginning ----

TEST_F(FlowLife, EstablishedWhenItsClientSpeaksAfterAnAnswer) {
  serve_two();
  after(tcp(kClient, kService).flags("S"));
  after(tcp(kClient, kService).flags("S"));
  EXPECT_EQ(established(), 0);
  after(tcp("10.1.0.2:8080", kClient).flags("SA"));
  EXPECT_EQ(established(), 0);
  after(tcp(kClient, kService).flags("S"));  // the answer was lost
  EXPECT_EQ(established(), 0);
  after(tcp(kClient, kService).flags("A"));
  EXPECT_EQ(established(), 1);
  EXPECT_EQ(datapath().flows().size(), 1U);
}

TEST_F(FlowLife, DatagramsAreEstablishedLikewise) {
  serve_two(17);
  after(udp(kClient, kService));
  after(udp(kClient, kService));
  EXPECT_EQ(established(), 0);
  after(udp("10.1.0.2:8080", kClient));
  after(udp(kClient, kService));
  EXPECT_EQ(established(), 1);
  EXPECT_EQ(datapath().flows().size(), 1U);
}

TEST_F(FlowLife, ConnectionsThatBeganEarlierAreTakenUp) {
  serve_two();
  expect_forward(tcp(kClient, kService).flags("PA"),
                 tcp(kClient, "10.1.0.2:8080").flags("PA").ttl(63));
}

TEST_F(FlowLife, AResetBeginsNothing) {
  serve_two();
  expect_drop(tcp(kClient, kService).flags("R"), "stray_reset");
  EXPECT_TRUE(datapath().flows().empty());
}

TEST_F(FlowLife, EveryPacketIsRemembered) {
  serve_two();
  establish(kClient, kService);
  const auto ages = [this] {
    const Flow flow = datapath().flows().at(0);
    fl_return slot = {};
    EXPECT_TRUE(datapath().get(Map::kReturns, flow.value.slot, slot));
    return std::pair(flow.value.last_seen, slot.last_seen);
  };
  datapath().let_pass(1000);
  const auto old = ages();
  after(tcp(kClient, kService).flags("A"));
  EXPECT_GT(ages().first - old.first, 999 * datapath().hz());
  after(tcp("10.1.0.2:8080", kClient).flags("A"));
  EXPECT_GT(ages().second - old.second, 999 * datapath().hz());
}

// An answer comes from the endpoint and nobody else. Enough strangers that some of them share the
// slot's class with it.
TEST_F(FlowLife, OnlyItsEndpointAnswers) {
  serve_two();
  after(tcp(kClient, kService).flags("S"));
  for (int i = 0; i < 16; ++i) {
    const std::string host = std::to_string(10 + i);
    const std::string port = std::to_string(8081 + i);
    expect_pass(tcp("10.1.0." + host + ":8080", kClient).flags("SA"));
    expect_pass(tcp("10.1.0.2:" + port, kClient).flags("SA"));
    expect_pass(tcp("10.1.0.2:8080", "10.1.0." + host + ":4000").flags("SA"));
    expect_pass(udp("10.1.0.2:8080", "10.1.0." + host + ":4000"));
    expect_pass(tcp("10.1.0.2:8080", "10.1.0.5:" + std::to_string(4001 + i)).flags("SA"));
  }
  expect_pass(udp("10.1.0.2:8080", kClient));
  expect_forward(tcp("10.1.0.2:8080", kClient).flags("SA"),
                 tcp(kService, kClient).flags("SA").ttl(63));
}

// ---- End ----

TEST_F(FlowLife, AConnectionOutlivesItsEndpointsService) {
  serve_two();
  establish(kClient, kService);
  retire(served_, 0);
  EXPECT_EQ(endpoint_of(tcp(kClient, kService).flags("A")), "10.1.0.2:8080");
  EXPECT_EQ(endpoint_of(tcp("10.1.0.5:4001", kService).flags("S")), "10.1.0.3:8080");
  EXPECT_EQ(endpoint_of(tcp(kClient, kService).flags("S")), "10.1.0.3:8080");  // opens another
}

TEST_F(FlowLife, DatagramsLeaveAnEndpointThatIsGone) {
  serve_two(17);
  EXPECT_EQ(endpoint_of(udp(kClient, kService)), "10.1.0.2:8080");
  after(udp("10.1.0.2:8080", kClient));
  EXPECT_EQ(endpoint_of(udp(kClient, kService)), "10.1.0.2:8080");
  EXPECT_EQ(established(), 1);
  move_on();  // still in the service
  EXPECT_EQ(endpoint_of(udp(kClient, kService)), "10.1.0.2:8080");
  retire(served_, 0);
  EXPECT_EQ(endpoint_of(udp(kClient, kService)), "10.1.0.3:8080");
  EXPECT_EQ(established(), 0);
  EXPECT_EQ(datapath().flows().size(), 1U);
}

TEST_F(FlowLife, AnotherEndpointAtTheSameIndexIsNotTheSame) {
  serve_two(17);
  after(udp(kClient, kService));
  fl_endpoint endpoint;
  ASSERT_TRUE(datapath().get(Map::kEndpoints, served_.endpoints[0], endpoint));
  endpoint.generation++;
  endpoint.address = wire("10.1.0.9");
  datapath().put(Map::kEndpoints, served_.endpoints[0], endpoint);
  EXPECT_EQ(endpoint_of(udp(kClient, kService)), "10.1.0.9:8080");
}

// Packets of the connection pass through to the end; a new one from the same port begins anew.
TEST_F(FlowLife, BothSidesFinished) {
  serve_two();
  establish(kClient, kService);
  move_on();
  after(tcp(kClient, kService).flags("FA"));
  EXPECT_EQ(endpoint_of(tcp(kClient, kService).flags("S")), "10.1.0.2:8080");  // half open
  expect_forward(tcp("10.1.0.2:8080", kClient).flags("FA"),
                 tcp(kService, kClient).flags("FA").ttl(63));
  EXPECT_EQ(endpoint_of(tcp(kClient, kService).flags("A")), "10.1.0.2:8080");
  EXPECT_EQ(endpoint_of(tcp(kClient, kService).flags("S")), "10.1.0.3:8080");
  EXPECT_EQ(established(), 0);
  EXPECT_EQ(datapath().flows().size(), 1U);
}

TEST_F(FlowLife, FinishedByTheEndpointFirst) {
  serve_two();
  establish(kClient, kService);
  move_on();
  after(tcp("10.1.0.2:8080", kClient).flags("FA"));
  EXPECT_EQ(endpoint_of(tcp(kClient, kService).flags("S")), "10.1.0.2:8080");
  after(tcp(kClient, kService).flags("FA"));
  EXPECT_EQ(endpoint_of(tcp(kClient, kService).flags("S")), "10.1.0.3:8080");
}

TEST_F(FlowLife, ResetByEither) {
  serve_two();
  establish(kClient, kService);
  move_on();
  expect_forward(tcp("10.1.0.2:8080", kClient).flags("R"),
                 tcp(kService, kClient).flags("R").ttl(63));
  EXPECT_EQ(endpoint_of(tcp(kClient, kService).flags("S")), "10.1.0.3:8080");
  after(tcp("10.1.0.3:8080", kClient).flags("SA"));
  after(tcp(kClient, kService).flags("A"));
  choose_among(served_, {served_.endpoints[0]});
  expect_forward(tcp(kClient, kService).flags("RA"),
                 tcp(kClient, "10.1.0.3:8080").flags("RA").ttl(63));
  EXPECT_EQ(endpoint_of(tcp(kClient, kService).flags("S")), "10.1.0.2:8080");
}

// A connection that was refused by its endpoint.
TEST_F(FlowLife, RefusedBeforeItWasEstablished) {
  serve_two();
  after(tcp(kClient, kService).flags("S"));
  after(tcp("10.1.0.2:8080", kClient).flags("RA"));
  move_on();
  EXPECT_EQ(endpoint_of(tcp(kClient, kService).flags("S")), "10.1.0.3:8080");
}

// ---- Ports ----

// A pod has sockets that are translated where they are, and others whose packets come this way: its
// next datagram to the same endpoint, from the same port, may be of the other kind.
TEST_F(FlowLife, ADatagramStraightToTheEndpointEndsAQuestionThatWasAnswered) {
  serve_two(IPPROTO_UDP);
  const auto straight = udp(kClient, "10.1.0.2:8080");
  const auto answer = udp("10.1.0.2:8080", kClient);
  run(udp(kClient, kService));
  expect_pass(straight);  // the question is still open
  expect_forward(answer, udp(kService, kClient).ttl(63));
  expect_pass(straight);
  expect_pass(answer);
}

class Establishing : public FlowLife {
 protected:
  static constexpr std::string_view kEndpoint = "10.1.0.2:8080";

  // The established flow of the client with this port, if it is one.
  std::optional<fl_flow> established_flow(uint16_t port) {
    const fl_flow_key key = {.client = wire("10.1.0.5"),
                             .frontend = served_.frontend,
                             .client_port = wire(port),
                             .protocol = IPPROTO_UDP,
                             .zero = 0};
    fl_flow flow = {};
    return datapath().get(Map::kFlows, key, flow) ? std::optional(flow) : std::nullopt;
  }
  fl_return slot_of(const fl_flow& flow) {
    fl_return slot = {};
    EXPECT_TRUE(datapath().get(Map::kReturns, flow.slot, slot));
    return slot;
  }
};

// Who read before that the slot may be taken, or freed, and goes on to do so now, must fail: it is
// given up by an exchange with the claim that was read.
TEST_F(Establishing, RenewsTheClaimOnTheSlot) {
  serve_two(IPPROTO_UDP);
  run(udp(kClient, kService));
  run(udp(kEndpoint, kClient));
  ASSERT_EQ(datapath().flows().size(), 1U);
  const uint32_t before = slot_of(datapath().flows()[0].value).claim;
  run(udp(kClient, kService));
  ASSERT_TRUE(established_flow(4000));
  EXPECT_NE(slot_of(*established_flow(4000)).claim, before);
  EXPECT_NE(slot_of(*established_flow(4000)).claim, 0U);
}

// A question by the service and one straight to the endpoint, from one port at one time: the flow
// is established or gives its slot up, not both.
TEST_F(Establishing, WhileItsClientSpeaksStraightToTheEndpoint) {
  serve_two(IPPROTO_UDP);
  constexpr uint16_t kFirst = 10'000;
  constexpr uint16_t kRounds = 5'000;
  const auto client = [](uint16_t round) { return "10.1.0.5:" + std::to_string(kFirst + round); };
  const int program = datapath().object().fd(Program::kIngress);
  const uint32_t device = datapath().device("pod0");
  std::atomic<uint16_t> begun{0}, done{0};
  std::thread straight([&, here = ::sched_getcpu()] {
    cpu_set_t others;  // all but the one on which this fixture runs; it may be the only one
    CPU_ZERO(&others);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (cpu != here) CPU_SET(cpu, &others);
    }
    ::sched_setaffinity(0, sizeof others, &others);
    for (uint16_t round = 1; round <= kRounds; ++round) {
      const harness::Packet packet = udp(client(round), kEndpoint);
      harness::Bytes out(packet.size() + 512);
      __sk_buff skb = {};
      skb.ifindex = skb.ingress_ifindex = device;
      LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet.bytes().data(),
                  .data_out = out.data(), .data_size_in = static_cast<uint32_t>(packet.size()),
                  .data_size_out = static_cast<uint32_t>(out.size()), .ctx_in = &skb,
                  .ctx_size_in = sizeof skb);
      while (begun.load() < round) std::this_thread::yield();
      for (std::atomic<int> pause = round % 64 * 8; pause > 0;) --pause;
      EXPECT_EQ(::bpf_prog_test_run_opts(program, &options), 0);
      done = round;
    }
  });
  int stayed = 0;
  for (uint16_t round = 1; round <= kRounds; ++round) {
    const harness::Packet question = udp(client(round), kService);
    run(question);
    run(udp(kEndpoint, client(round)));
    begun = round;
    run(question);
    while (done.load() < round) std::this_thread::yield();
    const auto flow = established_flow(static_cast<uint16_t>(kFirst + round));
    if (!flow) continue;
    ++stayed;
    EXPECT_NE(slot_of(*flow).claim, 0U) << "round " << round;
  }
  straight.join();
  EXPECT_GT(stayed, 0);
}

TEST_F(FlowLife, TwoServicesWithTheSameEndpoint) {
  struct Row {
    uint8_t protocol;
    std::string client, first, second, endpoint;
  };
  for (const Row& row : std::vector<Row>{
           {6, "10.1.0.5:4000", "10.96.0.1:80", "10.96.0.2:443", "10.1.0.2:8080"},
           {17, "10.1.0.5:4001", "10.96.0.1:80", "10.96.0.2:443", "10.1.0.2:8080"},
           {132, "10.1.0.5:4002", "10.96.0.1:80", "10.96.0.2:443", "10.1.0.2:8080"},
           {6, "[fd01::5]:4003", "[fd96::1]:80", "[fd96::2]:443", "[fd01::2]:8080"},
           {17, "[fd01::5]:4004", "[fd96::1]:80", "[fd96::2]:443", "[fd01::2]:8080"},
           {132, "[fd01::5]:4005", "[fd96::1]:80", "[fd96::2]:443", "[fd01::2]:8080"},
       }) {
    const auto packet = [&row](std::string_view from, std::string_view to) {
      return harness::PacketBuilder(harness::socket_address_of(from),
                                    harness::socket_address_of(to), row.protocol)
          .payload("some more words");
    };
    for (const std::string& at : {row.first, row.second}) {
      serve({.at = at, .protocol = row.protocol, .endpoints = {row.endpoint}});
    }
    expect_forward(packet(row.client, row.first), packet(row.client, row.endpoint).ttl(63));
    const Outcome outcome = run(packet(row.client, row.second));
    EXPECT_EQ(counted(outcome, "ports_rewritten"), 1U) << outcome.describe();
    const ParsedPacket second = harness::parse(outcome.packet);
    EXPECT_EQ(second.source.address, harness::socket_address_of(row.client).address);
    EXPECT_NE(second.source.port, harness::socket_address_of(row.client).port);
    EXPECT_TRUE(second.checksums_fit()) << outcome.describe();
    expect_forward(packet(row.endpoint, row.client), packet(row.first, row.client).ttl(63));
    expect_forward(packet(row.endpoint, second.source.to_string()),
                   packet(row.second, row.client).ttl(63));
  }
}

class Ports : public FlowLife {
 protected:
  void range(uint16_t first, uint16_t last) {
    configure([=](fl_config& config) {
      config.snat_first = first;
      config.snat_last = last;
    });
  }
  // A new masqueraded connection; 0 when it is dropped for want of a port.
  uint16_t next_port() {
    const auto syn = tcp("198.51.100.7:" + std::to_string(++client_port_), kService).flags("S");
    const Outcome outcome = run(syn);
    if (outcome.verdict == kDrop) {
      EXPECT_EQ(counted(outcome, "drop_ports_exhausted"), 1U) << outcome.describe();
      return 0;
    }
    return harness::parse(outcome.packet).source.port;
  }
  uint16_t client_port_ = 1000;
};

TEST_F(Ports, AreGivenOutOnceAndThenNoMore) {
  serve_two();
  range(20000, 20001);
  const std::set<uint16_t> given = {next_port(), next_port()};
  EXPECT_EQ(given, (std::set<uint16_t>{20000, 20001}));
  EXPECT_EQ(next_port(), 0);
  EXPECT_EQ(datapath().flows().size(), 2U);
  // Those that have one keep it.
  EXPECT_TRUE(given.contains(after(tcp("198.51.100.7:1001", kService)).source.port));
  EXPECT_TRUE(given.contains(after(tcp("198.51.100.7:1002", kService)).source.port));
}

TEST_F(Ports, AllOfALongerRangeCanBeHad) {
  serve_two();
  range(20000, 20031);
  std::set<uint16_t> given;
  for (int i = 0; i < 32; ++i) given.insert(next_port());
  EXPECT_EQ(given.size(), 32U);
  EXPECT_FALSE(given.contains(0));
  EXPECT_EQ(next_port(), 0);
}

TEST_F(Ports, AreFreeAgainSoonAfterTheFlowIsClosed) {
  serve_two();
  range(20000, 20000);
  ASSERT_EQ(next_port(), 20000);
  after(tcp("10.1.0.2:8080", "192.168.7.1:20000").flags("R"));
  EXPECT_EQ(next_port(), 0);  // the last segments may still be under way
  datapath().let_pass(3);
  EXPECT_EQ(next_port(), 20000);
}

TEST_F(Ports, AreFreeAgainWhenNothingCameOfTheFlow) {
  serve_two();
  range(20000, 20000);
  ASSERT_EQ(next_port(), 20000);
  datapath().let_pass(29);
  EXPECT_EQ(next_port(), 0);
  datapath().let_pass(2);
  EXPECT_EQ(next_port(), 20000);
  // The first flow has lost its port, and does not speak in the second one's name.
  expect_drop(tcp("198.51.100.7:1001", kService).flags("S"), "ports_exhausted");
}

TEST_F(Ports, OfAnEstablishedFlowAreItsOwnHoweverLongItIsSilent) {
  serve_two();
  range(20000, 20000);
  establish("198.51.100.7:900", kService);
  datapath().let_pass(80000);
  EXPECT_EQ(next_port(), 0);
  expect_forward(tcp("10.1.0.2:8080", "192.168.7.1:20000"),
                 tcp(kService, "198.51.100.7:900").ttl(63));
}

TEST_F(Ports, OfNodePortsAreLeftAlone) {
  serve_two();
  serve({.at = "0.0.0.0:30080", .kind = FL_KIND_NODE_PORT, .endpoints = {"10.1.0.2:80"}});
  range(30080, 30081);
  EXPECT_EQ(next_port(), 30081);
  EXPECT_EQ(next_port(), 0);
}

TEST_F(Ports, EachProcessorHasItsBlock) {
  serve_two();
  range(20000, 20399);
  configure([](fl_config& config) { config.cpus = 4; });
  const int block = 20000 + ::sched_getcpu() % 4 * 100;
  for (int i = 0; i < 20; ++i) {
    const uint16_t port = next_port();
    EXPECT_GE(port, block);
    EXPECT_LT(port, block + 100);
  }
}

// Its entry was evicted from the table of new flows, its slot was not.
TEST_F(Ports, AFlowThatWasForgottenFindsItsSlotAgain) {
  serve_two();
  after(tcp(kClient, kService).flags("S"));
  datapath().remove(Map::kNewFlows, datapath().flows().at(0).key);
  expect_forward(tcp(kClient, kService).flags("S"),
                 tcp(kClient, "10.1.0.2:8080").flags("S").ttl(63));
}

// ---- No room ----

class Room : public FlowLife {
 protected:
  void fill_flows() {
    for (uint32_t i = 0; i < Datapath::sizes().flows; ++i) {
      const fl_flow_key key = {wire("203.0.113.1"), 1'000'000 + i, 1, 6, 0};
      if (!datapath().try_put(Map::kFlows, key, fl_flow{})) return;
    }
  }
};

TEST_F(Room, NoMoreEstablishedFlows) {
  serve_two();
  establish(kClient, kService);
  after(tcp("10.1.0.5:4001", kService).flags("S"));
  after(tcp("10.1.0.2:8080", "10.1.0.5:4001").flags("SA"));
  fill_flows();
  expect_drop(tcp("10.1.0.5:4001", kService).flags("A"), "flows_full");
  expect_forward(tcp(kClient, kService).flags("A"),
                 tcp(kClient, "10.1.0.2:8080").flags("A").ttl(63));
  expect_forward(tcp("10.1.0.2:8080", kClient).flags("A"),
                 tcp(kService, kClient).flags("A").ttl(63));
}

TEST_F(Room, NewFlowsAreRefusedWhenTheLoaderSaysSo) {
  serve_two();
  establish(kClient, kService);
  after(tcp("10.1.0.5:4001", kService).flags("S"));
  configure([](fl_config& config) { config.refuse_new_flows = 1; });
  expect_drop(tcp("10.1.0.5:4002", kService).flags("S"), "flows_full");
  expect_forward(tcp(kClient, kService).flags("A"),
                 tcp(kClient, "10.1.0.2:8080").flags("A").ttl(63));
  expect_forward(tcp("10.1.0.5:4001", kService).flags("S"),
                 tcp("10.1.0.5:4001", "10.1.0.2:8080").flags("S").ttl(63));
  EXPECT_EQ(datapath().flows().size(), 2U);
}

// A flood of connections that nothing comes of harms nobody who is established.
TEST_F(Room, AFloodOfNewFlows) {
  serve_two();
  establish(kClient, kService);
  for (int i = 0; i < 12000; ++i) {
    const std::string from = "10.2." + std::to_string(i / 200 % 250) + "." +
                             std::to_string(i % 200 + 1) + ":" + std::to_string(1000 + i);
    datapath().run(Program::kIngress, tcp(from, kService).flags("S"));
  }
  EXPECT_EQ(established(), 1);
  expect_forward(tcp(kClient, kService).flags("A"),
                 tcp(kClient, "10.1.0.2:8080").flags("A").ttl(63));
  expect_forward(tcp("10.1.0.2:8080", kClient).flags("A"),
                 tcp(kService, kClient).flags("A").ttl(63));
}

}  // namespace
}  // namespace fairlead::bpf::testing
