#include "bpf/object.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>

#include "base/log.h"
#include "bpf/fairlead.skel.h"
#include "bpf/kernel.h"
#include "bpf/load_failure.h"
#include "bpf/map_rows.h"
#include "bpf/pinned_maps.h"
#include "bpf/system.h"

namespace fairlead::bpf {
namespace {

struct SkeletonCloser {
  void operator()(fairlead_bpf* skeleton) const { fairlead_bpf__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<fairlead_bpf, SkeletonCloser>;

constexpr std::array<const char*, kProgramCount> kProgramNames = {
    "fl_ingress",      "fl_egress",   "fl_xdp",      "fl_connect4",    "fl_connect6",
    "fl_sendmsg4",     "fl_sendmsg6", "fl_recvmsg4", "fl_recvmsg6",    "fl_getpeername4",
    "fl_getpeername6", "fl_sweep",    "fl_adopt",    "fl_udp_sockets",
};

// Programs that the mode can do without, and what of the kernel each needs.
struct Optional {
  Program program;
  Feature feature;
};
constexpr std::array<Optional, 2> kOptional = {{
    {Program::kXdp, Feature::kXdp},
    {Program::kUdpSockets, Feature::kSockDestroy},
}};

using Switches = std::array<bool, kProgramCount>;

constexpr uint32_t kMostReturnClasses = 1 << 12;

Status check_sizes(const Sizes& sizes) {
  for (const MapRow& row : kMapRows) {
    if (row.size == nullptr) continue;
    const uint32_t asked = sizes.*row.size;
    if (asked < row.divide || asked == 0) {
      return Status::error(StatusCode::kInvalid, "use", fmt::format("{}={}", row.flag, asked),
                           fmt::format("must be {} at least", row.divide));
    }
  }
  if (!std::has_single_bit(sizes.return_classes) || sizes.return_classes > kMostReturnClasses) {
    return Status::error(StatusCode::kInvalid, "use",
                         fmt::format("--ebpf-return-classes={}", sizes.return_classes),
                         fmt::format("must be a power of two, {} at most", kMostReturnClasses));
  }
  return {};
}

Status size_maps(const Sizes& sizes, bpf_object* object) {
  for (const MapRow& row : kMapRows) {
    bpf_map* map = bpf_object__find_map_by_name(object, std::string(row.name).c_str());
    if (map == nullptr) {
      return Status::error(StatusCode::kInternal, "find", row.name, "not in the eBPF object");
    }
    if (row.size == nullptr) continue;
    const int error = -bpf_map__set_max_entries(map, sizes.*row.size * row.multiply / row.divide);
    if (error != 0) return Status::from_errno(error, "size map", row.name);
  }
  return {};
}

// Opens, sizes and loads all programs but those that are switched off. `refused` is set to the
// optional program that the kernel would not take.
Result<Skeleton> try_load(const Sizes& sizes, const std::string& map_directory, const Switches& off,
                          Program* refused) {
  LibbpfLog log;
  Skeleton skeleton(fairlead_bpf__open());
  if (!skeleton) {
    return Status::error(StatusCode::kInternal, "open", "the embedded eBPF object",
                         last_line(log.text()));
  }
  bpf_object* object = skeleton->obj;
  RETURN_IF_ERROR(size_maps(sizes, object));
  for (size_t i = 0; i < kProgramCount; ++i) {
    bpf_program* program = bpf_object__find_program_by_name(object, kProgramNames[i]);
    if (program != nullptr && off[i]) bpf_program__set_autoload(program, false);
  }
  PinnedMaps pinned(map_directory);
  if (!map_directory.empty()) RETURN_IF_ERROR(pinned.prepare(object));
  const int error = -fairlead_bpf__load(skeleton.get());
  if (error != 0) {
    const std::string_view name = refused_program(log.text());
    std::string_view otherwise =
        "choose --proxy-mode=nftables, and report this line with the kernel's version";
    for (const Optional& row : kOptional) {
      if (name != to_string(row.program)) continue;
      *refused = row.program;
      otherwise = feature_rows()[static_cast<size_t>(row.feature)].answer;
    }
    return explain_load_failure(error, log.text(), otherwise);
  }
  if (!map_directory.empty()) RETURN_IF_ERROR(pinned.commit(object));
  return skeleton;
}

}  // namespace

std::string_view to_string(Map map) {
  return row_of(map).name;
}
std::string_view to_string(Program program) {
  return kProgramNames[static_cast<size_t>(program)];
}

struct Object::State {
  Skeleton skeleton;
  std::array<int, kMapCount> maps = {};
  std::array<int, kProgramCount> programs = {};
};

Object::Object(std::unique_ptr<State> state) : state_(std::move(state)) {}
Object::~Object() = default;

Result<std::unique_ptr<Object>> Object::load(const Sizes& sizes, const std::string& map_directory,
                                             Load what) {
  RETURN_IF_ERROR(check_sizes(sizes));
  Switches off = {};
  if (what == Load::kMapsOnly) off.fill(true);
  for (const Optional& row : kOptional) {
    if (what == Load::kMapsOnly || has(row.feature)) continue;
    off[static_cast<size_t>(row.program)] = true;
    const FeatureRow& lack = feature_rows()[static_cast<size_t>(row.feature)];
    LOG_INFO("no {}: {}", lack.name, lack.answer);
  }
  auto state = std::make_unique<State>();
  while (true) {
    auto refused = static_cast<Program>(kProgramCount);
    Result<Skeleton> loaded = try_load(sizes, map_directory, off, &refused);
    if (loaded) {
      state->skeleton = std::move(loaded).value();
      break;
    }
    const auto index = static_cast<size_t>(refused);
    if (index == kProgramCount || off[index]) return loaded.status();
    LOG_WARNING("{}", loaded.status().message());
    off[index] = true;
  }
  bpf_object* object = state->skeleton->obj;
  for (const MapRow& row : kMapRows) {
    state->maps[static_cast<size_t>(row.map)] =
        bpf_object__find_map_fd_by_name(object, std::string(row.name).c_str());
  }
  for (size_t i = 0; i < kProgramCount; ++i) {
    const bpf_program* program = bpf_object__find_program_by_name(object, kProgramNames[i]);
    const int fd = program == nullptr || off[i] ? -1 : bpf_program__fd(program);
    state->programs[i] = fd < 0 ? -1 : fd;
  }
  return std::unique_ptr<Object>(new Object(std::move(state)));
}

int Object::fd(Map map) const {
  return state_->maps[static_cast<size_t>(map)];
}

int Object::fd(Program program) const {
  return state_->programs[static_cast<size_t>(program)];
}

std::vector<ProgramFacts> Object::facts() const {
  std::vector<ProgramFacts> facts;
  for (size_t i = 0; i < kProgramCount; ++i) {
    bpf_prog_info info = {};
    uint32_t size = sizeof info;
    if (state_->programs[i] < 0) continue;
    if (bpf_obj_get_info_by_fd(state_->programs[i], &info, &size) != 0) continue;
    facts.push_back({static_cast<Program>(i), info.verified_insns, info.jited_prog_len});
  }
  return facts;
}

}  // namespace fairlead::bpf
