// Flows that live on in connection tracking: which do, and as what the kernel knows them.
#include "bpf/carried_flows.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "proxy/runtime/conntrack_table.h"
#include "tests/harness/features.h"
#include "tests/harness/netns.h"
#include "tests/harness/process.h"
#include "tests/unit/bpf/datapath.h"

namespace fairlead::bpf::testing {
namespace {

using dataplane::Family;
using dataplane::Protocol;

// ---- Which ----

constexpr uint32_t kHz = 250;
constexpr uint32_t kNow = 5;  // the tick counter has just gone round
constexpr uint32_t kSlot = 3 << 16 | 12345;

// How long connection tracking shall keep such a slot; 0: it is not told of it.
uint32_t told_seconds(uint8_t protocol, uint32_t flags, uint32_t age_seconds, uint32_t claim = 1) {
  fl_config config = {};
  config.hz = kHz;
  config.tcp_established_seconds = 1000;
  config.udp_seconds = 30;
  config.udp_stream_seconds = 180;
  fl_return slot = {};
  slot.protocol = protocol;
  slot.claim = claim;
  slot.flags = flags;
  slot.last_seen = kNow - age_seconds * kHz;
  const auto flow = tracked_flow(config, kSlot, slot, kNow);
  if (!flow) return 0;
  EXPECT_EQ(ntohs(flow->source_port), 12345);
  return flow->seconds;
}

constexpr uint32_t kOpen = FL_FLOW_ESTABLISHED | FL_FLOW_ANSWERED;

TEST(TrackedFlow, OpenConnections) {
  EXPECT_EQ(told_seconds(IPPROTO_TCP, kOpen, 0), 1000U);
  EXPECT_EQ(told_seconds(IPPROTO_TCP, kOpen, 3600), 1000U);
  EXPECT_EQ(told_seconds(IPPROTO_TCP, kOpen | FL_FLOW_CLIENT_FIN, 3600), 1000U);
}

TEST(TrackedFlow, NoClosedOnes) {
  EXPECT_EQ(told_seconds(IPPROTO_TCP, kOpen | FL_FLOW_RESET, 0), 0U);
  EXPECT_EQ(told_seconds(IPPROTO_TCP, kOpen | FL_FLOW_CLIENT_FIN | FL_FLOW_ENDPOINT_FIN, 0), 0U);
}

TEST(TrackedFlow, HandshakesThatGoOn) {
  EXPECT_EQ(told_seconds(IPPROTO_TCP, 0, 0), 30U);
  EXPECT_EQ(told_seconds(IPPROTO_TCP, FL_FLOW_ANSWERED, 1), 30U);
  EXPECT_EQ(told_seconds(IPPROTO_TCP, FL_FLOW_ANSWERED, 2), 0U);
}

TEST(TrackedFlow, ConversationsAndWhatWasJustAsked) {
  EXPECT_EQ(told_seconds(IPPROTO_UDP, kOpen, 100), 180U);
  EXPECT_EQ(told_seconds(IPPROTO_UDP, FL_FLOW_ANSWERED, 1), 30U);
  EXPECT_EQ(told_seconds(IPPROTO_UDP, FL_FLOW_ANSWERED, 2), 0U);
}

TEST(TrackedFlow, NeitherFreeSlotsNorWhatHasStateOfItsOwn) {
  EXPECT_EQ(told_seconds(IPPROTO_TCP, kOpen, 0, 0), 0U);
  EXPECT_EQ(told_seconds(IPPROTO_SCTP, kOpen, 0), 0U);
}

// Told of in several calls, and of what found no place once more in the end.
TEST(ConntrackShare, IsHalfOfTheRoomHoweverOftenItIsAsked) {
  constexpr size_t kLimit = 65'536;
  const auto taken = [](size_t others, std::vector<size_t> calls) {
    size_t ours = 0;
    for (const size_t wanted : calls) {
      ours += std::min(conntrack_share(kLimit, others + ours, ours), wanted);
    }
    return ours;
  };
  EXPECT_EQ(taken(0, {60'000}), 32'768U);
  EXPECT_EQ(taken(0, {60'000, 10, 0, 10, 27'232}), 32'768U);
  EXPECT_EQ(taken(0, {20'000, 20'000}), 32'768U);
  EXPECT_EQ(taken(65'534, {10, 10}), 1U);
  EXPECT_EQ(taken(65'536, {10}), 0U);
  EXPECT_EQ(taken(70'000, {10}), 0U);  // the limit was lowered
  EXPECT_EQ(taken(0, {10, 10}), 20U);
}

// ---- As what: real connection tracking ----

class Conntrack : public ::testing::TestWithParam<std::tuple<Family, uint8_t>> {
 protected:
  using Write = ConntrackEntries::Write;

  void SetUp() override {
    using harness::Feature;
    const std::string missing =
        harness::missing_features({Feature::kRoot, Feature::kNetns, Feature::kNftables});
    if (!missing.empty()) GTEST_SKIP() << missing;
    auto made = harness::Namespace::create("tracked");
    ASSERT_TRUE(made.ok()) << made.status().message();
    node_ = *std::move(made);
    // Somebody's NAT rules, without which nothing is tracked.
    const Status rules = node_->run([] {
      return harness::run_checked({"nft", "-f", "-"},
                                  "table inet nat { chain out { type nat hook postrouting priority "
                                  "100; ip daddr 192.0.2.1 masquerade; }; }");
    });
    ASSERT_TRUE(rules.ok()) << rules.message();
  }

  bool v4() const { return std::get<0>(GetParam()) == Family::kIPv4; }
  uint8_t protocol() const { return std::get<1>(GetParam()); }
  fl_addr host(int number) const {
    return wire((v4() ? "10.0.0." : "fd00::") + std::to_string(number));
  }
  // The client of this number, seen by the endpoint as coming from `port`.
  TrackedFlow flow(int client, uint16_t port) const {
    return {.client = host(client),
            .address = host(100),
            .source = host(101),
            .endpoint = host(102),
            .client_port = htons(4000),
            .port = htons(80),
            .source_port = htons(port),
            .endpoint_port = htons(8080),
            .protocol = protocol(),
            .seconds = 600};
  }
  // "": all were taken; else the errno of each.
  std::string write(Write how, const std::vector<TrackedFlow>& flows) {
    std::string refused;
    const Status written = node_->run([&]() -> Status {
      auto entries = ConntrackEntries::open();
      if (!entries) return entries.status();
      return entries->write(how, flows, [&](size_t place, int error) {
        refused += std::to_string(place) + ":" + std::to_string(error) + " ";
      });
    });
    EXPECT_TRUE(written.ok()) << written.message();
    return refused;
  }
  // "client > address / endpoint > source" of each entry, in order.
  std::multiset<std::string> known() {
    std::multiset<std::string> known;
    const Status listed = node_->run([&]() -> Status {
      auto table = proxy::open_kernel_conntrack();
      if (!table) return table.status();
      const auto of = protocol() == IPPROTO_TCP ? Protocol::kTcp : Protocol::kUdp;
      return (*table)->list({std::get<0>(GetParam()), of, {}}, [&](const auto& entry) {
        known.insert(entry.original.source.to_string() + " > " +
                     entry.original.destination.to_string() + " / " +
                     entry.reply.source.to_string() + " > " + entry.reply.destination.to_string());
        return true;
      });
    });
    EXPECT_TRUE(listed.ok()) << listed.message();
    return known;
  }
  std::string entry(const TrackedFlow& flow) const {
    const auto at = [](const fl_addr& host, fl_be16 port) {
      return dataplane::SocketAddress{address(host), ntohs(port)}.to_string();
    };
    return at(flow.client, flow.client_port) + " > " + at(flow.address, flow.port) + " / " +
           at(flow.endpoint, flow.endpoint_port) + " > " + at(flow.source, flow.source_port);
  }

  std::unique_ptr<harness::Namespace> node_;
};
INSTANTIATE_TEST_SUITE_P(Kernel, Conntrack,
                         ::testing::Combine(::testing::Values(Family::kIPv4, Family::kIPv6),
                                            ::testing::Values(IPPROTO_TCP, IPPROTO_UDP)));

TEST_P(Conntrack, KnowsBothSidesOfATranslation) {
  EXPECT_EQ(write(Write::kAdd, {flow(1, 20000), flow(2, 20001)}), "");
  EXPECT_EQ(known(), (std::multiset{entry(flow(1, 20000)), entry(flow(2, 20001))}));
}

TEST_P(Conntrack, ManyInOneCall) {
  std::vector<TrackedFlow> flows;
  std::multiset<std::string> expected;
  for (uint16_t port = 20000; port < 20150; ++port) {
    flows.push_back(flow(1, port));
    flows.back().client_port = htons(port);
    expected.insert(entry(flows.back()));
  }
  EXPECT_EQ(write(Write::kAdd, flows), "");
  EXPECT_EQ(known(), expected);
}

TEST_P(Conntrack, WhatIsKnownStays) {
  const std::string exists = std::to_string(EEXIST);
  EXPECT_EQ(write(Write::kAdd, {flow(1, 20000)}), "");
  EXPECT_EQ(write(Write::kAdd, {flow(1, 20001), flow(2, 20000), flow(3, 20003)}),
            "0:" + exists + " 1:" + exists + " ");
  EXPECT_EQ(known(), (std::multiset{entry(flow(1, 20000)), entry(flow(3, 20003))}));
}

TEST_P(Conntrack, WhatIsStaleMakesWay) {
  EXPECT_EQ(write(Write::kAdd, {flow(1, 20000), flow(2, 20001), flow(4, 20004)}), "");
  EXPECT_EQ(write(Write::kReplace, {flow(1, 20005), flow(3, 20001)}), "");
  EXPECT_EQ(known(),
            (std::multiset{entry(flow(1, 20005)), entry(flow(3, 20001)), entry(flow(4, 20004))}));
}

TEST_P(Conntrack, ListsWhatItTranslatesUntilToldToStop) {
  const auto listed = [&](size_t most) {
    std::multiset<std::string> found;
    const Status status = node_->run([&] {
      return visit_translated([&](const Translated& each) {
        EXPECT_TRUE(each.assured && !each.closing);
        EXPECT_EQ(each.flow.protocol, protocol());
        found.insert(entry(each.flow));
        return found.size() < most;
      });
    });
    EXPECT_TRUE(status.ok()) << status.message();
    return found;
  };
  EXPECT_EQ(listed(9), std::multiset<std::string>());
  EXPECT_EQ(write(Write::kAdd, {flow(1, 20000), flow(2, 20001)}), "");
  EXPECT_EQ(listed(9), (std::multiset{entry(flow(1, 20000)), entry(flow(2, 20001))}));
  EXPECT_EQ(listed(1).size(), 1U);
}

TEST_P(Conntrack, TheUnknownIsNotKept) {
  EXPECT_EQ(write(Write::kAdd, {flow(1, 20000)}), "");
  EXPECT_EQ(write(Write::kKeep, {flow(1, 20000), flow(2, 20001)}),
            "1:" + std::to_string(ENOENT) + " ");
  EXPECT_EQ(known(), std::multiset{entry(flow(1, 20000))});
}

// As a kernel without NAT for one family answers; each flow of it is refused for itself alone when
// others of it are taken.
TEST_P(Conntrack, AFamilyThatIsRefusedCostsTheOtherNothing) {
  constexpr size_t kMany = 200;
  std::vector<TrackedFlow> flows;
  for (size_t i = 0; i < kMany; ++i) {
    TrackedFlow impossible = flow(1, 20000);
    impossible.client = wire(v4() ? "fd00::1" : "10.0.0.1");  // and all else of the other family
    flows.push_back(impossible);
  }
  flows.push_back(flow(1, 20001));
  flows.push_back(flow(2, 20002));
  size_t refused = 0;
  Status written;
  const Status ran = node_->run([&]() -> Status {
    auto entries = ConntrackEntries::open();
    if (!entries) return entries.status();
    written = entries->write(Write::kAdd, flows, [&](size_t place, int) {
      EXPECT_LT(place, kMany);
      ++refused;
    });
    return {};
  });
  ASSERT_TRUE(ran.ok()) << ran.message();
  EXPECT_FALSE(written.ok());
  EXPECT_THAT(std::string(written.message()), ::testing::HasSubstr(v4() ? "IPv6" : "IPv4"));
  EXPECT_EQ(refused, kMany);
  EXPECT_EQ(known(), (std::multiset{entry(flow(1, 20001)), entry(flow(2, 20002))}));
}

TEST_P(Conntrack, OneFlowThatIsRefusedCostsOthersNothing) {
  TrackedFlow impossible = flow(1, 20000);
  impossible.address = wire(v4() ? "fd00::1" : "10.0.0.1");
  EXPECT_EQ(write(Write::kAdd, {impossible, flow(2, 20001)}), "0:" + std::to_string(EINVAL) + " ");
  EXPECT_EQ(known(), std::multiset{entry(flow(2, 20001))});
}

}  // namespace
}  // namespace fairlead::bpf::testing
