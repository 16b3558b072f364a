// What the socket programs add to connect(): the same call by sockets that were made in the
// programs' cgroup and by others, in turn, each beside its neighbour. One thread on one processor
// does everything: a listener's thread that each connection wakes costs several times what is
// measured, now on this processor and now on the other.
//
//   socket/<what>/<services>   counters: net_ns (median of the pairs' differences), bare_ns,
//   with_ns
//
// Needs root. "nothing": no programs attached, what the measurement itself sees in two equal
// sockets. "untranslated": the address is no service's. "batch": all sockets of one kind first, so
// that each finds the caches as its like left them. TCP connects to a listener on loopback, which
// accepts after the batch; UDP has no handshake, so that its bare cost is small.
#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <vector>

#include "base/fd.h"
#include "bpf/object.h"
#include "bpf/table_maps.h"
#include "bpf/tables.h"
#include "tests/harness/bpf_sandbox.h"
#include "tests/harness/features.h"
#include "tests/harness/netns.h"

namespace {

using fairlead::Fd;
using fairlead::Status;
using fairlead::harness::BpfSandbox;
namespace bpf = fairlead::bpf;
namespace dataplane = fairlead::dataplane;

constexpr uint16_t kListener = 8080;
constexpr int kAtOnce = 200;

[[noreturn]] void give_up(const std::string& what) {
  fmt::print(stderr, "socket_bench: {}\n", what);
  std::exit(1);
}
void check(const Status& status) {
  if (!status) give_up(status.message());
}

dataplane::Address service_ip(uint32_t service) {
  return dataplane::Address::v4((10U << 24 | 96U << 16) + 1 + service);
}

dataplane::EntryPointer entry(uint32_t service, dataplane::Protocol protocol) {
  auto made = std::make_shared<dataplane::ForwardingEntry>();
  made->key = {{"bench", fmt::format("service-{:06}", service)},
               protocol == dataplane::Protocol::kTcp ? "tcp" : "udp",
               protocol,
               dataplane::Family::kIPv4};
  made->frontends.push_back(
      {dataplane::FrontendKind::kClusterIp, {service_ip(service), 80}, {}, false});
  made->cluster.targets.push_back({{*dataplane::Address::parse("127.0.0.1"), kListener}, false});
  return made;
}

dataplane::Delta table(uint32_t services) {
  dataplane::Delta delta;
  delta.generation = 1;
  delta.complete = true;
  for (uint32_t i = 0; i < services; ++i) {
    delta.upserted.push_back(entry(i, dataplane::Protocol::kTcp));
    delta.upserted.push_back(entry(i, dataplane::Protocol::kUdp));
  }
  std::sort(delta.upserted.begin(), delta.upserted.end(),
            [](const auto& a, const auto& b) { return a->key < b->key; });
  return delta;
}

// The kernel completes connections to it; take() accepts and closes them afterwards.
class Listener {
 public:
  Listener() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(kListener);
    const int one = 1;
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket_.get(), 1024) != 0) {
      give_up("cannot listen");
    }
  }

  void take() {
    while (Fd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)).valid()) {
    }
  }

 private:
  Fd socket_;
};

