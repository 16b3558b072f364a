#include "bpf/range_allocator.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <vector>

#include "bpf/id_pool.h"

namespace fairlead::bpf {
namespace {

TEST(RangeAllocator, TakesTheSmallestRunThatFits) {
  RangeAllocator space(1, 101);
  const uint32_t a = *space.allocate(20);
  const uint32_t b = *space.allocate(10);
  ASSERT_TRUE(space.allocate(1));
  const uint32_t c = *space.allocate(5);
  ASSERT_TRUE(space.allocate(1));
  space.release(a, 20);
  space.release(c, 5);
  EXPECT_EQ(space.allocate(4), c);   // not out of the 20
  EXPECT_EQ(space.allocate(18), a);  // not out of the rest of the map
  EXPECT_EQ(b, a + 20);
}

TEST(RangeAllocator, NeighboursMerge) {
  RangeAllocator space(1, 31);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(space.allocate(10));
  EXPECT_FALSE(space.allocate(1));
  space.release(1, 10);
  space.release(21, 10);
  EXPECT_EQ(space.free_runs(), 2U);
  EXPECT_FALSE(space.allocate(11));
  space.release(11, 10);
  EXPECT_EQ(space.free_runs(), 1U);
  EXPECT_EQ(space.allocate(30), 1U);
}

TEST(RangeAllocator, TakesExactlyWhatIsFree) {
  RangeAllocator space(1, 11);
  EXPECT_TRUE(space.take(4, 3));
  for (const auto& [offset, size] : std::vector<std::pair<uint32_t, uint32_t>>{
           {0, 1}, {6, 2}, {3, 2}, {4, 3}, {10, 2}, {11, 1}, {1, UINT32_MAX}, {UINT32_MAX, 9}}) {
    EXPECT_FALSE(space.take(offset, size)) << offset << " " << size;
  }
  EXPECT_TRUE(space.take(7, 4));
  EXPECT_TRUE(space.take(1, 3));
  EXPECT_EQ(space.used(), 10U);
}

TEST(RangeAllocator, OfNothingGivesNothing) {
  RangeAllocator space(1, 0);
  EXPECT_FALSE(space.allocate(1));
  EXPECT_FALSE(space.take(0, 1));
  EXPECT_EQ(space.limit(), 0U);
}

// Against a plain list of slots.
RC_GTEST_PROP(RangeAllocatorProperty, NeverGivesASlotTwice,
              (const std::vector<std::pair<uint8_t, uint8_t>>& steps)) {
  constexpr uint32_t kEnd = 64;
  RangeAllocator space(1, kEnd);
  std::vector<bool> taken(kEnd);
  std::map<uint32_t, uint32_t> held;
  const auto mark = [&](uint32_t offset, uint32_t size, bool value) {
    for (uint32_t s = offset; s < offset + size; ++s) {
      RC_ASSERT(s >= 1 && s < kEnd && taken[s] != value);
      taken[s] = value;
    }
  };
  for (const auto& [kind, number] : steps) {
    const uint32_t size = number % 12 + 1U;
    if (kind % 3 == 0 && !held.empty()) {
      const auto run = std::next(held.begin(), number % static_cast<int>(held.size()));
      mark(run->first, run->second, false);
      space.release(run->first, run->second);
      held.erase(run);
    } else if (kind % 3 == 1) {
      const uint32_t offset = kind / 3U;
      bool is_free = offset >= 1 && offset + size <= kEnd;
      for (uint32_t s = offset; is_free && s < offset + size; ++s) is_free = !taken[s];
      RC_ASSERT(space.take(offset, size) == is_free);
      if (is_free) mark(offset, size, true), held[offset] = size;
    } else if (const std::optional<uint32_t> offset = space.allocate(size)) {
      mark(*offset, size, true);
      held[*offset] = size;
    } else {
      RC_ASSERT(space.longest_free() < size);
    }
    uint32_t runs = 0, longest = 0, length = 0, used = 0;
    for (uint32_t s = 1; s < kEnd; ++s) {
      used += taken[s] ? 1 : 0;
      runs += !taken[s] && (s == 1 || taken[s - 1]) ? 1 : 0;
      length = taken[s] ? 0 : length + 1;
      longest = std::max(longest, length);
    }
    RC_ASSERT(space.used() == used);
    RC_ASSERT(space.free_runs() == runs);  // neighbours always merge
    RC_ASSERT(space.longest_free() == longest);
  }
}

TEST(IdPool, GivesLowOnesFirstAndEachOnce) {
  IdPool pool(4);
  EXPECT_EQ(pool.allocate(), 1U);
  EXPECT_EQ(pool.allocate(), 2U);
  EXPECT_EQ(pool.allocate(), 3U);
  EXPECT_EQ(pool.allocate(), 0U);
  pool.release(2);
  EXPECT_EQ(pool.used(), 2U);
  EXPECT_EQ(pool.allocate(), 2U);
  EXPECT_EQ(pool.limit(), 3U);
}

TEST(IdPool, AdoptsWhatIsTaken) {
  IdPool pool(6);
  pool.adopt({false, false, true, false, true});
  EXPECT_EQ(pool.used(), 2U);
  EXPECT_EQ(pool.allocate(), 1U);
  EXPECT_EQ(pool.allocate(), 3U);
  EXPECT_EQ(pool.allocate(), 5U);
  EXPECT_EQ(pool.allocate(), 0U);
}

}  // namespace
}  // namespace fairlead::bpf
