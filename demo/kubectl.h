// kubectl, as a newcomer would type it: each invocation is shown with what it answered.
//
// It runs on node-a and finds the cluster by the environment (KUBECONFIG, HOME).
//
// Threads: one owner.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "demo/page.h"
#include "tests/harness/netns.h"
#include "tests/harness/process.h"

namespace fairlead::demo {

// The one that FAIRLEAD_KUBECTL names, else the one that scripts/install-deps.sh unpacked.
std::string kubectl_binary();

enum class Show { kNothing, kCommand, kOutput };

class Kubectl {
 public:
  Kubectl(harness::Namespace& from, Page& page) : from_(from), page_(page) {}

  // An exit code other than 0 is an error that quotes what kubectl said. `input` is its standard
  // input, shown where the command asks for it (-f -) and output is shown.
  Result<std::string> run(std::vector<std::string> arguments, std::string_view input = {},
                          Show show = Show::kOutput);
  // The same where failing is an answer too.
  Result<harness::CommandResult> attempt(std::vector<std::string> arguments,
                                         std::string_view input = {});
  // Writes `status` (JSON) of the object at `path`, "/api/v1/nodes/node-a". There is no kubelet and
  // no cloud here to do it. This kubectl has no --subresource. `labels` (JSON): those that the
  // object has, since such a write replaces them as well, as kube-apiserver's does.
  Status write_status(std::string_view path, std::string_view kind, std::string_view status,
                      std::string_view labels = "{}");

 private:
  harness::Namespace& from_;
  Page& page_;
};

}  // namespace fairlead::demo
