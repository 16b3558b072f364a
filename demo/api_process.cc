#include "demo/api_process.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

#include "tests/harness/probe.h"
#include "tests/harness/topology.h"

namespace fairlead::demo {

using namespace std::chrono_literals;

std::string server_binary() {
  const char* named = std::getenv("FAIRLEAD_SERVER");
  return named != nullptr ? named : "";
}

ApiProcess::ApiProcess(harness::Namespace& node, std::string directory, std::string address)
    : node_(node), directory_(std::move(directory)), address_(std::move(address)) {}

Result<std::unique_ptr<ApiProcess>> ApiProcess::create(harness::Namespace& node,
                                                       std::string directory, std::string address) {
  std::unique_ptr<ApiProcess> api(new ApiProcess(node, std::move(directory), std::move(address)));
  api->log_.reset(::memfd_create("fairlead-server.log", MFD_CLOEXEC));
  if (!api->log_.valid()) return Status::from_errno(errno, "create", "log");
  return api;
}

std::string ApiProcess::url() const {
  return "https://" + address_ + ":6443";
}

std::string ApiProcess::log_path() const {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(log_.get());
}

std::string ApiProcess::log() const {
  std::ostringstream text;
  text << std::ifstream(log_path()).rdbuf();
  return text.str();
}

Result<std::chrono::duration<double, std::milli>> ApiProcess::start() {
  const auto begin = std::chrono::steady_clock::now();
  if (::ftruncate(log_.get(), 0) != 0) return Status::from_errno(errno, "empty", "log");
  const std::vector<std::string> command = {server_binary(),
                                            "server",
                                            "--data-dir",
                                            directory_,
                                            "--listen-address",
                                            address_,
                                            "--service-cluster-ip-range",
                                            harness::Topology::service_cidrs()};
  ASSIGN_OR_RETURN(child_,
                   node_.run([&] { return harness::ChildProcess::start(command, log_path()); }));
  const bool serving = harness::eventually(
      [this] {
        return child_->wait(0ms).has_value() || log().find("serving on https") != std::string::npos;
      },
      20s);
  if (!serving || child_->wait(0ms).has_value()) {
    return Status::error(StatusCode::kUnavailable, "start", "fairlead server", log());
  }
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin);
}

void ApiProcess::kill() {
  child_->signal(SIGKILL);
  child_->wait(10s);
}

Result<int> ApiProcess::stop() {
  child_->signal(SIGTERM);
  if (const std::optional<int> code = child_->wait(20s)) return *code;
  return Status::error(StatusCode::kUnavailable, "stop", "fairlead server",
                       "still running long after SIGTERM");
}

}  // namespace fairlead::demo
