#include "bench/scale_measures.h"

#include <fmt/format.h>

#include <thread>
#include <utility>

namespace fairlead::bench {
namespace {

using namespace std::chrono_literals;  // NOLINT: literals only

constexpr std::chrono::seconds kPatience{180};
// After the first sync the daemon still trims its heap and opens its watches.
constexpr std::chrono::seconds kSettling{3};
// Between changes: longer than the daemon rests after one, so that each is a lone change. It rests
// as long as a change takes.
constexpr std::chrono::milliseconds kBetweenChanges{10};
constexpr std::chrono::seconds kChangePatience{30};
constexpr int kConnectionsInRound = 400;

Status gave_up(std::string_view what) {
  return Status::error(StatusCode::kUnavailable, "measure", what, "nothing happened for too long");
}

// Seconds from the API server's write until connections meet `pod`, again and again between two
// pods.
Result<std::vector<double>> change_times(ScaleWorld& world, int samples) {
  const uint32_t service = world.shape().services - 1;
  const Host first = pod_ip(service * world.shape().endpoints);
  const Host pods[2] = {first, pod_ip(0, 1)};
  const std::string slices[2] = {world.single_endpoint_slice(service, pods[0]),
                                 world.single_endpoint_slice(service, pods[1])};
  return world.on_client([&]() -> Result<std::vector<double>> {
    std::vector<double> times;
    // The first few changes warm caches up.
    double last = 0;
    for (int i = -10; i < samples; ++i) {
      const size_t now = static_cast<size_t>(i + 11) % 2;
      std::this_thread::sleep_for(kBetweenChanges + std::chrono::duration<double>(last));
      const Clock::time_point begin = Clock::now();
      RETURN_IF_ERROR(world.api().put(slices[now]));
      while (who_answers(service_ip(service), kServicePort, 100ms) != pods[now]) {
        if (Clock::now() - begin > kChangePatience) return gave_up("a change of endpoints");
      }
      last = seconds_since(begin);
      if (i >= 0) times.push_back(last);
    }
    return times;
  });
}

struct ConnectionRound {
  double rate = 0;    // a second
  double median = 0;  // seconds of one connect()
};

ConnectionRound connection_round(Host host, uint16_t port) {
  std::vector<double> times;
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < kConnectionsInRound; ++i) {
    if (const std::optional<double> time = connect_seconds(host, port)) times.push_back(*time);
  }
  return {static_cast<double>(times.size()) / seconds_since(begin), quantile(times, 0.5)};
}

// What the way itself costs, before any rule exists.
void measure_bare_connections(ScaleWorld& world, int rounds, std::vector<Figure>& figures) {
  std::vector<double> times;
  world.on_client([&] {
    for (int i = 0; i < rounds; ++i) {
      times.push_back(connection_round(pod_ip(0), kPodPort).median * 1e6);
    }
  });
  figures.push_back(median_figure("connect-bare-" + world.shape().id(),
                                  "connect() to a pod, no rules on the node", "µs", times));
}

// Direct and through the service in turn, so that whatever else the machine does meets both.
void measure_connections(ScaleWorld& world, int rounds, std::vector<Figure>& figures) {
  const uint32_t service = world.shape().services / 2;
  std::vector<double> rates;
  std::vector<double> ratios;
  std::vector<double> direct_times;
  std::vector<double> service_times;
  world.on_client([&] {
    for (int i = 0; i < rounds; ++i) {
      const Host pod = pod_ip(service * world.shape().endpoints);
      const ConnectionRound direct = connection_round(pod, kPodPort);
      const ConnectionRound through = connection_round(service_ip(service), kServicePort);
      direct_times.push_back(direct.median * 1e6);
      service_times.push_back(through.median * 1e6);
      rates.push_back(through.rate);
      ratios.push_back(through.rate / direct.rate);
    }
  });
  const std::string id = world.shape().id();
  const std::string at = " at " + world.shape().to_string();
  figures.push_back(
      median_figure("connect-service-" + id, "connect() to a ClusterIP" + at, "µs", service_times));
  figures.push_back(median_figure("connect-pod-" + id, "connect() to a pod, same rules" + at, "µs",
                                  direct_times));
  figures.push_back(
      median_figure("connections-" + id, "connections a second, ClusterIP" + at, "/s", rates));
  figures.push_back(
      median_figure("connection-ratio-" + id, "connection rate, ClusterIP : pod" + at, "", ratios));
}

}  // namespace

