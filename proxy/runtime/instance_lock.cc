#include "proxy/runtime/instance_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace fairlead::proxy {
namespace {

// The pid in a lock file, for a message only: whatever else it holds is not worth showing.
std::string holder(int fd) {
  char text[32];
  const ssize_t size = ::pread(fd, text, sizeof text, 0);
  std::string pid;
  for (ssize_t i = 0; i < size && text[i] >= '0' && text[i] <= '9'; ++i) pid += text[i];
  return pid;
}

}  // namespace

Result<InstanceLock> InstanceLock::acquire(const std::string& directory) {
  struct stat name_space = {};
  if (::stat("/proc/thread-self/ns/net", &name_space) != 0) {
    return Status::from_errno(errno, "look up", "the network namespace");
  }
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return Status::from_errno(error.value(), "create", directory);

  const std::string path = directory + "/proxy-" + std::to_string(name_space.st_ino) + ".lock";
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd.valid()) return Status::from_errno(errno, "open", path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Status::from_errno(errno, "lock", path);
    const std::string pid = holder(fd.get());
    return Status::error(StatusCode::kConflict, "lock", path,
                         "another fairlead-proxy runs in this network namespace" +
                             (pid.empty() ? std::string() : ", pid " + pid));
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd.get(), 0) != 0 ||
      ::pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return Status::from_errno(errno, "write", path);
  }
  return InstanceLock(std::move(fd), path);
}

}  // namespace fairlead::proxy
