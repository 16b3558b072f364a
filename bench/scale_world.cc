#include "bench/scale_world.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>

#include "base/fd.h"
#include "tests/api_server/objects.h"

namespace fairlead::bench {
namespace {

using harness::Namespace;
using namespace std::chrono_literals;  // NOLINT: literals only

constexpr Host kPods = 10U << 24;                       // 10.0.0.0/10
constexpr Host kReplacementPods = kPods + (32U << 16);  // the upper half of it
constexpr Host kServices = kPods + (128U << 16);        // 10.128.0.0/9
constexpr std::chrono::milliseconds kBetweenTries{2};

std::string service_name(uint32_t service) {
  return fmt::format("service-{:05}", service);
}

// Names sort as numbers do.
std::string port_name(uint32_t number) {
  return fmt::format("http-{:03}", number);
}

std::vector<api_server::EndpointPortSpec> slice_ports(uint32_t count) {
  std::vector<api_server::EndpointPortSpec> ports;
  for (uint32_t i = 0; i < count; ++i) ports.push_back({.name = port_name(i), .port = kPodPort});
  return ports;
}

std::string with_commas(uint32_t number) {
  std::string text = std::to_string(number);
  for (auto i = static_cast<std::ptrdiff_t>(text.size()) - 3; i > 0; i -= 3) {
    text.insert(static_cast<size_t>(i), ",");
  }
  return text;
}

// A closed connection that leaves nothing behind: no port in TIME_WAIT.
Fd open_socket(int flags) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  const linger reset{1, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  return socket;
}

bool wait_for(int socket, short events, Clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd wait{socket, events, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

double status_mb(pid_t pid, std::string_view key) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) return std::strtod(line.c_str() + key.size(), nullptr) / 1024;
  }
  return 0;
}

}  // namespace

std::string Shape::to_string() const {
  return fmt::format("{} services × {}", with_commas(services),
                     endpoints == 1 ? "1 endpoint" : fmt::format("{} endpoints", endpoints));
}
std::string Shape::id() const {
  return fmt::format("{}x{}", services, endpoints);
}

std::string host_text(Host host) {
  return fmt::format("{}.{}.{}.{}", host >> 24, host >> 16 & 255, host >> 8 & 255, host & 255);
}
sockaddr_in socket_address(Host host, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(host);
  address.sin_port = htons(port);
  return address;
}
Host service_ip(uint32_t service) {
  return kServices + 1 + service;
}
Host pod_ip(uint32_t number, uint32_t generation) {
  return (generation == 0 ? kPods : kReplacementPods) + 1 + number;
}

Result<std::unique_ptr<ScaleWorld>> ScaleWorld::create(const Setup& setup, Shape shape,
                                                       uint32_t ports) {
  std::unique_ptr<ScaleWorld> world(new ScaleWorld(setup, shape, ports));
  const char* directory = std::getenv("TMPDIR");
  world->log_path_ = fmt::format("{}/fairlead-bench-{}-{}.log",
                                 directory != nullptr ? directory : "/tmp", ::getpid(), setup.mode);
  RETURN_IF_ERROR(world->build_network());
  RETURN_IF_ERROR(world->fill_api());
  return world;
}

ScaleWorld::~ScaleWorld() {
  proxy_.reset();
  // Namespaces vanish with their rules; pins and what hangs on the cgroup do not.
  if (node_ && setup_.mode == "ebpf") {
    if (const Status status = clean_up(); !status) {
      fmt::print(stderr, "bench: {}\n", status.message());
    }
  }
  ::unlink(log_path_.c_str());
}

