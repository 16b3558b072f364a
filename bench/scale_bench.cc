// How Fairlead behaves at scale, measured from outside: the real daemon in a network namespace, a
// Kubernetes API server in this process, real connections.
//
//   scale_bench [--quick] [--runs=3] [--modes=nftables,iptables,iptables-legacy,ipvs,ebpf]
//               [--only=start|change|load|traffic] [--json=FILE] [--markdown=FILE]
//               [--starts=10000x5,...] [--changes=200,...] [--samples=400] [--rounds=15]
//               [--reference=cold-start-10000x5=1.2,...]
//
// --starts and --changes name sizes; then these are measured, and nothing else. --reference is for
// a run whose seconds are not a node's, in an emulated machine: what mode nftables takes on one.
// Needs root. The figures go to standard output; the exit code does not depend on targets.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <map>
#include <optional>

#include "bench/scale_measures.h"
#include "bench/scale_report.h"
#include "tests/harness/bpf_sandbox.h"
#include "tests/harness/features.h"

namespace {

using fairlead::Status;
using fairlead::bench::Figure;
using fairlead::bench::Report;
using fairlead::bench::Setup;
using fairlead::bench::Shape;
using fairlead::harness::BpfSandbox;
using fairlead::harness::Feature;

struct Options {
  bool quick = false;
  int runs = 3;
  std::string only;
  std::vector<std::string> modes = {"nftables", "iptables", "iptables-legacy", "ebpf"};
  std::string json_path;
  std::string markdown_path;
  // Sizes of the caller's own, "SERVICESxENDPOINTS" and SERVICES.
  std::vector<std::string> starts;
  std::vector<uint32_t> changes;
  int samples = 400;
  int connection_rounds = 15;
  std::vector<std::string> references;  // "ID=VALUE"

