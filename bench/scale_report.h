// The figures of a run: what was measured, in which unit, what it should be, and whether it is.
//
// Threads: values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"

namespace fairlead::bench {

struct Figure {
  std::string id;     // "cold-start-10000x5"; of a mode once it stands in a report: "ebpf:cold-..."
  std::string title;  // for people
  std::string unit;   // "s", "ms", "MB", ...
  double value = 0;   // of several runs the median
  std::vector<double> runs = {};
  std::optional<double> at_most = {};  // the target, when there is one
  std::optional<double> at_least = {};

  std::optional<bool> met() const;
};

// The element at `fraction` (0.5: the median) of the sorted values; 0 when there are none.
double quantile(std::vector<double> values, double fraction);
// A figure whose value is the median of `runs`.
Figure median_figure(std::string id, std::string title, std::string unit, std::vector<double> runs);

struct Report {
  std::string machine;  // processor, kernel, memory
  std::string date;
  bool quick = false;
  std::vector<std::string> modes;
  std::vector<Figure> figures;

  // The figures of one mode, under its name.
  void add(const std::string& mode, std::vector<Figure> of_mode);

  std::string table() const;     // aligned columns
  std::string markdown() const;  // Markdown: a row for each figure, a column for each mode
  std::string json() const;
};

Report new_report(bool quick);  // with machine and date filled in

}  // namespace fairlead::bench
