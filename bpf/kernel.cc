#include "bpf/kernel.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/fd.h"
#include "bpf/backend.h"
#include "bpf/hook.h"
#include "bpf/pins.h"
#include "bpf/system.h"

namespace fairlead::bpf {
namespace {

constexpr const char* kKernelBtf = "/sys/kernel/btf/vmlinux";

// A program as data: what it is, and which helper it calls.
struct Probe {
  bpf_prog_type type;
  bpf_attach_type attach = static_cast<bpf_attach_type>(0);
  uint32_t flags = 0;
};
constexpr Probe kConnect = {BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT};
constexpr Probe kClassifier = {BPF_PROG_TYPE_SCHED_CLS};
constexpr Probe kSyscall = {BPF_PROG_TYPE_SYSCALL, static_cast<bpf_attach_type>(0),
                            BPF_F_SLEEPABLE};
constexpr Probe kXdp = {BPF_PROG_TYPE_XDP};

constexpr bpf_insn kReturnOne[] = {
    {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1},
    {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
};

Fd load(const Probe& probe, std::span<const bpf_insn> instructions, std::span<char> log = {}) {
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  options.expected_attach_type = probe.attach;
  options.prog_flags = probe.flags;
  options.attempts = 1;
  if (!log.empty()) {
    options.log_level = 1;
    options.log_buf = log.data();
    options.log_size = static_cast<uint32_t>(log.size());
  }
  const int fd =
      bpf_prog_load(probe.type, nullptr, "GPL", instructions.data(), instructions.size(), &options);
  return Fd(fd);
}

bool loads(const Probe& probe) {
  return load(probe, kReturnOne).valid();
}

// Calls the helper without arguments: a verifier that knows it complains about those instead.
bool verifier_knows(const Probe& probe, int32_t helper) {
  const bpf_insn instructions[] = {
      {BPF_JMP | BPF_CALL, 0, 0, 0, helper},
      {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1},
      {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
  };
  std::array<char, 4096> log = {};
  if (load(probe, instructions, log).valid()) return true;
  const std::string_view text(log.data());
  // Without a word the kernel refused before it looked at the call.
  if (text.empty()) return false;
  for (const std::string_view unknown :
       {"invalid func ", "unknown func ", "program of this type cannot use helper "}) {
    if (text.find(unknown) != std::string_view::npos) return false;
  }
  return true;
}

bool test_system_call() {
  return ::syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, nullptr, 0) != -1 || errno != ENOSYS;
}

uint64_t effective_capabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data = {};
  if (::syscall(SYS_capget, &header, data.data()) != 0) return 0;
  return data[0].effective | uint64_t{data[1].effective} << 32;
}

bool has_capability(uint64_t effective, unsigned capability) {
  return (effective >> capability & 1) != 0;
}

bool test_capabilities() {
  return missing_capabilities(effective_capabilities()).empty() && loads(kClassifier) &&
         loads(kConnect);
}

bool test_btf() {
  return ::access(kKernelBtf, R_OK) == 0;
}

bool test_mapped_arrays() {
  LIBBPF_OPTS(bpf_map_create_opts, options);
  options.map_flags = BPF_F_MMAPABLE;
  return Fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, nullptr, 4, 8, 1, &options)).valid();
}

bool test_socket_storage() {
  struct Free {
    void operator()(btf* types) const { btf__free(types); }
  };
  const LibbpfLog silence;
  const std::unique_ptr<btf, Free> types(btf__new_empty());
  if (!types) return false;
  const int integer = btf__add_int(types.get(), "int", 4, BTF_INT_SIGNED);
  if (integer < 0 || btf__load_into_kernel(types.get()) != 0) return false;
  LIBBPF_OPTS(bpf_map_create_opts, options);
  options.map_flags = BPF_F_NO_PREALLOC;
  options.btf_fd = static_cast<uint32_t>(btf__fd(types.get()));
  options.btf_key_type_id = static_cast<uint32_t>(integer);
  options.btf_value_type_id = static_cast<uint32_t>(integer);
  return Fd(bpf_map_create(BPF_MAP_TYPE_SK_STORAGE, nullptr, 4, 4, 0, &options)).valid() &&
         verifier_knows(kConnect, BPF_FUNC_sk_storage_get);
}

