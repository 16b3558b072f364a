// The sweep in the kernel, and the thread that runs it.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>

#include <chrono>
#include <functional>
#include <thread>

#include "bpf/sweeper.h"
#include "tests/unit/bpf/socket_world.h"

namespace fairlead::bpf::testing {
namespace {

constexpr uint32_t kHz = 250;
constexpr uint32_t kEstablished = 3600;
constexpr uint32_t kClosing = 60;
constexpr uint32_t kUdp = 30;
constexpr uint32_t kStream = 180;

class SweepTest : public SocketWorld {
 protected:
  void SetUp() override {
    SocketWorld::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    config().hz = kHz;
    config().tcp_established_seconds = kEstablished;
    config().tcp_closing_seconds = kClosing;
    config().udp_seconds = kUdp;
    config().udp_stream_seconds = kStream;
    put_config();
    now_ = static_cast<uint32_t>(sweep().jiffies);
  }

  // With a look at `slots` slots, from the first one on.
  fl_sweep sweep(uint32_t slots = 0) const {
    fl_sweep result = {};
    result.slots = slots;
    LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &result, .ctx_size_in = sizeof result);
    EXPECT_EQ(::bpf_prog_test_run_opts(fd(Program::kSweep), &options), 0);
    return result;
  }

  struct Ages {
    uint32_t flow;  // seconds since its client spoke
    uint32_t slot;  // since its endpoint did
  };

  // A flow with its slot, both named by `number`.
  void put_flow(Map map, uint32_t number, uint8_t protocol, Ages ages, uint32_t flow_flags,
                uint32_t slot_flags = 0) {
    const fl_flow_key key = {.client = to_wide("10.0.0.1"),
                             .frontend = 1,
                             .client_port = static_cast<fl_be16>(number),
                             .protocol = protocol};
    const fl_flow flow = {.endpoint = to_wide("10.0.0.2"),
                          .source = key.client,
                          .endpoint_port = 80,
                          .source_port = key.client_port,
                          .slot = number,
                          .last_seen = now_ - ages.flow * kHz,
                          .flags = flow_flags};
    const fl_return slot = {.endpoint = flow.endpoint,
                            .source = flow.source,
                            .endpoint_port = flow.endpoint_port,
                            .client_port = key.client_port,
                            .protocol = protocol,
                            .family = 4,
                            .claim = (now_ - 1000 * kHz) | 1,
                            .last_seen = now_ - ages.slot * kHz,
                            .frontend = key.frontend,
                            .flags = slot_flags,
                            .client = key.client};
    ASSERT_EQ(::bpf_map_update_elem(fd(map), &key, &flow, BPF_ANY), 0);
    ASSERT_EQ(::bpf_map_update_elem(fd(Map::kReturns), &number, &slot, BPF_ANY), 0);
  }

  fl_return slot(uint32_t number) const {
    fl_return found = {};
    EXPECT_EQ(::bpf_map_lookup_elem(fd(Map::kReturns), &number, &found), 0);
    return found;
  }

  bool claimed(uint32_t number) const { return slot(number).claim != 0; }

  // Whether a flow of that age and kind outlives a sweep; its slot must share its fate.
  bool stands(uint8_t protocol, Ages ages, uint32_t flow_flags, uint32_t slot_flags = 0) {
    put_flow(Map::kFlows, 7, protocol, ages, flow_flags, slot_flags);
    const fl_sweep result = sweep();
    EXPECT_EQ(result.flows + result.expired, 1U);
    EXPECT_EQ(claimed(7), result.flows == 1);
    clear(Map::kFlows);
    return result.flows == 1;
  }

