// Kernel settings of the node: connection tracking limits and timeouts, the daemon's own OOM score.
//
// A setting is written only when it differs (the hash size: when it is too small), so that a
// read-only /proc/sys with the right values is no error. A read-only sysfs is reported by its own
// code, for the caller to warn and go on, as kube-proxy does.
//
// Threads: any; call at start.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::proxy {

// Where the kernel's files are; tests give directories of their own.
struct SysctlPaths {
  std::string proc_sys = "/proc/sys";
  std::string hash_size = "/sys/module/nf_conntrack/parameters/hashsize";
  std::string mounts = "/proc/mounts";
  std::string oom_score = "/proc/self/oom_score_adj";
};

// nullopt or 0: leave as it is.
struct ConntrackSettings {
  std::optional<int> max_per_core;
  std::optional<int> min;
  std::optional<std::chrono::seconds> tcp_established_timeout;
  std::optional<std::chrono::seconds> tcp_close_wait_timeout;
  bool tcp_be_liberal = false;
  std::chrono::seconds udp_timeout{0};
  std::chrono::seconds udp_stream_timeout{0};
};

// nf_conntrack_max for these settings; 0: leave it. max_per_core of 0 leaves it whatever `min`
// says.
int64_t conntrack_max(const ConntrackSettings& settings, unsigned cores);

class Sysctl {
 public:
  explicit Sysctl(SysctlPaths paths = {});

  // `name` with slashes or dots: "net.ipv4.ip_forward".
  Result<int64_t> read(std::string_view name) const;
  Status write_if_different(std::string_view name, int64_t value) const;

  struct ConntrackOutcome {
    bool read_only_sysfs = false;  // the hash size could not be raised: tell it as readOnlySysFS
    std::vector<Status> problems;  // each setting that could not be made; the others were made
  };
  // `cores`: std::thread::hardware_concurrency().
  ConntrackOutcome apply(const ConntrackSettings& settings, unsigned cores) const;

  Status set_oom_score(int score) const;  // -1000 to 1000

 private:
  Status write_file(const std::string& path, int64_t value) const;
  bool sysfs_writable() const;
  Status raise_hash_size(int64_t size, bool& read_only) const;

  SysctlPaths paths_;
};

}  // namespace fairlead::proxy
