// The whole backend on a real kernel, with Fairlead's own programs, in a network namespace of its
// own: what it installs, adopts, repairs and removes. Traffic is the business of tests/e2e.
#include "bpf/backend.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <ctime>
#include <optional>
#include <thread>

#include "bpf/conntrack_entries.h"
#include "bpf/nat_hooks.h"
#include "bpf/node_maps.h"
#include "bpf/release.h"
#include "bpf/sweeper.h"
#include "bpf/system.h"
#include "bpf/tables.h"
#include "dataplane/compile.h"
#include "tests/harness/probe.h"
#include "tests/harness/process.h"
#include "tests/unit/bpf/attach_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using dataplane::Ack;
using dataplane::Address;
using dataplane::Backend;
using dataplane::Delta;
using dataplane::Family;
using dataplane::NodeRules;
using dataplane::Prefix;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

NodeRules rules() {
  NodeRules rules;
  rules.families = {Family::kIPv4, Family::kIPv6};
  rules.detector.pod_prefixes = {*Prefix::parse("10.1.0.0/16")};
  rules.service_prefixes = {*Prefix::parse("10.96.0.0/12")};
  rules.node_ports_on_all_addresses = {true, true};
  return rules;
}

// A service with one cluster IP and one endpoint.
dataplane::EntryPointer entry(int n) {
  auto entry = std::make_shared<dataplane::ForwardingEntry>();
  entry->key.service = {"default", fmt::format("svc{}", n)};
  dataplane::Frontend frontend;
  frontend.address = {*Address::parse(fmt::format("10.96.0.{}", n)), 80};
  entry->frontends = {frontend};
  entry->cluster.targets = {{{*Address::parse(fmt::format("10.1.0.{}", n)), 8080}, true}};
  return entry;
}

Delta complete(std::vector<dataplane::EntryPointer> entries) {
  Delta delta;
  delta.generation = 1;
  delta.complete = true;
  delta.upserted = std::move(entries);
  return delta;
}

// Of this thread, for good.
bool give_up_network_administration() {
  __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets = {};
  if (::syscall(SYS_capget, &head, sets.data()) != 0) return false;
  sets[0].effective &= ~(1U << CAP_NET_ADMIN);
  sets[0].permitted &= ~(1U << CAP_NET_ADMIN);
  return ::syscall(SYS_capset, &head, sets.data()) == 0;
}

class BackendTest : public AttachTest {
 protected:
  void SetUp() override {
    AttachTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (const Status ready = probe(); !ready) GTEST_SKIP() << ready.message();
    cable("one", "two");
    ip("addr add 192.0.2.1/24 dev one");
  }

  Options wanted() const {
    Options options;
    options.cgroup = cgroup();
    options.devices = devices;
    options.xdp = xdp;
    options.sizes = {1024, 256, 1024, 8192, 256, 1024, 1024, 1, 1024, 256};
    return options;
  }
  std::unique_ptr<Backend> create() { return *create_backend(wanted()); }
  std::unique_ptr<Backend> started() {
    auto backend = create();
    const Status status = backend->start(rules());
    EXPECT_TRUE(status.ok()) << status.message();
    return backend;
  }
  static void apply(Backend& backend, const Delta& delta) {
    const Result<Ack> ack = backend.apply(delta);
    ASSERT_TRUE(ack.ok()) << ack.status().message();
    EXPECT_TRUE(ack->refused.empty());
  }
  static std::optional<double> counter(Backend& backend, std::string_view name) {
    for (const dataplane::Counter& each : backend.counters()) {
      if (each.name == name) return each.value;
    }
    return std::nullopt;
  }

  static Fd map(const std::string& name) {
    return Fd(bpf_obj_get((pins_of_this_layout() + "/maps/" + name).c_str()));
  }
  template <typename Value, typename Key>
  static std::optional<Value> held(const std::string& name, const Key& key) {
    Value value;
    if (bpf_map_lookup_elem(map(name).get(), &key, &value) != 0) return std::nullopt;
    return value;
  }
  static std::optional<fl_device> device(const std::string& name) {
    return held<fl_device>("fl_devices", index(name));
  }
  static std::optional<fl_node_address> address(const std::string& text) {
    return held<fl_node_address>("fl_node_addresses", to_wire(*Address::parse(text)));
  }
  static fl_config config() {
    return held<fl_config>("fl_config", uint32_t{0}).value_or(fl_config{});
  }
  // On the kernel's clock, whose ticks begin five minutes before its count goes round.
  static uint32_t minutes_ago(uint32_t minutes) {
    timespec up = {};
    ::clock_gettime(CLOCK_MONOTONIC, &up);
    return (static_cast<uint32_t>(up.tv_sec) - 300 - 60 * minutes) * *jiffies_per_second();
  }
  static std::string pin(const std::string& program, const std::string& of) {
    return fmt::format("{}-{}", program, index(of));
  }

