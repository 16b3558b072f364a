#include "proxy/runtime/process_stats.h"

#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

namespace fairlead::proxy {
namespace {

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return Status::error(StatusCode::kUnavailable, "read", path, "cannot be read");
  }
  return text.str();
}

std::optional<uint64_t> to_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> words;
  constexpr std::string_view kSpace = " \n\t";
  size_t begin = text.find_first_not_of(kSpace);
  while (begin != std::string_view::npos) {
    const size_t end = std::min(text.find_first_of(kSpace, begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = text.find_first_not_of(kSpace, end);
  }
  return words;
}

// Seconds since 1970 at which the machine came up.
std::optional<uint64_t> boot_time(std::string_view stat) {
  const size_t at = stat.find("btime ");
  if (at == std::string_view::npos) return std::nullopt;
  const auto words = split(stat.substr(at, 40));
  return words.size() < 2 ? std::nullopt : to_number(words[1]);
}

}  // namespace

std::optional<ProcStat> parse_proc_stat(std::string_view line) {
  const size_t name_end = line.rfind(')');
  if (name_end == std::string_view::npos) return std::nullopt;
  // The first word here is field 3, the state.
  const auto words = split(line.substr(name_end + 1));
  const auto field = [&](size_t number) -> std::optional<uint64_t> {
    if (number - 3 >= words.size()) return std::nullopt;
    return to_number(words[number - 3]);
  };
  const auto user = field(14), system = field(15), threads = field(20), start = field(22),
             virtual_bytes = field(23), resident = field(24);
  if (!user || !system || !threads || !start || !virtual_bytes || !resident) return std::nullopt;
  return ProcStat{*user + *system, *threads, *start, *virtual_bytes, *resident};
}

Result<ProcessStats> read_process_stats(const std::string& proc) {
  std::string self, system;
  ASSIGN_OR_RETURN(self, read_file(proc + "/self/stat"));
  ASSIGN_OR_RETURN(system, read_file(proc + "/stat"));
  const auto stat = parse_proc_stat(self);
  if (!stat) {
    return Status::error(StatusCode::kInternal, "read", proc + "/self/stat", "unknown form");
  }
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  ProcessStats stats;
  stats.cpu_seconds = static_cast<double>(stat->cpu_ticks) / ticks;
  stats.start_time = static_cast<double>(boot_time(system).value_or(0)) +
                     static_cast<double>(stat->start_ticks) / ticks;
  stats.virtual_bytes = stat->virtual_bytes;
  stats.resident_bytes = stat->resident_pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  stats.threads = stat->threads;

  std::error_code error;
  for (std::filesystem::directory_iterator entry(proc + "/self/fd", error), end;
       !error && entry != end; entry.increment(error)) {
    ++stats.open_fds;
  }
  if (stats.open_fds > 0) --stats.open_fds;  // the one that the listing itself used
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) stats.max_fds = limit.rlim_cur;
  return stats;
}

}  // namespace fairlead::proxy
