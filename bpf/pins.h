// Where the eBPF mode keeps what outlives the process, and where its socket programs attach.
//
//   <pin path>/v<FL_LAYOUT_VERSION>/maps/<map>      the maps, by their names
//   <pin path>/v<FL_LAYOUT_VERSION>/links/<name>    attached programs
//
// Another layout's version has a directory of its own, so that its programs never meet our maps.
//
// Threads: values; two processes on one pin path are not kept apart here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::bpf {

inline constexpr std::string_view kDefaultBpffs = "/sys/fs/bpf";
inline constexpr std::string_view kOwnCgroup2 = "/run/fairlead/cgroup2";

class Pins {
 public:
  // Sees to it that the parent of `pin_path` is a bpffs: mounts one there when it is an empty
  // directory of another file system. Makes the directories below `pin_path`.
  static Result<Pins> open(const std::string& pin_path);

  const std::string& root() const { return root_; }
  std::string version_directory() const;
  std::string maps() const { return version_directory() + "/maps"; }
  std::string links() const { return version_directory() + "/links"; }

  // Names in the directory of links; empty when there is none.
  Result<std::vector<std::string>> list_links() const;
  // The version directories of other layouts, absolute.
  Result<std::vector<std::string>> other_versions() const;
  // Removes everything below the pin path and the pin path itself. What is pinned goes with its
  // last user: a link's program is detached.
  Status remove() const;
  // Removes `path` with all below it. kInvalid unless it lies below the pin path.
  Status remove(const std::string& path) const;

 private:
  explicit Pins(std::string root) : root_(std::move(root)) {}
  std::string root_;
};

// Pins::remove() for a pin path that need not exist, nor be on a bpffs; mounts nothing.
Status remove_pins(const std::string& pin_path);

// Names in a directory, sorted; empty when it does not exist.
Result<std::vector<std::string>> list_directory(const std::string& path);
// Removes `path`, whatever it is, with all below it; follows no symbolic link and enters no other
// file system. No error when there is nothing.
Status remove_tree(const std::string& path);
// Makes `path` and its parents, accessible to root alone.
Status make_directories(const std::string& path);

// The mount points of cgroup2 hierarchies in a /proc/self/mountinfo, those of a whole hierarchy
// first.
std::vector<std::string> cgroup2_mounts(std::string_view mountinfo);
// True for the root of the node's hierarchy, false for a container's own part of it.
bool is_cgroup_root(const std::string& path);
// The root of the node's cgroup2 hierarchy; mounted at kOwnCgroup2 when it is mounted nowhere.
Result<std::string> find_or_mount_cgroup2();

}  // namespace fairlead::bpf
