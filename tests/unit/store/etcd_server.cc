#include "tests/unit/store/etcd_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <iterator>
#include <thread>

#include "base/fd.h"
#include "tests/unit/store/calls.h"

namespace fairlead::store {
namespace {

constexpr char kBinary[] = "/usr/bin/etcd";

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

uint16_t free_port() {
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

bool answers(const std::string& address) {
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in to =
      loopback(static_cast<uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
}

}  // namespace

bool etcd_is_installed() {
  return ::access(kBinary, X_OK) == 0;
}

Result<std::unique_ptr<EtcdServer>> EtcdServer::start(std::vector<std::string> extra,
                                                      const std::string& scheme) {
  std::unique_ptr<EtcdServer> server(new EtcdServer());
  server->scheme_ = scheme;
  server->peer_ = "http://127.0.0.1:" + std::to_string(free_port());
  server->extra_ = std::move(extra);
  server->move();
  server->home_ = server->address_;
  RETURN_IF_ERROR(server->run());
  return server;
}

void EtcdServer::move() {
  address_ = "127.0.0.1:" + std::to_string(free_port());
}

Status EtcdServer::run() {
  const std::string log = scratch_.path("log");
  const std::string client = scheme_ + "://" + address_;
  std::vector<std::string> arguments = {kBinary,
                                        "--name=test",
                                        "--data-dir=" + scratch_.path("data"),
                                        "--listen-client-urls=" + client,
                                        "--advertise-client-urls=" + client,
                                        "--listen-peer-urls=" + peer_,
                                        "--initial-advertise-peer-urls=" + peer_,
                                        "--initial-cluster=test=" + peer_,
                                        "--logger=zap",
                                        "--log-level=error"};
  arguments.insert(arguments.end(), extra_.begin(), extra_.end());
  ASSIGN_OR_RETURN(process_, harness::ChildProcess::start(arguments, log));
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!answers(address_)) {
    if (process_->wait(std::chrono::milliseconds(20)) ||
        std::chrono::steady_clock::now() > deadline) {
      std::ifstream file(log);
      return Status::error(
          StatusCode::kInternal, "start", "etcd",
          {std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>())});
    }
  }
  return {};
}

std::string EtcdServer::fresh_location() const {
  static std::atomic<int> number = 0;
  return "etcd://" + address_ + "/test" + std::to_string(++number);
}

EtcdOptions EtcdServer::options(const std::string& location) const {
  EtcdOptions options;
  options.address = parse_etcd_address(location).value();
  return options;
}

void EtcdServer::kill() {
  process_.reset();
}

Status EtcdServer::start_again() {
  return run();
}

EtcdServer* shared_etcd() {
  static const std::unique_ptr<EtcdServer> server = []() -> std::unique_ptr<EtcdServer> {
    if (!etcd_is_installed()) return nullptr;
    Result<std::unique_ptr<EtcdServer>> started = EtcdServer::start();
    return started ? std::move(started).value() : nullptr;
  }();
  return server.get();
}

}  // namespace fairlead::store
