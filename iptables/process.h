// Running a program to its end: the seam between Fairlead and the tools it calls.
//
// Threads: one thread at a time.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::iptables {

struct Command {
  std::vector<std::string> arguments;  // the program first, found through PATH
  std::string_view input;              // what it reads from its standard input; outlives the call
  std::chrono::milliseconds deadline = std::chrono::seconds(120);
};

struct CommandResult {
  int exit_code = 0;
  std::string output;
  std::string errors;  // what it wrote to standard error
};

class ProcessRunner {
 public:
  virtual ~ProcessRunner() = default;

  // A program that ran to its end is a result, whatever its exit code. Not ok: it could not be
  // started (kNotFound: there is none of that name), a signal ended it, or the deadline passed
  // (kUnavailable), after which it is killed; nothing of it runs on after the call.
  virtual Result<CommandResult> run(const Command& command) = 0;
};

// By posix_spawn. The child gets the three standard descriptors and no other one, an empty signal
// mask, and this process's environment with the C locale.
std::unique_ptr<ProcessRunner> create_process_runner();

}  // namespace fairlead::iptables
