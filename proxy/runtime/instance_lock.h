// One daemon per network namespace: two would undo each other's rules.
//
// An flock on a file whose name carries the namespace's inode ("proxy-4026531840.lock" in
// /run/fairlead): several nodes on one machine do not collide. The lock goes with the process,
// however it ends; the file stays and tells the pid of the last holder.
//
// Threads: any; the object is owned by one.
#pragma once

#include <string>
#include <utility>

#include "base/fd.h"
#include "base/status.h"

namespace fairlead::proxy {

class InstanceLock {
 public:
  // Creates `directory` when it is missing. kConflict when another process holds the lock, with its
  // pid in the message. kPermission, kInternal: the file could not be opened.
  static Result<InstanceLock> acquire(const std::string& directory = "/run/fairlead");

  const std::string& path() const { return path_; }

 private:
  InstanceLock(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Fd fd_;
  std::string path_;
};

}  // namespace fairlead::proxy
