// Programs that answer as a test says.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "iptables/process.h"

namespace fairlead::iptables {

// `answers`: by the words of a command, joined by spaces. A command that is not among them does not
// exist.
class FakeRunner final : public ProcessRunner {
 public:
  explicit FakeRunner(std::map<std::string, CommandResult> answers)
      : answers_(std::move(answers)) {}

  Result<CommandResult> run(const Command& command) override {
    std::string line;
    for (const std::string& word : command.arguments) line += (line.empty() ? "" : " ") + word;
    const auto found = answers_.find(line);
    if (found != answers_.end()) return found->second;
    return Status::error(StatusCode::kNotFound, "run", line, "no such program");
  }

 private:
  std::map<std::string, CommandResult> answers_;
};

}  // namespace fairlead::iptables
