#include "dataplane/maglev.h"

#include <array>
#include <cassert>
#include <limits>

namespace fairlead::dataplane {
namespace {

// Primes, each about twice the one before; 65537 is the paper's small table.
constexpr std::array<uint32_t, 13> kSizes = {251,   509,   1021,   2039,   4093,   8191,  16381,
                                             32749, 65537, 131071, 262139, 524287, 655373};

}  // namespace

uint32_t maglev_table_size(size_t endpoints) {
  for (const uint32_t size : kSizes) {
    if (size >= 100 * endpoints) return size;
  }
  return kSizes.back();
}

std::vector<uint32_t> maglev_table(std::span<const Target> targets, uint32_t size) {
  if (targets.empty()) return {};
  assert(size >= targets.size());
  constexpr uint32_t kUnset = std::numeric_limits<uint32_t>::max();

  // Every target walks the slots in an order of its own: offset, offset + skip, offset + 2 skip,
  // ...
  struct Walk {
    uint32_t next;
    uint32_t skip;
  };
  std::vector<Walk> walks;
  walks.reserve(targets.size());
  for (const Target& target : targets) {
    const uint64_t offset = stable_hash(target.address, 1);
    const uint64_t skip = stable_hash(target.address, 2);
    walks.push_back(
        {static_cast<uint32_t>(offset % size), static_cast<uint32_t>(skip % (size - 1) + 1)});
  }

  // In turn, each takes the first slot on its walk that is still free, until none is.
  std::vector<uint32_t> table(size, kUnset);
  uint32_t filled = 0;
  while (true) {
    for (uint32_t i = 0; i < walks.size(); ++i) {
      Walk& walk = walks[i];
      while (table[walk.next] != kUnset) {
        walk.next = static_cast<uint32_t>((static_cast<uint64_t>(walk.next) + walk.skip) % size);
      }
      table[walk.next] = i;
      if (++filled == size) return table;
    }
  }
}

}  // namespace fairlead::dataplane
