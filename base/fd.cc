#include "base/fd.h"

#include <unistd.h>

namespace fairlead {

void Fd::reset(int fd) {
  if (fd_ >= 0 && fd_ != fd) ::close(fd_);
  fd_ = fd;
}

}  // namespace fairlead
