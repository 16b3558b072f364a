#include "control/server/controller_metrics.h"

#include <fmt/format.h>

#include <iterator>
#include <string_view>

#include "control/apiserver/metrics_text.h"

namespace fairlead::server {
namespace {

using apiserver::begin_family;
using controllers::ControllerMetrics;

struct Family {
  std::string_view name;
  std::string_view type;
  std::string_view help;
  uint64_t ControllerMetrics::*value;
};

constexpr Family kFamilies[] = {
    {"workqueue_depth", "gauge", "Keys that wait to be worked on.", &ControllerMetrics::depth},
    {"workqueue_adds_total", "counter", "Keys put into the queue.", &ControllerMetrics::adds},
    {"workqueue_retries_total", "counter", "Keys that came back after a failure.",
     &ControllerMetrics::retries},
    {"fairlead_controller_in_flight", "gauge", "Keys being worked on.",
     &ControllerMetrics::in_flight},
    {"fairlead_controller_worked_total", "counter", "Keys worked on.", &ControllerMetrics::worked},
    {"fairlead_controller_writes_total", "counter", "Writes to the API server.",
     &ControllerMetrics::writes},
};

}  // namespace

void append_metrics(const controllers::ManagerMetrics& metrics, std::string& page) {
  const auto out = std::back_inserter(page);
  for (const Family& family : kFamilies) {
    begin_family(page, family.name, family.type, family.help);
    for (const ControllerMetrics& each : metrics.controllers) {
      fmt::format_to(out, "{}{{name=\"{}\"}} {}\n", family.name, each.name, each.*family.value);
    }
  }
  begin_family(page, "leader_election_master_status", "gauge",
               "1 while this server runs the controllers.");
  fmt::format_to(out, "leader_election_master_status{{name=\"fairlead-controllers\"}} {}\n",
                 metrics.leading ? 1 : 0);
  begin_family(page, "fairlead_controller_terms_total", "counter",
               "How often this server began to run the controllers.");
  fmt::format_to(out, "fairlead_controller_terms_total {}\n", metrics.terms);
}

}  // namespace fairlead::server
