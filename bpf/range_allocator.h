// Runs of neighbouring slots out of one flat array: best fit, lowest offset first, neighbours that
// are free merge at once. Every operation is O(log n) in the number of free runs.
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace fairlead::bpf {

class RangeAllocator {
 public:
  // Slots `first` to `end` - 1.
  RangeAllocator(uint32_t first, uint32_t end);

  // Precondition of all three: size > 0.
  std::optional<uint32_t> allocate(uint32_t size);  // nullopt: no free run is that long
  // Takes exactly this run; false when any slot of it is in use or does not exist.
  bool take(uint32_t offset, uint32_t size);
  // Precondition: allocated or taken, and not released since.
  void release(uint32_t offset, uint32_t size);

  uint32_t used() const { return limit_ - free_; }
  uint32_t limit() const { return limit_; }
  uint32_t longest_free() const { return by_size_.empty() ? 0 : by_size_.rbegin()->first; }
  size_t free_runs() const { return by_offset_.size(); }

 private:
  using Runs = std::map<uint32_t, uint32_t>;  // offset to size

  void add(uint32_t offset, uint32_t size);
  void cut(Runs::iterator run, uint32_t offset, uint32_t size);

  uint32_t limit_ = 0;
  uint32_t free_ = 0;
  Runs by_offset_;
  std::set<std::pair<uint32_t, uint32_t>> by_size_;  // size, offset
};

}  // namespace fairlead::bpf
