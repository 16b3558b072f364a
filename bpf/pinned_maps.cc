#include "bpf/pinned_maps.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/log.h"
#include "bpf/pins.h"
#include "bpf/system.h"

namespace fairlead::bpf {
namespace {

// A flow's way back is a place in fl_returns; its key has an id that fl_config keeps from being
// given out again, and it remembers an index of fl_endpoints. Without one of these it would lead
// astray.
constexpr std::array<Map, 4> kFlowState = {Map::kFlows, Map::kNewFlows, Map::kAffinity,
                                           Map::kReturns};
constexpr std::array<Map, 5> kFlowsNeed = {Map::kFlows, Map::kNewFlows, Map::kReturns, Map::kConfig,
                                           Map::kEndpoints};

// New pins are set in this order, and in the table's for the rest. Flows come before what they
// depend on: should we be killed half way, there are no flows rather than misleading ones.
constexpr std::array<Map, 4> kPinnedFirst = {Map::kFlows, Map::kNewFlows, Map::kAffinity,
                                             Map::kReturns};

// bpffs takes no dots.
constexpr std::string_view kUnfinished = "_new";

bpf_map* find_map(bpf_object* object, const MapRow& row) {
  return bpf_object__find_map_by_name(object, std::string(row.name).c_str());
}

MapShape wanted_shape(const bpf_map* map) {
  return {static_cast<uint32_t>(bpf_map__type(map)), bpf_map__key_size(map),
          bpf_map__value_size(map), bpf_map__max_entries(map), bpf_map__map_flags(map)};
}

bool same_kind(const MapShape& a, const MapShape& b) {
  return a.type == b.type && a.key_size == b.key_size && a.value_size == b.value_size &&
         a.flags == b.flags;
}

std::string text_of(const MapShape& shape) {
  return fmt::format("type {}, keys of {} and values of {} bytes, flags {:#x}", shape.type,
                     shape.key_size, shape.value_size, shape.flags);
}

// The places of the smaller array; what lies beyond is reported by the caller's warning.
Status copy_array(const MapHandle& from, const MapHandle& to) {
  ArrayMapping old_array;
  ArrayMapping new_array;
  ASSIGN_OR_RETURN(old_array, ArrayMapping::open(from));
  ASSIGN_OR_RETURN(new_array, ArrayMapping::open(to));
  const size_t both = std::min(old_array.bytes().size(), new_array.bytes().size());
  std::memcpy(new_array.bytes().data(), old_array.bytes().data(), both);
  const auto beyond = old_array.bytes().subspan(both);
  if (std::any_of(beyond.begin(), beyond.end(), [](std::byte b) { return b != std::byte{}; })) {
    LOG_WARNING("{}: now too small for what it held: the rest is rendered anew ({})", to.name,
                to.flag);
  }
  return {};
}

Status copy_elements(const MapHandle& from, const MapHandle& to) {
  Elements elements;
  ASSIGN_OR_RETURN(elements, read_all(from));
  size_t written = 0;
  const Status status =
      update_all(to, elements.keys.data(), elements.values.data(), elements.count, &written);
  if (status || status.code() != StatusCode::kExhausted) return status;
  LOG_WARNING("{}: now too small for what it held: {} of {} entries are given up ({})", to.name,
              elements.count - written, elements.count, to.flag);
  return {};
}

}  // namespace

std::string PinnedMaps::path(Map map) const {
  return fmt::format("{}/{}", directory_, row_of(map).name);
}

Status PinnedMaps::examine(const MapRow& row, bpf_object* object) {
  const std::string at = path(row.map);
  RETURN_IF_ERROR(remove_tree(at + std::string(kUnfinished)));  // left by a run that was killed

  struct stat info = {};
  if (::lstat(at.c_str(), &info) != 0) {
    return errno == ENOENT ? Status() : Status::from_errno(errno, "look at", at);
  }
  Pin& found = pin(row.map);
  found.plan = Plan::kReplace;
  if (!S_ISREG(info.st_mode)) {
    LOG_WARNING("{}: not a pinned map: replaced", at);
    return {};
  }
  Result<Fd> old = open_pinned_map(at);
  if (!old && old.status().code() == StatusCode::kConflict) {
    LOG_WARNING("{}: not a pinned map: replaced", at);
    return {};
  }
  ASSIGN_OR_RETURN(found.old, std::move(old));
  MapShape shape;
  ASSIGN_OR_RETURN(shape, shape_of({found.old.get(), row.name, row.flag}));
  const MapShape wanted = wanted_shape(find_map(object, row));
  if (!same_kind(shape, wanted)) {
    LOG_WARNING("{}: the pinned map has {}; this build needs {}: replaced by an empty one", at,
                text_of(shape), text_of(wanted));
  } else if (shape.max_entries == wanted.max_entries) {
    found.plan = Plan::kReuse;
  } else {
    found.other_size = true;
    if (row.carry != Carry::kNothing) found.plan = Plan::kCarry;
  }
  return {};
}

void PinnedMaps::keep_flows_consistent() {
  const auto kept = [&](Map map) {
    return pin(map).plan == Plan::kReuse || pin(map).plan == Plan::kCarry;
  };
  const auto lost = std::find_if_not(kFlowsNeed.begin(), kFlowsNeed.end(), kept);
  if (lost == kFlowsNeed.end()) return;
  bool any_flows = false;
  for (const Map map : kFlowState) {
    Pin& state = pin(map);
    if (state.plan == Plan::kCreate) continue;
    const bool flows = map == Map::kFlows || map == Map::kNewFlows;
    if (flows && state.old.valid()) {
      any_flows = any_flows || !is_empty({state.old.get(), row_of(map).name, {}});
    }
    state.plan = Plan::kReplace;
  }
  // Programs that still run on the old slots must go on finding them: their configuration, with
  // the number of classes, stays as it is, and the new ones get a copy.
  if (pin(Map::kConfig).plan == Plan::kReuse) pin(Map::kConfig).plan = Plan::kCarry;
  if (!any_flows) return;
  if (*lost == Map::kReturns && pin(Map::kReturns).other_size) {
    LOG_WARNING(
        "{} changed: the slots of answers move, so all flows of the packet path are given "
        "up; connections in progress through it break",
        row_of(Map::kReturns).flag);
  } else {
    LOG_WARNING(
        "map {} cannot be taken over: all flows of the packet path are given up; "
        "connections in progress through it break",
        row_of(*lost).name);
  }
}

Status PinnedMaps::prepare(bpf_object* object) {
  RETURN_IF_ERROR(make_directories(directory_));
  for (const MapRow& row : kMapRows) RETURN_IF_ERROR(examine(row, object));
  keep_flows_consistent();
  for (const MapRow& row : kMapRows) {
    const Pin& known = pin(row.map);
    if (known.plan != Plan::kReuse) continue;
    const int error = -bpf_map__reuse_fd(find_map(object, row), known.old.get());
    if (error != 0) return Status::from_errno(error, "take over", path(row.map));
  }
  return {};
}

Status PinnedMaps::carry(const MapRow& row, int from, int to) {
  const MapHandle source = {from, row.name, row.flag};
  const MapHandle target = {to, row.name, row.flag};
  return row.carry == Carry::kIndexes ? copy_array(source, target) : copy_elements(source, target);
}

namespace {

// Makes `fd` the map that is pinned at `at`, by one rename.
Status pin_over(const std::string& at, int fd) {
  const std::string unfinished = at + std::string(kUnfinished);
  const int error = -bpf_obj_pin(fd, unfinished.c_str());
  if (error != 0) return Status::from_errno(error, "pin", unfinished);
  struct stat info = {};
  if (::lstat(at.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) RETURN_IF_ERROR(remove_tree(at));
  if (::rename(unfinished.c_str(), at.c_str()) != 0) return Status::from_errno(errno, "pin", at);
  return {};
}

Result<uint32_t> map_id(int fd, const std::string& path) {
  bpf_map_info info = {};
  uint32_t length = sizeof info;
  const int error = -bpf_obj_get_info_by_fd(fd, &info, &length);
  if (error != 0) return Status::from_errno(error, "look at", path);
  return info.id;
}

}  // namespace

Status PinnedMaps::replace(const MapRow& row, int fd) {
  return pin_over(path(row.map), fd);
}

Status PinnedMaps::commit(bpf_object* object) {
  for (const MapRow& row : kMapRows) {
    const Pin& known = pin(row.map);
    if (known.plan != Plan::kCarry) continue;
    RETURN_IF_ERROR(carry(row, known.old.get(), bpf_map__fd(find_map(object, row))));
  }
  const auto settle = [&](Map map) -> Status {
    Pin& known = pin(map);
    if (known.plan == Plan::kReuse) return {};
    RETURN_IF_ERROR(replace(row_of(map), bpf_map__fd(find_map(object, row_of(map)))));
    known.plan = Plan::kReuse;
    known.old.reset();
    return {};
  };
  for (const Map map : kPinnedFirst) RETURN_IF_ERROR(settle(map));
  for (const MapRow& row : kMapRows) RETURN_IF_ERROR(settle(row.map));
  return {};
}

Result<uint64_t> restore_pins(const std::string& directory,
                              const std::array<int, kMapCount>& maps) {
  uint64_t restored = 0;
  for (const MapRow& row : kMapRows) {
    const std::string path = directory + "/" + std::string(row.name);
    const int fd = maps[static_cast<size_t>(row.map)];
    uint32_t own = 0;
    ASSIGN_OR_RETURN(own, map_id(fd, path));
    const Result<Fd> there = open_pinned_map(path);
    const Result<uint32_t> pinned = there ? map_id(there->get(), path) : there.status();
    if (pinned && *pinned == own) continue;
    LOG_WARNING("somebody unpinned {}", row.name);
    RETURN_IF_ERROR(make_directories(directory));
    RETURN_IF_ERROR(pin_over(path, fd));
    ++restored;
  }
  return restored;
}

}  // namespace fairlead::bpf
