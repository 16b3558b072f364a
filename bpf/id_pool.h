// Gives out indexes of an array from 1 on (0 is none). Low ones first, so that the part of a
// mapped array that is ever touched stays as small as its use.
//
// Threads: one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fairlead::bpf {

class IdPool {
 public:
  // Indexes 1 to size - 1.
  explicit IdPool(size_t size) : size_(size == 0 ? 1 : size) {}

  // Starts over with the indexes that `taken` marks in use; those beyond it are free.
  // Precondition: taken.size() is at most the size.
  void adopt(const std::vector<bool>& taken);

  uint32_t allocate();        // 0: none is left
  void release(uint32_t id);  // Precondition: given out and not released since
  size_t used() const { return used_; }
  size_t limit() const { return size_ - 1; }

 private:
  const size_t size_;
  size_t next_ = 1;  // those from here on were never given out
  size_t used_ = 0;
  std::vector<uint32_t> free_;  // last released, first given out
};

}  // namespace fairlead::bpf
