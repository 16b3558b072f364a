// The embedded store and etcd behind the same interface, in turn on the same disk.
//
//   store_bench [--quick] [--runs=3] [--only=write|list|open] [--json=FILE] [--markdown=FILE]
//
// etcd is Debian's, started here on loopback with its defaults; without it only the embedded store
// is measured. The figures go to standard output; the exit code does not depend on targets.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "bench/scale_report.h"
#include "bench/store_measures.h"
#include "control/store/embedded/embedded_store.h"
#include "control/store/etcd/etcd_store.h"
#include "control/store/open.h"
#include "tests/harness/process.h"
#include "tests/unit/store/etcd_server.h"
#include "tests/unit/store/scratch.h"

namespace {

using namespace fairlead::bench;  // NOLINT: a program of one file
using namespace fairlead::store;  // NOLINT
using std::chrono::milliseconds;

struct Options {
  bool quick = false;
  int runs = 3;
  std::string only;
  std::string json_path;
  std::string markdown_path;
  std::string resident;  // as a child: where to look
};

struct Mode {
  std::string name;
  std::function<std::string(const std::string& place)> location;
  std::string server;  // its process, when it has one
  std::vector<Figure> figures;
  std::map<std::string, std::vector<double>> runs;  // of a figure
};

struct Sizes {
  milliseconds create_time;
  int writes;
  int watchers;
  int changes;
  size_t listed;
  size_t opened;
};

std::unique_ptr<Store> open(const std::string& location) {
  auto store = open_store(location, {});
  if (store) return std::move(store).value();
  fmt::print(stderr, "store_bench: {}\n", store.status().message());
  std::exit(1);
}

double resident_in_child(const std::string& location) {
  const auto result = fairlead::harness::run_command({"/proc/self/exe", "--resident=" + location});
  return result ? std::strtod(result->output.c_str(), nullptr) : 0;
}

using Note = std::function<void(const std::string& title, double value)>;

void measure_writes(Mode& mode, const Sizes& sizes, int run, const Note& note) {
  const auto store = open(mode.location("writes"));
  const std::string prefix = "/creates/" + std::to_string(run);
  const CreateRate many = measure_creates(*store, prefix + "a", 32, sizes.create_time);
  note("durable creates a second, 32 clients", many.per_second);
  note("one create, 32 clients, p50", many.p50_ms);
  note("one create, 32 clients, p99", many.p99_ms);
  const CreateRate one = measure_creates(*store, prefix + "b", 1, sizes.create_time);
  note("durable creates a second, 1 client", one.per_second);
  const Delays event = measure_write_to_event(*store, sizes.writes);
  note("write until watch event, p50", quantile(event.ms, 0.5));
  note("write until watch event, p99", quantile(event.ms, 0.99));
  const Delays fan_out = measure_fan_out(*store, sizes.watchers, sizes.changes);
  note("write until taken by 1,000 watches, p50", quantile(fan_out.ms, 0.5));
  note("write until taken by 1,000 watches, p99", quantile(fan_out.ms, 0.99));
}

void measure_lists(Mode& mode, const Sizes& sizes, int run, const Note& note) {
  {
    const std::string location = mode.location("lists");
    const auto store = open(location);
    if (run == 0) fill(*store, sizes.listed);
    for (int i = 0; i < 10; ++i) {
      note("list of 10,000 objects", measure_list(*store, "/objects/", 0, sizes.listed));
      note("list of 10,000 objects, pages of 500",
           measure_list(*store, "/objects/", 500, sizes.listed));
    }
  }
  note("resident memory, 10,000 objects", resident_in_child(mode.location("lists")));
  if (!mode.server.empty()) note("resident memory of the etcd server", resident_mb(mode.server));
}

void measure_open(Mode& mode, const Sizes& sizes, int run, const Note& note) {
  const std::string location = mode.location("opened");
  if (run == 0) fill(*open(location), sizes.opened);
  const auto start = std::chrono::steady_clock::now();
  const auto store = open(location);
  note("open with 100,000 objects",
       std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

void measure_once(Mode& mode, const Options& options, const Sizes& sizes, int run) {
  const Note note = [&](const std::string& title, double value) {
    mode.runs[title].push_back(value);
  };
  const auto wanted = [&](const char* part) {
    return options.only.empty() || options.only == part;
  };
  if (wanted("write")) measure_writes(mode, sizes, run, note);
  if (wanted("list")) measure_lists(mode, sizes, run, note);
  if (wanted("open")) measure_open(mode, sizes, run, note);
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
          {"durable creates a second, 1 client", "/s"},
          {"write until watch event, p50", "ms", 1},
          {"write until watch event, p99", "ms"},
          {"write until taken by 1,000 watches, p50", "ms"},
          {"write until taken by 1,000 watches, p99", "ms", 50},
          {"list of 10,000 objects", "ms", 25},
          {"list of 10,000 objects, pages of 500", "ms"},
          {"open with 100,000 objects", "s", 2},
          {"resident memory, 10,000 objects", "MB", 150},
          {"resident memory of the etcd server", "MB"}};
}

std::vector<Figure> figures_of(Mode& mode) {
  std::vector<Figure> figures;
  for (const Row& row : rows()) {
    if (!mode.runs.contains(row.title)) continue;
    Figure figure = median_figure(row.title, row.title, row.unit, mode.runs[row.title]);
    if (mode.name == "embedded") {
      figure.at_most = row.at_most;
      figure.at_least = row.at_least;
    }
    figures.push_back(std::move(figure));
  }
  return figures;
}

int run(const Options& options) {
  const Scratch scratch;
  std::vector<Mode> modes;
  modes.push_back(
      {"embedded", [&](const std::string& place) { return scratch.path(place); }, "", {}, {}});
  std::unique_ptr<EtcdServer> server;
  if (etcd_is_installed()) {
    auto started = EtcdServer::start();
    if (!started) {
      fmt::print(stderr, "store_bench: {}\n", started.status().message());
      return 1;
    }
    server = std::move(started).value();
    modes.push_back(
        {"etcd",
         [&](const std::string& place) { return "etcd://" + server->address() + "/" + place; },
         std::to_string(server->pid()),
         {},
         {}});
  } else {
    fmt::print(stderr, "store_bench: etcd is not installed: the embedded store alone\n");
  }
  const Sizes full{milliseconds(3000), 1000, 1000, 100, 10'000, 100'000};
  const Sizes small{milliseconds(100), 20, 1000, 3, 10'000, 12'000};
  const int runs = options.quick ? 1 : options.runs;
  for (int number = 0; number < runs; ++number) {
    for (Mode& mode : modes) {
      fmt::print(stderr, "measuring {}: run {} of {}\n", mode.name, number + 1, runs);
      measure_once(mode, options, options.quick ? small : full, number);
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
  CLI::App app("Measures the store, embedded and over etcd.");
  app.add_flag("--quick", options.quick, "small sizes, one run");
  app.add_option("--runs", options.runs, "repetitions; the table has medians")
      ->check(CLI::PositiveNumber);
  app.add_option("--only", options.only, "one part")
      ->check(CLI::IsMember({"write", "list", "open"}));
  app.add_option("--json", options.json_path, "write all figures here");
  app.add_option("--markdown", options.markdown_path, "write a table here");
  app.add_option("--resident", options.resident, "open this store and print this process's MB");
  CLI11_PARSE(app, argc, argv);
  if (options.resident.empty()) return run(options);
  const auto store = open(options.resident);
  fmt::print("{}\n", resident_mb());
  return 0;
}
