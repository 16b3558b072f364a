// What /proc says of this process: the figures behind process_*.
//
// Threads: pure functions and file reads; any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fairlead::proxy {

struct ProcessStats {
  double cpu_seconds = 0;
  double start_time = 0;  // seconds since 1970
  uint64_t resident_bytes = 0;
  uint64_t virtual_bytes = 0;
  uint64_t threads = 0;
  uint64_t open_fds = 0;
  uint64_t max_fds = 0;
};

// The fields of /proc/<pid>/stat that matter here, in the kernel's units.
struct ProcStat {
  uint64_t cpu_ticks = 0;  // user and system
  uint64_t threads = 0;
  uint64_t start_ticks = 0;  // after boot
  uint64_t virtual_bytes = 0;
  uint64_t resident_pages = 0;
};
// nullopt when it is not such a line. The command name may hold spaces and parentheses.
std::optional<ProcStat> parse_proc_stat(std::string_view line);

Result<ProcessStats> read_process_stats(const std::string& proc = "/proc");

}  // namespace fairlead::proxy
