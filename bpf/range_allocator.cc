#include "bpf/range_allocator.h"

#include <cassert>
#include <iterator>

namespace fairlead::bpf {

RangeAllocator::RangeAllocator(uint32_t first, uint32_t end) {
  if (end <= first) return;
  limit_ = free_ = end - first;
  add(first, limit_);
}

void RangeAllocator::add(uint32_t offset, uint32_t size) {
  by_offset_.emplace(offset, size);
  by_size_.emplace(size, offset);
}

// Takes [offset, offset + size) out of the free `run` that contains it.
void RangeAllocator::cut(Runs::iterator run, uint32_t offset, uint32_t size) {
  const auto [run_offset, run_size] = *run;
  by_size_.erase({run_size, run_offset});
  by_offset_.erase(run);
  if (offset > run_offset) add(run_offset, offset - run_offset);
  const uint32_t tail = run_offset + run_size - (offset + size);
  if (tail > 0) add(offset + size, tail);
  free_ -= size;
}

std::optional<uint32_t> RangeAllocator::allocate(uint32_t size) {
  const auto fit = by_size_.lower_bound({size, 0});
  if (fit == by_size_.end()) return std::nullopt;
  const uint32_t offset = fit->second;
  cut(by_offset_.find(offset), offset, size);
  return offset;
}

bool RangeAllocator::take(uint32_t offset, uint32_t size) {
  auto run = by_offset_.upper_bound(offset);
  if (run == by_offset_.begin()) return false;
  --run;
  const uint64_t end = static_cast<uint64_t>(offset) + size;
  if (end > static_cast<uint64_t>(run->first) + run->second) return false;
  cut(run, offset, size);
  return true;
}

void RangeAllocator::release(uint32_t offset, uint32_t size) {
  free_ += size;
  auto next = by_offset_.lower_bound(offset);
  if (next != by_offset_.begin()) {
    const auto before = std::prev(next);
    assert(before->first + before->second <= offset);
    if (before->first + before->second == offset) {
      offset = before->first;
      size += before->second;
      by_size_.erase({before->second, before->first});
      by_offset_.erase(before);
    }
  }
  if (next != by_offset_.end()) {
    assert(offset + size <= next->first);
    if (offset + size == next->first) {
      size += next->second;
      by_size_.erase({next->second, next->first});
      by_offset_.erase(next);
    }
  }
  add(offset, size);
}

}  // namespace fairlead::bpf
