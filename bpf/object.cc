#include "bpf/object.h"

#include <array>

#include "bpf/fairlead.skel.h"
#include "bpf/layout.h"

namespace fairlead::bpf {
namespace {

struct SkeletonCloser {
  void operator()(fairlead_bpf* skeleton) const { fairlead_bpf__destroy(skeleton); }
};

constexpr std::array<std::string_view, kMapCount> kMapNames = {
    "fl_frontends", "fl_entries",        "fl_rings",     "fl_endpoints",
    "fl_prefixes",  "fl_node_addresses", "fl_devices",   "fl_config",
    "fl_flows",     "fl_new_flows",      "fl_returns",   "fl_affinity",
    "fl_fragments", "fl_counters",       "fl_connected", "fl_datagrams",
};
constexpr std::array<std::string_view, kProgramCount> kProgramNames = {
    "fl_ingress",      "fl_egress",   "fl_xdp",         "fl_connect4", "fl_connect6",
    "fl_sendmsg4",     "fl_sendmsg6", "fl_recvmsg4",    "fl_recvmsg6", "fl_getpeername4",
    "fl_getpeername6", "fl_sweep",    "fl_udp_sockets",
};

}  // namespace

std::string_view to_string(Map map) {
  return kMapNames[static_cast<size_t>(map)];
}
std::string_view to_string(Program program) {
  return kProgramNames[static_cast<size_t>(program)];
}

struct Object::State {
  std::unique_ptr<fairlead_bpf, SkeletonCloser> skeleton;
};

Object::Object(std::unique_ptr<State> state) : state_(std::move(state)) {}
Object::~Object() = default;

Result<std::unique_ptr<Object>> Object::load(const Sizes& sizes, const std::string&) {
  auto state = std::make_unique<State>();
  state->skeleton.reset(fairlead_bpf__open());
  if (!state->skeleton) return Status::from_errno(errno, "open", "the embedded eBPF object");
  const std::array<std::pair<Map, uint32_t>, 10> wanted = {{
      {Map::kFrontends, sizes.frontends},
      {Map::kEntries, sizes.entries},
      {Map::kRings, sizes.ring_slots / FL_RING_BLOCK},
      {Map::kEndpoints, sizes.endpoints},
      {Map::kPrefixes, sizes.prefixes},
      {Map::kFlows, sizes.flows},
      {Map::kNewFlows, sizes.new_flows},
      {Map::kReturns, sizes.return_classes << 16},
      {Map::kAffinity, sizes.affinity},
      {Map::kFragments, sizes.fragments},
  }};
  for (const auto& [map, size] : wanted) {
    bpf_map* handle =
        bpf_object__find_map_by_name(state->skeleton->obj, std::string(to_string(map)).c_str());
    if (handle == nullptr || bpf_map__set_max_entries(handle, size) != 0) {
      return Status::from_errno(errno, "size map", to_string(map));
    }
  }
  const int error = fairlead_bpf__load(state->skeleton.get());
  if (error != 0) return Status::from_errno(-error, "load", "the eBPF programs");
  return std::unique_ptr<Object>(new Object(std::move(state)));
}

int Object::fd(Map map) const {
  const bpf_map* handle =
      bpf_object__find_map_by_name(state_->skeleton->obj, std::string(to_string(map)).c_str());
  return handle == nullptr ? -1 : bpf_map__fd(handle);
}

int Object::fd(Program program) const {
  const bpf_program* handle = bpf_object__find_program_by_name(
      state_->skeleton->obj, std::string(to_string(program)).c_str());
  return handle == nullptr ? -1 : bpf_program__fd(handle);
}

}  // namespace fairlead::bpf
