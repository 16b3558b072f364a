// The daemon under test: fairlead-proxy as a child process inside the node's network namespace.
//
// The binary is the one that this build makes, or the one that the environment variable
// FAIRLEAD_PROXY names. Its log goes to a file in a directory that is removed with the last user.
//
// Threads: one owner.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tests/harness/netns.h"
#include "tests/harness/probe.h"
#include "tests/harness/process.h"

namespace fairlead::harness {

inline constexpr uint16_t kHealthPort = 10256;
inline constexpr uint16_t kMetricsPort = 10249;

// The path of the binary under test.
std::string proxy_binary();
// A second copy of that program, as an upgrade brings one, removed with the object.
class ProxyCopy {
 public:
  ProxyCopy();
  ~ProxyCopy();
  ProxyCopy(const ProxyCopy&) = delete;
  ProxyCopy& operator=(const ProxyCopy&) = delete;

  // Which of the two proxy_binary() names from now on.
  void use(bool copy) const;

 private:
  std::string original_;
  std::string copy_;
};

// Runs it with `arguments` to its end, as for --cleanup.
Result<CommandResult> run_proxy(Namespace& node, std::vector<std::string> arguments);

class ProxyProcess {
 public:
  static Result<std::unique_ptr<ProxyProcess>> start(Namespace& node,
                                                     std::vector<std::string> arguments,
                                                     std::string log_path);
  ~ProxyProcess();  // SIGKILL if it still runs

  // Waits until /readyz answers 200: the first complete sync is in the kernel.
  Status wait_ready(std::chrono::milliseconds at_most = std::chrono::seconds(20));
  bool running();
  // Exit code of an orderly stop (SIGTERM); an error when it does not end.
  Result<int> stop(std::chrono::milliseconds at_most = std::chrono::seconds(10));
  void kill();  // SIGKILL, and waits for the end

  pid_t pid() const { return child_->pid(); }
  const std::vector<std::string>& arguments() const { return arguments_; }
  // Everything it wrote, and the last lines of it.
  std::string log() const;
  std::string log_tail(size_t lines = 60) const;

  Result<HttpAnswer> get_health(std::string_view path);   // "/healthz"
  Result<HttpAnswer> get_metrics(std::string_view path);  // "/metrics"
  // The sum of the samples called `name` whose labels contain `label`; 0 when there is none.
  double metric(std::string_view name, std::string_view label = {});

 private:
  ProxyProcess(Namespace& node, std::vector<std::string> arguments, std::string log_path,
               std::unique_ptr<ChildProcess> child);

  Namespace& node_;
  std::vector<std::string> arguments_;
  std::string log_path_;
  std::unique_ptr<ChildProcess> child_;
};

// As ProxyProcess::metric(), of a text in Prometheus' format.
double metric_sum(std::string_view text, std::string_view name, std::string_view label);

}  // namespace fairlead::harness
