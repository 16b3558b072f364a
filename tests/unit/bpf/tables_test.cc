// Deltas to maps: what the programs find there afterwards. tables_property_test.cc checks what
// holds after any sequence; here is what one step does, and what it leaves alone.
#include "bpf/tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "tables_world.h"

namespace fairlead::bpf::testing {
namespace {

using dataplane::Protocol;
using dataplane::SourceClass;
using ::testing::HasSubstr;

fl_endpoint endpoint_of(const World& world, int i) {
  return world.kernel.endpoints[world.index_of("10.1.0." + std::to_string(i) + ":8080")];
}

TEST(Tables, LoadsACompleteTable) {
  World world;
  world.put(spec("a", 1).endpoints({1, 2, 3}));
  world.put(spec("b", 2).endpoints({4}).here({4}).node_port(30002).external_local().dual());
  world.put(spec("c", 3).udp().affinity(30));
  EXPECT_EQ(world.apply(), "");
  world.expect_served();
  EXPECT_EQ(world.ask("10.96.0.1:81").kind, Answer::kRefused);
  EXPECT_EQ(world.ask("10.96.0.9:80").kind, Answer::kNobody);
  EXPECT_EQ(world.ask("10.96.0.3:80", Protocol::kUdp).kind, Answer::kReject);
  world.audit(0);
}

TEST(Tables, AFrontendKeepsItsIdWhenEverythingElseChanges) {
  World world;
  world.put(spec("a", 1).endpoints({1, 2}));
  world.apply();
  const uint32_t id = world.ask("10.96.0.1:80").id;
  world.put(spec("a", 1).endpoints({3}).node_port(30001).affinity(9).all_masqueraded());
  world.apply();
  EXPECT_EQ(world.ask("10.96.0.1:80").id, id);
  EXPECT_TRUE(world.ask("10.96.0.1:80").skip_pods);
  EXPECT_GT(world.ask("0.0.0.0:30001").id, id);
  world.expect_served();
}

TEST(Tables, AnIdIsNeverUsedAgain) {
  World world;
  world.put(spec("a", 1).endpoints({1}));
  world.apply();
  const uint32_t id = world.ask("10.96.0.1:80").id;
  world.remove("a");
  world.apply();
  world.restart();
  world.put(spec("a", 1).endpoints({1}));
  world.apply();
  EXPECT_GT(world.ask("10.96.0.1:80").id, id);
}

TEST(Tables, AnAddressThatPassesToAnotherServiceGetsANewId) {
  World world;
  world.put(spec("young", 1).endpoints({1}).external(7).created(9));
  world.apply();
  const uint32_t id = world.ask("203.0.113.7:80").id;
  world.put(spec("old", 2).endpoints({2}).external(7).created(1));
  EXPECT_EQ(world.apply(), "");
  EXPECT_GT(world.ask("203.0.113.7:80").id, id);
  world.expect_served();
}

TEST(Tables, AnEndpointThatStaysKeepsIndexAndGeneration) {
  World world;
  world.put(spec("a", 1).endpoints({1, 2}));
  world.apply();
  const uint32_t index = world.index_of("10.1.0.2:8080");
  const uint32_t generation = endpoint_of(world, 2).generation;
  world.put(spec("a", 1).endpoints({2, 3}).here({2}).internal_local());
  world.apply();
  EXPECT_EQ(world.index_of("10.1.0.2:8080"), index);
  EXPECT_EQ(endpoint_of(world, 2).generation, generation);
  EXPECT_EQ(endpoint_of(world, 2).flags, FL_ENDPOINT_LOCAL | FL_ENDPOINT_MAYBE_HERE);
}

TEST(Tables, AnIndexIsUsedAgainAfterReadersAndUnderTheNextGeneration) {
  World world({.endpoints = 2});
  world.put(spec("a", 1).endpoints({1, 2}));
  world.apply();
  const uint32_t index = world.index_of("10.1.0.1:8080");
  const uint32_t generation = endpoint_of(world, 1).generation;
  const int waits = world.maps->waits;
  world.put(spec("a", 1).endpoints({2}));
  world.apply();
  EXPECT_EQ(world.kernel.endpoints[index].flags, 0);
  EXPECT_EQ(world.maps->waits, waits);  // nobody needs room
  world.put(spec("a", 1).endpoints({2, 3}));
  EXPECT_EQ(world.apply(), "");
  EXPECT_EQ(world.maps->waits, waits + 1);
  EXPECT_EQ(world.index_of("10.1.0.3:8080"), index);
  EXPECT_EQ(endpoint_of(world, 3).generation, generation + 1);
}

struct RingCase {
  const char* what;
  Spec spec;
  uint64_t slots;
};

TEST(Tables, RingsAreAsLongAsTheirUseDemands) {
  const RingCase cases[] = {
      {"cluster IP alone", spec("a", 1).endpoints({1, 2, 3}), 3},
      {"reached from outside", spec("a", 1).endpoints({1, 2, 3}).node_port(30001), 509},
      {"nobody", spec("a", 1).node_port(30001), 0},
      {"local endpoints need no agreement",
       spec("a", 1).endpoints({1, 2}).here({1}).node_port(30001).external_local(), 2 + 1},
      {"both choices alike share a run",
       spec("a", 1).endpoints({1, 2}).here({1, 2}).node_port(30001).external_local(), 2},
      {"internal local, external anywhere",
       spec("a", 1).endpoints({1, 2}).here({1}).external(1).internal_local(), 251 + 1},
  };
  for (const RingCase& c : cases) {
    World world;
    world.put(c.spec);
    EXPECT_EQ(world.apply(), "") << c.what;
    EXPECT_EQ(world.used("fl_rings"), c.slots) << c.what;
    world.expect_served();
  }
}

TEST(Tables, SourceRangesAreOfTheEntryAndOfEitherFamily) {
  World world;
  world.put(spec("a", 1).endpoints({1}).load_balancer(1).ranges({"10.0.0.0/8", "192.0.2.1/32"}));
  world.put(spec("b", 2).endpoints({1}).load_balancer(2).ranges({"172.16.0.0/12"}));
  world.apply();
  const auto passes = [&](const char* frontend, const char* source) {
    return source_passes(world.kernel, {*dataplane::Address::parse(frontend), 80}, Protocol::kTcp,
                         *dataplane::Address::parse(source));
  };
  EXPECT_TRUE(passes("198.51.100.1", "10.255.0.1"));
  EXPECT_TRUE(passes("198.51.100.1", "192.0.2.1"));
  EXPECT_FALSE(passes("198.51.100.1", "192.0.2.2"));
  EXPECT_FALSE(passes("198.51.100.1", "172.16.0.1"));
  EXPECT_TRUE(passes("198.51.100.2", "172.16.0.1"));
  EXPECT_TRUE(passes("10.96.0.1", "172.16.0.1"));  // the cluster IP is open
  world.put(spec("a", 1).endpoints({1}).load_balancer(1).ranges({"10.0.0.0/8"}));
  world.apply();
  EXPECT_FALSE(passes("198.51.100.1", "192.0.2.1"));
  EXPECT_EQ(world.operations, 1U);  // that one prefix
  world.expect_served();
}

TEST(Tables, AClusterAddressIsMarkedAsLongAsAnybodyHasIt) {
  World world;
  world.put(spec("a", 1).endpoints({1}).port_count(2));
  world.apply();
  world.put(spec("a", 1).endpoints({1}).port_count(1));
  world.apply();
  EXPECT_EQ(world.ask("10.96.0.1:81").kind, Answer::kRefused);
  world.remove("a");
  world.apply();
  EXPECT_EQ(world.ask("10.96.0.1:81").kind, Answer::kNobody);
  EXPECT_TRUE(world.kernel.frontends.empty());
}

struct FullCase {
  Capacity capacity;
  Spec spec;
  const char* message;
};

TEST(Tables, WithoutRoomAnEntryIsRefusedByMapAndFlagAndNothingIsWritten) {
  const FullCase cases[] = {
      {{.entries = 1},
       spec("b", 2).endpoints({3}),
       "fl_entries holds 1 of 1, 1 more are needed; raise --ebpf-max-service-ports"},
      {{.endpoints = 3},
       spec("b", 2).endpoints({3, 4}),
       "fl_endpoints holds 2 of 3, 2 more are needed; raise --ebpf-max-endpoints"},
      {{.ring_slots = 3},
       spec("b", 2).endpoints({3, 4}),
       "fl_rings holds 2 of 3, 2 more are needed in one run, the longest free one has 1; raise "
       "--ebpf-max-ring-slots"},
      {{.frontends = 3},
       spec("b", 2).endpoints({3}),
       "fl_frontends holds 2 of 3, 2 more are needed; raise --ebpf-max-frontends"},
      {{.prefixes = 1},
       spec("b", 2).endpoints({3}).load_balancer(2).ranges({"10.0.0.0/8", "11.0.0.0/8"}),
       "fl_prefixes holds 0 of 1, 2 more are needed; raise --ebpf-max-source-ranges"},
  };
  for (const FullCase& c : cases) {
    World world(c.capacity);
    world.put(spec("a", 1).endpoints({1, 2}));
    ASSERT_EQ(world.apply(), "");
    world.put(c.spec);
    EXPECT_EQ(world.apply(), "default/b/TCP/IPv4: exhausted " + std::string(c.message) + "\n");
    EXPECT_EQ(world.operations, 0U) << c.message;
    world.expect_served();
    // Room frees: the same entry goes in, in the same delta.
    world.remove("a");
    const bool small = c.capacity.prefixes == 1;
    if (small) world.put(spec("b", 2).endpoints({3}).load_balancer(2).ranges({"10.0.0.0/8"}));
    EXPECT_EQ(world.apply(), "");
    world.expect_served();
  }
}

TEST(Tables, AnUnchangedTableCostsNothingAfterARestart) {
  World world;
  world.put(spec("a", 1).endpoints({1, 2, 3}).affinity(3).dual());
  world.put(spec("b", 2).endpoints({4, 5}).here({4}).node_port(30002).external_local().udp());
  world.put(spec("c", 3).endpoints({1, 6}).load_balancer(1).ranges({"10.0.0.0/8", "fd00::/8"}));
  world.apply();
  world.put(spec("a", 1).endpoints({2, 3, 4}).affinity(3).dual());
  world.apply();
  const Kernel before = world.kernel;
  EXPECT_EQ(world.restart(), "");
  EXPECT_EQ(world.operations, 0U);
  EXPECT_EQ(world.maps->calls, 0);
  EXPECT_EQ(world.ask("10.96.0.1:80").id, ask(before, {*dataplane::Address::parse("10.96.0.1"), 80},
                                              Protocol::kTcp, SourceClass::kPod)
                                              .id);
  EXPECT_EQ(world.kernel.ring_slots, before.ring_slots);
  world.expect_served();
}

TEST(Tables, AfterARestartWhatNobodyWantsGoes) {
  World world;
  world.put(spec("a", 1).endpoints({1, 2}).udp());
  world.put(spec("b", 2).endpoints({3}).load_balancer(1).ranges({"10.0.0.0/8"}));
  world.apply();
  const uint32_t index = world.index_of("10.1.0.2:8080");
  world.adopt();
  world.expect_served();
  world.put(spec("a", 1).endpoints({2}).udp());
  world.remove("b");
  EXPECT_EQ(world.apply(), "");
  EXPECT_EQ(world.index_of("10.1.0.2:8080"), index);
  world.expect_served();
  EXPECT_EQ(world.tables->take_gone().size(), 1U);  // 10.1.0.1, which was UDP
}

TEST(Tables, WhatIsRefusedAfterARestartKeepsServingAsBefore) {
  World world;
  world.put(spec("a", 1).endpoints({1, 2}).dual().affinity(5));
  world.put(spec("b", 2).endpoints({3}).load_balancer(1).ranges({"10.0.0.0/8"}));
  world.apply();
  world.adopt();
  world.put(spec("a", 1).endpoints({4}).dual().node_port(30001));
  world.put(spec("b", 2).endpoints({5}).load_balancer(2).ranges({"11.0.0.0/8"}));
  world.maps->fail = [] { return true; };
  world.lenient = true;
  EXPECT_THAT(world.apply(), HasSubstr("default/a/TCP/IPv4: "));
  world.maps->fail = nullptr;
  EXPECT_EQ(world.ask("10.96.0.1:80").targets.count("10.1.0.1:8080"), 1U);
  EXPECT_EQ(world.ask("198.51.100.1:80").targets.count("10.1.0.3:8080"), 1U);
  EXPECT_EQ(world.ask("198.51.100.2:80").kind, Answer::kNobody);
  EXPECT_EQ(world.apply(), "");
  world.expect_served();
}

TEST(Tables, OneBadEntryDoesNotHoldUpTheOthers) {
  World world;
  for (int n = 1; n <= 9; ++n) world.put(spec("s" + std::to_string(n), n).endpoints({n}));
  const fl_addr bad = to_wire(*dataplane::Address::parse("10.96.0.4"));
  world.maps->fail_key = [bad](const fl_frontend_key& key) {
    return std::memcmp(&key.address, &bad, sizeof bad) == 0 && key.port != 0;
  };
  EXPECT_THAT(world.apply(), ::testing::StartsWith("default/s4/TCP/IPv4: "));
  world.expect_served();
  world.maps->fail_key = nullptr;
  EXPECT_EQ(world.apply(), "");
  world.expect_served();
}

TEST(Tables, WhatCannotBeRemovedYetIsNotLedToAnotherEntry) {
  World world({.entries = 1});
  world.put(spec("a", 1).endpoints({1}));
  int written = 0;
  world.maps->fail = [&written] { return ++written > 1; };
  world.maps->fail_removal = [](const fl_frontend_key&) { return true; };
  world.lenient = true;
  EXPECT_THAT(world.apply(), HasSubstr("default/a/TCP/IPv4: "));
  world.maps->fail = nullptr;
  ASSERT_EQ(world.ask("10.96.0.1:80").kind, Answer::kBroken);  // its entry is dead: nobody answers
  world.remove("a");
  world.put(spec("b", 2).endpoints({2}));
  EXPECT_THAT(world.apply(), HasSubstr("default/b/TCP/IPv4: exhausted fl_entries"));
  EXPECT_EQ(world.ask("10.96.0.1:80").kind, Answer::kBroken);
  world.maps->fail_removal = nullptr;
  EXPECT_EQ(world.apply(), "");
  world.lenient = false;
  world.expect_served();
}

TEST(Tables, ARemovalThatIsTakenBackKeepsTheClusterAddress) {
  World world;
  world.put(spec("a", 1).endpoints({1}).port_count(2));
  world.apply();
  world.remove("a");
  world.maps->fail_removal = [](const fl_frontend_key& key) { return key.port == to_network(81); };
  EXPECT_THAT(world.apply(), ::testing::StartsWith("default/a:p1/TCP/IPv4: "));
  EXPECT_EQ(world.ask("10.96.0.1:80").kind, Answer::kRefused);
  EXPECT_EQ(world.ask("10.96.0.1:81").kind, Answer::kTargets);
  world.expect_served();
  world.maps->fail_removal = nullptr;
  EXPECT_EQ(world.apply(), "");
  EXPECT_TRUE(world.kernel.frontends.empty());
}

TEST(Tables, AnAddressThatPassesOnIsServedAllTheWhile) {
  // More entries than are written at once, so that giver and taker are in different batches.
  World world({.entries = 3000, .endpoints = 9000, .ring_slots = 1 << 20, .frontends = 9000});
  world.put(spec("a", 1).endpoints({1}).external(7).external_local().created(9));
  world.put(spec("m", 3).endpoints({1}).port_count(2200));
  world.apply();
  world.put(spec("a", 1).endpoints({2}).external(7).external_local().created(9));
  world.put(spec("m", 3).endpoints({2}).port_count(2200));
  world.put(spec("z", 2).endpoints({1}).external(7).external_local().created(1));
  world.maps->before_call = [&] { EXPECT_NE(world.ask("203.0.113.7:80").kind, Answer::kNobody); };
  EXPECT_EQ(world.apply(), "");
  EXPECT_EQ(world.ask("203.0.113.7:80").targets.count("10.1.0.1:8080"), 1U);
}

TEST(Tables, AdoptsNoIdTwice) {
  World world;
  world.put(spec("a", 1).endpoints({1}));
  world.put(spec("b", 2).endpoints({2}));
  world.apply();
  fl_frontend* first = nullptr;
  for (auto& [key, value] : world.kernel.frontends) {
    if (key.port == 0) continue;
    if (first == nullptr) first = &value;
    value.id = first->id;
  }
  EXPECT_EQ(world.restart(), "");
  world.expect_served();
}

TEST(Tables, TrustsNoRingOfAnEarlierRun) {
  World world;
  world.put(spec("a", 1).endpoints({1, 2}));
  world.apply();
  const uint64_t ring = world.kernel.entries[world.entry_of("10.96.0.1:80")].ring[0];
  world.kernel.ring_slots[FL_RING_OFFSET(ring)] = world.kernel.ring_slots[FL_RING_OFFSET(ring) + 1];
  world.adopt();
  world.put(spec("a", 1).endpoints({1, 2}).load_balancer(1).external_local());
  world.maps->fail = [] { return true; };
  EXPECT_THAT(world.apply(), HasSubstr("default/a/TCP/IPv4: "));
  world.maps->fail = nullptr;
  EXPECT_EQ(world.apply(), "");
  world.expect_served();
}

TEST(Tables, AddedFrontendsGoInOneCall) {
  World world;
  world.put(spec("a", 1).endpoints({1}).port_count(30));
  world.apply();
  EXPECT_EQ(world.maps->calls, 1);
}

TEST(Tables, TellsWhichUdpEndpointsLeftForGood) {
  World world;
  world.put(
      spec("udp", 1).endpoints({1, 2, 3}).here({1, 3}).node_port(30001).external_local().udp());
  world.put(spec("tcp", 2).endpoints({4}));
  world.apply();
  EXPECT_TRUE(world.tables->take_gone().empty());
  world.put(
      spec("udp", 1).endpoints({1, 2}).node_port(30001).external_local().udp());  // 1: not local
  world.put(spec("tcp", 2));
  world.apply();
  const std::vector<Tables::Gone> gone = world.tables->take_gone();
  ASSERT_EQ(gone.size(), 1U);
  EXPECT_EQ(from_wire(gone[0].address).to_string(), "10.1.0.3");
  EXPECT_EQ(gone[0].port, to_network(8080));
  EXPECT_EQ(gone[0].protocol, IPPROTO_UDP);
  EXPECT_TRUE(world.tables->take_gone().empty());
}

TEST(Tables, TheAuditRepairsEveryMap) {
  World world;
  world.put(spec("a", 1).endpoints({1, 2}).load_balancer(1).ranges({"10.0.0.0/8"}));
  world.apply();
  world.audit(0);
  const uint32_t entry = world.entry_of("10.96.0.1:80");
  const auto break_one = [&](const char* what, const std::function<void()>& harm) {
    harm();
    const Result<dataplane::AuditReport> report = world.tables->audit();
    ASSERT_TRUE(report);
    EXPECT_EQ(report->repaired, 1U) << what;
    EXPECT_GT(report->checked, 5U) << what;
    world.expect_served();
    world.audit(0);
  };
  break_one("ring", [&] { world.kernel.entries[entry].ring[0] = FL_RING(1, 9); });
  break_one("live", [&] { world.kernel.entries[entry].live = 0; });
  break_one("endpoint", [&] { world.kernel.endpoints[world.index_of("10.1.0.1:8080")].port = 7; });
  break_one("generation",
            [&] { world.kernel.endpoints[world.index_of("10.1.0.1:8080")].generation = 77; });
  break_one("slots", [&] {
    world.kernel.ring_slots[FL_RING_OFFSET(world.kernel.entries[entry].ring[0]) + 3] = 0;
  });
  break_one("frontend gone", [&] { world.kernel.frontends.erase(world.kernel.frontends.begin()); });
  break_one("frontend wrong", [&] { world.kernel.frontends.begin()->second.entry = 60; });
  break_one("frontend foreign", [&] {
    world.kernel.frontends[{{}, 5, 6, 0}] = {99, 1, 0, 0, {}, {}};
  });
  break_one("prefix gone", [&] { world.kernel.prefixes.clear(); });
  break_one("prefix foreign", [&] { world.kernel.prefixes.insert({40, 7, {}}); });
}

TEST(Tables, LeavesTheNodesOwnPrefixesAlone) {
  World world;
  world.kernel.prefixes.insert({136, __builtin_bswap32(FL_DOMAIN_PODS), {}});
  world.kernel.prefixes.insert({136, __builtin_bswap32(FL_DOMAIN_SERVICES), {}});
  world.put(spec("a", 1).endpoints({1}));
  world.restart();
  world.audit(0);
  EXPECT_EQ(world.kernel.prefixes.size(), 2U);
  EXPECT_EQ(world.used("fl_prefixes"), 2U);
}

TEST(Tables, WireAddressesAreMappedAndBack) {
  for (const char* text : {"0.0.0.0", "10.1.2.3", "::", "fd00::1", "255.255.255.255"}) {
    const dataplane::Address address = *dataplane::Address::parse(text);
    EXPECT_EQ(from_wire(to_wire(address)), address) << text;
  }
  EXPECT_EQ(to_wire(*dataplane::Address::parse("1.2.3.4")).word[2], __builtin_bswap32(0xffff));
}

}  // namespace
}  // namespace fairlead::bpf::testing
