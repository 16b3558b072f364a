#include "bench/scale_report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <set>
#include <thread>
#include <utility>

#include "control/api/json_writer.h"

namespace fairlead::bench {
namespace {

// Three significant digits: more would be noise.
std::string format_value(double value) {
  if (value == 0) return "0";
  if (value >= 100) return fmt::format("{:.0f}", value);
  if (value >= 10) return fmt::format("{:.1f}", value);
  return fmt::format("{:.3g}", value);
}

std::string format_target(const Figure& figure) {
  if (figure.at_most) return "≤ " + format_value(*figure.at_most);
  if (figure.at_least) return "≥ " + format_value(*figure.at_least);
  return "";
}

std::string format_met(const Figure& figure) {
  const std::optional<bool> met = figure.met();
  if (!met) return "";
  return *met ? "met" : "MISSED";
}

std::string format_range(const Figure& figure) {
  if (figure.runs.size() < 2) return "";
  const auto [low, high] = std::minmax_element(figure.runs.begin(), figure.runs.end());
  return format_value(*low) + "–" + format_value(*high);
}

std::string mode_of(const Figure& figure) {
  return figure.id.substr(0, figure.id.find(':'));
}

// In characters, not bytes: the table has dashes and comparison signs.
size_t width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string pad(std::string text, size_t columns) {
  const size_t now = width(text);
  if (now < columns) text.append(columns - now, ' ');
  return text;
}

std::string first_value(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find(':');
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    if (colon != std::string::npos && begin != std::string::npos) return line.substr(begin);
  }
  return "unknown";
}

std::string describe_machine() {
  utsname kernel{};
  ::uname(&kernel);
  const double kilobytes = std::strtod(first_value("/proc/meminfo", "MemTotal").c_str(), nullptr);
  return fmt::format("{} × {}, {:.0f} GB, Linux {}", std::thread::hardware_concurrency(),
                     first_value("/proc/cpuinfo", "model name"), kilobytes / 1e6, kernel.release);
}

}  // namespace

std::optional<bool> Figure::met() const {
  if (at_most) return value <= *at_most;
  if (at_least) return value >= *at_least;
  return std::nullopt;
}

double quantile(std::vector<double> values, double fraction) {
  if (values.empty()) return 0;
  const auto index = static_cast<size_t>(fraction * static_cast<double>(values.size() - 1) + 0.5);
  const auto position = values.begin() + static_cast<std::ptrdiff_t>(index);
  std::nth_element(values.begin(), position, values.end());
  return *position;
}

Figure median_figure(std::string id, std::string title, std::string unit,
                     std::vector<double> runs) {
  Figure figure{std::move(id), std::move(title), std::move(unit)};
  figure.value = quantile(runs, 0.5);
  figure.runs = std::move(runs);
  return figure;
}

void Report::add(const std::string& mode, std::vector<Figure> of_mode) {
  modes.push_back(mode);
  for (Figure& figure : of_mode) {
    figure.id = mode + ":" + figure.id;
    figures.push_back(std::move(figure));
  }
}

std::string Report::table() const {
  size_t title_width = 0;
  for (const Figure& figure : figures) {
    title_width = std::max(title_width, width(mode_of(figure) + figure.title) + 2);
  }
  std::string text = machine + "\n" + date + (quick ? ", quick: sizes are small" : "") + "\n";
  for (const Figure& figure : figures) {
    text += pad(mode_of(figure) + ": " + figure.title, title_width + 2) +
            pad(format_value(figure.value) + " " + figure.unit, 14) +
            pad(format_range(figure), 16) + pad(format_target(figure), 10) + format_met(figure) +
            "\n";
  }
  return text;
}

std::string Report::markdown() const {
  std::string text = "Measured " + date + " on " + machine + ".\n\n| what |";
  std::string rule = "\n|---|";
  for (const std::string& mode : modes) {
    text += " " + mode + " |";
    rule += "---|";
  }
  text += " target |" + rule + "---|\n";
  std::set<std::string> written;
  for (const Figure& figure : figures) {
    if (!written.insert(figure.title).second) continue;
    std::string targets;
    text += "| " + figure.title + " |";
    for (const std::string& mode : modes) {
      const auto same = std::find_if(figures.begin(), figures.end(), [&](const Figure& candidate) {
        return candidate.title == figure.title && mode_of(candidate) == mode;
      });
      if (same == figures.end()) {
        text += " |";
        continue;
      }
      text += " " + format_value(same->value) + " " + same->unit;
      const std::string range = format_range(*same);
      text += (range.empty() ? "" : " (" + range + ")") + " |";
      if (!same->met()) continue;
      targets += (targets.empty() ? "" : "; ") + mode + " " + format_target(*same) + ": " +
                 format_met(*same);
    }
    text += " " + targets + " |\n";
  }
  return text;
}

std::string Report::json() const {
  api::JsonWriter out;
  out.begin_object().key("machine").string(machine).key("date").string(date);
  out.key("quick").boolean(quick).key("figures").begin_array();
  for (const Figure& figure : figures) {
    out.begin_object().key("id").string(figure.id).key("title").string(figure.title);
    out.key("unit").string(figure.unit).key("value").number(figure.value);
    out.key("runs").begin_array();
    for (const double run : figure.runs) out.number(run);
    out.end_array();
    if (figure.at_most) out.key("atMost").number(*figure.at_most);
    if (figure.at_least) out.key("atLeast").number(*figure.at_least);
    if (const std::optional<bool> met = figure.met()) out.key("met").boolean(*met);
    out.end_object();
  }
  out.end_array().end_object();
  return out.take() + "\n";
}

Report new_report(bool quick) {
  Report report;
  report.machine = describe_machine();
  report.date = fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr)));
  report.quick = quick;
  return report;
}

}  // namespace fairlead::bench
