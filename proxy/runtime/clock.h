// The clock of the runtime parts, injected so that tests decide what time it is.
//
// Threads: any.
#pragma once

#include <chrono>

namespace fairlead::proxy {

class Clock {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;
  using WallTime = std::chrono::system_clock::time_point;

  virtual ~Clock() = default;
  virtual SteadyTime steady() const = 0;  // for durations
  virtual WallTime wall() const = 0;      // for timestamps that people and Prometheus read

  static const Clock& real();
};

}  // namespace fairlead::proxy
