#include "proxy/config/file_watch.h"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <deque>
#include <set>
#include <utility>

#include "proxy/config/file.h"

namespace fairlead::proxy {
namespace {

// A file that is being written is looked at when it is closed. IN_CREATE is for links: there is
// nothing to close.
constexpr uint32_t kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE |
                             IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

std::deque<std::string> components(const std::string& path) {
  std::deque<std::string> parts;
  for (size_t start = 0; start <= path.size();) {
    const size_t slash = std::min(path.find('/', start), path.size());
    if (slash > start) parts.push_back(path.substr(start, slash - start));
    start = slash + 1;
  }
  return parts;
}

std::string read_link(const std::string& path) {
  std::array<char, PATH_MAX> target{};
  const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
  return length > 0 ? std::string(target.data(), static_cast<size_t>(length)) : std::string();
}

// Every directory in which one name decides what `path` leads to: those that hold a symbolic link
// on the way, and the one that holds the file.
std::set<std::string> deciding_directories(const std::string& path) {
  constexpr int kMostLinks = 40;
  std::set<std::string> directories;
  std::string at = path.starts_with('/') ? "/" : "./";
  std::deque<std::string> rest = components(path);
  int links = 0;
  while (!rest.empty()) {
    const std::string name = std::move(rest.front());
    rest.pop_front();
    if (rest.empty()) directories.insert(at);
    const std::string target = read_link(at + name);
    if (target.empty()) {
      at += name + "/";
      continue;
    }
    directories.insert(at);
    if (++links > kMostLinks) break;
    std::deque<std::string> inner = components(target);
    rest.insert(rest.begin(), inner.begin(), inner.end());
    if (target.starts_with('/')) at = std::string(1, '/');
  }
  return directories;
}

bool is_plain_new_file(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1;
}

}  // namespace

ConfigFileWatch::ConfigFileWatch(Fd inotify, std::string path, std::string content)
    : inotify_(std::move(inotify)), path_(std::move(path)), content_(std::move(content)) {}

Result<ConfigFileWatch> ConfigFileWatch::create(const std::string& path, std::string content) {
  Fd inotify(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify.valid()) return Status::from_errno(errno, "watch", path);
  ConfigFileWatch watch(std::move(inotify), path, std::move(content));
  RETURN_IF_ERROR(watch.watch_directories());
  return watch;
}

Status ConfigFileWatch::watch_directories() {
  const std::set<std::string> wanted = deciding_directories(path_);
  for (auto held = watches_.begin(); held != watches_.end();) {
    if (wanted.count(held->first) != 0) {
      ++held;
      continue;
    }
    ::inotify_rm_watch(inotify_.get(), held->second);
    held = watches_.erase(held);
  }
  for (const std::string& directory : wanted) {
    // Also for those held: the name may belong to another directory now.
    const int id = ::inotify_add_watch(inotify_.get(), directory.c_str(), kEvents);
    if (id >= 0) {
      const auto [held, is_new] = watches_.try_emplace(directory, id);
      if (!is_new && held->second != id) {
        ::inotify_rm_watch(inotify_.get(), held->second);
        held->second = id;
      }
    } else if (errno != ENOENT && errno != ENOTDIR) {
      return Status::from_errno(errno, "watch", directory);
    }
  }
  return {};
}

Result<bool> ConfigFileWatch::take_events() {
  bool relevant = false;
  alignas(inotify_event) std::array<char, 16384> buffer{};
  for (;;) {
    const ssize_t length = ::read(inotify_.get(), buffer.data(), buffer.size());
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno == EAGAIN) return relevant;
    if (length < 0) return Status::from_errno(errno, "watch", path_);
    for (const char* at = buffer.data(); at < buffer.data() + length;) {
      inotify_event event{};
      std::memcpy(&event, at, sizeof event);
      const std::string name(event.len > 0 ? at + sizeof event : "");
      at += sizeof event + event.len;
      std::string directory;
      for (const auto& [held, id] : watches_) {
        if (id == event.wd) directory = held;
      }
      // A new file is looked at when its writer closes it.
      const bool half_written =
          (event.mask & IN_CREATE) != 0 && is_plain_new_file(directory + name);
      relevant = relevant || !half_written;
    }
  }
}

Result<FileChange> ConfigFileWatch::check() {
  bool relevant = false;
  ASSIGN_OR_RETURN(relevant, take_events());
  const bool first = !std::exchange(checked_, true);
  if (!relevant && !first) return FileChange::kNone;
  // Before reading: what changes after the reading makes an event in the new places too.
  RETURN_IF_ERROR(watch_directories());
  const Result<std::string> now = read_config_file(path_);
  if (!now) {
    // Too large to be read is not what was read before.
    return now.status().code() == StatusCode::kInvalid ? FileChange::kContent : FileChange::kGone;
  }
  return *now == content_ ? FileChange::kNone : FileChange::kContent;
}

}  // namespace fairlead::proxy
