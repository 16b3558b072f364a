// What traffic costs: bytes over one connection and short connections, straight to a pod and
// through a ClusterIP in turn, so that whatever else the machine does meets both.
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "bench/scale_measures.h"
#include "tests/api_server/objects.h"

namespace fairlead::bench {
namespace {

using namespace std::chrono_literals;  // NOLINT: literals only

constexpr std::chrono::milliseconds kStream{400};
constexpr int kShortConnections = 400;
constexpr uint16_t kSinkPort = 8090;

// Reads whatever connections bring, one after the other.
class Sink {
 public:
  static Result<std::unique_ptr<Sink>> start(harness::Namespace& where) {
    Fd socket = where.run([] { return Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); });
    const sockaddr_in address = socket_address(0, kSinkPort);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket.get(), 16) != 0) {
      return Status::from_errno(errno, "listen", "sink");
    }
    return std::unique_ptr<Sink>(new Sink(std::move(socket)));
  }
  ~Sink() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    thread_.join();
  }

  uint64_t received() const { return received_; }

 private:
  explicit Sink(Fd socket) : socket_(std::move(socket)), thread_([this] { serve(); }) {}

  void serve() {
    std::vector<char> buffer(1 << 20);
    while (true) {
      const Fd connection(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!connection.valid()) return;
      while (true) {
        const ssize_t size = ::recv(connection.get(), buffer.data(), buffer.size(), 0);
        if (size <= 0) break;
        received_ += static_cast<uint64_t>(size);
      }
    }
  }

  Fd socket_;
  std::atomic<uint64_t> received_{0};
  std::thread thread_;
};

// Gigabits a second that arrive; 0 when there is no connection.
double stream(Sink& sink, Host host, uint16_t port) {
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = socket_address(host, port);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return 0;
  }
  static const std::vector<char> bytes(256 << 10);
  const uint64_t before = sink.received();
  const Clock::time_point begin = Clock::now();
  while (Clock::now() - begin < kStream) {
    if (::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) return 0;
  }
  const uint64_t after = sink.received();
  return static_cast<double>(after - before) * 8 / seconds_since(begin) / 1e9;
}

// One request: connect, read the answer, close.
double requests_per_second(Host host, uint16_t port) {
  int answered = 0;
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < kShortConnections; ++i) answered += who_answers(host, port, 1000ms) ? 1 : 0;
  return answered / seconds_since(begin);
}

struct Comparison {
  std::vector<double> direct, service, ratio;

  void add(double straight, double through) {
    direct.push_back(straight);
    service.push_back(through);
    ratio.push_back(straight == 0 ? 0 : through / straight);
  }
  void report(const std::string& id, const std::string& what, const std::string& at,
              const std::string& unit, std::vector<Figure>& figures) const {
    figures.push_back(median_figure(id, what + ", through a ClusterIP" + at, unit, service));
    figures.push_back(median_figure(id + "-direct", what + ", straight" + at, unit, direct));
    figures.push_back(
        median_figure(id + "-ratio", what + ", ClusterIP : straight" + at, "", ratio));
  }
};

}  // namespace

Status measure_traffic(const Setup& setup, Shape shape, int rounds, std::vector<Figure>& figures) {
  std::unique_ptr<ScaleWorld> world;
  ASSIGN_OR_RETURN(world, ScaleWorld::create(setup, shape));
  const Host sink_service = service_ip(shape.services);
  const Host sink_pod = pod_ip(0, 1);
  RETURN_IF_ERROR(world->api().put(
      api_server::service_json({.name = "sink", .cluster_ips = {host_text(sink_service)}})));
  RETURN_IF_ERROR(world->api().put(api_server::endpoint_slice_json(
      {.service = "sink",
       .endpoints = {{.address = host_text(sink_pod), .node = "node-1"}},
       .ports = {{.port = kSinkPort}}})));
  std::unique_ptr<Sink> sink;
  ASSIGN_OR_RETURN(sink, Sink::start(world->pods()));
  RETURN_IF_ERROR(world->start_proxy(std::chrono::seconds(180)).status());

  const uint32_t service = shape.services / 2;
  const Host pod = pod_ip(service * shape.endpoints);
  const std::string at = ", " + shape.to_string();
  for (const From from : {From::kPod, From::kClient}) {
    Comparison streams;
    Comparison requests;
    world->at(from).run([&] {
      for (int i = 0; i < rounds; ++i) {
        const double straight = stream(*sink, sink_pod, kSinkPort);
        streams.add(straight, stream(*sink, sink_service, kServicePort));
        const double asked = requests_per_second(pod, kPodPort);
        requests.add(asked, requests_per_second(service_ip(service), kServicePort));
      }
    });
    const std::string who = from == From::kPod ? "pod" : "client";
    const std::string title = from == From::kPod ? " from a pod of the node" : " from outside";
    streams.report("stream-" + who + "-" + shape.id(), "TCP throughput" + title, at, "Gbit/s",
                   figures);
    requests.report("requests-" + who + "-" + shape.id(), "short connections a second" + title, at,
                    "/s", figures);
  }
  sink.reset();
  return world->stop_proxy();
}

Status measure_side_by_side(const Setup& one, const Setup& other, Shape shape, int rounds,
                            std::vector<Figure>& figures) {
  std::array<std::unique_ptr<ScaleWorld>, 2> worlds;
  ASSIGN_OR_RETURN(worlds[0], ScaleWorld::create(one, shape));
  ASSIGN_OR_RETURN(worlds[1], ScaleWorld::create(other, shape));
  // A daemon that starts removes what another mode has left on the node, and pinned BPF objects are
  // of no network namespace: mode ebpf, the one, comes last.
  for (const size_t which : {1, 0}) {
    RETURN_IF_ERROR(worlds[which]->start_proxy(std::chrono::seconds(180)).status());
  }
  const Host service = service_ip(shape.services / 2);
  const auto ask = [&](ScaleWorld& world, From from) {
    return world.at(from).run([&] { return requests_per_second(service, kServicePort); });
  };
  for (const From from : {From::kPod, From::kClient}) {
    std::vector<double> ratios;
    for (int i = 0; i < rounds; ++i) {
      // Whoever goes second finds the caches of the first: each does so as often.
      const size_t first = static_cast<size_t>(i % 2);
      std::array<double, 2> rates{};
      for (const size_t which : {first, 1 - first}) rates[which] = ask(*worlds[which], from);
      if (rates[1] > 0) ratios.push_back(rates[0] / rates[1]);
    }
    figures.push_back(
        median_figure(fmt::format("requests-over-{}-{}-{}", other.mode,
                                  from == From::kPod ? "pod" : "client", shape.id()),
                      fmt::format("short connections a second {}, {} : {}, in turn, {}",
                                  from == From::kPod ? "from a pod of the node" : "from outside",
                                  one.mode, other.mode, shape.to_string()),
                      "", ratios));
  }
  for (const auto& world : worlds) RETURN_IF_ERROR(world->stop_proxy());
  return {};
}

}  // namespace fairlead::bench
