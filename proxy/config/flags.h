// The command line, read as kube-proxy's flag library reads it: `--flag=value`, `--flag value`, a
// boolean flag alone, `--flag=false`, `-v 4`, underscores for dashes, the last of several counts
// (lists and gates add up).
//
// Threads: pure functions.
#pragma once

#include <string>
#include <vector>

#include "proxy/config/options.h"

namespace fairlead::proxy {

struct ParsedFlags {
  Layer layer;                      // named as they were spelt
  std::vector<std::string> errors;  // "unknown flag --x; did you mean --y?"
};

// `arguments` without the program's name.
ParsedFlags parse_flags(const std::vector<std::string>& arguments);

// What --help prints: every flag with its default, in groups.
std::string help_text();

}  // namespace fairlead::proxy
