#include <gtest/gtest.h>

#include <set>
#include <string>

#include "dataplane/address.h"

namespace fairlead::dataplane {
namespace {

// How many different hashes (and, of those, low 16 bits) 10000 keys have.
template <typename Key>
std::pair<size_t, size_t> spread(Key key, uint64_t seed) {
  std::set<uint64_t> whole, low;
  for (uint32_t i = 0; i < 10000; ++i) {
    const uint64_t hash = stable_hash(key(i), seed);
    whole.insert(hash);
    low.insert(hash & 0xffff);
  }
  return {whole.size(), low.size()};
}

template <typename Key>
void expect_well_mixed(Key key) {
  for (const uint64_t seed : {0ULL, 1ULL, 2ULL, 12345678901234ULL}) {
    const auto [whole, low] = spread(key, seed);
    EXPECT_EQ(whole, 10000U) << "seed " << seed;
    EXPECT_GT(low, 9000U) << "seed " << seed;  // 9275 expected of a random function
  }
}

TEST(StableHash, TellsPortsApart) {
  expect_well_mixed([](uint32_t i) {
    return SocketAddress{Address::v4(0x0a600003), static_cast<uint16_t>(i)};
  });
}

TEST(StableHash, TellsAddressesApart) {
  expect_well_mixed([](uint32_t i) { return SocketAddress{Address::v4(0x0a600000 + i), 80}; });
  expect_well_mixed([](uint32_t i) {
    return SocketAddress{Address::v6({0xfd, 0, 0, static_cast<uint8_t>(i >> 8), 0, 0, 0, 0, 0, 0, 0,
                                      0, 0, 0, 0, static_cast<uint8_t>(i)}),
                         80};
  });
}

TEST(StableHash, TellsNamesApart) {
  expect_well_mixed([](uint32_t i) { return std::to_string(i); });
  expect_well_mixed([](uint32_t i) { return "service-" + std::to_string(i); });
}

}  // namespace
}  // namespace fairlead::dataplane