  bool own_sizes() const { return !starts.empty() || !changes.empty(); }
};

constexpr int kSkipped = 77;

struct Target {
  std::optional<double> at_most = {};
  std::optional<double> at_least = {};
};

const std::map<std::string, Target>& targets() {
  static const std::map<std::string, Target> all = {
      {"nftables:cold-start-10000x5", {.at_most = 3}},
      {"nftables:cold-start-44000x1", {.at_most = 10}},
      {"nftables:cold-start-5000x50", {.at_most = 30}},
      {"nftables:resident-10000x5", {.at_most = 60}},
      {"nftables:change-p50-10000", {.at_most = 5}},
      {"nftables:change-p99-10000", {.at_most = 20}},
      {"nftables:growth-change-p50-", {.at_most = 1.25}},
      {"nftables:growth-connect-service-", {.at_most = 1.25}},
      {"nftables:idle-10000x5", {.at_most = 0.1}},
      {"iptables-legacy:cold-start-5000x5", {.at_most = 2}},
      {"iptables:change-p50-5000", {.at_most = 150}},
      {"iptables-legacy:change-p50-5000", {.at_most = 150}},
      {"ipvs:cold-start-10000x5", {.at_most = 3}},
      {"ipvs:change-p50-10000", {.at_most = 5}},
      {"ebpf:cold-start-10000x5", {.at_most = 1}},
      {"ebpf:cold-start-100000x5", {.at_most = 8}},
      {"ebpf:resident-10000x5", {.at_most = 60}},
      {"ebpf:change-p50-10000", {.at_most = 2}},
      {"ebpf:change-p50-100000", {.at_most = 2}},
      {"ebpf:idle-10000x5", {.at_most = 0.1}},
      {"ebpf:ports-400", {.at_most = 50}},
      {"ebpf:requests-over-nftables-pod-10x5", {.at_least = 1}},
      {"ebpf:requests-over-nftables-client-10x5", {.at_least = 1}},
      {"ebpf:requests-over-nftables-pod-10000x5", {.at_least = 1}},
      {"ebpf:requests-over-nftables-client-10000x5", {.at_least = 1}},
      {"ebpf:stream-pod-10x5-ratio", {.at_least = 1}},
      {"ebpf:stream-pod-10000x5-ratio", {.at_least = 1}},
  };
  return all;
}

double value_of(const std::vector<Figure>& figures, const std::string& id) {
  const auto found = std::find_if(figures.begin(), figures.end(),
                                  [&](const Figure& figure) { return figure.id == id; });
  return found == figures.end() ? 0 : found->value;
}

// How much a figure grows from the smallest table to the largest.
void add_growth(std::vector<Figure>& figures, const std::string& prefix, uint32_t small,
                uint32_t large, const std::string& suffix, const std::string& title) {
  const double before = value_of(figures, prefix + std::to_string(small) + suffix);
  const double after = value_of(figures, prefix + std::to_string(large) + suffix);
  if (before == 0 || after == 0 || small == large) return;
  Figure figure{"growth-" + prefix,
                fmt::format("{}, {} services : {} services", title, large, small), "×",
                after / before};
  figures.push_back(std::move(figure));
}

// Sizes of a full run; the largest are for the mode that claims them.
struct Plan {
  std::vector<Shape> starts;
  std::vector<uint32_t> changes;
  Shape load;
  std::vector<Shape> traffic;
  uint32_t ports;
  int rounds;
  uint32_t change_endpoints = 1;  // of each service, beside the one that changes
  int change_samples = 400;
  int connection_rounds = 15;
};

// Precondition: accepted by the command line's check.
Shape shape_of(const std::string& text) {
  Shape shape;
  std::sscanf(text.c_str(), "%" SCNu32 "x%" SCNu32, &shape.services, &shape.endpoints);
  return shape;
}

Plan plan_for(const Options& options, const std::string& mode) {
  if (options.own_sizes()) {
    Plan plan{};
    for (const std::string& text : options.starts) plan.starts.push_back(shape_of(text));
    plan.changes = options.changes;
    plan.change_endpoints = 1;
    plan.change_samples = options.samples;
    plan.connection_rounds = options.connection_rounds;
    return plan;
  }
  if (options.quick) return {{{200, 5}}, {20, 200}, {200, 5}, {{10, 5}}, 20, 2};
  Plan plan{{{10000, 5}, {44000, 1}, {5000, 50}},
            {100, 1000, 10000, 40000},
            {10000, 5},
            {{10, 5}, {10000, 5}},
            400,
            9};
  if (mode == "ipvs") {
    plan.starts = {{10000, 5}};
    plan.changes = {100, 1000, 10000};
  }
  // The kernel goes through an iptables chain rule by rule, and the tools through all of them.
  if (mode.starts_with("iptables")) {
    plan.starts = {{1000, 5}, {5000, 5}};
    plan.changes = {100, 1000, 5000};
    plan.change_endpoints = 5;
    plan.change_samples = 60;
    plan.load = {5000, 5};
    plan.traffic = {{10, 5}, {5000, 5}};
    plan.ports = 100;
  }
  if (mode == "ebpf") {
    plan.starts.push_back({100000, 5});
    plan.changes.push_back(100000);
  }
  return plan;
}

struct Reference {
  std::string id;
  double value = 0;
};

// Value 0: not what is accepted.
Reference reference_of(const std::string& text) {
  const size_t at = text.find('=');
  if (at == std::string::npos) return {};
  return {text.substr(0, at), std::strtod(text.c_str() + at + 1, nullptr)};
}

// The target of what is measured as `id`, if it has one.
void set_target(Figure& figure, const std::string& id) {
  const auto target = targets().find(id);
  if (target == targets().end()) return;
  figure.at_most = target->second.at_most;
  figure.at_least = target->second.at_least;
}

// As much longer or shorter than nftables as here, on a machine where that takes what the reference
// says; the target goes for this.
void add_estimates(Report& report, const std::vector<std::string>& references) {
  for (const std::string& text : references) {
    const Reference reference = reference_of(text);
    const double base = value_of(report.figures, "nftables:" + reference.id);
    if (base == 0) continue;
    for (const std::string& mode : report.modes) {
      const auto measured = std::find_if(
          report.figures.begin(), report.figures.end(),
          [&](const Figure& figure) { return figure.id == mode + ":" + reference.id; });
      if (measured == report.figures.end()) continue;
      Figure estimate{mode + ":estimate-" + reference.id, measured->title + ", natively (estimate)",
                      measured->unit, measured->value / base * reference.value};
      if (mode != "nftables") set_target(estimate, measured->id);
      report.figures.push_back(std::move(estimate));
    }
  }
}

Status measure(const Options& options, const Setup& setup, std::vector<Figure>& figures) {
  using std::chrono::seconds;
  namespace bench = fairlead::bench;
  const Plan plan = plan_for(options, setup.mode);
  const auto wanted = [&](std::string_view part) {
    if (options.own_sizes() && (part == "load" || part == "traffic")) return false;
    return options.only.empty() || options.only == part;
  };
  const auto tell = [&](const std::string& what) {
    fmt::print(stderr, "measuring {}: {}\n", setup.mode, what);
  };
  if (wanted("start")) {
    for (const Shape& shape : plan.starts) {
      tell("starts, " + shape.to_string());
      RETURN_IF_ERROR(
          bench::measure_start(setup, shape, options.quick ? 1 : options.runs, figures));
    }
  }
  if (wanted("change") && !plan.changes.empty()) {
    for (const uint32_t services : plan.changes) {
      tell(fmt::format("changes and connections at {} services", services));
      RETURN_IF_ERROR(bench::measure_change(
          setup, {services, plan.change_endpoints}, options.quick ? 20 : plan.change_samples,
          plan.connection_rounds, services == plan.changes.front(), figures));
    }
    const uint32_t small = plan.changes.front();
    const uint32_t large = plan.changes.back();
    add_growth(figures, "change-p50-", small, large, "", "one endpoint change, p50");
    add_growth(figures, "connect-service-", small, large,
               "x" + std::to_string(plan.change_endpoints), "connect() to a ClusterIP");
  }
  if (wanted("change") && plan.ports != 0) {
    tell(fmt::format("a service with {} ports", plan.ports));
    RETURN_IF_ERROR(bench::measure_ports(setup, {20, 1}, plan.ports, plan.rounds, figures));
  }
  if (wanted("load")) {
    tell("idle CPU and a burst, " + plan.load.to_string());
    RETURN_IF_ERROR(bench::measure_load(setup, plan.load, seconds(options.quick ? 1 : 20),
                                        options.quick ? 50 : 1000, figures));
  }
  if (wanted("traffic")) {
    for (const Shape& shape : plan.traffic) {
      tell("traffic, " + shape.to_string());
      RETURN_IF_ERROR(bench::measure_traffic(setup, shape, plan.rounds, figures));
    }
  }
  return {};
}

// Mode ebpf beside mode nftables, where both are measured.
Status compare_modes(const Options& options, const BpfSandbox* sandbox,
                     std::vector<Figure>& figures) {
  if (std::count(options.modes.begin(), options.modes.end(), "nftables") == 0) return {};
  if (!options.only.empty() && options.only != "traffic") return {};
  for (const Shape& shape : plan_for(options, "ebpf").traffic) {
    fmt::print(stderr, "measuring ebpf beside nftables: {}\n", shape.to_string());
    RETURN_IF_ERROR(fairlead::bench::measure_side_by_side({"ebpf", sandbox}, {"nftables", nullptr},
                                                          shape, options.quick ? 2 : 40, figures));
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
      ->check(CLI::IsMember({"start", "change", "load", "traffic"}));
  app.add_option("--modes", options.modes, "Measure these modes, in this order")
      ->delimiter(',')
      ->check(CLI::IsMember({"nftables", "iptables", "iptables-legacy", "ipvs", "ebpf"}));
  app.add_option("--json", options.json_path, "Write all figures to this file");
  app.add_option("--markdown", options.markdown_path, "Write the table to this file");
  app.add_option("--starts", options.starts, "Sizes of starts, SERVICESxENDPOINTS")
      ->delimiter(',')
      ->check([](const std::string& text) {
        const Shape shape = shape_of(text);
        const bool right = shape.services != 0 && shape.endpoints != 0 && shape.id() == text;
        return right ? "" : "\"" + text + "\" is not SERVICESxENDPOINTS";
      });
  app.add_option("--changes", options.changes, "Numbers of services to measure a change at")
      ->delimiter(',')
      ->check(CLI::Range(1, 1000000));
  app.add_option("--samples", options.samples, "With --changes: changes at each size")
      ->check(CLI::Range(1, 100000));
  app.add_option("--rounds", options.connection_rounds,
                 "With --changes: rounds of connections at each size")
      ->check(CLI::Range(1, 1000));
  app.add_option("--reference", options.references,
                 "What mode nftables takes on a node, ID=VALUE: adds estimates, which targets are "
                 "then compared with")
      ->delimiter(',')
      ->check([](const std::string& text) {
        return reference_of(text).value > 0 ? "" : "\"" + text + "\" is not ID=VALUE";
      });
  CLI11_PARSE(app, argc, argv);

  // IPVS has a kernel of its own where this machine's does not have it.
  const bool ipvs = options.modes == std::vector<std::string>{"ipvs"};
  const std::string missing =
      fairlead::harness::missing_features({Feature::kRoot, Feature::kNetns, Feature::kVeth,
                                           ipvs ? Feature::kIpvs : Feature::kNftables});
  if (!missing.empty()) {
    fmt::print("SKIPPED: {}\n", missing);
    return kSkipped;
  }
  // Before any thread exists; where the machine has no BPF, that mode is left out by name.
  std::unique_ptr<BpfSandbox> sandbox;
  const std::string no_bpf =
      fairlead::harness::missing_features({Feature::kBpf, Feature::kCgroup2});
  if (no_bpf.empty()) {
    auto made = BpfSandbox::create();
    if (!made) {
      fmt::print(stderr, "scale_bench: {}\n", made.status().message());
      return 1;
    }
    sandbox = std::move(*made);
  } else {
    std::erase(options.modes, "ebpf");
    fmt::print("SKIPPED: mode ebpf: {}\n", no_bpf);
  }

  Report report = fairlead::bench::new_report(options.quick);
  Status status;
  for (const std::string& mode : options.modes) {
    std::vector<Figure> figures;
    status = measure(options, {mode, sandbox.get()}, figures);
    if (status && mode == "ebpf") status = compare_modes(options, sandbox.get(), figures);
    report.add(mode, std::move(figures));
    if (!status) break;
  }
  if (options.references.empty()) {
    for (Figure& figure : report.figures) set_target(figure, figure.id);
  } else {
    add_estimates(report, options.references);
  }
  fmt::print("{}", report.table());
  if (!status) fmt::print(stderr, "scale_bench: {}\n", status.message());
  const bool written = write_file(options.json_path, report.json()) &&
                       write_file(options.markdown_path, report.markdown());
  return status.ok() && written ? 0 : 1;
}
