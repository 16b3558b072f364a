// Any sequence of changes, with restarts, failing writes and maps that are too small: the maps hold
// what was acknowledged, and at no moment anything that does not fit together.
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstring>
#include <random>

#include "tables_world.h"

namespace fairlead::bpf::testing {
namespace {

// Draws small numbers from rapidcheck's bytes, so that shrinking works on them; 0 when they end.
class Draw {
 public:
  explicit Draw(const std::vector<uint8_t>& bytes) : bytes_(bytes) {}
  int below(int limit) {
    if (next_ >= bytes_.size()) return 0;
    return bytes_[next_++] % limit;
  }
  bool one_in(int n) { return below(n) == n - 1; }
  std::vector<int> subset(int limit) {
    std::vector<int> list;
    const int bits = below(256);
    for (int i = 0; i < limit && i < 8; ++i) {
      if (bits >> i & 1) list.push_back(i + 1);
    }
    return list;
  }

 private:
  const std::vector<uint8_t>& bytes_;
  size_t next_ = 0;
};

Spec draw_spec(Draw& draw) {
  const int n = draw.below(5);
  Spec spec = testing::spec(std::string(1, static_cast<char>('a' + n)), n + 1);
  spec.endpoints(draw.subset(6)).here(draw.subset(6)).created(draw.below(3));
  if (draw.one_in(4)) spec.port_count(2);
  if (draw.one_in(3)) spec.udp();
  if (draw.one_in(4)) spec.dual();
  if (draw.one_in(3)) spec.node_port(static_cast<uint16_t>(30000 + draw.below(2)));
  if (draw.one_in(3)) spec.external(draw.below(2) + 1);
  if (draw.one_in(3)) spec.load_balancer(draw.below(2) + 1);
  if (draw.one_in(4)) spec.ranges({"10.0.0.0/8", draw.one_in(2) ? "192.0.2.0/24" : "fd00::/16"});
  if (draw.one_in(4)) spec.affinity(10);
  if (draw.one_in(4)) spec.internal_local();
  if (draw.one_in(4)) spec.external_local();
  if (draw.one_in(4)) spec.all_masqueraded();
  return spec;
}

Capacity draw_tight(Draw& draw) {
  return {.entries = static_cast<uint32_t>(2 + draw.below(6)),
          .endpoints = static_cast<uint32_t>(4 + draw.below(20)),
          .ring_slots = static_cast<uint32_t>(draw.one_in(2) ? 5 + draw.below(30) : 1200),
          .frontends = static_cast<uint32_t>(6 + draw.below(20)),
          .prefixes = static_cast<uint32_t>(1 + draw.below(4))};
}

struct Trouble {
  bool tight = false;
  bool failures = false;
};

void live_through(const std::vector<uint8_t>& bytes, Trouble trouble) {
  Draw draw(bytes);
  World world(trouble.tight ? draw_tight(draw) : Capacity{.ring_slots = 1 << 15});
  const size_t steps = bytes.size() / 8 + 1;
  for (size_t step = 0; step < steps; ++step) {
    for (int changes = draw.below(3); changes >= 0; --changes) {
      if (draw.one_in(5)) {
        world.remove(std::string(1, static_cast<char>('a' + draw.below(5))));
      } else {
        world.put(draw_spec(draw));
      }
    }
    if (draw.one_in(6)) world.adopt();
    if (trouble.failures && draw.one_in(2)) {
      std::minstd_rand random(static_cast<unsigned>(draw.below(256)));
      const unsigned rarity = draw.one_in(2) ? 3 : 20;
      world.maps->fail = [random, rarity]() mutable { return random() / 7 % rarity == 0; };
      world.lenient = true;
    }
    const std::string refused = world.apply();
    if (world.maps->fail) {
      // Whatever could not be taken back is, as soon as the kernel lets us.
      world.maps->fail = nullptr;
      world.tables->take_gone();
      ASSERT_TRUE(world.tables->audit());
      world.lenient = false;
    } else if (!trouble.tight) {
      ASSERT_EQ(refused, "");
    }
    world.expect_served();
    if (!world.table.has_pending() && draw.one_in(3)) {
      const Kernel before = world.kernel;
      ASSERT_EQ(world.restart(), "");
      ASSERT_EQ(world.operations, 0U);
      ASSERT_EQ(std::memcmp(&before.config, &world.kernel.config, sizeof before.config), 0);
      world.expect_served();
    }
    world.audit(0);
  }
}

// Runs `body`; what it expects in vain fails the property, and may then be shrunk.
template <typename Body>
void check(const Body& body) {
  ::testing::TestPartResultArray failures;
  {
    const ::testing::ScopedFakeTestPartResultReporter reporter(
        ::testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &failures);
    body();
  }
  if (failures.size() > 0) {
    const ::testing::TestPartResult& first = failures.GetTestPartResult(0);
    RC_FAIL(std::string(first.file_name()) + ":" + std::to_string(first.line_number()) + " " +
            first.message());
  }
}

RC_GTEST_PROP(TablesProperty, ServeWhatWasAcknowledged, (const std::vector<uint8_t>& bytes)) {
  check([&] { live_through(bytes, {}); });
}

RC_GTEST_PROP(TablesProperty, WithoutRoom, (const std::vector<uint8_t>& bytes)) {
  check([&] { live_through(bytes, {.tight = true}); });
}

RC_GTEST_PROP(TablesProperty, WithFailures, (const std::vector<uint8_t>& bytes)) {
  check([&] { live_through(bytes, {.failures = true}); });
}

RC_GTEST_PROP(TablesProperty, WithoutRoomAndWithFailures, (const std::vector<uint8_t>& bytes)) {
  check([&] { live_through(bytes, {.tight = true, .failures = true}); });
}

template <typename T>
void scramble(std::span<T> values, std::mt19937& random, unsigned rarity) {
  auto* const bytes = reinterpret_cast<uint8_t*>(values.data());
  for (size_t i = 0; i < values.size_bytes(); ++i) {
    // Small numbers are the ones that look right.
    if (random() % rarity == 0) {
      bytes[i] = static_cast<uint8_t>(random() % 2 == 0 ? random() % 9 : random());
    }
  }
}

// From a table that was once right, or from nothing but noise.
void adopt_noise(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(64);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  Draw draw(bytes);
  World world({.ring_slots = 1 << 15});
  for (int i = 0; i < 4; ++i) world.put(draw_spec(draw));
  world.apply();
  const unsigned rarity = 1U << random() % 8;
  scramble(std::span(world.kernel.entries), random, rarity);
  scramble(std::span(world.kernel.endpoints), random, rarity);
  scramble(std::span(world.kernel.ring_slots), random, rarity);
  if (random() % 2 == 0) scramble(std::span(&world.kernel.config, 1), random, rarity);
  const auto frontends = std::exchange(world.kernel.frontends, {});
  for (const auto& record : frontends) {
    fl_frontend_key key = record.first;
    fl_frontend value = record.second;
    if (random() % 4 == 0) scramble(std::span(&key, 1), random, 8);
    if (random() % 2 == 0) scramble(std::span(&value, 1), random, rarity);
    world.kernel.frontends[key] = value;
  }
  for (unsigned i = random() % 5; i > 0; --i) {
    fl_prefix_key key{};
    scramble(std::span(&key, 1), random, 1);
    world.kernel.prefixes.insert(key);
  }
  for (int i = 0; i < 3; ++i) world.put(draw_spec(draw));
  world.lenient = true;
  world.adopt();
  world.apply();  // noise may hold what somebody needs, until nobody has claimed it
  ASSERT_EQ(world.apply(), "");
  world.lenient = false;
  world.expect_served();
  ASSERT_TRUE(world.tables->audit());  // bytes that mean nothing
  world.audit(0);
  ASSERT_EQ(world.restart(), "");
  ASSERT_EQ(world.operations, 0U);
}

RC_GTEST_PROP(TablesProperty, AdoptAnything, (unsigned seed)) {
  check([&] { adopt_noise(seed); });
}

}  // namespace
}  // namespace fairlead::bpf::testing