 private:
  uint32_t now_ = 0;
};

TEST_F(SweepTest, EachKindOfFlowHasItsTime) {
  const uint32_t talking = FL_FLOW_ANSWERED | FL_FLOW_ESTABLISHED;
  const struct {
    uint8_t protocol;
    uint32_t flags;
    uint32_t seconds;
  } kinds[] = {
      {IPPROTO_TCP, 0, 30},
      {IPPROTO_TCP, talking, kEstablished},
      {IPPROTO_TCP, talking | FL_FLOW_CLIENT_FIN, kEstablished},
      {IPPROTO_TCP, talking | FL_FLOW_ENDPOINT_FIN, kEstablished},
      {IPPROTO_TCP, talking | FL_FLOW_CLIENT_FIN | FL_FLOW_ENDPOINT_FIN, kClosing},
      {IPPROTO_TCP, talking | FL_FLOW_RESET, kClosing},
      {IPPROTO_UDP, 0, kUdp},
      {IPPROTO_UDP, FL_FLOW_ANSWERED, kUdp},
      {IPPROTO_UDP, talking, kStream},
      {IPPROTO_SCTP, 0, kUdp},
      {IPPROTO_SCTP, talking, kStream},
  };
  constexpr uint32_t kMargin = 8;  // ticks are compared with some slack
  for (const auto& kind : kinds) {
    const uint32_t young = kind.seconds - kMargin;
    const uint32_t old = kind.seconds + kMargin;
    SCOPED_TRACE(std::to_string(kind.protocol) + " " + std::to_string(kind.flags));
    EXPECT_TRUE(stands(kind.protocol, {young, young}, kind.flags));
    EXPECT_FALSE(stands(kind.protocol, {old, old}, kind.flags));
    EXPECT_TRUE(stands(kind.protocol, {old, young}, kind.flags)) << "the endpoint spoke later";
    EXPECT_TRUE(stands(kind.protocol, {young, old}, kind.flags)) << "the client spoke later";
    EXPECT_FALSE(stands(kind.protocol, {old, old}, 0, kind.flags)) << "flags of the slot count";
  }
}

TEST_F(SweepTest, FlagsOfFlowAndSlotCountTogether) {
  const uint32_t talking = FL_FLOW_ANSWERED | FL_FLOW_ESTABLISHED;
  const Ages ages = {kClosing + 8, kClosing + 8};
  EXPECT_FALSE(stands(IPPROTO_TCP, ages, talking | FL_FLOW_CLIENT_FIN, FL_FLOW_ENDPOINT_FIN));
  EXPECT_TRUE(stands(IPPROTO_TCP, ages, talking | FL_FLOW_CLIENT_FIN, FL_FLOW_CLIENT_FIN));
  EXPECT_TRUE(stands(IPPROTO_UDP, ages, 0, talking));
  EXPECT_FALSE(stands(IPPROTO_UDP, ages, 0, FL_FLOW_ANSWERED)) << "one answer is no stream";
}

TEST_F(SweepTest, EncapsulatedFlowsAreJudgedByTheirClient) {
  const uint32_t seconds = kUdp + 8;
  put_flow(Map::kFlows, 1, IPPROTO_UDP, {seconds, seconds}, FL_FLOW_DSR);
  put_flow(Map::kFlows, 2, IPPROTO_TCP, {kClosing + 8, 0}, FL_FLOW_DSR | FL_FLOW_CLIENT_FIN);
  const fl_sweep result = sweep();
  EXPECT_EQ(result.flows, 1U);
  EXPECT_EQ(result.expired, 1U);
  EXPECT_TRUE(claimed(2)) << "the slot is another flow's";
}

TEST_F(SweepTest, AnotherFlowsSlotIsNeitherReadNorFreed) {
  put_flow(Map::kNewFlows, 3, IPPROTO_UDP, {1000, 1000}, 0);
  fl_return other = slot(3);
  other.client = to_wide("10.0.0.9");
  other.last_seen += 1000 * kHz;
  const uint32_t number = 3;
  ASSERT_EQ(::bpf_map_update_elem(fd(Map::kReturns), &number, &other, BPF_ANY), 0);
  EXPECT_EQ(sweep().expired, 1U);
  EXPECT_TRUE(claimed(3));
}

// Of flows whose map was too small for all when it got another size, or that nobody remembers for
// another reason.
TEST_F(SweepTest, SlotsOfEstablishedFlowsThatAreGoneAreFreed) {
  const uint32_t talking = FL_FLOW_ANSWERED | FL_FLOW_ESTABLISHED;
  const auto outlives = [&](uint32_t slots) {
    const fl_sweep result = sweep(slots);
    EXPECT_EQ(result.freed, claimed(7) ? 0U : 1U);
    return claimed(7);
  };
  put_flow(Map::kFlows, 7, IPPROTO_TCP, {100, 100}, talking, talking);
  EXPECT_TRUE(outlives(100));
  clear(Map::kFlows);
  EXPECT_TRUE(outlives(7)) << "beyond what was to be looked at";
  EXPECT_FALSE(outlives(8));

  put_flow(Map::kNewFlows, 7, IPPROTO_UDP, {100, 25}, talking, talking);
  EXPECT_TRUE(outlives(100)) << "of whichever map";
  clear(Map::kNewFlows);
  EXPECT_TRUE(outlives(100)) << "somebody may be about to enter the flow";

  put_flow(Map::kFlows, 7, IPPROTO_UDP, {100, 100}, FL_FLOW_ANSWERED, FL_FLOW_ANSWERED);
  clear(Map::kFlows);
  EXPECT_TRUE(outlives(100)) << "who needs it may take it";
}

// A client that began anew and got another port.
TEST_F(SweepTest, TheSlotThatAFlowHadBeforeIsFreed) {
  const uint32_t talking = FL_FLOW_ANSWERED | FL_FLOW_ESTABLISHED;
  put_flow(Map::kFlows, 8, IPPROTO_TCP, {100, 100}, talking, talking);
  fl_return before = slot(8);
  const uint32_t number = 9;
  ASSERT_EQ(::bpf_map_update_elem(fd(Map::kReturns), &number, &before, BPF_ANY), 0);
  EXPECT_EQ(sweep(100).freed, 1U);
  EXPECT_TRUE(claimed(8));
  EXPECT_FALSE(claimed(9));
}

// Of the class that has the fewest left: 16-bit ports, then the class.
TEST_F(SweepTest, MasqueradingPortsInUseAreCounted) {
  config().snat_first = 10000;
  config().snat_last = 10004;
  config().return_classes = 2;
  put_config();
  for (const uint32_t number : {10000U, 10004U, 9999U, 10005U, 1U << 16 | 10001U}) {
    put_flow(number == 10004 ? Map::kNewFlows : Map::kFlows, number, IPPROTO_UDP, {0, 0}, 0);
  }
  EXPECT_EQ(sweep().ports, 2U);
}

TEST_F(SweepTest, BothTablesAreSweptAndCounted) {
  for (uint32_t i = 1; i <= 300; ++i) put_flow(Map::kFlows, i, IPPROTO_UDP, {i % 3 * 500, 900}, 0);
  for (uint32_t i = 301; i <= 360; ++i)
    put_flow(Map::kNewFlows, i, IPPROTO_UDP, {i % 2 * 500, 900}, 0);
  const fl_sweep result = sweep();
  EXPECT_EQ(result.flows, 100U);
  EXPECT_EQ(result.new_flows, 30U);
  EXPECT_EQ(result.expired, 230U);
  EXPECT_EQ(sweep().expired, 0U);
}

TEST_F(SweepTest, ClocksOlderThanTheirCounterStillCompare) {
  // The clock has wrapped between the flow's last packet and now, or will soon.
  EXPECT_FALSE(stands(IPPROTO_TCP, {(1U << 30) / kHz, (1U << 30) / kHz}, FL_FLOW_ESTABLISHED));
}

TEST_F(SweepTest, RememberedClientsAreForgottenInTime) {
  put({.entry = 1, .endpoints = {{"127.93.0.1", 80}}, .affinity_seconds = 100});
  put({.entry = 2, .endpoints = {{"127.93.0.2", 80}}});  // has no affinity any more
  const auto remember = [&](uint32_t entry, uint32_t client, uint32_t age) {
    const fl_affinity_key key = {.client = {{0, 0, 0, client}}, .entry = entry, .choice = 0};
    const auto time = static_cast<uint32_t>(sweep().jiffies);
    const fl_affinity value = {1, 1, time - age * kHz};
    ASSERT_EQ(::bpf_map_update_elem(fd(Map::kAffinity), &key, &value, BPF_ANY), 0);
  };
  remember(1, 1, 92);
  remember(1, 2, 108);
  remember(2, 3, 5);
  remember(3, 4, 5);
  EXPECT_EQ(sweep().affinities, 1U);
}

TEST_F(SweepTest, KernelTellsItsTick) {
  const auto hz = jiffies_per_second();
  ASSERT_TRUE(hz.ok()) << hz.status().message();
  const fl_sweep first = sweep();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const fl_sweep second = sweep();
  const double seconds = static_cast<double>(second.nanoseconds - first.nanoseconds) / 1e9;
  EXPECT_NEAR(static_cast<double>(second.jiffies - first.jiffies), *hz * seconds,
              2 + *hz * seconds * 0.02);
}

class SweeperTest : public SweepTest {
 protected:
  // A sweeper on `config_` with so much room, until `done` says so of its counts.
  void run(uint32_t capacity, const std::function<bool(const Sweeper::Counts&)>& done,
           uint32_t slots = 0, bool free_slots = true) {
    auto sweeper = Sweeper::start({.program = fd(Program::kSweep),
                                   .flow_capacity = capacity,
                                   .slots = slots,
                                   .config = &settings_,
                                   .period = std::chrono::milliseconds(5)});
    ASSERT_TRUE(sweeper.ok()) << sweeper.status().message();
    EXPECT_NE(settings_.hz, 0U);
    if (free_slots) (*sweeper)->free_slots();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!done((*sweeper)->counts()) && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    counts_ = (*sweeper)->counts();
  }

