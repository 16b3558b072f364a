// `fairlead server` as a process of its own, on loopback: TLS on one port, plain HTTP on another.
//
// Threads: one owner, which is the thread that has started it: the process ends with that thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/harness/process.h"

namespace fairlead::server_test {

// The collection that tests write to where any would do.
inline constexpr char kPath[] = "/api/v1/namespaces/default/configmaps";

class ServerProcess {
 public:
  // `directory` exists; data and log go into it. Ends the test program when the server does not
  // come up within half a minute.
  explicit ServerProcess(std::string directory, std::vector<std::string> flags = {},
                         std::vector<std::string> before = {});

  uint16_t port() const { return port_; }  // plain HTTP
  pid_t pid() const { return process_->pid(); }
  size_t resident_kb() const;
  std::string log() const;

  void kill();  // SIGKILL
  void stop();  // SIGTERM, and waits
  void start_again();

 private:
  const std::string directory_;
  const std::vector<std::string> flags_;
  const std::vector<std::string> before_;  // a command that starts the command that follows
  const uint16_t secure_port_;
  const uint16_t port_;
  std::unique_ptr<harness::ChildProcess> process_;
};

// Of the program under test: sanitizers make memory and time their own.
constexpr bool sanitized() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  return true;
#else
  return false;
#endif
#else
  return false;
#endif
}

}  // namespace fairlead::server_test