bool test_netns_cookie() {
  return verifier_knows(kConnect, BPF_FUNC_get_netns_cookie);
}
bool test_for_each_element() {
  return verifier_knows(kSyscall, BPF_FUNC_for_each_map_elem);
}
bool test_syscall_programs() {
  return loads(kSyscall);
}
bool test_redirect_neighbour() {
  return verifier_knows(kClassifier, BPF_FUNC_redirect_neigh);
}

bool knows_file_system(std::string_view type) {
  std::ifstream file("/proc/filesystems");
  for (std::string line; std::getline(file, line);) {
    if (line.size() > type.size() && line.ends_with(type) &&
        line[line.size() - type.size() - 1] == '\t') {
      return true;
    }
  }
  return false;
}

bool may_mount() {
  return has_capability(effective_capabilities(), CAP_SYS_ADMIN);
}

std::string mountinfo() {
  std::ifstream file("/proc/self/mountinfo");
  return std::string(std::istreambuf_iterator<char>(file), {});
}

bool test_bpffs() {
  return mountinfo().find(" - bpf ") != std::string::npos ||
         (may_mount() && knows_file_system("bpf"));
}

bool test_cgroup2() {
  const std::vector<std::string> mounts = cgroup2_mounts(mountinfo());
  if (mounts.empty()) return may_mount() && knows_file_system("cgroup2");
  for (const std::string& mount : mounts) {
    if (is_cgroup_root(mount)) return true;
  }
  return false;
}

// Attaching to a device that cannot be: a kernel with tcx looks for it.
bool test_tcx() {
  const Fd program = load(kClassifier, kReturnOne);
  if (!program.valid()) return false;
  return -bpf_link_create(program.get(), 0, kTcxIngress, nullptr) == ENODEV;
}

// A kernel function, by which name libbpf would look it up; its program needs CAP_PERFMON as all
// that trace do.
bool test_sock_destroy() {
  const uint64_t effective = effective_capabilities();
  if (!has_capability(effective, CAP_PERFMON) && !has_capability(effective, CAP_SYS_ADMIN)) {
    return false;
  }
  struct stat info = {};
  const Fd file(::open(kKernelBtf, O_RDONLY | O_CLOEXEC));
  if (!file.valid() || ::fstat(file.get(), &info) != 0) return false;
  std::string types(static_cast<size_t>(info.st_size), '\0');
  for (size_t end = 0; end < types.size();) {  // sysfs gives it in pieces
    const ssize_t count = ::read(file.get(), types.data() + end, types.size() - end);
    if (count <= 0) return false;
    end += static_cast<size_t>(count);
  }
  constexpr char kName[] = "\0bpf_sock_destroy";  // with its terminator
  return ::memmem(types.data(), types.size(), kName, sizeof kName) != nullptr;
}

bool test_set_retval() {
  return verifier_knows(kConnect, BPF_FUNC_set_retval);
}
bool test_xdp() {
  return loads(kXdp);
}

constexpr std::string_view kNewer = "run a newer kernel";