  std::vector<std::string> devices;
  XdpChoice xdp = XdpChoice::kAuto;
};

TEST_F(BackendTest, AStartTellsTheProgramsOfTheNode) {
  const auto backend = started();
  EXPECT_NE(link_id("fl_connect4"), 0U);
  EXPECT_NE(link_id(pin("fl_ingress", "one")), 0U);
  EXPECT_EQ(from_wire(config().source_v4), *Address::parse("192.0.2.1"));
  EXPECT_EQ(config().host_netns_cookie, *netns_cookie());
  EXPECT_EQ(config().return_classes, 1U);
  EXPECT_EQ(config().snat_first, 10000);
  EXPECT_EQ(config().udp_stream_seconds, 180U);
  EXPECT_GE(config().cpus, 1U);
  EXPECT_GE(config().hz, 100U);
  EXPECT_EQ(config().has_detector[0], 1);
  ASSERT_TRUE(device("one"));
  EXPECT_EQ(from_wire(device("one")->source_v4), *Address::parse("192.0.2.1"));
  ASSERT_TRUE(address("192.0.2.1"));
  EXPECT_EQ(address("192.0.2.1")->flags, FL_NODE_ADDRESS_NODE_PORTS);
  EXPECT_FALSE(address("127.0.0.1"));
}

TEST_F(BackendTest, ARestartKeepsLinksMapsAndEntries) {
  auto first = started();
  apply(*first, complete({entry(1), entry(2)}));
  const auto names = pins();
  const uint32_t connect = link_id("fl_connect4");
  const uint32_t ingress = link_id(pin("fl_ingress", "one"));
  const uint32_t program = program_id("fl_connect4");
  first.reset();
  EXPECT_EQ(pins(), names);
  const auto second = started();
  EXPECT_EQ(link_id("fl_connect4"), connect);
  EXPECT_EQ(link_id(pin("fl_ingress", "one")), ingress);
  EXPECT_NE(program_id("fl_connect4"), program);
  const Result<Ack> ack = second->apply(complete({entry(1), entry(2)}));
  ASSERT_TRUE(ack.ok());
  EXPECT_EQ(ack->operations, 0U);
  EXPECT_EQ(pins(), names);
}

// Until all is known, whatever else serves the node must go on to do so.
TEST_F(BackendTest, TheFirstSyncTakesCharge) {
  auto first = started();
  EXPECT_EQ(config().handover, FL_HANDOVER_ASIDE);
  first.reset();
  auto second = started();
  EXPECT_EQ(config().handover, FL_HANDOVER_ASIDE);
  apply(*second, complete({entry(1)}));
  EXPECT_EQ(config().handover, FL_HANDOVER_COMING);
  second.reset();
  const auto third = started();
  EXPECT_EQ(config().handover, FL_HANDOVER_COMING);
}

TEST_F(BackendTest, ReleasedItStandsAsideUntilASyncAgain) {
  auto first = started();
  apply(*first, complete({entry(1)}));
  first.reset();
  const Result<std::chrono::seconds> wait = create()->release();
  ASSERT_TRUE(wait.ok()) << wait.status().message();
  EXPECT_GT(wait->count(), 0);
  EXPECT_EQ(config().handover, FL_HANDOVER_ASIDE);
  EXPECT_NE(link_id("fl_connect4"), 0U);
  const auto second = started();
  EXPECT_EQ(config().handover, FL_HANDOVER_ASIDE);
  apply(*second, complete({entry(1)}));
  EXPECT_EQ(config().handover, FL_HANDOVER_COMING);
}

std::string tables_of_nft() {
  const auto listed = harness::run_command({"nft", "list", "tables"});
  return listed ? listed->output : listed.status().message();
}