  fl_config settings_ = {};
  Sweeper::Counts counts_;
};

TEST_F(SweeperTest, PublishesWhatStandsAndAddsUpWhatExpired) {
  put_flow(Map::kFlows, 1, IPPROTO_UDP, {0, 0}, 0);
  put_flow(Map::kFlows, 2, IPPROTO_UDP, {900, 900}, 0);
  put_flow(Map::kNewFlows, 3, IPPROTO_UDP, {900, 900}, 0);
  run(1000, [](const auto& counts) { return counts.sweeps >= 3; });
  EXPECT_EQ(counts_.flows, 1U);
  EXPECT_EQ(counts_.new_flows, 0U);
  EXPECT_EQ(counts_.expired, 2U);
  EXPECT_EQ(settings_.refuse_new_flows, 0);
}

// A part of them in each sweep; none before it is told that programs enter flows in these maps.
TEST_F(SweeperTest, SlotsAreLookedAtInTheirTurn) {
  const uint32_t talking = FL_FLOW_ANSWERED | FL_FLOW_ESTABLISHED;
  const uint32_t slots = Sweeper::kSlotsASweep + 1000;
  put_flow(Map::kFlows, 5, IPPROTO_TCP, {900, 900}, talking, talking);
  put_flow(Map::kFlows, Sweeper::kSlotsASweep + 5, IPPROTO_TCP, {900, 900}, talking, talking);
  clear(Map::kFlows);
  run(
      1000, [](const auto& counts) { return counts.sweeps >= 3; }, slots, false);
  EXPECT_EQ(counts_.freed, 0U);
  run(
      1000, [](const auto& counts) { return counts.freed == 2; }, slots);
  EXPECT_EQ(counts_.freed, 2U);
  put_flow(Map::kFlows, 5, IPPROTO_TCP, {900, 900}, talking, talking);
  clear(Map::kFlows);
  run(
      1000, [](const auto& counts) { return counts.freed == 1; }, slots);
  EXPECT_FALSE(claimed(5));
}

TEST_F(SweeperTest, NewFlowsAreRefusedFrom98PercentTo95) {
  const auto fill = [&](uint32_t flows) {
    for (uint32_t i = 1; i <= 100; ++i) {
      put_flow(Map::kFlows, i, IPPROTO_UDP, {i <= flows ? 0U : 900U, 900}, 0);
    }
    run(100, [](const auto& counts) { return counts.sweeps >= 1; });
    return settings_.refuse_new_flows;
  };
  EXPECT_EQ(fill(97), 0);
  EXPECT_EQ(fill(98), 1);
  EXPECT_EQ(fill(95), 1);
  EXPECT_EQ(fill(94), 0);
}

TEST_F(SweeperTest, StopsWithoutWaitingForItsPeriod) {
  auto sweeper = Sweeper::start({.program = fd(Program::kSweep),
                                 .flow_capacity = 100,
                                 .config = &settings_,
                                 .period = std::chrono::hours(1)});
  ASSERT_TRUE(sweeper.ok());
  while ((*sweeper)->counts().sweeps == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // asleep by now
  const auto begin = std::chrono::steady_clock::now();
  sweeper->reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::minutes(1));
}

TEST_F(SweeperTest, GoesOnWhereTheSweepFails) {
  auto sweeper = Sweeper::start(
      {.program = -1, .flow_capacity = 100, .config = &settings_, .period = std::chrono::hours(1)});
  ASSERT_TRUE(sweeper.ok());
  EXPECT_NE(settings_.hz, 0U);
  EXPECT_EQ((*sweeper)->counts().sweeps, 0U);
}

}  // namespace
}  // namespace fairlead::bpf::testing
