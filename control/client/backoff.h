// How long to wait before trying again: doubling from a minimum to a maximum, with jitter so that
// clients that failed together do not come back together.
//
// Threads: one owner.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>

namespace fairlead::client {

class Backoff {
 public:
  using Milliseconds = std::chrono::milliseconds;

  // `seed` 0: random.
  Backoff(Milliseconds min, Milliseconds max, uint64_t seed)
      : min_(std::max(min, Milliseconds(1))),
        max_(std::max(max, min_)),
        next_(min_),
        random_(seed != 0 ? seed : std::random_device{}()) {}

  // Between half of the current step and the whole of it; the next step is twice as long.
  Milliseconds next() {
    const Milliseconds step = next_;
    next_ = std::min(max_, next_ * 2);
    return spread(step / 2, step);
  }

  // About the longest step, for what is not expected to change soon.
  Milliseconds longest() { return spread(max_ / 2, max_); }

  // At least what a server asked for, and up to a tenth more; a server that asks for ages is not
  // obeyed.
  Milliseconds asked(std::chrono::seconds wish) {
    const Milliseconds least = std::min<Milliseconds>(wish, kMaxAsked);
    return std::max(next(), spread(least, least + least / 10));
  }

  void reset() { next_ = min_; }

  // Uniform in [low, high].
  Milliseconds spread(Milliseconds low, Milliseconds high) {
    return Milliseconds(std::uniform_int_distribution<int64_t>(low.count(), high.count())(random_));
  }

 private:
  static constexpr std::chrono::minutes kMaxAsked{10};

  Milliseconds min_;
  Milliseconds max_;
  Milliseconds next_;
  std::mt19937_64 random_;
};

}  // namespace fairlead::client
