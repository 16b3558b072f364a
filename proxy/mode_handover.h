// Changing --proxy-mode on a live node: what an earlier run in another mode left is removed, but
// only when this mode has taken over.
//
// Rules outlive the process, so after a change of mode the old mode's rules serve until the new
// mode's first sync is complete, and beside them for a moment. Connections that were translated by
// netfilter live on when both modes leave that to connection tracking; docs/modes.md says which do.
//
// Threads: one owner (the sync thread).
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "dataplane/backend.h"
#include "proxy/config/config.h"

namespace fairlead::proxy {

class ModeHandover {
 public:
  // `others`: a backend for each mode that may have left something, but the chosen one.
  // `least_wait`: how long what the others left stays beside the chosen mode at least, for the sake
  // of connections that they have begun.
  ModeHandover(std::vector<std::unique_ptr<dataplane::Backend>> others,
               std::chrono::seconds least_wait);

  // Call when the chosen mode has completed its first sync, and from then on every few seconds:
  // what cannot be removed is told once, and tried again later.
  void remove_other_modes(std::chrono::steady_clock::time_point now);
  bool done() const { return others_.empty(); }

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Other {
    std::unique_ptr<dataplane::Backend> backend;
    bool refused = false;               // the last release() failed
    int waits = 0;                      // how often connections depended on it
    bool told_rest = false;             // that something stays for now
    std::optional<Time> stays_until{};  // at least; since the first step
    Time next_step{};
  };
  // True when it may be removed.
  bool is_released(Other& other, Time now) const;
  // True when nothing of it is left.
  bool step(Other& other, Time now) const;

  const std::chrono::seconds least_wait_;
  std::vector<Other> others_;
};

}  // namespace fairlead::proxy
