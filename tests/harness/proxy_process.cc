#include "tests/harness/proxy_process.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace fairlead::harness {
namespace {

std::vector<std::string> with_binary(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), proxy_binary());
  return arguments;
}

}  // namespace

std::string proxy_binary() {
  const char* override = std::getenv("FAIRLEAD_PROXY");
  return override != nullptr ? override : FAIRLEAD_PROXY_DEFAULT;
}

ProxyCopy::ProxyCopy()
    : original_(proxy_binary()),
      copy_(std::filesystem::temp_directory_path() /
            ("fairlead-proxy-" + std::to_string(::getpid()))) {
  std::filesystem::copy_file(original_, copy_, std::filesystem::copy_options::overwrite_existing);
}

ProxyCopy::~ProxyCopy() {
  use(false);
  std::filesystem::remove(copy_);
}

void ProxyCopy::use(bool copy) const {
  ::setenv("FAIRLEAD_PROXY", (copy ? copy_ : original_).c_str(), 1);
}

Result<CommandResult> run_proxy(Namespace& node, std::vector<std::string> arguments) {
  return node.run([&] { return run_command(with_binary(std::move(arguments))); });
}

Result<std::unique_ptr<ProxyProcess>> ProxyProcess::start(Namespace& node,
                                                          std::vector<std::string> arguments,
                                                          std::string log_path) {
  ASSIGN_OR_RETURN(std::unique_ptr<ChildProcess> child,
                   node.run([&] { return ChildProcess::start(with_binary(arguments), log_path); }));
  return std::unique_ptr<ProxyProcess>(
      new ProxyProcess(node, std::move(arguments), std::move(log_path), std::move(child)));
}

ProxyProcess::ProxyProcess(Namespace& node, std::vector<std::string> arguments,
                           std::string log_path, std::unique_ptr<ChildProcess> child)
    : node_(node),
      arguments_(std::move(arguments)),
      log_path_(std::move(log_path)),
      child_(std::move(child)) {}

ProxyProcess::~ProxyProcess() = default;

Status ProxyProcess::wait_ready(std::chrono::milliseconds at_most) {
  std::string last = "no answer";
  const bool ready = eventually(
      [&] {
        if (!running()) {
          last = "it exited";
          return true;
        }
        const Result<HttpAnswer> answer = get_health("/readyz");
        last = answer ? "status " + std::to_string(answer->status) + " " + answer->body
                      : answer.status().message();
        return answer.ok() && answer->status == 200;
      },
      at_most);
  if (ready && running()) return {};
  return Status::error(StatusCode::kUnavailable, "wait for readiness of", proxy_binary(),
                       last + "; the end of its log:\n" + log_tail());
}

bool ProxyProcess::running() {
  return !child_->wait(std::chrono::milliseconds(0));
}

Result<int> ProxyProcess::stop(std::chrono::milliseconds at_most) {
  child_->signal(SIGTERM);
  if (const std::optional<int> code = child_->wait(at_most)) return *code;
  return Status::error(StatusCode::kUnavailable, "stop", proxy_binary(),
                       "still running long after SIGTERM");
}

void ProxyProcess::kill() {
  child_->signal(SIGKILL);
  child_->wait(std::chrono::seconds(10));
}

std::string ProxyProcess::log() const {
  std::ostringstream text;
  text << std::ifstream(log_path_).rdbuf();
  return text.str();
}

std::string ProxyProcess::log_tail(size_t lines) const {
  const std::string text = log();
  size_t begin = text.size();
  for (size_t i = 0; i <= lines && begin != std::string::npos && begin > 0; ++i) {
    begin = text.rfind('\n', begin - 1);
  }
  return begin == std::string::npos || begin == 0 ? text : text.substr(begin + 1);
}

Result<HttpAnswer> ProxyProcess::get_health(std::string_view path) {
  return http_get(node_, "127.0.0.1", kHealthPort, path);
}

Result<HttpAnswer> ProxyProcess::get_metrics(std::string_view path) {
  return http_get(node_, "127.0.0.1", kMetricsPort, path);
}

double ProxyProcess::metric(std::string_view name, std::string_view label) {
  const Result<HttpAnswer> answer = get_metrics("/metrics");
  return answer ? metric_sum(answer->body, name, label) : 0;
}

double metric_sum(std::string_view text, std::string_view name, std::string_view label) {
  double sum = 0;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(name)) continue;
    const size_t space = line.rfind(' ');
    const std::string labels = line.substr(name.size(), space - name.size());
    if (space == std::string::npos || (!labels.empty() && labels[0] != '{')) continue;
    if (labels.find(label) != std::string::npos) sum += std::strtod(line.c_str() + space, nullptr);
  }
  return sum;
}

}  // namespace fairlead::harness
