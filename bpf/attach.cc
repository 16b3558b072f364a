#include "bpf/attach.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <set>
#include <utility>

#include "base/log.h"
#include "bpf/hook.h"
#include "bpf/kernel.h"

namespace fairlead::bpf {
namespace {

// What translates answers comes before what translates questions: in between, an application would
// hear an endpoint that it has not asked.
constexpr std::array<Program, 8> kSocketPrograms = {
    Program::kRecvmsg4, Program::kRecvmsg6, Program::kGetpeername4, Program::kGetpeername6,
    Program::kConnect4, Program::kConnect6, Program::kSendmsg4,     Program::kSendmsg6};

struct Cgroup {
  Fd fd;
  uint64_t id = 0;
};

Result<Cgroup> open_cgroup(const std::string& path) {
  Cgroup cgroup{Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC))};
  struct stat info {};
  if (!cgroup.fd.valid() || ::fstat(cgroup.fd.get(), &info) != 0) {
    return Status::from_errno(errno, "open the cgroup", path);
  }
  cgroup.id = info.st_ino;
  return cgroup;
}

void log_failure(const Status& status) {
  if (!status) LOG_WARNING("{}", status.message());
}

}  // namespace

// Steps that are taken back, the last one first, unless all have been taken.
class Attachments::Transaction {
 public:
  Transaction() = default;
  ~Transaction() {
    for (auto step = undo_.rbegin(); step != undo_.rend(); ++step) log_failure((*step)());
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  void on_failure(std::function<Status()> step) { undo_.push_back(std::move(step)); }
  void commit() { undo_.clear(); }

 private:
  std::vector<std::function<Status()>> undo_;
};

Attachments::Attachments(Pins pins, Settings settings, const Programs& programs)
    : pins_(std::move(pins)),
      settings_(std::move(settings)),
      programs_(programs),
      tcx_(settings_.allow_tcx && has(Feature::kTcx)) {}

Attachments::~Attachments() = default;

size_t Attachments::size() const {
  return hooks_.size();
}

void Attachments::sort_in(std::unique_ptr<Hook> hook, uint64_t cgroup) {
  const HookName& name = hook->name();
  const uint64_t wanted = name.device == 0 ? cgroup : name.device;
  if (hook_target(*hook) != wanted || fd(name.program) < 0 || hooks_.contains(name.text())) {
    surplus_.push_back(std::move(hook));
  } else {
    hooks_.emplace(name.text(), std::move(hook));
  }
}

Status Attachments::find() {
  std::vector<std::string> directories = {pins_.links()};
  std::vector<std::string> others;
  ASSIGN_OR_RETURN(others, pins_.other_versions());
  for (const std::string& version : others) directories.push_back(version + "/links");

  Cgroup cgroup;
  ASSIGN_OR_RETURN(cgroup, open_cgroup(settings_.cgroup));
  for (const std::string& directory : directories) {
    std::vector<std::string> entries;
    ASSIGN_OR_RETURN(entries, list_directory(directory));
    others_stand_ |= directory != pins_.links() && !entries.empty();
    for (const std::string& entry : entries) {
      const std::string path = directory + "/" + entry;
      const std::optional<HookName> name = HookName::parse(entry);
      auto hook = name ? open_link_hook(*name, path)
                       : Status::error(StatusCode::kInvalid, "read", path, "not a name of ours");
      if (hook) {
        sort_in(*std::move(hook), cgroup.id);
      } else {
        unknown_.push_back(path);
      }
    }
  }
  auto classifiers = find_classifiers();
  if (!classifiers) return classifiers.status();
  for (auto& classifier : *classifiers) sort_in(std::move(classifier), cgroup.id);
  return {};
}

Status Attachments::take_over(Transaction& transaction) {
  for (auto& [name, hook] : hooks_) {
    const Result<uint32_t> before = hook->program_id();
    if (!before) return before.status();
    auto old = program_of_id(*before);
    if (!old) return old.status();
    RETURN_IF_ERROR(hook->exchange(fd(hook->name().program)));
    transaction.on_failure([hook = hook.get(), old = std::make_shared<Fd>(*std::move(old))] {
      return hook->exchange(old->get());
    });
  }
  return {};
}

Status Attachments::attach_sockets(Transaction& transaction) {
  Cgroup cgroup;
  ASSIGN_OR_RETURN(cgroup, open_cgroup(settings_.cgroup));
  for (const Program program : kSocketPrograms) {
    const std::string name = HookName{program, 0, {}}.text();
    if (fd(program) < 0 || hooks_.contains(name)) continue;
    auto hook = attach_to_cgroup(program, fd(program), cgroup.fd.get());
    if (!hook) return hook.status();
    hooks_.emplace(name, *std::move(hook));
    transaction.on_failure([this, name] {
      const Status detached = hooks_.at(name)->detach();
      hooks_.erase(name);
      return detached;
    });
  }
  return {};
}

Status Attachments::start() {
  {
    Transaction transaction;
    RETURN_IF_ERROR(take_over(transaction));
    RETURN_IF_ERROR(attach_sockets(transaction));
    transaction.commit();
  }
  for (auto& [name, hook] : hooks_) RETURN_IF_ERROR(hook->pin(pins_.links()));
  for (const auto& hook : surplus_) log_failure(hook->detach());
  for (const std::string& path : unknown_) ::unlink(path.c_str());
  surplus_.clear();
  unknown_.clear();
  const auto sockets =
      static_cast<size_t>(std::count_if(hooks_.begin(), hooks_.end(), [](const auto& each) {
        return each.second->name().device == 0;
      }));
  LOG_INFO("{} socket programs on {}, {} places on devices taken over", sockets, settings_.cgroup,
           hooks_.size() - sockets);
  return {};
}

bool Attachments::holds(Program program, uint32_t device) const {
  return hooks_.contains(HookName{program, device, {}}.text());
}

std::optional<XdpMode> Attachments::xdp_mode(uint32_t device) const {
  for (const XdpMode mode : {XdpMode::kNative, XdpMode::kGeneric}) {
    if (hooks_.contains(HookName{Program::kXdp, device, mode}.text())) return mode;
  }
  return std::nullopt;
}

Status Attachments::attach_tc(Program program, const DevicePlan& device) {
  auto hook = tcx_ ? attach_tcx(program, fd(program), device.index)
                   : attach_classifier(program, fd(program), device.index);
  if (!hook) return hook.status();
  const Status pinned = (*hook)->pin(pins_.links());
  if (!pinned) {
    log_failure((*hook)->detach());
    return pinned;
  }
  hooks_.emplace((*hook)->name().text(), *std::move(hook));
  return {};
}

bool Attachments::attach_xdp(const DevicePlan& device) {
  std::string refused;
  for (const XdpMode mode : device.xdp) {
    auto hook = bpf::attach_xdp(fd(Program::kXdp), device.index, mode);
    const Status status = hook ? (*hook)->pin(pins_.links()) : hook.status();
    if (status) {
      hooks_.emplace((*hook)->name().text(), *std::move(hook));
      return true;
    }
    refused +=
        fmt::format("{}{}: {}", refused.empty() ? "" : ", ", to_string(mode), status.detail());
  }
  xdp_refused_[device.index] = refused;
  return false;
}

uint64_t Attachments::attach_missing(const DevicePlan& device) {
  uint64_t changes = 0;
  for (const Program program : {Program::kIngress, Program::kEgress}) {
    if (fd(program) < 0 || holds(program, device.index)) continue;
    if (program == Program::kEgress && !device.egress) continue;
    const Status attached = attach_tc(program, device);
    changes += attached.ok() ? 1 : 0;
    // A device that vanished meanwhile is in the next plan no more.
    if (!attached && attached.system_errno() != ENODEV) {
      LOG_WARNING("device {}: {}", device.name, attached.message());
    }
  }
  if (fd(Program::kXdp) >= 0 && !device.xdp.empty() && !xdp_mode(device.index) &&
      !xdp_refused_.contains(device.index)) {
    changes += attach_xdp(device) ? 1 : 0;
  }
  return changes;
}

void Attachments::report(const DevicePlan& device) const {
  const auto mode = xdp_mode(device.index);
  const auto refused = xdp_refused_.find(device.index);
  const std::string& why = refused == xdp_refused_.end() ? device.xdp_off : refused->second;
  LOG_INFO("device {}: {}{}, XDP {}", device.name,
           holds(Program::kIngress, device.index) ? "ingress" : "no ingress",
           holds(Program::kEgress, device.index) ? " and egress" : "",
           mode ? std::string(to_string(*mode)) : fmt::format("off ({})", why));
}

uint64_t Attachments::follow(std::span<const DevicePlan> plan) {
  std::set<std::string> wanted;
  std::set<uint32_t> planned;
  for (const DevicePlan& device : plan) {
    planned.insert(device.index);
    wanted.insert(HookName{Program::kIngress, device.index, {}}.text());
    if (device.egress) wanted.insert(HookName{Program::kEgress, device.index, {}}.text());
    for (const XdpMode mode : device.xdp) {
      wanted.insert(HookName{Program::kXdp, device.index, mode}.text());
    }
  }
  uint64_t changes = 0;
  std::set<uint32_t> left;
  for (auto each = hooks_.begin(); each != hooks_.end();) {
    Hook& hook = *each->second;
    if (hook.name().device == 0 || wanted.contains(each->first)) {
      ++each;
      continue;
    }
    log_failure(hook.detach());
    left.insert(hook.name().device);
    each = hooks_.erase(each);
    ++changes;
  }
  if (!tcx_) std::for_each(left.begin(), left.end(), remove_empty_clsact);
  std::erase_if(xdp_refused_, [&](const auto& each) { return !planned.contains(each.first); });
  for (const uint32_t device : left) {
    if (!planned.contains(device)) LOG_INFO("device {}: no longer served", device);
  }
  for (const DevicePlan& device : plan) {
    const uint64_t attached = attach_missing(device);
    if (attached > 0) report(device);
    changes += attached;
  }
  return changes;
}

bool Attachments::intact() const {
  return std::all_of(hooks_.begin(), hooks_.end(), [this](const auto& each) {
    const Result<uint32_t> held = each.second->program_id();
    return held && *held == program_id_of(fd(each.second->name().program)) && each.second->pinned();
  });
}

Result<uint64_t> Attachments::repair() {
  RETURN_IF_ERROR(make_directories(pins_.links()));
  uint64_t repaired = 0;
  for (auto each = hooks_.begin(); each != hooks_.end();) {
    Hook& hook = *each->second;
    const int program = fd(hook.name().program);
    const Result<uint32_t> held = hook.program_id();
    if (!held) {
      LOG_WARNING("somebody detached {}", hook.label());
      log_failure(hook.detach());
      each = hooks_.erase(each);
      ++repaired;
      continue;
    }
    if (*held != program_id_of(program)) {
      LOG_WARNING("somebody put another program into {}", hook.label());
      RETURN_IF_ERROR(hook.exchange(program));
      ++repaired;
    }
    if (!hook.pinned()) {
      LOG_WARNING("somebody unpinned {}", hook.label());
      RETURN_IF_ERROR(hook.pin(pins_.links()));
      ++repaired;
    }
    ++each;
  }
  Transaction transaction;
  RETURN_IF_ERROR(attach_sockets(transaction));
  transaction.commit();
  for (auto& [name, hook] : hooks_) RETURN_IF_ERROR(hook->pin(pins_.links()));
  return repaired;
}

Status detach_all(const std::string& pin_path, EmptyClsact clsact) {
  Status first;
  const auto note = [&first](Status status) {
    if (first.ok() && !status) first = std::move(status);
  };
  const auto versions = list_directory(pin_path);
  for (const std::string& version : versions ? *versions : std::vector<std::string>()) {
    const std::string directory = pin_path + "/" + version + "/links";
    const auto names = list_directory(directory);
    for (const std::string& entry : names ? *names : std::vector<std::string>()) {
      // What a link of an unknown name hangs on, it leaves when its pin goes.
      const auto name = HookName::parse(entry);
      auto hook = open_link_hook(name.value_or(HookName{}), directory + "/" + entry);
      if (hook) note((*hook)->detach());
    }
  }
  auto classifiers = find_classifiers();
  if (!classifiers) return classifiers.status();
  for (const auto& classifier : *classifiers) {
    note(classifier->detach());
    if (clsact == EmptyClsact::kRemove) remove_empty_clsact(classifier->name().device);
  }
  note(remove_pins(pin_path));
  ::umount2(std::string(kOwnCgroup2).c_str(), MNT_DETACH);  // mounted for want of another one
  return first;
}

}  // namespace fairlead::bpf
