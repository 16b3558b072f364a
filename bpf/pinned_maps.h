// Maps that outlive the process: takes over what an earlier run left pinned, carries entries into
// maps of another size, and replaces what this build cannot use.
//
// prepare() before the object is loaded: maps that fit are handed to it. commit() after: entries
// are copied and new maps take the place of old pins, each by a rename. Killed anywhere between,
// the next run finds a state that is as good as before or as after.
//
// Programs of an earlier run go on with the maps they hold; what they write between commit() and
// their own replacement is lost with those maps, if they were replaced.
//
// Threads: one owner.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "bpf/map_rows.h"

struct bpf_object;

namespace fairlead::bpf {

class PinnedMaps {
 public:
  explicit PinnedMaps(std::string directory) : directory_(std::move(directory)) {}

  // Precondition: the maps of `object` have the sizes that are wanted.
  Status prepare(bpf_object* object);
  Status commit(bpf_object* object);

 private:
  enum class Plan : uint8_t { kCreate, kReuse, kCarry, kReplace };
  struct Pin {
    Plan plan = Plan::kCreate;
    bool other_size = false;  // a map of our kind, but for its size
    Fd old;
  };
  Pin& pin(Map map) { return pins_[static_cast<size_t>(map)]; }
  std::string path(Map map) const;

  Status examine(const MapRow& row, bpf_object* object);
  void keep_flows_consistent();
  Status carry(const MapRow& row, int from, int to);
  Status replace(const MapRow& row, int fd);

  std::string directory_;
  std::array<Pin, kMapCount> pins_;
};

// Pins again what somebody unpinned, or put something else in the place of. `maps`: descriptors by
// Map. The number of pins that were set right.
Result<uint64_t> restore_pins(const std::string& directory, const std::array<int, kMapCount>& maps);

}  // namespace fairlead::bpf
