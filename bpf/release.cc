#include "bpf/release.h"

#include <bpf/bpf.h>
#include <fmt/format.h>

#include <optional>
#include <vector>

#include "base/log.h"
#include "bpf/carried_flows.h"
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

std::string maps_of(const std::string& pin_path, const std::string& version) {
  return pin_path + "/" + version + "/maps";
}

// What cannot be carried ends with the programs: no error.
void warn_unless_carried(const Status& status) {
  if (status || status.code() == StatusCode::kNotFound) return;
  LOG_WARNING("connection tracking does not take the flows of eBPF programs: {}", status.message());
}

// The flows of a layout that this build knows; nullopt without any.
std::optional<FlowCarrier> carrier_of(const std::string& pin_path, const std::string& version) {
  if (version != fmt::format("v{}", FL_LAYOUT_VERSION)) return std::nullopt;
  auto carrier = FlowCarrier::open(maps_of(pin_path, version));
  if (carrier) return *std::move(carrier);
  warn_unless_carried(carrier.status());
  return std::nullopt;
}

}  // namespace

Result<bool> release_pins(const std::string& pin_path) {
  std::vector<std::string> versions;
  ASSIGN_OR_RETURN(versions, list_directory(pin_path));
  for (const std::string& version : versions) {
    std::optional<FlowCarrier> carrier = carrier_of(pin_path, version);
    // Most of them before anything can meet them, then those that have begun meanwhile; the less
    // time that took, the fewer are left for when they stand aside.
    for (int round = 0; round < 3 && carrier; ++round) warn_unless_carried(carrier->tell(true));
    RETURN_IF_ERROR(begin_nothing(maps_of(pin_path, version)));
    if (carrier) warn_unless_carried(carrier->tell(false));
  }
  return !versions.empty();
}

void hand_over_flows(const std::string& pin_path) {
  const Result<std::vector<std::string>> versions = list_directory(pin_path);
  for (const std::string& version : versions ? *versions : std::vector<std::string>()) {
    std::optional<FlowCarrier> carrier = carrier_of(pin_path, version);
    if (!carrier) continue;
    const Status done = carrier->hand_over();
    warn_unless_carried(done);
    const FlowCarrier::Counts& counts = carrier->counts();
    if (!done && counts.flows == counts.refused) continue;
    LOG_INFO("connection tracking goes on with {} flows of eBPF programs, and not with {}",
             counts.flows - counts.refused, counts.refused);
  }
}

}  // namespace fairlead::bpf