std::vector<Fd> make_sockets(int type) {
  std::vector<Fd> sockets;
  for (int i = 0; i < kAtOnce; ++i) {
    sockets.emplace_back(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    if (!sockets.back().valid()) give_up("cannot make sockets");
    const linger reset{1, 0};
    if (type == SOCK_STREAM) {
      ::setsockopt(sockets.back().get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
  }
  return sockets;
}

// Nanoseconds of one connect().
int64_t connect_once(const Fd& socket, const sockaddr_in& address) {
  const auto begin = std::chrono::steady_clock::now();
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    give_up("connect() failed");
  }
  return (std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<int64_t>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return static_cast<double>(*middle);
}

struct Row {
  const char* name;
  int type;
  bool attached;
  bool translated;
  bool batches;
};
constexpr Row kRows[] = {
    {"tcp_nothing", SOCK_STREAM, false, false, false},
    {"tcp_untranslated", SOCK_STREAM, true, false, false},
    {"tcp_translated", SOCK_STREAM, true, true, false},
    {"tcp_translated_batch", SOCK_STREAM, true, true, true},
    {"udp_nothing", SOCK_DGRAM, false, false, false},
    {"udp_untranslated", SOCK_DGRAM, true, false, false},
    {"udp_translated", SOCK_DGRAM, true, true, false},
    {"udp_translated_batch", SOCK_DGRAM, true, true, true},
};

struct World {
  std::unique_ptr<BpfSandbox> sandbox;
  std::unique_ptr<fairlead::harness::Namespace> netns;
  std::unique_ptr<bpf::Object> object;
  std::unique_ptr<bpf::TableMaps> maps;
  std::unique_ptr<bpf::Tables> tables;
  std::vector<Fd> links;
};

template <typename T>
T must(fairlead::Result<T> result) {
  if (!result) give_up(result.status().message());
  return std::move(result).value();
}

void build(World& world) {
  world.sandbox = must(BpfSandbox::create());
  world.netns = must(fairlead::harness::Namespace::create("sockets"));
  check(world.netns->enter());
  world.object = must(bpf::Object::load({}, ""));
  world.maps = must(bpf::open_table_maps(*world.object));
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  const Fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ::getsockopt(any.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size);
  world.maps->config().host_netns_cookie = cookie;
  world.maps->config().next_frontend_id = 1;
  world.tables = std::make_unique<bpf::Tables>(*world.maps);
  check(world.tables->adopt());
}

void attach(World& world) {
  const Fd cgroup(::open(world.sandbox->inside_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::pair<bpf::Program, bpf_attach_type> places[] = {
      {bpf::Program::kConnect4, BPF_CGROUP_INET4_CONNECT},
      {bpf::Program::kSendmsg4, BPF_CGROUP_UDP4_SENDMSG},
      {bpf::Program::kRecvmsg4, BPF_CGROUP_UDP4_RECVMSG},
      {bpf::Program::kGetpeername4, BPF_CGROUP_INET4_GETPEERNAME},
  };
  for (const auto& [program, type] : places) {
    Fd link(::bpf_link_create(world.object->fd(program), cgroup.get(), type, nullptr));
    if (!link.valid()) give_up("cannot attach");
    world.links.push_back(std::move(link));
  }
}

void measure(benchmark::State& state, World& world, Listener& listener, const Row& row,
             uint32_t services) {
  const auto ack = must(world.tables->apply(table(services)));
  if (!ack.refused.empty()) give_up(ack.refused.front().reason.message());
  world.links.clear();
  if (row.attached) attach(world);
  sockaddr_in direct{};
  direct.sin_family = AF_INET;
  direct.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  direct.sin_port = htons(kListener);
  uint32_t next = 0;
  const auto service_address = [&] {
    sockaddr_in address = direct;
    if (!row.translated) return address;
    address.sin_addr.s_addr = htonl(service_ip(next).v4_host_order());
    address.sin_port = htons(80);
    next = (next + 7919) % services;
    return address;
  };
  std::vector<int64_t> bare;
  std::vector<int64_t> with;
  for (auto unused : state) {
    (void)unused;
    check(world.sandbox->enter());
    const std::vector<Fd> inside = make_sockets(row.type);
    check(world.sandbox->leave());
    const std::vector<Fd> outside = make_sockets(row.type);
    const size_t before = with.size();
    if (row.batches) {
      for (const Fd& socket : outside) bare.push_back(connect_once(socket, direct));
      for (const Fd& socket : inside) with.push_back(connect_once(socket, service_address()));
    } else {
      for (int i = 0; i < kAtOnce; ++i) {
        const bool first = i % 2 == 0;
        if (!first) bare.push_back(connect_once(outside[i], direct));
        with.push_back(connect_once(inside[i], service_address()));
        if (first) bare.push_back(connect_once(outside[i], direct));
      }
    }
    state.SetIterationTime(std::accumulate(with.begin() + before, with.end(), 0.0) / kAtOnce / 1e9);
    listener.take();
  }
  std::vector<int64_t> differences(with.size());
  for (size_t i = 0; i < with.size(); ++i) differences[i] = with[i] - bare[i];
  state.counters["bare_ns"] = median(bare);
  state.counters["with_ns"] = median(with);
  state.counters["net_ns"] = median(differences);
  state.counters["ratio"] = state.counters["with_ns"] / state.counters["bare_ns"];
}

// Where the process is allowed to run, the last: the first is the one that devices interrupt.
void stay_on_one_processor() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) give_up("cannot read the affinity");
  int last = CPU_SETSIZE - 1;
  while (last > 0 && !CPU_ISSET(last, &allowed)) --last;
  CPU_ZERO(&allowed);
  CPU_SET(last, &allowed);
  if (::sched_setaffinity(0, sizeof allowed, &allowed) != 0) give_up("cannot set the affinity");
}

}  // namespace

int main(int argc, char** argv) {
  using fairlead::harness::Feature;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const std::string missing = fairlead::harness::missing_features(
      {Feature::kRoot, Feature::kNetns, Feature::kBpf, Feature::kCgroup2});
  if (!missing.empty()) {
    fmt::print("SKIPPED: {}\n", missing);
    return 77;
  }
  stay_on_one_processor();
  World world;
  build(world);
  Listener listener;
  for (const Row& row : kRows) {
    for (const uint32_t services : {10U, 10000U}) {
      benchmark::RegisterBenchmark(fmt::format("socket/{}/{}", row.name, services).c_str(),
                                   [&world, &listener, &row, services](benchmark::State& state) {
                                     measure(state, world, listener, row, services);
                                   })
          ->UseManualTime()
          ->Iterations(100);
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
