#include "bpf/hook.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

namespace fairlead::bpf {
namespace {

constexpr std::array<std::pair<Program, bpf_attach_type>, 8> kSocketPlaces = {{
    {Program::kConnect4, BPF_CGROUP_INET4_CONNECT},
    {Program::kConnect6, BPF_CGROUP_INET6_CONNECT},
    {Program::kSendmsg4, BPF_CGROUP_UDP4_SENDMSG},
    {Program::kSendmsg6, BPF_CGROUP_UDP6_SENDMSG},
    {Program::kRecvmsg4, BPF_CGROUP_UDP4_RECVMSG},
    {Program::kRecvmsg6, BPF_CGROUP_UDP6_RECVMSG},
    {Program::kGetpeername4, BPF_CGROUP_INET4_GETPEERNAME},
    {Program::kGetpeername6, BPF_CGROUP_INET6_GETPEERNAME},
}};

bool on_device(Program program) {
  return program == Program::kIngress || program == Program::kEgress || program == Program::kXdp;
}

bool on_cgroup(Program program) {
  return std::any_of(kSocketPlaces.begin(), kSocketPlaces.end(),
                     [&](const auto& place) { return place.first == program; });
}

Result<bpf_link_info> link_info(int link, const std::string& label) {
  bpf_link_info info{};
  uint32_t length = sizeof info;
  const int error = -bpf_obj_get_info_by_fd(link, &info, &length);
  if (error != 0) return Status::from_errno(error, "look at", label);
  return info;
}

class LinkHook final : public Hook {
 public:
  LinkHook(HookName name, Fd link, std::string pin_path)
      : Hook(name), link_(std::move(link)), pin_path_(std::move(pin_path)) {}

  uint64_t target() const {
    const Result<bpf_link_info> info = link_info(link_.get(), label());
    if (!info) return 0;
    // tcx tells its device where XDP does.
    return info->type == BPF_LINK_TYPE_CGROUP ? info->cgroup.cgroup_id : info->xdp.ifindex;
  }

  Result<uint32_t> program_id() const override {
    const Result<bpf_link_info> info = link_info(link_.get(), label());
    if (!info) return info.status();
    if (target() == 0) {
      return Status::error(StatusCode::kNotFound, "look at", label(), "it was detached");
    }
    return info->prog_id;
  }

  Status exchange(int program) override {
    const int error = -bpf_link_update(link_.get(), program, nullptr);
    return error == 0 ? Status() : Status::from_errno(error, "exchange the program of", label());
  }

  Status detach() override {
    const int error = -bpf_link_detach(link_.get());
    if (pinned()) ::unlink(pin_path_.c_str());
    pin_path_.clear();
    // A link whose device or cgroup is gone has nothing to detach from.
    if (error == 0 || error == ENOLINK || error == EINVAL) return {};
    return Status::from_errno(error, "detach", label());
  }

  Status pin(const std::string& directory) override {
    const std::string path = directory + "/" + name().text();
    if (path == pin_path_ && pinned()) return {};
    ::unlink(path.c_str());
    const int error = -bpf_obj_pin(link_.get(), path.c_str());
    if (error != 0) return Status::from_errno(error, "pin", path);
    if (pin_path_ != path && pinned()) ::unlink(pin_path_.c_str());
    pin_path_ = path;
    return {};
  }

  // Another link may have taken the name over.
  bool pinned() const override {
    const Fd there(pin_path_.empty() ? -1 : bpf_obj_get(pin_path_.c_str()));
    if (!there.valid()) return false;
    const Result<bpf_link_info> found = link_info(there.get(), label());
    const Result<bpf_link_info> own = link_info(link_.get(), label());
    return found && own && found->id == own->id;
  }

 private:
  const Fd link_;
  std::string pin_path_;  // empty: not pinned
};

}  // namespace

std::string HookName::text() const {
  if (device == 0) return std::string(to_string(program));
  if (!xdp) return fmt::format("{}-{}", to_string(program), device);
  return fmt::format("{}-{}-{}", to_string(program), device, to_string(*xdp));
}

std::optional<HookName> HookName::parse(std::string_view text) {
  const size_t end = text.find('-');
  HookName name{};
  bool known = false;
  for (size_t i = 0; i < kProgramCount; ++i) {
    if (to_string(static_cast<Program>(i)) != text.substr(0, end)) continue;
    name.program = static_cast<Program>(i);
    known = on_device(name.program) || on_cgroup(name.program);
  }
  if (!known || on_device(name.program) != (end != std::string_view::npos)) return std::nullopt;
  if (end != std::string_view::npos) {
    const std::string_view rest = text.substr(end + 1);
    const auto [stop, error] = std::from_chars(rest.data(), rest.data() + rest.size(), name.device);
    if (error != std::errc() || name.device == 0) return std::nullopt;
    const std::string_view mode(stop, static_cast<size_t>(rest.data() + rest.size() - stop));
    for (const XdpMode each : {XdpMode::kNative, XdpMode::kGeneric}) {
      if (name.program == Program::kXdp && mode == fmt::format("-{}", to_string(each))) {
        name.xdp = each;
      }
    }
  }
  return name.text() == text && (name.program == Program::kXdp) == name.xdp.has_value()
             ? std::optional(name)
             : std::nullopt;
}

std::string Hook::label() const {
  if (name_.device == 0) return std::string(to_string(name_.program));
  std::array<char, IF_NAMESIZE> buffer{};
  const char* const device = ::if_indextoname(name_.device, buffer.data());
  return fmt::format("{} on device {} ({})", to_string(name_.program), name_.device,
                     device == nullptr ? "gone" : device);
}

std::unique_ptr<Hook> make_link_hook(HookName name, Fd link, std::string pin_path) {
  return std::make_unique<LinkHook>(name, std::move(link), std::move(pin_path));
}

Result<std::unique_ptr<Hook>> open_link_hook(HookName name, const std::string& path) {
  Fd link(bpf_obj_get(path.c_str()));
  if (!link.valid()) return Status::from_errno(errno, "open", path);
  RETURN_IF_ERROR(link_info(link.get(), path).status());
  return make_link_hook(name, std::move(link), path);
}

uint64_t hook_target(const Hook& hook) {
  const auto* const link = dynamic_cast<const LinkHook*>(&hook);
  return link == nullptr ? hook.name().device : link->target();
}

Result<std::unique_ptr<Hook>> attach_to_cgroup(Program program, int fd, int cgroup) {
  const auto place = std::find_if(kSocketPlaces.begin(), kSocketPlaces.end(),
                                  [&](const auto& each) { return each.first == program; });
  if (place == kSocketPlaces.end()) {
    return Status::error(StatusCode::kInternal, "attach to a cgroup", to_string(program),
                         "not a socket program");
  }
  Fd link(bpf_link_create(fd, cgroup, place->second, nullptr));
  if (!link.valid()) return Status::from_errno(errno, "attach to the cgroup", to_string(program));
  return make_link_hook({program, 0, {}}, std::move(link), {});
}

uint32_t program_id_of(int program) {
  bpf_prog_info info{};
  uint32_t length = sizeof info;
  return bpf_obj_get_info_by_fd(program, &info, &length) == 0 ? info.id : 0;
}

Result<Fd> program_of_id(uint32_t id) {
  Fd program(bpf_prog_get_fd_by_id(id));
  if (!program.valid()) {
    return Status::from_errno(errno, "open", fmt::format("eBPF program {}", id));
  }
  return program;
}

}  // namespace fairlead::bpf
