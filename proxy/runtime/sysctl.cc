#include "proxy/runtime/sysctl.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>

#include "base/fd.h"
#include "base/log.h"

namespace fairlead::proxy {
namespace {

Result<int64_t> read_number(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Status::from_errno(errno, "read", path);
  char text[64];
  const ssize_t size = ::read(fd.get(), text, sizeof text);
  if (size < 0) return Status::from_errno(errno, "read", path);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text, text + size, value);
  if (error != std::errc()) {
    return Status::error(StatusCode::kInvalid, "read", path, "does not hold a number");
  }
  return value;
}

}  // namespace

int64_t conntrack_max(const ConntrackSettings& settings, unsigned cores) {
  const int64_t per_core = settings.max_per_core.value_or(0);
  if (per_core <= 0) return 0;
  return std::max(per_core * static_cast<int64_t>(cores),
                  static_cast<int64_t>(settings.min.value_or(0)));
}

Sysctl::Sysctl(SysctlPaths paths) : paths_(std::move(paths)) {}

Result<int64_t> Sysctl::read(std::string_view name) const {
  std::string path = paths_.proc_sys + "/" + std::string(name);
  std::replace(path.begin() + static_cast<ptrdiff_t>(paths_.proc_sys.size()), path.end(), '.', '/');
  return read_number(path);
}

Status Sysctl::write_file(const std::string& path, int64_t value) const {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!fd.valid()) return Status::from_errno(errno, "write", path);
  const std::string text = std::to_string(value);
  if (::write(fd.get(), text.data(), text.size()) < 0) {
    return Status::from_errno(errno, "write " + text + " to", path);
  }
  LOG_INFO("set {} to {}", path, value);
  return Status();
}

Status Sysctl::write_if_different(std::string_view name, int64_t value) const {
  const auto current = read(name);
  if (!current) return current.status();
  if (*current == value) return Status();
  std::string path(name);
  std::replace(path.begin(), path.end(), '.', '/');
  return write_file(paths_.proc_sys + "/" + path, value);
}

bool Sysctl::sysfs_writable() const {
  std::ifstream mounts(paths_.mounts);
  std::string line;
  while (std::getline(mounts, line)) {
    std::istringstream words(line);
    std::string device, where, type, options;
    words >> device >> where >> type >> options;
    if (type == "sysfs") return options == "rw" || options.starts_with("rw,");
  }
  return false;
}

Status Sysctl::raise_hash_size(int64_t size, bool& read_only) const {
  const auto current = read_number(paths_.hash_size);
  if (!current) return current.status();
  if (*current >= size) return Status();
  if (!sysfs_writable()) {
    read_only = true;
    return Status();
  }
  return write_file(paths_.hash_size, size);
}

Sysctl::ConntrackOutcome Sysctl::apply(const ConntrackSettings& settings, unsigned cores) const {
  ConntrackOutcome outcome;
  const auto note = [&](Status status) {
    if (!status) outcome.problems.push_back(std::move(status));
  };
  const auto set = [&](std::string_view name, int64_t value) {
    if (value > 0) note(write_if_different(name, value));
  };
  if (const int64_t max = conntrack_max(settings, cores); max > 0) {
    note(write_if_different("net.netfilter.nf_conntrack_max", max));
    note(raise_hash_size(max / 4, outcome.read_only_sysfs));
  }
  set("net.netfilter.nf_conntrack_tcp_timeout_established",
      settings.tcp_established_timeout.value_or(std::chrono::seconds(0)).count());
  set("net.netfilter.nf_conntrack_tcp_timeout_close_wait",
      settings.tcp_close_wait_timeout.value_or(std::chrono::seconds(0)).count());
  set("net.netfilter.nf_conntrack_tcp_be_liberal", settings.tcp_be_liberal ? 1 : 0);
  set("net.netfilter.nf_conntrack_udp_timeout", settings.udp_timeout.count());
  set("net.netfilter.nf_conntrack_udp_timeout_stream", settings.udp_stream_timeout.count());
  return outcome;
}

Status Sysctl::set_oom_score(int score) const {
  if (score < -1000 || score > 1000) {
    return Status::error(StatusCode::kInvalid, "set", "oom_score_adj",
                         std::to_string(score) + " is not between -1000 and 1000");
  }
  const auto current = read_number(paths_.oom_score);
  if (current && *current == score) return Status();
  return write_file(paths_.oom_score, score);
}

}  // namespace fairlead::proxy