constexpr std::array<FeatureRow, 15> kRows = {{
    {Feature::kSystemCall, true, "the bpf system call", "3.18",
     "run a kernel with CONFIG_BPF_SYSCALL", test_system_call},
    {Feature::kCapabilities, true, "permission to load programs", "", "", test_capabilities},
    {Feature::kBtf, true, "kernel type information at /sys/kernel/btf/vmlinux", "5.4",
     "run a kernel with CONFIG_DEBUG_INFO_BTF, and mount /sys into the container", test_btf},
    {Feature::kMappedArrays, true, "arrays mapped into memory", "5.5", kNewer, test_mapped_arrays},
    {Feature::kSocketStorage, true, "socket storage in cgroup programs", "5.8",
     "run a newer kernel, with CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL", test_socket_storage},
    {Feature::kNetnsCookie, true, "bpf_get_netns_cookie", "5.7", kNewer, test_netns_cookie},
    {Feature::kForEachElement, true, "bpf_for_each_map_elem", "5.13", kNewer,
     test_for_each_element},
    {Feature::kSyscallPrograms, true, "syscall programs", "5.14", kNewer, test_syscall_programs},
    {Feature::kRedirectNeighbour, true, "bpf_redirect_neigh", "5.10",
     "run a newer kernel, with CONFIG_NET_CLS_ACT", test_redirect_neighbour},
    {Feature::kBpffs, true, "a bpf file system", "4.4",
     "mount the host's /sys/fs/bpf into the container, or give it SYS_ADMIN", test_bpffs},
    {Feature::kCgroup2, true, "the root of the cgroup2 hierarchy", "4.5",
     "mount the host's /sys/fs/cgroup into the container", test_cgroup2},
    {Feature::kTcx, false, "tcx", "6.6",
     "programs attach through clsact filters, which a restart replaces one after another",
     test_tcx},
    {Feature::kSockDestroy, false, "bpf_sock_destroy", "6.5",
     "UDP sockets that are connected to an endpoint stay there when it leaves", test_sock_destroy},
    {Feature::kSetRetval, false, "bpf_set_retval", "5.18",
     "connecting to a service without endpoints says EPERM instead of ECONNREFUSED",
     test_set_retval},
    {Feature::kXdp, false, "XDP", "4.8", "all packets are served at tc", test_xdp},
}};

std::string running_kernel() {
  utsname name = {};
  return ::uname(&name) == 0 ? name.release : "unknown";
}

std::string text_of_lack(const FeatureRow& row) {
  if (row.feature == Feature::kCapabilities) {
    const std::string capabilities = missing_capabilities(effective_capabilities());
    if (!capabilities.empty()) {
      return fmt::format(
          "needs capabilities {}: give the container \"privileged: true\" or add them",
          capabilities);
    }
    return "is refused the bpf system call in spite of its capabilities: a seccomp profile or the "
           "kernel's lockdown forbids it";
  }
  if (row.since.empty()) return fmt::format("needs {}: {}", row.name, row.answer);
  return fmt::format("needs {} (Linux {}): {}", row.name, row.since, row.answer);
}

}  // namespace

std::span<const FeatureRow> feature_rows() {
  return kRows;
}

bool has(Feature feature) {
  static std::array<std::once_flag, kRows.size()> done;
  static std::array<bool, kRows.size()> found = {};
  const auto index = static_cast<size_t>(feature);
  std::call_once(done[index], [&] { found[index] = kRows[index].test(); });
  return found[index];
}

std::string missing_capabilities(uint64_t effective) {
  struct Row {
    unsigned number;
    std::string_view name;
    bool within_sys_admin;  // CAP_SYS_ADMIN does as well
  };
  constexpr std::array<Row, 3> kNeeded = {{
      {CAP_BPF, "BPF", true},
      {CAP_NET_ADMIN, "NET_ADMIN", false},
      {CAP_PERFMON, "PERFMON", true},
  }};
  std::string missing;
  for (const Row& row : kNeeded) {
    if (has_capability(effective, row.number)) continue;
    if (row.within_sys_admin && has_capability(effective, CAP_SYS_ADMIN)) continue;
    if (!missing.empty()) missing += ", ";
    missing += row.name;
  }
  return missing;
}

bool has_helper(uint32_t program_type, uint32_t attach_type, int32_t helper) {
  return verifier_knows(
      {static_cast<bpf_prog_type>(program_type), static_cast<bpf_attach_type>(attach_type)},
      helper);
}

Status probe() {
  std::string lacks;
  StatusCode code = StatusCode::kUnsupported;
  for (const FeatureRow& row : kRows) {
    if (!row.required || row.test()) continue;
    if (!lacks.empty()) lacks += "; ";
    lacks += text_of_lack(row);
    // Without these two nothing else can be tried.
    if (row.feature == Feature::kCapabilities) code = StatusCode::kPermission;
    if (row.feature == Feature::kCapabilities || row.feature == Feature::kSystemCall) break;
  }
  if (lacks.empty()) return {};
  return Status::error(code, "use eBPF on kernel", running_kernel(), lacks);
}

}  // namespace fairlead::bpf
