#include "dataplane/maglev.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

namespace fairlead::dataplane {
namespace {

std::vector<Target> targets(size_t count, uint32_t first = 0x0a010000U) {
  std::vector<Target> result;
  for (uint32_t i = 0; i < count; ++i) {
    result.push_back({{Address::v4(first + i), 8080}, false});
  }
  return result;
}

TEST(Maglev, SizeIsPrimeAndHundredfold) {
  EXPECT_EQ(maglev_table_size(1), 251U);
  EXPECT_EQ(maglev_table_size(3), 509U);
  EXPECT_EQ(maglev_table_size(600), 65537U);
  EXPECT_EQ(maglev_table_size(1'000'000), 655373U);
}

TEST(Maglev, NoTargetsNoTable) {
  EXPECT_TRUE(maglev_table({}, 251).empty());
}

RC_GTEST_PROP(Maglev, SharesDifferByAtMostOneSlot, ()) {
  const auto count = *rc::gen::inRange<size_t>(1, 120);
  const std::vector<uint32_t> table = maglev_table(targets(count), 1021);
  std::vector<uint32_t> shares(count);
  for (const uint32_t index : table) ++shares.at(index);
  const auto [least, most] = std::minmax_element(shares.begin(), shares.end());
  RC_ASSERT(*most - *least <= 1U);
}

// Taking one target away must move its own slots and few others (the paper's minimal disruption;
// the bound is loose, the expectation about 2 % at this ratio).
RC_GTEST_PROP(Maglev, RemovingOneTargetDisturbsFewOthers, ()) {
  const auto count = *rc::gen::inRange<size_t>(5, 40);
  const auto victim = *rc::gen::inRange<size_t>(0, count);
  const std::vector<Target> all = targets(count);
  std::vector<Target> fewer = all;
  fewer.erase(fewer.begin() + static_cast<ptrdiff_t>(victim));
  const std::vector<uint32_t> before = maglev_table(all, 4093);
  const std::vector<uint32_t> after = maglev_table(fewer, 4093);
  size_t moved = 0;
  for (size_t slot = 0; slot < before.size(); ++slot) {
    if (before[slot] != victim && all[before[slot]] != fewer[after[slot]]) ++moved;
  }
  RC_ASSERT(moved < before.size() / 5);
}

RC_GTEST_PROP(Maglev, IsTheSameEverywhere, ()) {
  const auto count = *rc::gen::inRange<size_t>(1, 50);
  RC_ASSERT(maglev_table(targets(count), 509) == maglev_table(targets(count), 509));
}

}  // namespace
}  // namespace fairlead::dataplane
