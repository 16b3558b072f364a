// The head of a family of metrics in Prometheus' text format
// (https://prometheus.io/docs/instrumenting/exposition_formats/), for numbers that are kept
// elsewhere and only read when somebody asks.
//
// Threads: a pure function.
#pragma once

#include <fmt/format.h>

#include <iterator>
#include <string>
#include <string_view>

namespace fairlead::apiserver {

// `type`: "counter", "gauge", "histogram". `help` is one line, without backslashes.
inline void begin_family(std::string& page, std::string_view name, std::string_view type,
                         std::string_view help) {
  fmt::format_to(std::back_inserter(page), "# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
}

}  // namespace fairlead::apiserver
