#include "bpf/id_pool.h"

#include <algorithm>
#include <cassert>

namespace fairlead::bpf {

void IdPool::adopt(const std::vector<bool>& taken) {
  assert(taken.size() <= size_);
  next_ = std::max<size_t>(taken.size(), 1);
  used_ = 0;
  free_.clear();
  for (size_t id = next_; --id >= 1;) {
    if (taken[id]) {
      ++used_;
    } else {
      free_.push_back(static_cast<uint32_t>(id));
    }
  }
}

uint32_t IdPool::allocate() {
  uint32_t id = 0;
  if (!free_.empty()) {
    id = free_.back();
    free_.pop_back();
  } else if (next_ < size_) {
    id = static_cast<uint32_t>(next_++);
  }
  if (id != 0) ++used_;
  return id;
}

void IdPool::release(uint32_t id) {
  assert(id != 0 && id < next_ && used_ > 0);
  --used_;
  free_.push_back(id);
}

}  // namespace fairlead::bpf