// The other mode's rules, which go, need not be the last that ask the kernel to translate.
TEST_F(BackendTest, ConnectionsThatAnotherModeBeganKeepBeingTranslated) {
  constexpr std::string_view kHooks = "table ip fairlead-ebpf\ntable ip6 fairlead-ebpf\n";
  ASSERT_TRUE(harness::run_checked({"nft",
                                    "add table ip other; add chain ip other out { type nat "
                                    "hook postrouting priority 100; }"})
                  .ok());
  // A process of the node's: programs never see the answers.
  TrackedFlow flow = {.protocol = IPPROTO_TCP, .seconds = 600};
  flow.client = flow.source = to_wire(*Address::parse("192.0.2.1"));
  flow.address = to_wire(*Address::parse("10.96.0.1"));
  flow.endpoint = to_wire(*Address::parse("10.1.0.1"));
  flow.client_port = flow.source_port = htons(40123);
  flow.port = htons(80);
  flow.endpoint_port = htons(8080);
  auto entries = ConntrackEntries::open();
  ASSERT_TRUE(entries.ok()) << entries.status().message();
  const auto write = [&](ConntrackEntries::Write how) {
    const Status written = entries->write(
        how, {&flow, 1}, [](size_t, int error) { ADD_FAILURE() << std::strerror(error); });
    ASSERT_TRUE(written.ok()) << written.message();
  };
  write(ConntrackEntries::Write::kAdd);

  Options options = wanted();
  options.coming = options.coming_period = std::chrono::seconds(1);
  auto backend = *create_backend(options);
  ASSERT_TRUE(backend->start(rules()).ok());
  apply(*backend, complete({entry(1)}));
  EXPECT_EQ(tables_of_nft(), "table ip other\n" + std::string(kHooks));
  ASSERT_TRUE(harness::run_checked({"nft", "delete table ip other"}).ok());
  std::this_thread::sleep_for(options.coming);
  backend->disturbed();
  EXPECT_EQ(tables_of_nft(), kHooks) << "a connection is left";
  EXPECT_EQ(config().handover, FL_HANDOVER_COMING);

  flow.seconds = 1;
  write(ConntrackEntries::Write::kKeep);
  EXPECT_TRUE(harness::eventually([&] {
    backend->disturbed();
    return tables_of_nft().empty();
  }));
  EXPECT_EQ(config().handover, FL_HANDOVER_NONE);
}

TEST_F(BackendTest, WithoutConnectionsNothingNeedsTheStack) {
  const auto backend = started();
  apply(*backend, complete({entry(1)}));
  EXPECT_EQ(tables_of_nft(), "");
}

TEST_F(BackendTest, WhatKeepsTheStackTranslatingGoesWithTheMode) {
  const auto backend = started();
  apply(*backend, complete({entry(1)}));
  ASSERT_TRUE(keep_nat_hooks().ok());
  ASSERT_TRUE(keep_nat_hooks().ok()) << "once more";
  EXPECT_NE(tables_of_nft(), "");
  ASSERT_TRUE(backend->remove_all().ok());
  EXPECT_EQ(tables_of_nft(), "");
}

TEST_F(BackendTest, NothingPinnedNeedsNoWait) {
  const Result<std::chrono::seconds> wait = create()->release();
  ASSERT_TRUE(wait.ok()) << wait.status().message();
  EXPECT_EQ(wait->count(), 0);
}

TEST_F(BackendTest, DevicesThatComeAndGoAreFollowed) {
  const auto backend = started();
  EXPECT_FALSE(backend->disturbed());
  cable("three", "four");
  ip("addr add 198.51.100.1/24 dev three");
  const uint32_t three = index("three");
  backend->disturbed();
  EXPECT_NE(link_id(pin("fl_ingress", "three")), 0U);
  EXPECT_TRUE(device("three"));
  EXPECT_TRUE(address("198.51.100.1"));
  ip("link set four name five");
  ip("link del three");
  backend->disturbed();
  EXPECT_FALSE(held<fl_device>("fl_devices", three));
  EXPECT_FALSE(address("198.51.100.1"));
  EXPECT_THAT(pins(), Not(Contains(HasSubstr(fmt::format("-{}", three)))));
  EXPECT_FALSE(backend->disturbed());
}

