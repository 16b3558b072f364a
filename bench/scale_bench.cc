// How Fairlead behaves at scale, measured from outside: the real daemon in a network namespace, a
// Kubernetes API server in this process, real connections.
//
//   scale_bench [--quick] [--runs=3] [--only=start|change|load] [--json=FILE] [--markdown=FILE]
//
// Needs root. The figures go to standard output; the exit code does not depend on targets.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>

#include "bench/scale_measures.h"
#include "bench/scale_report.h"
#include "tests/harness/features.h"

namespace {

using fairlead::Status;
using fairlead::bench::Figure;
using fairlead::bench::Report;
using fairlead::bench::Shape;
using fairlead::harness::Feature;

struct Options {
  bool quick = false;
  int runs = 3;
  std::string only;
  std::string json_path;
  std::string markdown_path;
};

constexpr int kSkipped = 77;

// Upper bounds.
const std::map<std::string, double>& targets() {
  static const std::map<std::string, double> all = {
      {"cold-start-10000x5", 3}, {"cold-start-44000x1", 10}, {"cold-start-5000x50", 30},
      {"resident-10000x5", 60},  {"change-p50-10000", 5},    {"change-p99-10000", 20},
      {"idle-10000x5", 0.1},
  };
  return all;
}

double value_of(const Report& report, const std::string& id) {
  const auto found = std::find_if(report.figures.begin(), report.figures.end(),
                                  [&](const Figure& figure) { return figure.id == id; });
  return found == report.figures.end() ? 0 : found->value;
}

// How much a figure grows from the smallest table to the largest.
void add_growth(Report& report, const std::string& prefix, uint32_t small, uint32_t large,
                const std::string& suffix, const std::string& title) {
  const double before = value_of(report, prefix + std::to_string(small) + suffix);
  const double after = value_of(report, prefix + std::to_string(large) + suffix);
  if (before == 0 || after == 0) return;
  Figure figure{prefix + "growth" + suffix,
                fmt::format("{}, {} services : {} services", title, large, small), "×",
                after / before};
  figure.at_most = 1.25;
  report.figures.push_back(std::move(figure));
}

Status measure(const Options& options, Report& report) {
  using fairlead::bench::measure_change;
  using fairlead::bench::measure_load;
  using fairlead::bench::measure_start;
  using std::chrono::seconds;
  const auto wanted = [&](const char* part) {
    return options.only.empty() || options.only == part;
  };
  const auto tell = [](const std::string& what) { fmt::print(stderr, "measuring {}\n", what); };
  std::vector<Figure>& figures = report.figures;
  const std::vector<Shape> starts = options.quick
                                        ? std::vector<Shape>{{200, 5}}
                                        : std::vector<Shape>{{10000, 5}, {44000, 1}, {5000, 50}};
  const std::vector<uint32_t> changes = options.quick
                                            ? std::vector<uint32_t>{20, 200}
                                            : std::vector<uint32_t>{100, 1000, 10000, 40000};
  const Shape load = options.quick ? Shape{200, 5} : Shape{10000, 5};
  if (wanted("start")) {
    for (const Shape& shape : starts) {
      tell("starts, " + shape.to_string());
      RETURN_IF_ERROR(measure_start(shape, options.quick ? 1 : options.runs, figures));
    }
  }
  if (wanted("change")) {
    for (const uint32_t services : changes) {
      tell(fmt::format("changes and connections at {} services", services));
      RETURN_IF_ERROR(measure_change({services, 1}, options.quick ? 20 : 400,
                                     services == changes.front(), figures));
    }
    const uint32_t small = changes.front();
    const uint32_t large = changes.back();
    add_growth(report, "change-p50-", small, large, "", "one endpoint change, p50");
    add_growth(report, "connect-service-", small, large, "x1", "connect() to a ClusterIP");
  }
  if (wanted("load")) {
    tell("idle CPU and a burst, " + load.to_string());
    RETURN_IF_ERROR(
        measure_load(load, seconds(options.quick ? 1 : 20), options.quick ? 50 : 1000, figures));
  }
  return {};
}

bool write_file(const std::string& path, const std::string& text) {
  if (path.empty()) return true;
  std::ofstream file(path);
  file << text;
  file.close();
  if (!file.fail()) return true;
  fmt::print(stderr, "scale_bench: cannot write {}\n", path);
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Measures fairlead-proxy at scale.");
  app.add_flag("--quick", options.quick, "Small sizes, for a check that all of this works");
  app.add_option("--runs", options.runs, "Runs of each start")->check(CLI::Range(1, 100));
  app.add_option("--only", options.only, "Measure only this")
      ->check(CLI::IsMember({"start", "change", "load"}));
  app.add_option("--json", options.json_path, "Write all figures to this file");
  app.add_option("--markdown", options.markdown_path, "Write the table to this file");
  CLI11_PARSE(app, argc, argv);

  const std::string missing = fairlead::harness::missing_features(
      {Feature::kRoot, Feature::kNetns, Feature::kVeth, Feature::kNftables});
  if (!missing.empty()) {
    fmt::print("SKIPPED: {}\n", missing);
    return kSkipped;
  }
  Report report = fairlead::bench::new_report(options.quick);
  const Status status = measure(options, report);
  for (Figure& figure : report.figures) {
    const auto target = targets().find(figure.id);
    if (target != targets().end()) figure.at_most = target->second;
  }
  fmt::print("{}", report.table());
  if (!status) fmt::print(stderr, "scale_bench: {}\n", status.message());
  const bool written = write_file(options.json_path, report.json()) &&
                       write_file(options.markdown_path, report.markdown());
  return status.ok() && written ? 0 : 1;
}
