// The iptables mode: kube-proxy's chains, kept in step by partial runs of iptables-restore.
//
// docs/iptables.md shows the chains and what a change costs with either variant of the tool.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "dataplane/backend.h"
#include "iptables/family_table.h"
#include "iptables/localnet.h"
#include "iptables/tool.h"

namespace fairlead::iptables {

// What the kernel and this process lack for the mode, each with how to get it; ok when nothing.
Status probe();

// A backend on the network namespace of the calling thread, with the variant that detect_variant()
// finds.
Result<std::unique_ptr<dataplane::Backend>> create_backend(TableOptions options);

// The seams of the backend, for tests.
struct BackendParts {
  std::unique_ptr<Tool> tool;
  // Tools of the other variants that are installed: what an earlier run left by one of them is
  // removed when the first delta is complete.
  std::vector<std::unique_ptr<Tool>> others;
  std::string route_localnet = kRouteLocalnet;
};
std::unique_ptr<dataplane::Backend> create_backend(BackendParts parts, TableOptions options);

}  // namespace fairlead::iptables
