// From the command line to a checked configuration: the one function that main() calls.
//
// Precedence is kube-proxy's: with --config every setting comes from the file, except those of
// --hostname-override, --master, the logging flags and the one-shot actions; each flag that loses
// is named in a warning. All mistakes are reported together, each under the name its author used.
//
// Threads: pure but for reading the file.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "proxy/config/config.h"

namespace fairlead::proxy {

enum class Action {
  kRun,
  kPrint,        // --help, --version: write `output` to standard output and exit with 0
  kWriteConfig,  // --write-config-to: write_config_file(write_config_to, output) and exit
  kCleanup,      // --cleanup: remove what any mode installed and exit
  kInitOnly,     // --init-only: do what needs privileges and exit
};

struct Loaded {
  Action action = Action::kRun;
  ProxyConfig config;
  std::vector<std::string> warnings;  // for the log, one line each
  std::string output;
  std::string write_config_to;
  std::string configz;      // the body of /configz: JSON
  std::string config_text;  // what the configuration file held; see ConfigFileWatch
};

// `arguments` without the program's name. An error's detail lists everything that is wrong,
// separated by
// "; ".
Result<Loaded> load(const std::vector<std::string>& arguments);

}  // namespace fairlead::proxy
