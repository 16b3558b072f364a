// `fairlead server` over loopback HTTP, on its own store and over etcd, in turn on the same disk.
//
//   api_bench [--quick] [--runs=3] [--server=FILE] [--json=FILE] [--markdown=FILE]
//
// Clients and server share the machine. The figures go to standard output; the exit code does not
// depend on targets.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <thread>

#include "bench/api_measures.h"
#include "bench/scale_report.h"
#include "bench/store_measures.h"
#include "tests/harness/loopback.h"
#include "tests/harness/process.h"
#include "tests/unit/store/etcd_server.h"
#include "tests/unit/store/scratch.h"

namespace {

using namespace fairlead::bench;  // NOLINT: a program of one file
using fairlead::harness::ChildProcess;
using fairlead::harness::connect_loopback;
using fairlead::harness::free_loopback_port;
using fairlead::store::EtcdServer;
using fairlead::store::Scratch;
using std::chrono::milliseconds;

struct Options {
  bool quick = false;
  int runs = 3;
  std::string server;
  std::string json_path;
  std::string markdown_path;
};

struct Sizes {
  milliseconds create_time;
  int writes;
  int watchers;
  int changes;
  size_t listed;
  size_t started;
};

struct Mode {
  std::string name;
  std::string store;  // empty: embedded
  std::map<std::string, std::vector<double>> runs;
};

// A server that answers; `seconds` is what that took.
struct RunningServer {
  std::unique_ptr<ChildProcess> process;
  uint16_t port = 0;
  double seconds = 0;

