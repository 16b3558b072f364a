// Programs that a test runs: short commands to the end, and long-lived children that cannot outlive
// it.
//
// Both run in the network namespace of the calling thread. A child is killed by the kernel when the
// thread that started it ends, hence also when the test is killed: start children on a thread that
// lives as long as they should (Namespace::run() offers one for each namespace).
//
// Threads: run_command() from any; a ChildProcess has one owner.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::harness {

struct CommandResult {
  int exit_code = 0;   // 128 + signal when killed by one
  std::string output;  // standard output and error together
};

// Runs `argv` (searched in PATH) with `input` on its standard input, and waits for it.
Result<CommandResult> run_command(std::vector<std::string> argv, std::string_view input = {});
// The same, where an exit code other than 0 is an error that quotes the output.
Status run_checked(std::vector<std::string> argv, std::string_view input = {});

class ChildProcess {
 public:
  // Standard output and error are appended to the file `log_path`.
  static Result<std::unique_ptr<ChildProcess>> start(std::vector<std::string> argv,
                                                     const std::string& log_path);
  ~ChildProcess();  // kills and reaps it
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  // The exit code once it has ended (128 + signal when killed by one).
  std::optional<int> wait(std::chrono::milliseconds at_most);
  void signal(int number);

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}

  pid_t pid_;
  std::optional<int> exit_code_;
};

}  // namespace fairlead::harness
