#include "dataplane/table.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>

#include "dataplane/compile.h"
#include "text.h"

namespace fairlead::dataplane {
namespace {

using testing::address;
using testing::group;

// A service on cluster IP 10.96.0.<n> that also claims the external addresses given.
std::vector<ForwardingEntry> entries_of(const std::string& name, int n, int64_t created_at,
                                        std::vector<std::string_view> external = {},
                                        std::vector<std::string_view> targets = {"10.1.0.1:80"}) {
  Service service;
  service.name = {"default", name};
  service.created_at = created_at;
  service.cluster_ips = {Address::v4(0x0a600000U + static_cast<uint32_t>(n))};
  for (const std::string_view ip : external) service.external_ips.push_back(address(ip));
  service.ports = {{"", Protocol::kTcp, 80, 0}};
  const EndpointGroup endpoints = group(std::move(targets));
  return compile(service, {&endpoints, 1}, CompileView());
}

std::string describe(const Delta& delta) {
  std::string text;
  for (const EntryPointer& entry : delta.upserted) {
    text += "+" + entry->key.service.name;
    for (const Frontend& frontend : entry->frontends) {
      text += " " + frontend.address.address.to_string();
    }
    text += "\n";
  }
  for (const EntryKey& key : delta.removed) text += "-" + key.service.name + "\n";
  return text;
}

// Takes and acknowledges what is pending.
std::string settle(ForwardingTable& table) {
  const Delta delta = table.pending();
  table.acknowledge(delta, {});
  EXPECT_FALSE(table.has_pending());
  return describe(delta);
}

TEST(Table, TellsOnlyWhatChanged) {
  ForwardingTable table;
  table.replace({"default", "a"}, entries_of("a", 1, 5));
  table.replace({"default", "b"}, entries_of("b", 2, 5));
  EXPECT_EQ(settle(table), "+a 10.96.0.1\n+b 10.96.0.2\n");
  table.replace({"default", "a"}, entries_of("a", 1, 5));
  EXPECT_EQ(settle(table), "");
  table.replace({"default", "a"}, entries_of("a", 1, 5, {}, {"10.1.0.2:80"}));
  table.replace({"default", "b"}, {});
  EXPECT_EQ(settle(table), "+a 10.96.0.1\n-b\n");
  EXPECT_EQ(table.size(), 1U);
}

TEST(Table, WhatIsNotAcknowledgedStaysPending) {
  ForwardingTable table;
  table.replace({"default", "a"}, entries_of("a", 1, 5));
  table.replace({"default", "b"}, entries_of("b", 2, 5));
  const Delta first = table.pending();
  table.replace({"default", "b"}, entries_of("b", 3, 5));  // changes while `first` is applied
  table.acknowledge(first, {first.upserted[0]->key});      // a was refused
  EXPECT_EQ(describe(table.pending()), "+a 10.96.0.1\n+b 10.96.0.3\n");
}

TEST(Table, TheOlderServiceKeepsAContestedAddress) {
  ForwardingTable table;
  table.replace({"default", "young"}, entries_of("young", 1, 9, {"203.0.113.1"}));
  EXPECT_EQ(settle(table), "+young 10.96.0.1 203.0.113.1\n");
  table.replace({"default", "old"}, entries_of("old", 2, 3, {"203.0.113.1"}));
  EXPECT_EQ(settle(table), "+old 10.96.0.2 203.0.113.1\n+young 10.96.0.1\n");
  ASSERT_EQ(table.conflicts().size(), 1U);
  EXPECT_EQ(table.conflicts()[0].loser.service.name, "young");
  EXPECT_EQ(table.conflicts()[0].winner.service.name, "old");
  table.replace({"default", "old"}, {});
  EXPECT_EQ(settle(table), "+young 10.96.0.1 203.0.113.1\n-old\n");
  EXPECT_TRUE(table.conflicts().empty());
}

TEST(Table, AnEndpointChangeOfALoserDoesNotTouchTheWinner) {
  ForwardingTable table;
  table.replace({"default", "old"}, entries_of("old", 2, 3, {"203.0.113.1"}));
  table.replace({"default", "young"}, entries_of("young", 1, 9, {"203.0.113.1"}));
  settle(table);
  table.replace({"default", "young"}, entries_of("young", 1, 9, {"203.0.113.1"}, {"10.1.0.9:80"}));
  EXPECT_EQ(settle(table), "+young 10.96.0.1\n");
  table.replace({"default", "old"}, entries_of("old", 2, 3, {"203.0.113.1"}, {"10.1.0.9:80"}));
  EXPECT_EQ(settle(table), "+old 10.96.0.2 203.0.113.1\n");
}

TEST(Table, ForgettingMakesEverythingPendingAgain) {
  ForwardingTable table;
  table.replace({"default", "a"}, entries_of("a", 1, 5));
  settle(table);
  table.forget_acknowledged();
  EXPECT_EQ(settle(table), "+a 10.96.0.1\n");
}

struct Step {
  int service;
  bool remove;
  int created_at;
  int external;
  int target;
};

}  // namespace
}  // namespace fairlead::dataplane

