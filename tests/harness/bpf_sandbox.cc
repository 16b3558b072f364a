#include "tests/harness/bpf_sandbox.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/fd.h"

namespace fairlead::harness {
namespace {

constexpr std::string_view kPrefix = "fairlead-e2e-";
constexpr const char* kBpfMount = "/sys/fs/bpf";
// Used where the machine mounts none; what it covers is covered in our mount namespace only.
constexpr const char* kOwnCgroupMount = "/sys/fs/cgroup";

Status write_text(const std::string& path, std::string_view text) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return Status::from_errno(errno, "open", path);
  if (::write(file.get(), text.data(), text.size()) < 0) {
    return Status::from_errno(errno, "write to", path);
  }
  return {};
}

Status make_directory(const std::string& path) {
  constexpr mode_t kMode = 0755;
  if (::mkdir(path.c_str(), kMode) == 0) return {};
  return Status::from_errno(errno, "create", path);
}

// Where cgroup v2 is mounted; empty: nowhere.
std::string find_cgroup2() {
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos || !line.substr(dash + 3).starts_with("cgroup2 ")) continue;
    std::istringstream words(line);
    std::string id, parent, device, root, where;
    words >> id >> parent >> device >> root >> where;
    return where;
  }
  return "";
}

// The path of this process within cgroup v2: "/" or "/a/b".
std::string own_cgroup() {
  std::ifstream cgroups("/proc/self/cgroup");
  for (std::string line; std::getline(cgroups, line);) {
    if (line.starts_with("0::")) return line.substr(3);
  }
  return "/";
}

Result<std::string> home_cgroup() {
  std::string mount = find_cgroup2();
  if (mount.empty()) {
    if (::mount("cgroup2", kOwnCgroupMount, "cgroup2", 0, nullptr) != 0) {
      return Status::from_errno(errno, "mount", "cgroup2");
    }
    mount = kOwnCgroupMount;
  }
  const std::string own = own_cgroup();
  return own == "/" ? mount : mount + own;
}

// What earlier processes left that were killed.
void remove_stale(const std::string& home) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(home, ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    const pid_t pid = std::atoi(name.c_str() + kPrefix.size());
    if (pid <= 0 || ::kill(pid, 0) == 0 || errno != ESRCH) continue;
    ::rmdir((entry.path() / "inside").c_str());
    ::rmdir(entry.path().c_str());
  }
}

// Both cgroups, nobody in them yet.
Status make_cgroups(const std::string& outer) {
  RETURN_IF_ERROR(make_directory(outer));
  const std::string inside = outer + "/inside";
  Status status = make_directory(inside);
  if (status) status = write_text(inside + "/cgroup.type", "threaded");
  if (!status) {
    ::rmdir(inside.c_str());
    ::rmdir(outer.c_str());
  }
  return status;
}

Status own_mounts() {
  if (::unshare(CLONE_NEWNS) != 0) return Status::from_errno(errno, "create", "mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return Status::from_errno(errno, "make private", "mounts");
  }
  if (::mount("bpf", kBpfMount, "bpf", 0, nullptr) != 0) {
    return Status::from_errno(errno, "mount", kBpfMount);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<BpfSandbox>> BpfSandbox::create() {
  RETURN_IF_ERROR(own_mounts());
  std::unique_ptr<BpfSandbox> made(new BpfSandbox());
  ASSIGN_OR_RETURN(made->home_, home_cgroup());
  remove_stale(made->home_);
  const std::string outer = made->home_ + "/" + std::string(kPrefix) + std::to_string(::getpid());
  RETURN_IF_ERROR(make_cgroups(outer));
  made->outer_ = outer;
  made->inside_ = outer + "/inside";
  RETURN_IF_ERROR(write_text(outer + "/cgroup.procs", "0"));
  return made;
}

BpfSandbox::~BpfSandbox() {
  if (outer_.empty()) return;
  [[maybe_unused]] const Status moved = write_text(home_ + "/cgroup.procs", "0");
  ::rmdir(inside_.c_str());
  ::rmdir(outer_.c_str());
}

Status BpfSandbox::enter() const {
  return write_text(inside_ + "/cgroup.threads", "0");
}

Status BpfSandbox::leave() const {
  return write_text(outer_ + "/cgroup.threads", "0");
}

std::string BpfSandbox::why_no_cgroup() {
  const std::string mount = find_cgroup2();
  if (mount.empty()) {
    std::ifstream file("/proc/filesystems");
    std::stringstream known;
    known << file.rdbuf();
    return known.str().find("cgroup2") == std::string::npos
               ? "the kernel has no cgroup v2 (CONFIG_CGROUPS)"
               : "";
  }
  const std::string own = own_cgroup();
  const std::string trial =
      (own == "/" ? mount : mount + own) + "/" + std::string(kPrefix) + std::to_string(::getpid());
  const Status status = make_cgroups(trial);
  if (!status) return status.message();
  ::rmdir((trial + "/inside").c_str());
  ::rmdir(trial.c_str());
  return "";
}

std::string BpfSandbox::why_no_bpf() {
  if (::access("/sys/kernel/btf/vmlinux", R_OK) != 0) {
    return "no type information of the kernel at /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF)";
  }
  if (::access(kBpfMount, F_OK) != 0) return std::string("no ") + kBpfMount + " to mount on";
  // return 0
  const bpf_insn program[] = {{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0},
                              {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  bpf_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.prog_type = BPF_PROG_TYPE_SCHED_CLS;
  attributes.insn_cnt = std::size(program);
  attributes.insns = reinterpret_cast<uint64_t>(program);
  attributes.license = reinterpret_cast<uint64_t>("GPL");
  const Fd loaded(static_cast<int>(
      ::syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, static_cast<unsigned>(sizeof attributes))));
  return loaded.valid() ? "" : std::string("cannot load a program: ") + std::strerror(errno);
}

}  // namespace fairlead::harness
