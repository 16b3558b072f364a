// The slots of a cache that remembers the last things by a number, and no more than so many bytes
// of them: beyond that slots are emptied, one after the other.
//
// Threads: one at a time. What put() returns is destroyed by whoever calls it, without the lock.
#pragma once

#include <array>
#include <cstddef>
#include <utility>
#include <vector>

namespace fairlead::apiserver {

// `Slot` is a value; an empty one has 0 bytes().
template <typename Slot, size_t kSlots>
class BoundedSlots {
 public:
  explicit BoundedSlots(size_t most_bytes) : most_bytes_(most_bytes) {}

  const Slot& at(size_t number) const { return slots_[number % kSlots]; }

  // Returns what had to go for it.
  std::vector<Slot> put(size_t number, Slot slot) {
    std::vector<Slot> gone;
    bytes_ += slot.bytes();
    take(slots_[number % kSlots], std::move(slot), gone);
    while (bytes_ > most_bytes_) take(slots_[next_++ % kSlots], Slot(), gone);
    return gone;
  }

 private:
  void take(Slot& place, Slot instead, std::vector<Slot>& gone) {
    bytes_ -= place.bytes();
    gone.push_back(std::exchange(place, std::move(instead)));
  }

  const size_t most_bytes_;
  std::array<Slot, kSlots> slots_;
  size_t bytes_ = 0;
  size_t next_ = 0;  // to be emptied
};

}  // namespace fairlead::apiserver
