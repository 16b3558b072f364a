// fairlead: the control plane's program.
#include <malloc.h>

#include <cstdio>
#include <string>
#include <vector>

#include "base/log.h"
#include "control/server/options.h"
#include "control/server/program.h"

namespace {

// Lists are buffers of megabytes that live for a moment. By itself glibc begins to keep such
// memory after the first of them; told a fixed bound, it goes back to the system every time.
void give_back_large_buffers() {
  constexpr int kLarge = 1 << 20;
  ::mallopt(M_MMAP_THRESHOLD, kLarge);
  ::mallopt(M_TRIM_THRESHOLD, 4 * kLarge);
}

}  // namespace

int main(int argc, char** argv) {
  give_back_large_buffers();
  const auto invocation = fairlead::server::parse_arguments({argv + 1, argv + argc});
  if (!invocation) {
    LOG_ERROR("{}", invocation.status().message());
    return 1;
  }
  if (!invocation->serve) {
    std::fputs(invocation->output.c_str(), stdout);
    return 0;
  }
  const fairlead::server::Options& options = invocation->options;
  fairlead::log::set_verbosity(options.verbosity);
  if (options.json_logs) fairlead::log::set_format(fairlead::log::Format::kJson);
  const fairlead::Status status = fairlead::server::run_server(options);
  if (!status) {
    LOG_ERROR("{}", status.message());
    return 1;
  }
  return 0;
}
