#include "tests/server/server_process.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/socket.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>

#include "base/fd.h"
#include "tests/harness/loopback.h"
#include "tests/server/http_client.h"

namespace fairlead::server_test {
namespace {

using std::chrono::milliseconds;

// Below the kernel's own choices, so that no client's connection takes it between two starts.
uint16_t free_port() {
  std::mt19937 random{std::random_device{}()};
  std::uniform_int_distribution<int> ports(20'000, 29'999);
  while (true) {
    const auto port = static_cast<uint16_t>(ports(random));
    const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = harness::loopback(port);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      return port;
    }
  }
}

}  // namespace

ServerProcess::ServerProcess(std::string directory, std::vector<std::string> flags,
                             std::vector<std::string> before)
    : directory_(std::move(directory)),
      flags_(std::move(flags)),
      before_(std::move(before)),
      secure_port_(free_port()),
      port_(free_port()) {
  start_again();
}

void ServerProcess::start_again() {
  std::vector<std::string> arguments = before_;
  for (const std::string& word :
       {std::string(FAIRLEAD_SERVER), std::string("server"), "--data-dir=" + directory_ + "/data",
        std::string("--listen-address=127.0.0.1"), fmt::format("--secure-port={}", secure_port_),
        fmt::format("--insecure-port={}", port_)}) {
    arguments.push_back(word);
  }
  arguments.insert(arguments.end(), flags_.begin(), flags_.end());
  auto started = harness::ChildProcess::start(arguments, directory_ + "/log");
  const char* why = "does not answer";
  if (started) {
    process_ = std::move(started).value();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (std::chrono::steady_clock::now() < deadline) {
      HttpClient client(port_);
      const auto answer = client.send("GET", "/readyz");
      if (answer && answer->status == 200) return;
      if (process_->wait(milliseconds(5))) {
        why = "has ended";
        break;
      }
    }
  }
  fmt::print(stderr, "the server {}:\n{}\n", why, log());
  std::abort();
}

size_t ServerProcess::resident_kb() const {
  std::ifstream status(fmt::format("/proc/{}/status", pid()));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::strtoull(line.c_str() + 6, nullptr, 10);
  }
  return 0;
}

std::string ServerProcess::log() const {
  std::ifstream file(directory_ + "/log");
  return {std::istreambuf_iterator<char>(file), {}};
}

void ServerProcess::kill() {
  process_->signal(SIGKILL);
  process_->wait(std::chrono::seconds(10));
}

void ServerProcess::stop() {
  process_->signal(SIGTERM);
  process_->wait(std::chrono::seconds(30));
}

}  // namespace fairlead::server_test
