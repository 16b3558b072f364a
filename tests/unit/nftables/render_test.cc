#include "nftables/render.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "dataplane/compile.h"
#include "nftables/layout.h"
#include "text.h"

namespace fairlead::nftables {
namespace {

using dataplane::EndpointChoice;
using dataplane::SocketAddress;

EndpointChoice choice_of(const std::set<int>& hosts) {
  EndpointChoice choice;
  for (const int host : hosts) {
    choice.targets.push_back(
        {{dataplane::Address::v4(0x0a010000U + static_cast<uint32_t>(host)), 80}, false});
  }
  return choice;
}

std::set<SocketAddress> addresses_of(const EndpointChoice& choice) {
  std::set<SocketAddress> addresses;
  for (const auto& target : choice.targets) addresses.insert(target.address);
  return addresses;
}

// Whatever the history: every endpoint in exactly one slot, tokens unique and kept, and no more
// moves than endpoints that came or went.
RC_GTEST_PROP(Arrange, KeepsSlotsDenseAndMovesFew,
              (const std::vector<std::set<uint8_t>>& history)) {
  uint32_t next_token = 1;
  const auto token = [&] { return next_token++; };
  InstalledSet set;
  set.number = 7;
  for (const std::set<uint8_t>& hosts : history) {
    const EndpointChoice choice = choice_of({hosts.begin(), hosts.end()});
    const InstalledSet after = arrange(set, choice, {false, 0, 60}, token);
    RC_ASSERT(after.number == 7U);
    RC_ASSERT(after.slots.size() == choice.targets.size());
    RC_ASSERT(after.pick.endpoints == after.slots.size());
    RC_ASSERT(std::set<SocketAddress>(after.slots.begin(), after.slots.end()) ==
              addresses_of(choice));
    RC_ASSERT(std::set<uint32_t>(after.tokens.begin(), after.tokens.end()).size() ==
              after.slots.size());
    std::map<SocketAddress, uint32_t> before_tokens;
    for (size_t i = 0; i < set.slots.size(); ++i) before_tokens[set.slots[i]] = set.tokens[i];
    size_t stayed = 0;
    size_t moved = 0;
    for (size_t i = 0; i < after.slots.size(); ++i) {
      const auto before = before_tokens.find(after.slots[i]);
      if (before == before_tokens.end()) continue;
      ++stayed;
      RC_ASSERT(before->second == after.tokens[i]);
      if (i >= set.slots.size() || set.slots[i] != after.slots[i]) ++moved;
    }
    const size_t gone = set.slots.size() - stayed;
    RC_ASSERT(moved <= gone);
    set = after;
  }
}

struct NameCase {
  PickClass pick;
  const char* name;
};

TEST(PickClass, NamesReadBack) {
  for (const NameCase& c :
       {NameCase{{false, 5, 0}, "pick-5"}, NameCase{{true, 1, 0}, "pick-1-local"},
        NameCase{{false, 3, 10800}, "pick-3-sticky-10800"},
        NameCase{{true, 300, 7}, "pick-300-local-sticky-7"}}) {
    EXPECT_EQ(c.pick.chain_name(), c.name);
    EXPECT_EQ(PickClass::parse(c.name), c.pick);
  }
  for (const char* other : {"pick", "pick-local", "pick-0", "pick-5-", "pick-5-sticky", "services",
                            "pick-5-sticky-x", "pick-5-sticky-3-local", "policy-plain", ""}) {
    EXPECT_FALSE(PickClass::parse(other)) << other;
  }
}

TEST(CheckClass, NumbersAreUniqueAndNeverZero) {
  std::set<uint32_t> numbers;
  for (const CheckClass& check : all_check_classes()) {
    EXPECT_TRUE(numbers.insert(check.number()).second);
    EXPECT_NE(check.number(), 0U);
  }
}

// Every frontend that compile() can make has a policy and a check chain.
RC_GTEST_PROP(Shapes, CoverWhatCompileMakes,
              (bool internal_local, bool external_local, bool masquerade_all, bool detector,
               bool ranges)) {
  dataplane::Service service;
  service.name = {"a", "b"};
  service.cluster_ips = {dataplane::testing::address("10.96.0.1")};
  service.load_balancer_ips = {dataplane::testing::address("203.0.113.1")};
  service.ports = {{"", dataplane::Protocol::kTcp, 80, 30080}};
  service.internal_traffic_local = internal_local;
  service.external_traffic_local = external_local;
  if (ranges) service.source_ranges = {dataplane::testing::prefix("10.0.0.0/8")};
  const auto words = *rc::gen::container<std::vector<std::string>>(rc::gen::element<std::string>(
      "", " local", " unready", " terminating", " terminating local"));
  dataplane::EndpointGroup group;
  for (size_t i = 0; i < words.size(); ++i) {
    group.endpoints.push_back(
        dataplane::testing::endpoint("10.1.0." + std::to_string(i % 200) + ":80" + words[i]));
  }
  dataplane::CompileView view;
  view.masquerade_all = masquerade_all;
  view.detects_local_traffic = {detector, detector};
  const std::vector<CheckClass> known = all_check_classes();
  for (const auto& entry : dataplane::compile(service, {&group, 1}, view)) {
    for (const auto& frontend : entry.frontends) {
      RC_ASSERT(policy_of(frontend).ok());
      const CheckClass check = check_of(entry, frontend);
      RC_ASSERT(check.passes_everything() ||
                std::find(known.begin(), known.end(), check) != known.end());
    }
  }
}

TEST(Elements, FieldsArePaddedToFourBytes) {
  const Element element = ElementBuilder(SetId::kServiceSet)
                              .address(dataplane::testing::address("10.96.0.1"))
                              .protocol(dataplane::Protocol::kUdp)
                              .port(0x1234)
                              .to()
                              .number(1)
                              .build();
  const std::vector<uint8_t> key(element.key.begin(), element.key.begin() + element.key_size);
  EXPECT_EQ(key, (std::vector<uint8_t>{10, 96, 0, 1, 17, 0, 0, 0, 0x12, 0x34, 0, 0}));
  EXPECT_EQ(element.data_size, 4);
}

}  // namespace
}  // namespace fairlead::nftables
