// A clock that stands still until the test moves it.
#pragma once

#include "proxy/runtime/clock.h"

namespace fairlead::proxy {

class ManualClock final : public Clock {
 public:
  SteadyTime steady() const override { return SteadyTime{} + offset_; }
  // 2026-01-02 03:04:05 UTC at the beginning.
  WallTime wall() const override { return WallTime{} + std::chrono::seconds(1767323045) + offset_; }

  void advance(std::chrono::milliseconds by) { offset_ += by; }

 private:
  std::chrono::milliseconds offset_{1000};
};

}  // namespace fairlead::proxy
