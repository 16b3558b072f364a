#include "bpf/release.h"

#include <bpf/bpf.h>

#include <vector>

#include "bpf/layout.h"
#include "bpf/map_rows.h"
#include "bpf/pins.h"
#include "bpf/system.h"

namespace fairlead::bpf {
namespace {

Status begin_nothing(const std::string& maps) {
  const MapRow& row = row_of(Map::kConfig);
  const std::string path = maps + "/" + std::string(row.name);
  const Result<Fd> pinned = open_pinned_map(path);
  if (!pinned) return pinned.status().code() == StatusCode::kNotFound ? Status() : pinned.status();
  MapShape shape;
  ASSIGN_OR_RETURN(shape, shape_of({pinned->get(), row.name, row.flag}));
  if (shape.value_size != sizeof(fl_config)) {
    return Status::error(StatusCode::kUnsupported, "release", path, "a map of another layout");
  }
  const uint32_t zero = 0;
  fl_config config;
  if (bpf_map_lookup_elem(pinned->get(), &zero, &config) != 0) {
    return Status::from_errno(errno, "read", path);
  }
  config.handover = FL_HANDOVER_ASIDE;
  if (bpf_map_update_elem(pinned->get(), &zero, &config, BPF_EXIST) != 0) {
    return Status::from_errno(errno, "write", path);
  }
  return {};
}

}  // namespace

Result<bool> release_pins(const std::string& pin_path) {
  std::vector<std::string> versions;
  ASSIGN_OR_RETURN(versions, list_directory(pin_path));
  for (const std::string& version : versions) {
    RETURN_IF_ERROR(begin_nothing(pin_path + "/" + version + "/maps"));
  }
  return !versions.empty();
}

}  // namespace fairlead::bpf