Status measure_start(const Setup& setup, Shape shape, int runs, std::vector<Figure>& figures) {
  std::vector<double> cold;
  std::vector<double> processor;
  std::vector<double> restart;
  std::vector<double> resident;
  std::vector<double> peak;
  std::vector<double> restarted;
  std::vector<double> slab;
  for (int run = 0; run < runs; ++run) {
    std::unique_ptr<ScaleWorld> world;
    ASSIGN_OR_RETURN(world, ScaleWorld::create(setup, shape));
    const double slab_before = slab_mb();
    ScaleWorld::StartTimes times;
    ASSIGN_OR_RETURN(times, world->start_proxy(kPatience));
    cold.push_back(times.complete());
    processor.push_back(world->proxy_cpu_seconds());
    std::this_thread::sleep_for(kSettling);
    const Memory memory = world->proxy_memory();
    resident.push_back(memory.resident_mb);
    peak.push_back(memory.peak_mb);
    slab.push_back(slab_mb() - slab_before);
    RETURN_IF_ERROR(world->stop_proxy());
    ASSIGN_OR_RETURN(times, world->start_proxy(kPatience));
    restart.push_back(times.ready);
    std::this_thread::sleep_for(kSettling);
    restarted.push_back(world->proxy_memory().resident_mb);
    RETURN_IF_ERROR(world->stop_proxy());
  }
  const std::string id = shape.id();
  const std::string at = ", " + shape.to_string();
  figures.push_back(median_figure("cold-start-" + id, "cold start" + at, "s", cold));
  figures.push_back(median_figure("cold-start-cpu-" + id,
                                  "processor time of the daemon for it" + at, "s", processor));
  figures.push_back(
      median_figure("restart-" + id, "restart over standing rules" + at, "s", restart));
  figures.push_back(median_figure("resident-" + id, "resident memory" + at, "MB", resident));
  figures.push_back(median_figure("peak-" + id, "peak resident memory" + at, "MB", peak));
  figures.push_back(median_figure("resident-restarted-" + id,
                                  "resident memory after a restart" + at, "MB", restarted));
  figures.push_back(median_figure("slab-" + id, "kernel memory (slabs)" + at, "MB", slab));
  return {};
}

Status measure_change(const Setup& setup, Shape shape, int samples, int connection_rounds,
                      bool first, std::vector<Figure>& figures) {
  std::unique_ptr<ScaleWorld> world;
  ASSIGN_OR_RETURN(world, ScaleWorld::create(setup, shape));
  if (first) measure_bare_connections(*world, connection_rounds, figures);
  RETURN_IF_ERROR(world->start_proxy(kPatience).status());
  std::this_thread::sleep_for(kSettling);
  std::vector<double> times;
  ASSIGN_OR_RETURN(times, change_times(*world, samples));
  const std::string at = " at " + std::to_string(shape.services) + " services, ";
  const auto add = [&](const char* name, double fraction) {
    Figure figure{fmt::format("change-{}-{}", name, shape.services),
                  "one endpoint change" + at + name, "ms"};
    figure.value = quantile(times, fraction) * 1e3;
    figures.push_back(std::move(figure));
  };
  add("p50", 0.5);
  add("p99", 0.99);
  measure_connections(*world, connection_rounds, figures);
  return world->stop_proxy();
}

