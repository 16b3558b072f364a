#include "bpf/pins.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>

#include "base/fd.h"
#include "base/log.h"
#include "bpf/layout.h"

namespace fairlead::bpf {
namespace {

struct DirectoryCloser {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, DirectoryCloser>;

bool is_bpffs(const std::string& path) {
  struct statfs info = {};
  return ::statfs(path.c_str(), &info) == 0 && info.f_type == BPF_FS_MAGIC;
}

// Without "." and "..", no "//" and no "/" at the end; empty when `path` is not absolute or climbs.
std::string normal_path(const std::string& path) {
  const std::filesystem::path given(path);
  if (!given.is_absolute()) return {};
  std::string normal;
  for (const auto& part : given) {
    if (part == "..") return {};
    if (part == "." || part == "/" || part.empty()) continue;
    normal += "/" + part.string();
  }
  return normal;
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status mount_file_system(const char* type, const std::string& at) {
  if (::mount(type, at.c_str(), type, MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0) {
    LOG_INFO("mounted {} at {}", type, at);
    return {};
  }
  const int error = errno;
  return Status::error(
      error == EPERM || error == EACCES ? StatusCode::kPermission : StatusCode::kUnsupported,
      fmt::format("mount {} at", type), at,
      error == EPERM || error == EACCES
          ? fmt::format("needs CAP_SYS_ADMIN: or mount the host's {} into the container", at)
          : std::string(Status::from_errno(error, "", "").detail()));
}

Status ensure_bpffs(const std::string& directory) {
  std::string existing = directory;
  while (existing != "/" && ::access(existing.c_str(), F_OK) != 0) existing = parent_of(existing);
  if (is_bpffs(existing)) return {};
  Result<std::vector<std::string>> names = list_directory(directory);
  if (!names) return names.status();
  struct stat info = {};
  if (::stat(directory.c_str(), &info) != 0) {
    return Status::from_errno(errno, "find a bpf file system at", directory);
  }
  if (!names->empty()) {
    return Status::error(StatusCode::kInvalid, "mount a bpf file system at", directory,
                         "the directory is not empty: choose another --ebpf-pin-path, such as " +
                             std::string(kDefaultBpffs) + "/fairlead");
  }
  return mount_file_system("bpf", directory);
}

// A name below the directory `parent`, of the file system `device`.
Status remove_below(int parent, const std::string& name, const std::string& path, dev_t device) {
  struct stat info = {};
  if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? Status() : Status::from_errno(errno, "look at", path);
  }
  if (!S_ISDIR(info.st_mode)) {
    if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return {};
    return Status::from_errno(errno, "remove", path);
  }
  if (info.st_dev != device) {
    return Status::error(StatusCode::kConflict, "remove", path,
                         "another file system is mounted there");
  }
  Fd opened(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!opened.valid()) return Status::from_errno(errno, "open", path);
  const Directory directory(::fdopendir(opened.get()));
  if (!directory) return Status::from_errno(errno, "open", path);
  const int fd = opened.release();
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view found = entry->d_name;
    if (found != "." && found != "..") names.emplace_back(found);
  }
  for (const std::string& below : names) {
    RETURN_IF_ERROR(remove_below(fd, below, path + "/" + below, device));
  }
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
  return Status::from_errno(errno, "remove", path);
}

// mountinfo writes space, tab, newline and backslash as three octal digits.
std::string unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto octal = [&](size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                 (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

Result<std::string> read_mountinfo() {
  std::ifstream file("/proc/self/mountinfo");
  if (!file) return Status::from_errno(ENOENT, "read", "/proc/self/mountinfo");
  return std::string(std::istreambuf_iterator<char>(file), {});
}

Result<std::string> find_cgroup2() {
  std::string mountinfo;
  ASSIGN_OR_RETURN(mountinfo, read_mountinfo());
  std::string part;
  for (const std::string& mount : cgroup2_mounts(mountinfo)) {
    if (is_cgroup_root(mount)) return mount;
    part = mount;
  }
  if (part.empty()) return Status::error(StatusCode::kNotFound, "find", "cgroup2", "not mounted");
  return Status::error(StatusCode::kUnsupported, "find the root of cgroup2", part,
                       "it is this container's own part of the hierarchy: mount the host's "
                       "/sys/fs/cgroup into the container, or run it in the host's cgroup "
                       "namespace (privileged: true)");
}

}  // namespace

Result<Pins> Pins::open(const std::string& pin_path) {
  const std::string root = normal_path(pin_path);
  if (root.empty()) {
    return Status::error(StatusCode::kInvalid, "use --ebpf-pin-path", pin_path,
                         "not an absolute path without ..");
  }
  RETURN_IF_ERROR(ensure_bpffs(parent_of(root)));
  Pins pins(root);
  RETURN_IF_ERROR(make_directories(pins.maps()));
  RETURN_IF_ERROR(make_directories(pins.links()));
  return pins;
}

std::string Pins::version_directory() const {
  return fmt::format("{}/v{}", root_, FL_LAYOUT_VERSION);
}

Result<std::vector<std::string>> Pins::list_links() const {
  return list_directory(links());
}

Result<std::vector<std::string>> Pins::other_versions() const {
  std::vector<std::string> names;
  ASSIGN_OR_RETURN(names, list_directory(root_));
  std::vector<std::string> others;
  for (const std::string& name : names) {
    const bool version = name.size() > 1 && name[0] == 'v' &&
                         name.find_first_not_of("0123456789", 1) == std::string::npos;
    if (version && root_ + "/" + name != version_directory()) others.push_back(root_ + "/" + name);
  }
  return others;
}

Status Pins::remove() const {
  return remove_tree(root_);
}

Status Pins::remove(const std::string& path) const {
  const std::string normal = normal_path(path);
  if (!normal.starts_with(root_ + "/")) {
    return Status::error(StatusCode::kInvalid, "remove", path, "not below " + root_);
  }
  return remove_tree(normal);
}

Status remove_pins(const std::string& pin_path) {
  const std::string root = normal_path(pin_path);
  // Elsewhere than on a bpffs nothing of ours can be.
  if (root.empty() || !is_bpffs(parent_of(root))) return {};
  return remove_tree(root);
}

Result<std::vector<std::string>> list_directory(const std::string& path) {
  const Directory directory(::opendir(path.c_str()));
  if (!directory) {
    if (errno == ENOENT) return std::vector<std::string>();
    return Status::from_errno(errno, "list", path);
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Status remove_tree(const std::string& path) {
  const std::string parent = parent_of(path);
  const Fd directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) {
    return errno == ENOENT ? Status() : Status::from_errno(errno, "open", parent);
  }
  struct stat info = {};
  if (::fstat(directory.get(), &info) != 0) return Status::from_errno(errno, "look at", parent);
  return remove_below(directory.get(), path.substr(path.rfind('/') + 1), path, info.st_dev);
}

Status make_directories(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string prefix = path.substr(0, end);
    if (::mkdir(prefix.c_str(), 0700) != 0 && errno != EEXIST) {
      struct stat info = {};
      const int error = errno;
      // A directory of a file system that makes none answers other than EEXIST.
      if (::stat(prefix.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
        return Status::from_errno(error, "create", prefix);
      }
    }
    if (end == std::string::npos) return {};
  }
}

std::vector<std::string> cgroup2_mounts(std::string_view mountinfo) {
  std::vector<std::string> whole;
  std::vector<std::string> parts;
  std::istringstream lines{std::string(mountinfo)};
  for (std::string line; std::getline(lines, line);) {
    // id parent major:minor root mount-point options [optional ...] - type source options
    const size_t separator = line.find(" - ");
    if (separator == std::string::npos) continue;
    std::istringstream before(line.substr(0, separator));
    std::istringstream after(line.substr(separator + 3));
    std::string skipped;
    std::string root;
    std::string mount_point;
    std::string type;
    before >> skipped >> skipped >> skipped >> root >> mount_point;
    after >> type;
    if (type != "cgroup2" || mount_point.empty()) continue;
    (root == "/" ? whole : parts).push_back(unescape(mount_point));
  }
  whole.insert(whole.end(), parts.begin(), parts.end());
  return whole;
}

bool is_cgroup_root(const std::string& path) {
  // Every cgroup has this file, but for the root.
  return ::access((path + "/cgroup.procs").c_str(), F_OK) == 0 &&
         ::access((path + "/cgroup.events").c_str(), F_OK) != 0;
}

Result<std::string> find_or_mount_cgroup2() {
  Result<std::string> found = find_cgroup2();
  if (found || found.status().code() != StatusCode::kNotFound) return found;
  const std::string own(kOwnCgroup2);
  RETURN_IF_ERROR(make_directories(own));
  RETURN_IF_ERROR(mount_file_system("cgroup2", own));
  return find_cgroup2();
}

}  // namespace fairlead::bpf