Status ScaleWorld::build_network() {
  ASSIGN_OR_RETURN(client_, Namespace::create("client"));
  ASSIGN_OR_RETURN(node_, Namespace::create("node"));
  ASSIGN_OR_RETURN(pods_, Namespace::create("pods"));
  ASSIGN_OR_RETURN(pod_, Namespace::create("pod"));
  if (setup_.sandbox != nullptr) {
    for (Namespace* inside : {node_.get(), pod_.get()}) {
      RETURN_IF_ERROR(inside->run([this] { return setup_.sandbox->enter(); }));
    }
  }
  RETURN_IF_ERROR(harness::connect(*client_, "eth0", *node_, "client"));
  RETURN_IF_ERROR(harness::connect(*pods_, "eth0", *node_, "pods"));
  RETURN_IF_ERROR(harness::connect(*pod_, "eth0", *node_, "pod"));
  RETURN_IF_ERROR(pod_->ip("addr add 10.66.0.2/30 dev eth0\nroute add default via 10.66.0.1\n"));
  RETURN_IF_ERROR(client_->ip("addr add 10.64.0.2/30 dev eth0\nroute add default via 10.64.0.1\n"));
  RETURN_IF_ERROR(
      pods_->ip("addr add 10.65.0.2/30 dev eth0\nroute add default via 10.65.0.1\n"
                "route add local 10.0.0.0/10 dev lo\n"));
  RETURN_IF_ERROR(node_->sysctl("net.ipv4.ip_forward", "1"));
  RETURN_IF_ERROR(
      node_->ip("addr add 10.64.0.1/30 dev client\naddr add 10.65.0.1/30 dev pods\n"
                "addr add 10.66.0.1/30 dev pod\n"
                "route add 10.0.0.0/10 via 10.65.0.2\n"));
  if (setup_.mode == "iptables-legacy") {
    // As a kubelet says which of the two it uses.
    RETURN_IF_ERROR(node_->run([] {
      return harness::run_checked({"iptables-legacy", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT"});
    }));
  }
  ASSIGN_OR_RETURN(echo_, harness::EchoServers::start());
  return echo_->listen(*pods_, "pod", dataplane::Protocol::kTcp, "0.0.0.0", kPodPort);
}

Status ScaleWorld::fill_api() {
  // The server's thread is born inside the namespace and stays there.
  ASSIGN_OR_RETURN(api_,
                   node_->run([] { return api_server::ApiServer::start({.compress = false}); }));
  RETURN_IF_ERROR(api_->put(
      api_server::node_json({.internal_ips = {"10.64.0.1"}, .pod_cidrs = {"10.64.0.0/24"}})));
  for (uint32_t service = 0; service < shape_.services; ++service) {
    std::vector<api_server::ServicePortSpec> ports;
    for (uint32_t i = 0; i < ports_of(service); ++i) {
      ports.push_back({.name = port_name(i), .port = static_cast<int>(kServicePort + i)});
    }
    RETURN_IF_ERROR(
        api_->put(api_server::service_json({.name = service_name(service),
                                            .cluster_ips = {host_text(service_ip(service))},
                                            .ports = std::move(ports),
                                            .labels = {{"app", service_name(service)}}})));
    api_server::EndpointSliceSpec slice{.service = service_name(service),
                                        .ports = slice_ports(ports_of(service))};
    for (uint32_t i = 0; i < shape_.endpoints; ++i) {
      const uint32_t number = service * shape_.endpoints + i;
      slice.endpoints.push_back({.address = host_text(pod_ip(number)),
                                 .node = fmt::format("node-{}", number % 1000),
                                 .zone = fmt::format("zone-{}", number % 3),
                                 .pod = fmt::format("{}-7d9c5b8f6d-{:05}", slice.service, number)});
    }
    RETURN_IF_ERROR(api_->put(api_server::endpoint_slice_json(slice)));
  }
  return {};
}

std::string ScaleWorld::single_endpoint_slice(uint32_t service, Host pod) const {
  return api_server::endpoint_slice_json({.service = service_name(service),
                                          .endpoints = {{.address = host_text(pod),
                                                         .node = "node-1",
                                                         .zone = "zone-1",
                                                         .pod = service_name(service) + "-0"}},
                                          .ports = slice_ports(ports_of(service))});
}

std::vector<std::string> ScaleWorld::arguments() const {
  std::vector<std::string> all = {
      "--proxy-mode=" + setup_.mode.substr(0, setup_.mode.find('-')),
      "--master=" + api_->url(),
      "--hostname-override=node-a",
      "--cluster-cidr=10.0.0.0/9",
      "--healthz-bind-address=0.0.0.0:" + std::to_string(harness::kHealthPort),
      "--metrics-bind-address=127.0.0.1:" + std::to_string(harness::kMetricsPort),
      "--conntrack-max-per-core=0",  // the machine's own limits stay as they are
      "--oom-score-adj=0"};
  if (shape_.services > 60000) {  // beyond the default room
    for (const char* flag : {"--ebpf-max-frontends=262144", "--ebpf-max-service-ports=131072",
                             "--ebpf-max-endpoints=1048576"}) {
      all.push_back(flag);
    }
  }
  if (setup_.sandbox != nullptr) all.push_back("--ebpf-cgroup=" + setup_.sandbox->inside_path());
  return all;
}

Status ScaleWorld::clean_up() {
  std::vector<std::string> all = arguments();
  all.push_back("--cleanup");
  ASSIGN_OR_RETURN(const harness::CommandResult result, harness::run_proxy(*node_, std::move(all)));
  if (result.exit_code == 0) return {};
  return Status::error(StatusCode::kInternal, "clean up", setup_.mode, result.output);
}

Result<ScaleWorld::StartTimes> ScaleWorld::start_proxy(std::chrono::seconds patience) {
  const Clock::time_point begin = Clock::now();
  ASSIGN_OR_RETURN(proxy_, harness::ProxyProcess::start(*node_, arguments(), log_path_));
  const Host last = service_ip(shape_.services - 1);
  StartTimes times;
  while (times.ready == 0 || times.reachable == 0) {
    if (!proxy_->running() || Clock::now() - begin > patience) {
      return Status::error(StatusCode::kUnavailable, "wait for", "fairlead-proxy",
                           "not ready in time; the end of its log:\n" + proxy_->log_tail(20));
    }
    if (times.reachable == 0 &&
        client_->run([&] { return who_answers(last, kServicePort, 20ms); }).has_value()) {
      times.reachable = seconds_since(begin);
    }
    if (times.ready == 0) {
      const Result<harness::HttpAnswer> answer = proxy_->get_health("/readyz");
      if (answer.ok() && answer->status == 200) times.ready = seconds_since(begin);
    }
    std::this_thread::sleep_for(kBetweenTries);
  }
  return times;
}

Status ScaleWorld::stop_proxy() {
  // An audit that has begun is finished first, and in user-mode Linux takes its time.
  const Result<int> code = proxy_->stop(std::chrono::seconds(60));
  proxy_.reset();
  if (!code) return code.status();
  if (*code == 0) return {};
  return Status::error(StatusCode::kInternal, "stop", "fairlead-proxy",
                       "exit code " + std::to_string(*code));
}

Memory ScaleWorld::proxy_memory() const {
  return {status_mb(proxy_->pid(), "VmRSS:"), status_mb(proxy_->pid(), "VmHWM:")};
}

double ScaleWorld::proxy_cpu_seconds() const {
  clockid_t clock;
  timespec time{};
  if (::clock_getcpuclockid(proxy_->pid(), &clock) != 0 || ::clock_gettime(clock, &time) != 0) {
    return 0;
  }
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

std::optional<Host> who_answers(Host host, uint16_t port, std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  const Fd socket = open_socket(SOCK_NONBLOCK);
  const sockaddr_in address = socket_address(host, port);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno != EINPROGRESS) {
    return std::nullopt;
  }
  // An answer is "<name> <source> <port> <own address> <own port>".
  if (!wait_for(socket.get(), POLLIN, deadline)) return std::nullopt;
  std::array<char, 128> line{};
  if (::recv(socket.get(), line.data(), line.size() - 1, 0) <= 0) return std::nullopt;
  const char* field = line.data();
  for (int i = 0; i < 3 && field != nullptr; ++i) {
    field = std::strchr(field, ' ');
    if (field != nullptr) ++field;
  }
  std::array<unsigned, 4> bytes{};
  if (field == nullptr ||
      std::sscanf(field, "%u.%u.%u.%u", &bytes[0], &bytes[1], &bytes[2], &bytes[3]) != 4) {
    return std::nullopt;
  }
  return bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

std::optional<double> connect_seconds(Host host, uint16_t port) {
  const Fd socket = open_socket(0);
  const sockaddr_in address = socket_address(host, port);
  const Clock::time_point begin = Clock::now();
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return std::nullopt;
  }
  return seconds_since(begin);
}

double slab_mb() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("Slab:")) return std::strtod(line.c_str() + 5, nullptr) / 1024;
  }
  return 0;
}

}  // namespace fairlead::bench
