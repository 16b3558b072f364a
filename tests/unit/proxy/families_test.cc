// Which families a node is served in when its datapath works in some of them only.
#include "proxy/families.h"

#include <gtest/gtest.h>

#include <map>

namespace fairlead::proxy {
namespace {

using dataplane::Family;

// Works in the families of which nothing is said.
class HalfBackend final : public dataplane::Backend {
 public:
  explicit HalfBackend(std::map<Family, StatusCode> says) : says_(std::move(says)) {}

  std::string_view name() const override { return "half"; }
  Status can_serve(Family family) override {
    const auto found = says_.find(family);
    if (found == says_.end()) return {};
    return Status::error(found->second, "run", family == Family::kIPv4 ? "tool4" : "tool6", "lost");
  }
  Status start(const dataplane::NodeRules&) override { return {}; }
  Result<dataplane::Ack> apply(const dataplane::Delta&) override { return dataplane::Ack{}; }
  bool disturbed() override { return false; }
  Result<dataplane::AuditReport> audit() override { return dataplane::AuditReport{}; }
  std::vector<dataplane::Counter> counters() override { return {}; }
  Status remove_all() override { return {}; }

 private:
  const std::map<Family, StatusCode> says_;
};

constexpr Family kV4 = Family::kIPv4;
constexpr Family kV6 = Family::kIPv6;
constexpr StatusCode kNo = StatusCode::kNotFound;

// The families that are served, or the error.
std::string chosen(std::map<Family, StatusCode> says, std::optional<Family> primary = {},
                   std::vector<Family> families = {kV4, kV6}) {
  HalfBackend backend(std::move(says));
  const Result<FamilyChoice> choice = choose_families(backend, families, primary);
  if (!choice) return choice.status().message();
  std::string names;
  for (const Family family : choice->served) names += std::string(to_string(family)) + " ";
  for (const FamilyLeftOut& each : choice->left_out) {
    names += "without " + std::string(to_string(each.family));
  }
  return names;
}

TEST(Families, WhatWorksIsServed) {
  EXPECT_EQ(chosen({}), "IPv4 IPv6 ");
  EXPECT_EQ(chosen({}, kV4, {kV4}), "IPv4 ");
  EXPECT_EQ(chosen({{kV6, kNo}}), "IPv4 without IPv6");
  EXPECT_EQ(chosen({{kV4, kNo}}), "IPv6 without IPv4");
  EXPECT_EQ(chosen({{kV6, StatusCode::kPermission}}, kV4), "IPv4 without IPv6");
}

TEST(Families, OneThatCannotBeAskedNowIsServed) {
  EXPECT_EQ(chosen({{kV4, StatusCode::kUnavailable}, {kV6, kNo}}), "IPv4 without IPv6");
  EXPECT_EQ(chosen({{kV6, StatusCode::kUnavailable}}), "IPv4 IPv6 ");
}

TEST(Families, WithoutAnyThereIsOneErrorThatNamesAll) {
  EXPECT_EQ(chosen({{kV4, kNo}, {kV6, kNo}}),
            "serve any IP family: IPv4: run tool4: lost; IPv6: run tool6: lost");
}

TEST(Families, TheOtherOneDoesNotStandInForThePrimaryOne) {
  EXPECT_EQ(chosen({{kV6, kNo}}, kV6), "serve IPv6, the node's primary family: run tool6: lost");
}

TEST(Families, TheNoteSaysWhatWhyAndWhatToDo) {
  HalfBackend backend({{kV6, kNo}});
  const Result<FamilyChoice> choice = choose_families(backend, std::vector{kV4, kV6}, kV4);
  ASSERT_TRUE(choice) << choice.status().message();
  EXPECT_EQ(
      choice->left_out_note(choice->left_out.front()),
      "IPv6 does not work here and is left out, services are served over IPv4 only: run "
      "tool6: lost. Mend it and restart; a node that wants no IPv6 boots with ipv6.disable=1");
}

}  // namespace
}  // namespace fairlead::proxy
