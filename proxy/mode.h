// Which datapath runs: what was asked for, or for "auto" the best that this kernel and build can
// do, and why.
//
// Threads: call at start.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "dataplane/backend.h"
#include "proxy/config/config.h"

namespace fairlead::proxy {

struct ModeChoice {
  ProxyMode mode = ProxyMode::kNftables;
  std::string reason;  // one sentence for the log
};

// kUnsupported with what is missing and how to get it when the mode cannot run. There is no falling
// back from a mode that was asked for by name.
Result<ModeChoice> choose_mode(ProxyMode asked);

// Precondition: `mode` comes from choose_mode().
Result<std::unique_ptr<dataplane::Backend>> create_backend(const ProxyConfig& config,
                                                           ProxyMode mode);

// To clean up after any mode that ran on this node.
struct AllBackends {
  struct LeftOut {
    ProxyMode mode;
    Status reason;
  };
  std::vector<std::unique_ptr<dataplane::Backend>> backends;
  // What an earlier run in these modes may have left cannot be seen now: for want of a privilege,
  // say. A mode that the kernel does not have is not among them, it has left nothing.
  std::vector<LeftOut> left_out;
};

// For each mode of this build, without `but`.
AllBackends create_all_backends(const ProxyConfig& config,
                                std::optional<ProxyMode> but = std::nullopt);

// The families that the node's kernel can serve: IPv4, and IPv6 unless it is switched off.
std::vector<dataplane::Family> usable_families();

}  // namespace fairlead::proxy