  double resident() const { return resident_mb(std::to_string(process->pid())); }
};

RunningServer start_server(const Options& options, const Mode& mode, const Scratch& scratch,
                           const std::string& place) {
  RunningServer server;
  server.port = free_loopback_port();
  std::vector<std::string> arguments = {options.server,
                                        "server",
                                        "--data-dir=" + scratch.path(place),
                                        "--listen-address=127.0.0.1",
                                        fmt::format("--secure-port={}", free_loopback_port()),
                                        fmt::format("--insecure-port={}", server.port)};
  if (!mode.store.empty()) arguments.push_back("--store=" + mode.store + "/" + place);
  const auto before = std::chrono::steady_clock::now();
  auto process = ChildProcess::start(arguments, scratch.path("server.log"));
  if (!process) {
    fmt::print(stderr, "api_bench: {}\n", process.status().message());
    std::exit(1);
  }
  server.process = std::move(process).value();
  while (!connect_loopback(server.port).valid()) {
    if (server.process->wait(milliseconds(1))) {
      std::ifstream log(scratch.path("server.log"));
      fmt::print(stderr, "api_bench: the server ended: {}\n",
                 std::string(std::istreambuf_iterator<char>(log), {}));
      std::exit(1);
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
  server.seconds = took.count();
  return server;
}

// What all threads of a process have used so far.
double processor_ms(pid_t pid) {
  clockid_t clock{};
  timespec used{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &used) != 0) return 0;
  return static_cast<double>(used.tv_sec) * 1e3 + static_cast<double>(used.tv_nsec) / 1e6;
}

void stop_server(RunningServer& server) {
  server.process->signal(SIGTERM);
  server.process->wait(std::chrono::seconds(20));
}

void measure(Mode& mode, const Options& options, const Sizes& sizes, const Scratch& scratch,
             int run) {
  const auto note = [&mode](const char* title, double value) { mode.runs[title].push_back(value); };
  const std::string place = fmt::format("{}{}", mode.name, run);
  RunningServer server = start_server(options, mode, scratch, place);
  fill_pods(server.port, sizes.listed);
  for (int i = 0; i < 5; ++i) {
    const double before = processor_ms(server.process->pid());
    const ApiList list = measure_api_list(server.port, sizes.listed);
    note("list of 10,000 pods, processor time of the server",
         processor_ms(server.process->pid()) - before);
    note("list of 10,000 pods, until the answer begins", list.begins_ms);
    note("list of 10,000 pods, to the last byte", list.ends_ms);
  }
  note("resident memory, 10,000 pods", server.resident());
  const std::vector<double> one = measure_api_watch(server.port, 1, sizes.writes);
  note("write until event, p50", quantile(one, 0.5));
  note("write until event, p99", quantile(one, 0.99));
  stop_server(server);

  server = start_server(options, mode, scratch, place + "w");
  const ApiCreates creates = measure_api_creates(server.port, "c", 32, sizes.create_time);
  note("durable creates a second, 32 clients", creates.per_second);
  note("one create, 32 clients, p50", creates.p50_ms);
  note("one create, 32 clients, p99", creates.p99_ms);
  const std::vector<double> many = measure_api_watch(server.port, sizes.watchers, sizes.changes);
  note("write until seen by 1,000 watchers, p50", quantile(many, 0.5));
  note("write until seen by 1,000 watchers, p99", quantile(many, 0.99));
  stop_server(server);

  if (run > 0) return;
  server = start_server(options, mode, scratch, "many");
  fill_pods(server.port, sizes.started);
  stop_server(server);
  for (int i = 0; i < 3; ++i) {
    server = start_server(options, mode, scratch, "many");
    note("start with 100,000 pods", server.seconds);
    stop_server(server);
  }
}

struct Row {
  std::string title;
  std::string unit;
  std::optional<double> at_most = {};
  std::optional<double> at_least = {};
};

// In the table's order; the targets are the embedded store's.
std::vector<Row> rows() {
  return {{"durable creates a second, 32 clients", "/s", {}, 5000},
          {"one create, 32 clients, p50", "ms"},
          {"one create, 32 clients, p99", "ms"},
          {"list of 10,000 pods, processor time of the server", "ms", 25},
          {"list of 10,000 pods, until the answer begins", "ms"},
          {"list of 10,000 pods, to the last byte", "ms"},
          {"write until event, p50", "ms", 1},
          {"write until event, p99", "ms"},
          {"write until seen by 1,000 watchers, p50", "ms"},
          {"write until seen by 1,000 watchers, p99", "ms", 50},
          {"resident memory, 10,000 pods", "MB", 150},
          {"start with 100,000 pods", "s", 2}};
}

std::vector<Figure> figures_of(Mode& mode) {
  std::vector<Figure> figures;
  for (const Row& row : rows()) {
    Figure figure = median_figure(row.title, row.title, row.unit, mode.runs[row.title]);
    if (mode.store.empty()) {
      figure.at_most = row.at_most;
      figure.at_least = row.at_least;
    }
    figures.push_back(std::move(figure));
  }
  return figures;
}

int run(const Options& options) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  const Scratch scratch;
  std::vector<Mode> modes = {{"embedded", "", {}}};
  std::unique_ptr<EtcdServer> etcd;
  if (fairlead::store::etcd_is_installed()) {
    auto started = EtcdServer::start();
    if (!started) {
      fmt::print(stderr, "api_bench: {}\n", started.status().message());
      return 1;
    }
    etcd = std::move(started).value();
    modes.push_back({"etcd", "etcd://" + etcd->address(), {}});
  }
  const Sizes full{milliseconds(3000), 500, 1000, 20, 10'000, 100'000};
  const Sizes small{milliseconds(100), 20, 100, 3, 500, 1000};
  const int runs = options.quick ? 1 : options.runs;
  for (int number = 0; number < runs; ++number) {
    for (Mode& mode : modes) {
      fmt::print(stderr, "measuring {}: run {} of {}\n", mode.name, number + 1, runs);
      measure(mode, options, options.quick ? small : full, scratch, number);
    }
  }
  Report report = new_report(options.quick);
  for (Mode& mode : modes) report.add(mode.name, figures_of(mode));
  fmt::print("{}", report.table());
  if (!options.json_path.empty()) std::ofstream(options.json_path) << report.json();
  if (!options.markdown_path.empty()) std::ofstream(options.markdown_path) << report.markdown();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.server = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "fairlead";
  CLI::App app("Measures the API server, on its own store and over etcd.");
  app.add_flag("--quick", options.quick, "small sizes, one run");
  app.add_option("--runs", options.runs, "repetitions; the table has medians")
      ->check(CLI::PositiveNumber);
  app.add_option("--server", options.server, "the program; the default is beside this one");
  app.add_option("--json", options.json_path, "write all figures here");
  app.add_option("--markdown", options.markdown_path, "write a table here");
  CLI11_PARSE(app, argc, argv);
  return run(options);
}
