// Notices that the content of a file has changed, however it was replaced: written in place,
// renamed over, or swapped behind a symbolic link as the kubelet does with ConfigMaps.
//
// Poll fd() for reading and call check() when it is readable. Nothing is reported for a replacement
// by the same content.
//
// Threads: one owner.
#pragma once

#include <map>
#include <string>

#include "base/fd.h"
#include "base/status.h"

namespace fairlead::proxy {

enum class FileChange {
  kNone,
  kContent,  // it holds something else now
  kGone,     // it cannot be read now; it may come back while its directory exists
};

class ConfigFileWatch {
 public:
  // `content` is what the caller has read from `path`: a change between that reading and this call
  // is found by the first check().
  static Result<ConfigFileWatch> create(const std::string& path, std::string content);

  int fd() const { return inotify_.get(); }
  // Takes what the descriptor holds (never blocks) and compares the file with `content`.
  Result<FileChange> check();

 private:
  ConfigFileWatch(Fd inotify, std::string path, std::string content);
  Status watch_directories();
  Result<bool> take_events();  // whether any of them may concern the content

  Fd inotify_;
  std::string path_;
  std::string content_;
  bool checked_ = false;
  std::map<std::string, int> watches_;  // directory to watch descriptor
};

}  // namespace fairlead::proxy
