#include "demo/kubectl.h"

#include <fmt/format.h>

#include <cstdlib>
#include <utility>

namespace fairlead::demo {
namespace {

// As a shell takes it.
std::string quoted(const std::string& word) {
  if (word.find_first_of(" {}\"$*;|<>") == std::string::npos) return word;
  return "'" + word + "'";
}

std::string command_line(const std::vector<std::string>& arguments) {
  std::string text = "kubectl";
  for (const std::string& word : arguments) text += " " + quoted(word);
  return text;
}

}  // namespace

std::string kubectl_binary() {
  const char* named = std::getenv("FAIRLEAD_KUBECTL");
  return named != nullptr ? named : "/var/cache/fairlead/kubectl/usr/bin/kubectl";
}

Result<harness::CommandResult> Kubectl::attempt(std::vector<std::string> arguments,
                                                std::string_view input) {
  arguments.insert(arguments.begin(), {kubectl_binary(), "--request-timeout=20s"});
  return from_.run([&] { return harness::run_command(std::move(arguments), input); });
}

Result<std::string> Kubectl::run(std::vector<std::string> arguments, std::string_view input,
                                 Show show) {
  const std::string line = command_line(arguments);
  harness::CommandResult result;
  ASSIGN_OR_RETURN(result, attempt(std::move(arguments), input));
  if (result.exit_code != 0) {
    return Status::error(StatusCode::kInternal, "run", line,
                         fmt::format("exit code {}: {}", result.exit_code, result.output));
  }
  const bool manifest = show == Show::kOutput && !input.empty();
  if (manifest) page_.command(line + " <<EOF", std::string(input) + "EOF");
  if (manifest) page_.output(result.output);
  if (show == Show::kOutput && !manifest) page_.command(line, result.output);
  if (show == Show::kCommand) page_.command(line, {});
  return std::move(result.output);
}

Status Kubectl::write_status(std::string_view path, std::string_view kind, std::string_view status,
                             std::string_view labels) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  const std::string_view space =
      path.find("/namespaces/") == std::string_view::npos ? "" : R"("namespace":"default",)";
  const std::string object = fmt::format(
      R"({{"apiVersion":"v1","kind":"{}","metadata":{{"name":"{}",{}"labels":{}}},"status":{}}})",
      kind, name, space, labels, status);
  return run({"replace", "--raw", fmt::format("{}/status", path), "-f", "-"}, object,
             Show::kCommand)
      .status();
}

}  // namespace fairlead::demo