Status measure_ports(const Setup& setup, Shape shape, uint32_t ports, int samples,
                     std::vector<Figure>& figures) {
  std::unique_ptr<ScaleWorld> world;
  ASSIGN_OR_RETURN(world, ScaleWorld::create(setup, shape, ports));
  RETURN_IF_ERROR(world->start_proxy(kPatience).status());
  std::this_thread::sleep_for(kSettling);
  const uint32_t service = shape.services - 1;
  const Host pods[2] = {pod_ip(service * shape.endpoints), pod_ip(0, 1)};
  std::vector<double> times;
  const bool done = world->on_client([&] {
    for (int i = 0; i < samples + 2; ++i) {
      const Host wanted = pods[static_cast<size_t>(i + 1) % 2];
      std::this_thread::sleep_for(kBetweenChanges);
      const Clock::time_point begin = Clock::now();
      if (!world->api().put(world->single_endpoint_slice(service, wanted))) return false;
      // The last port first: what is written last is usually in effect last.
      for (uint32_t port = ports; port-- > 0;) {
        while (who_answers(service_ip(service), static_cast<uint16_t>(kServicePort + port),
                           100ms) != wanted) {
          if (Clock::now() - begin > kChangePatience) return false;
        }
      }
      if (i >= 2) times.push_back(seconds_since(begin) * 1e3);
    }
    return true;
  });
  if (!done) return gave_up("a change of many ports");
  figures.push_back(median_figure(
      fmt::format("ports-{}", ports),
      fmt::format("a service with {} ports changes its endpoint, every port checked", ports), "ms",
      times));
  return world->stop_proxy();
}

Status measure_load(const Setup& setup, Shape shape, std::chrono::seconds idle, uint32_t burst,
                    std::vector<Figure>& figures) {
  std::unique_ptr<ScaleWorld> world;
  ASSIGN_OR_RETURN(world, ScaleWorld::create(setup, shape));
  RETURN_IF_ERROR(world->start_proxy(kPatience).status());
  std::this_thread::sleep_for(kSettling);

  const double cpu_before = world->proxy_cpu_seconds();
  const Clock::time_point idle_begin = Clock::now();
  std::this_thread::sleep_for(idle);
  const double cpu = world->proxy_cpu_seconds() - cpu_before;
  figures.push_back({"idle-" + shape.id(), "idle CPU, share of a core, " + shape.to_string(), "%",
                     100 * cpu / seconds_since(idle_begin)});

  // Every service of the burst gets one endpoint, and then another one.
  const auto write = [&](uint32_t generation) -> Status {
    for (uint32_t i = 0; i < burst; ++i) {
      RETURN_IF_ERROR(world->api().put(world->single_endpoint_slice(i, pod_ip(i, generation))));
    }
    return {};
  };
  // From the last one back: what was written last is usually in effect last.
  const auto await = [&](uint32_t generation) {
    const Clock::time_point begin = Clock::now();
    for (uint32_t i = burst; i-- > 0;) {
      while (who_answers(service_ip(i), kServicePort, 100ms) != pod_ip(i, generation)) {
        if (Clock::now() - begin > kChangePatience) return false;
      }
    }
    return true;
  };
  const auto generation = [&] { return world->proxy().metric("fairlead_acknowledged_generation"); };
  std::vector<double> times;
  std::vector<double> syncs;
  for (uint32_t round = 0; round < 6; ++round) {
    const double generation_before = generation();
    const Clock::time_point begin = Clock::now();
    RETURN_IF_ERROR(write(round % 2));
    if (!world->on_client([&] { return await(round % 2); })) return gave_up("a burst");
    if (round > 0)
      times.push_back(seconds_since(begin) * 1e3);  // the first takes other endpoints away
    std::this_thread::sleep_for(500ms);
    if (round > 0) syncs.push_back(generation() - generation_before);
  }
  const std::string of = fmt::format(" {} endpoint changes at once, {}", burst, shape.to_string());
  figures.push_back(
      median_figure("burst-" + shape.id(), "until all are in effect:" + of, "ms", times));
  figures.push_back(median_figure("burst-syncs-" + shape.id(), "syncs for" + of, "", syncs));
  return world->stop_proxy();
}

}  // namespace fairlead::bench