namespace rc {
template <>
struct Arbitrary<fairlead::dataplane::Step> {
  static Gen<fairlead::dataplane::Step> arbitrary() {
    using fairlead::dataplane::Step;
    return gen::build<Step>(
        gen::set(&Step::service, gen::inRange(0, 6)),
        gen::set(&Step::remove, gen::weightedElement<bool>({{1, true}, {4, false}})),
        gen::set(&Step::created_at, gen::inRange(0, 4)),
        gen::set(&Step::external, gen::inRange(0, 4)), gen::set(&Step::target, gen::inRange(1, 4)));
  }
};
}  // namespace rc

namespace fairlead::dataplane {
namespace {

void perform(ForwardingTable& table, const Step& step) {
  const std::string name(1, static_cast<char>('a' + step.service));
  std::vector<ForwardingEntry> entries;
  if (!step.remove) {
    std::vector<std::string> external;
    for (int i = 0; i < step.external; ++i) external.push_back("203.0.113." + std::to_string(i));
    const std::string target = "10.1.0." + std::to_string(step.target) + ":80";
    entries = entries_of(name, step.service, step.created_at, {external.begin(), external.end()},
                         {target});
  }
  table.replace({"default", name}, std::move(entries));
}

// Whoever applies every delta ends up with the table itself, however the steps are batched, and no
// virtual address is ever held by two entries.
RC_GTEST_PROP(TableProperty, DeltasRebuildTheTable,
              (const std::vector<Step>& steps, const std::vector<bool>& take_after)) {
  ForwardingTable table;
  std::map<EntryKey, EntryPointer> mirror;
  const auto take = [&] {
    const Delta delta = table.pending();
    for (const EntryPointer& entry : delta.upserted) mirror[entry->key] = entry;
    for (const EntryKey& key : delta.removed) mirror.erase(key);
    table.acknowledge(delta, {});
  };
  for (size_t i = 0; i < steps.size(); ++i) {
    perform(table, steps[i]);
    if (i < take_after.size() && take_after[i]) take();
  }
  take();
  RC_ASSERT(mirror.size() == table.size());
  std::map<std::pair<SocketAddress, bool>, EntryKey> holders;
  for (const EntryPointer& entry : table.entries()) {
    RC_ASSERT(*mirror.at(entry->key) == *entry);
    for (const Frontend& frontend : entry->frontends) {
      RC_ASSERT(holders.insert({{frontend.address, false}, entry->key}).second);
    }
  }
}

// The order of arrival does not matter, only what is there in the end.
RC_GTEST_PROP(TableProperty, DiffIsEmptyForEqualHistories, (const std::vector<Step>& steps)) {
  std::map<int, Step> last;
  for (const Step& step : steps) last[step.service] = step;
  ForwardingTable through_history;
  for (const Step& step : steps) perform(through_history, step);
  ForwardingTable direct;
  for (auto step = last.rbegin(); step != last.rend(); ++step) perform(direct, step->second);
  RC_ASSERT(diff(through_history, direct).empty());
  ForwardingTable nothing;
  const Delta all = diff(nothing, direct);
  RC_ASSERT(all.upserted.size() == direct.size());
  RC_ASSERT(diff(direct, nothing).removed.size() == direct.size());
}

}  // namespace
}  // namespace fairlead::dataplane