// As mode ipvs leaves them: every virtual address is the node's.
TEST_F(BackendTest, ThousandsOfAddressesHaveRoom) {
  EXPECT_EQ(shell("for i in $(seq 0 4999); do"
                  "  echo addr add 10.97.$((i / 250)).$((i % 250 + 1))/32 dev one;"
                  " done | ip -batch -"),
            "");
  const auto backend = started();
  apply(*backend, complete({entry(1)}));
  EXPECT_TRUE(address("10.97.0.1"));
  EXPECT_TRUE(address("10.97.19.250"));
}

// Its threads end before what they work on is replaced.
TEST_F(BackendTest, AStartThatFailedCanBeTriedAgain) {
  Options options = wanted();
  options.cgroup = "/sys/fs/cgroup/there-is-none";
  options.sweep_period = std::chrono::seconds(1);
  const auto backend = *create_backend(options);
  for (int i = 0; i < 3; ++i) {
    const Status status = backend->start(rules());
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr("there-is-none"));
  }
}

// Whoever waits for news meanwhile must not be woken by the same ones for ever.
TEST_F(BackendTest, NewsAreReadWhileTheStartFails) {
  Options options = wanted();
  options.pin_path = "/proc/no-place-for-pins";
  const auto backend = *create_backend(options);
  ASSERT_FALSE(backend->start(rules()).ok());
  ip("addr add 192.0.2.77/24 dev one");
  pollfd news = {backend->wake_fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&news, 1, 10'000), 1);
  EXPECT_FALSE(backend->disturbed());
  EXPECT_EQ(::poll(&news, 1, 0), 0);
}

TEST_F(BackendTest, AStartThatFailsAfterOneThatDidNotLeavesNothingToCount) {
  const auto backend = started();
  const std::string maps = pins_of_this_layout() + "/maps";
  const Fd map(bpf_obj_get((maps + "/fl_config").c_str()));
  ASSERT_EQ(shell("rm -r " + maps), "");
  ASSERT_EQ(bpf_obj_pin(map.get(), maps.c_str()), 0);  // in the way of the directory
  EXPECT_FALSE(backend->start(rules()).ok());
  EXPECT_TRUE(backend->counters().empty());
  EXPECT_FALSE(backend->disturbed());
  ASSERT_EQ(shell("rm " + maps), "");
  EXPECT_TRUE(backend->start(rules()).ok());
  EXPECT_FALSE(backend->counters().empty());
}

// What the kernel refuses is not said to live on, and is not waited for either.
TEST_F(BackendTest, FlowsThatConnectionTrackingRefusesAreSaidToBeLost) {
  started();
  for (const uint32_t port : {20001U, 20002U}) {
    fl_return slot{};
    slot.client = to_wire(*Address::parse("198.51.100.7"));
    slot.source = slot.client;
    slot.endpoint = slot.address = to_wire(*Address::parse("10.1.0.1"));
    slot.client_port = slot.port = slot.endpoint_port = htons(static_cast<uint16_t>(port));
    slot.protocol = IPPROTO_TCP;
    slot.claim = 1;
    slot.flags = FL_FLOW_ESTABLISHED | FL_FLOW_ANSWERED;
    ASSERT_EQ(bpf_map_update_elem(map("fl_returns").get(), &port, &slot, BPF_ANY), 0);
  }
  std::string said;
  std::thread([&] {
    ASSERT_TRUE(give_up_network_administration());
    ::testing::internal::CaptureStderr();
    hand_over_flows(std::string(kPinPath));
    said = ::testing::internal::GetCapturedStderr();
  }).join();
  EXPECT_THAT(said, HasSubstr("connection tracking does not take the flows of eBPF programs"));
  EXPECT_THAT(said, HasSubstr("Operation not permitted"));
  EXPECT_THAT(said, Not(HasSubstr("goes on with")));
}

// Also those of flows that programs enter into the map of another size while it is carried over.
TEST_F(BackendTest, SlotsOfFlowsThatFoundNoRoomAreFreed) {
  started();
  constexpr uint32_t kFlows = 300;
  constexpr uint32_t kRoom = 256;
  const Fd flows = map("fl_flows");
  const Fd returns = map("fl_returns");
  for (uint32_t number = 0; number < kFlows; ++number) {
    const fl_flow_key key = {.client = to_wire(*Address::parse("198.51.100.7")),
                             .frontend = 1,
                             .client_port = static_cast<fl_be16>(number),
                             .protocol = IPPROTO_TCP,
                             .zero = 0};
    fl_flow flow{};
    flow.slot = number;
    flow.last_seen = minutes_ago(2);
    flow.flags = FL_FLOW_ESTABLISHED | FL_FLOW_ANSWERED;
    fl_return slot{};
    slot.client = key.client;
    slot.frontend = key.frontend;
    slot.client_port = key.client_port;
    slot.protocol = key.protocol;
    slot.claim = flow.last_seen | 1;
    slot.last_seen = flow.last_seen;
    slot.flags = flow.flags;
    ASSERT_EQ(bpf_map_update_elem(flows.get(), &key, &flow, BPF_ANY), 0);
    ASSERT_EQ(bpf_map_update_elem(returns.get(), &number, &slot, BPF_ANY), 0);
  }
  Options options = wanted();
  options.sizes.flows = kRoom;
  options.sweep_period = std::chrono::seconds(1);
  const auto backend = *create_backend(options);
  ASSERT_TRUE(backend->start(rules()).ok());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (counter(*backend, "slots_freed_total") == 0 &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(counter(*backend, "slots_freed_total"), kFlows - kRoom);
  uint32_t claimed = 0;
  for (uint32_t number = 0; number < kFlows; ++number) {
    const auto slot = held<fl_return>("fl_returns", number);
    claimed += slot && slot->claim != 0 ? 1U : 0U;
  }
  EXPECT_EQ(claimed, kRoom);
}

TEST_F(BackendTest, ADeltaServesDevicesThatCame) {
  const auto backend = started();
  cable("three", "four");
  apply(*backend, complete({entry(1)}));
  EXPECT_NE(link_id(pin("fl_egress", "four")), 0U);
}

TEST_F(BackendTest, ARenamedDeviceIsServedByItsNewName) {
  devices = {"wan+"};
  const auto backend = started();
  EXPECT_FALSE(device("one"));
  ip("link set one down");
  ip("link set one name wan0 up");
  backend->disturbed();
  EXPECT_TRUE(device("wan0"));
  EXPECT_NE(link_id(pin("fl_ingress", "wan0")), 0U);
  ip("link set wan0 down");
  ip("link set wan0 name one up");
  backend->disturbed();
  EXPECT_FALSE(device("one"));
  EXPECT_EQ(link_id(pin("fl_ingress", "one")), 0U);
}

TEST_F(BackendTest, GenericXdpOnAVethIsToldToThePrograms) {
  xdp = XdpChoice::kGeneric;
  const auto backend = started();
  EXPECT_NE(link_id(pin("fl_xdp", "one") + "-generic"), 0U);
  EXPECT_EQ(device("one")->flags, FL_DEVICE_XDP);
}

TEST_F(BackendTest, OtherRulesChangeTheNodesMaps) {
  const auto backend = started();
  Delta delta = complete({entry(1)});
  NodeRules changed = rules();
  changed.node_ports_on_all_addresses = {};
  changed.detector = {{}, "", "on"};
  delta.node = std::make_shared<const NodeRules>(changed);
  apply(*backend, delta);
  EXPECT_EQ(address("192.0.2.1")->flags, 0U);
  EXPECT_EQ(device("one")->flags, FL_DEVICE_PODS);
  EXPECT_EQ(device("two")->flags, 0U);
  EXPECT_EQ(config().has_detector[1], 1);
}

TEST_F(BackendTest, WhatSomebodyDestroyedIsRepaired) {
  const auto backend = started();
  apply(*backend, complete({entry(1)}));
  ASSERT_FALSE(backend->disturbed());
  const std::string directory = pins_of_this_layout();
  const Fd link(bpf_obj_get((directory + "/links/" + pin("fl_ingress", "one")).c_str()));
  ASSERT_EQ(bpf_link_detach(link.get()), 0);
  const Fd map(bpf_obj_get((directory + "/maps/fl_node_addresses").c_str()));
  const fl_addr own = to_wire(*Address::parse("192.0.2.1"));
  ASSERT_EQ(bpf_map_delete_elem(map.get(), &own), 0);
  const fl_addr foreign = to_wire(*Address::parse("203.0.113.9"));
  const fl_node_address value{};
  ASSERT_EQ(bpf_map_update_elem(map.get(), &foreign, &value, BPF_ANY), 0);
  EXPECT_TRUE(backend->disturbed());
  const auto report = backend->audit();
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->repaired, 3U);
  EXPECT_TRUE(address("192.0.2.1"));
  EXPECT_FALSE(address("203.0.113.9"));
  EXPECT_NE(link_id(pin("fl_ingress", "one")), 0U);
  EXPECT_FALSE(backend->disturbed());
  EXPECT_EQ(backend->audit()->repaired, 0U);
}

TEST_F(BackendTest, PinsThatSomebodyRemovedComeBack) {
  const auto backend = started();
  apply(*backend, complete({entry(1)}));
  const auto names = pins();
  ASSERT_EQ(shell("rm -r " + std::string(kPinPath)), "");
  EXPECT_TRUE(backend->disturbed());
  const auto report = backend->audit();
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->repaired, names.size());
  EXPECT_EQ(pins(), names);
  EXPECT_FALSE(backend->disturbed());
}

