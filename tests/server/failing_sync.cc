// Stands before the C library: syncs fail with EIO while the file named by FAIRLEAD_SYNC_FAILS_IF
// exists.
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace {

int sync_unless_broken(long number, int fd) {
  const char* path = std::getenv("FAIRLEAD_SYNC_FAILS_IF");
  if (path != nullptr && ::access(path, F_OK) == 0) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(number, fd));
}

}  // namespace

extern "C" int fdatasync(int fd) {
  return sync_unless_broken(SYS_fdatasync, fd);
}

extern "C" int fsync(int fd) {
  return sync_unless_broken(SYS_fsync, fd);
}
