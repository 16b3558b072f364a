// Which datapath runs: what was asked for, or for "auto" the best that this kernel and build can
// do, and why.
//
// Threads: call at start.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "dataplane/backend.h"
#include "proxy/config/config.h"
#include "proxy/families.h"

namespace fairlead::proxy {

struct ModeChoice {
  ProxyMode mode = ProxyMode::kNftables;
  std::string reason;                           // one sentence for the log
  std::unique_ptr<dataplane::Backend> backend;  // not started
  FamilyChoice families;                        // in which it works
};

// kUnsupported with what is missing and how to get it when the mode cannot run. There is no falling
// back from a mode that was asked for by name.
Result<ModeChoice> choose_mode(const ProxyConfig& config);

struct ModeRow {
  ProxyMode mode;
  Status (*probe)();  // ok when the kernel and the tools have what it takes
  Result<std::unique_ptr<dataplane::Backend>> (*create)(const ProxyConfig& config);
};
// The same among `modes`, best first. None is tried beyond the one that is chosen.
Result<ModeChoice> choose_mode(const ProxyConfig& config, std::span<const ModeRow> modes);

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

}  // namespace fairlead::proxy
