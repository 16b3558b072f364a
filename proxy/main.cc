// fairlead-proxy: Kubernetes Services on one node.
#include <cstdio>
#include <string>
#include <vector>

#include "base/log.h"
#include "proxy/config/file.h"
#include "proxy/config/load.h"
#include "proxy/daemon.h"

namespace {

using fairlead::Result;
using fairlead::Status;
using fairlead::proxy::Action;
using fairlead::proxy::Loaded;

Status perform(const Loaded& loaded) {
  switch (loaded.action) {
    case Action::kPrint:
      std::fputs(loaded.output.c_str(), stdout);
      return {};
    case Action::kWriteConfig:
      return fairlead::proxy::write_config_file(loaded.write_config_to, loaded.output);
    case Action::kCleanup:
      return fairlead::proxy::clean_up(loaded);
    case Action::kInitOnly:
      return fairlead::proxy::initialize_node(loaded);
    case Action::kRun:
      return fairlead::proxy::run_daemon(loaded);
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const Result<Loaded> loaded = fairlead::proxy::load({argv + 1, argv + argc});
  if (!loaded) {
    LOG_ERROR("{}", loaded.status().message());
    return 1;
  }
  fairlead::log::set_verbosity(loaded->config.log_verbosity);
  fairlead::log::set_format(loaded->config.log_format == fairlead::proxy::LogFormat::kJson
                                ? fairlead::log::Format::kJson
                                : fairlead::log::Format::kText);
  for (const std::string& warning : loaded->warnings) LOG_WARNING("{}", warning);
  const Status status = perform(*loaded);
  if (!status) {
    LOG_ERROR("{}", status.message());
    return 1;
  }
  return 0;
}