TEST_F(BackendTest, SourceRangesOfEntriesAreLeftAlone) {
  const auto backend = started();
  auto limited = std::make_shared<dataplane::ForwardingEntry>(*entry(1));
  limited->frontends[0].source_ranges_apply = true;
  limited->source_ranges = {*Prefix::parse("192.0.2.0/24")};
  apply(*backend, complete({limited}));
  EXPECT_EQ(backend->audit()->repaired, 0U);
}

TEST_F(BackendTest, EveryCounterIsTold) {
  const auto backend = started();
  apply(*backend, complete({entry(1), entry(2)}));
  EXPECT_EQ(counter(*backend, "forwarded_total"), 0);
  EXPECT_EQ(counter(*backend, "drop_no_route_total"), 0);
  EXPECT_EQ(counter(*backend, "map_frontends_limit"), 1024);
  EXPECT_EQ(counter(*backend, "map_flows_limit"), 1024);
  EXPECT_EQ(counter(*backend, "map_flows_used"), 0);
  EXPECT_EQ(counter(*backend, "sockets_ended_total"), 0);
  EXPECT_GE(counter(*backend, "map_frontends_used"), 2);
  EXPECT_GT(counter(*backend, "verified_instructions_ingress"), 0);
  EXPECT_EQ(counter(*backend, "attached_programs"), 8 + 4);
  std::vector<std::string> names;
  for (const dataplane::Counter& each : backend->counters()) names.push_back(each.name);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST_F(BackendTest, AnotherLayoutServesUntilTheFirstSync) {
  started();
  const uint32_t link = link_id("fl_connect4");
  const uint32_t before = program_id("fl_connect4");
  const std::string root(kPinPath);
  const std::string ours = fmt::format("v{}", FL_LAYOUT_VERSION);
  ASSERT_EQ(::rename((root + "/" + ours).c_str(), (root + "/v0").c_str()), 0);
  const auto backend = started();
  EXPECT_EQ(shell("ls " + root), "v0\n" + ours + "\n");
  EXPECT_EQ(link_id("fl_connect4"), 0U);
  apply(*backend, complete({entry(1)}));
  EXPECT_EQ(link_id("fl_connect4"), link);
  EXPECT_NE(program_id("fl_connect4"), before);
  EXPECT_EQ(shell("ls " + root), ours + "\n");
}

TEST_F(BackendTest, RemovingLeavesNothing) {
  xdp = XdpChoice::kGeneric;
  {
    const auto backend = started();
    apply(*backend, complete({entry(1)}));
    const Status removed = backend->remove_all();
    EXPECT_TRUE(removed.ok()) << removed.message();
  }
  EXPECT_EQ(shell("bpftool cgroup show " + cgroup()), "");
  EXPECT_THAT(shell("ip link"), Not(HasSubstr("xdp")));
  EXPECT_THAT(shell("tc qdisc show"), Not(HasSubstr("clsact")));
  EXPECT_NE(::access(std::string(kPinPath).c_str(), F_OK), 0);
  EXPECT_EQ(shell("mountpoint -q /sys/fs/bpf"), "");
}

TEST_F(BackendTest, RemovingNeedsNoStart) {
  EXPECT_TRUE(create()->remove_all().ok());
  started();
  EXPECT_NE(link_id("fl_connect4"), 0U);
  EXPECT_TRUE(create()->remove_all().ok());
  EXPECT_NE(::access(std::string(kPinPath).c_str(), F_OK), 0);
  EXPECT_EQ(shell("bpftool cgroup show " + cgroup()), "");
}

}  // namespace
}  // namespace fairlead::bpf::testing
