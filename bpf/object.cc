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
    "fl_ingress",      "fl_egress",   "fl_xdp",         "fl_connect4", "fl_connect6",
    "fl_sendmsg4",     "fl_sendmsg6", "fl_recvmsg4",    "fl_recvmsg6", "fl_getpeername4",
    "fl_getpeername6", "fl_sweep",    "fl_udp_sockets",
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

// The text between `before` and `after`, at the last place where the two stand in one line.
std::string_view last_between(std::string_view text, std::string_view before,
                              std::string_view after) {
  for (size_t at = text.rfind(before); at != std::string_view::npos;
       at = at == 0 ? std::string_view::npos : text.rfind(before, at - 1)) {
    const std::string_view rest = text.substr(at + before.size());
    const size_t end = rest.find(after);
    if (end < rest.find('\n')) return rest.substr(0, end);
  }
  return {};
}

// The last `count` lines of what the verifier said, in one line; its statistics are left out.
std::string last_words(std::string_view log, size_t count) {
  constexpr std::string_view kBegin = "BEGIN PROG LOAD LOG --\n";
  const size_t begin = log.rfind(kBegin);
  if (begin == std::string_view::npos) return {};
  log.remove_prefix(begin + kBegin.size());
  log = log.substr(0, log.find("-- END PROG LOAD LOG"));
  std::vector<std::string_view> lines;
  while (!log.empty()) {
    const std::string_view line = log.substr(0, log.find('\n'));
    log.remove_prefix(std::min(log.size(), line.size() + 1));
    const bool statistics = line.starts_with("processed ") || line.starts_with("verification time");
    if (!line.empty() && !statistics) lines.push_back(line);
  }
  std::string words;
  for (size_t i = lines.size() - std::min(lines.size(), count); i < lines.size(); ++i) {
    if (!words.empty()) words += " | ";
    words += lines[i];
  }
  return words;
}

std::string last_line(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  const size_t start = text.rfind('\n');
  text = start == std::string_view::npos ? text : text.substr(start + 1);
  constexpr std::string_view kPrefix = "libbpf: ";
  if (text.starts_with(kPrefix)) text.remove_prefix(kPrefix.size());
  return std::string(text);
}

// Which program the kernel refused, going by libbpf's words; empty when it was something else.
std::string_view refused_program(std::string_view log) {
  return last_between(log, "prog '", "': BPF program load failed");
}

Status explain(int error, std::string_view log) {
  const std::string reason = Status::from_errno(error, "", "").detail();
  const StatusCode code = error == EPERM ? StatusCode::kPermission : StatusCode::kUnsupported;
  const std::string_view permission =
      error == EPERM ? "give the container \"privileged: true\" or capabilities BPF, NET_ADMIN, "
                       "PERFMON"
                     : "";
  if (const std::string_view program = refused_program(log); !program.empty()) {
    const std::string words = last_words(log, 3);
    return Status::error(
        code, "load eBPF program", program,
        fmt::format("the kernel refuses it: {}{}{}; {}", reason, words.empty() ? "" : ": ", words,
                    !permission.empty() ? permission
                                        : "choose --proxy-mode=nftables, and report this line "
                                          "with the kernel's version"));
  }
  if (const std::string_view name = last_between(log, "map '", "': failed to create");
      !name.empty()) {
    const auto row = std::find_if(kMapRows.begin(), kMapRows.end(),
                                  [&](const MapRow& candidate) { return candidate.name == name; });
    std::string advice(permission);
    if (advice.empty() && row != kMapRows.end() && !row->flag.empty()) {
      advice = fmt::format("lower {}, or give the node more memory", row->flag);
    }
    return Status::error(error == ENOMEM || error == E2BIG ? StatusCode::kExhausted : code,
                         "create eBPF map", name, reason + (advice.empty() ? "" : "; " + advice));
  }
  const std::string words = last_line(log);
  return Status::error(code, "load", "the eBPF programs",
                       fmt::format("{}{}{}{}{}", reason, words.empty() ? "" : ": ", words,
                                   permission.empty() ? "" : "; ", permission));
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
    for (const Optional& row : kOptional) {
      if (name == to_string(row.program)) *refused = row.program;
    }
    return explain(error, log.text());
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

Result<std::unique_ptr<Object>> Object::load(const Sizes& sizes, const std::string& map_directory) {
  RETURN_IF_ERROR(check_sizes(sizes));
  Switches off = {};
  for (const Optional& row : kOptional) {
    if (has(row.feature)) continue;
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
    LOG_WARNING("the mode goes on without: {}", loaded.status().message());
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
