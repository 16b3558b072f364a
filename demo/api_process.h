// `fairlead server` as a process on node-a: TLS, client certificates, its store in a directory.
//
// Threads: one owner.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/status.h"
#include "tests/harness/netns.h"
#include "tests/harness/process.h"

namespace fairlead::demo {

// The one that FAIRLEAD_SERVER names, else the one that was built beside this program.
std::string server_binary();

class ApiProcess {
 public:
  // `directory`: is made when it is not there. `address`: one of the namespace's own, for TLS.
  static Result<std::unique_ptr<ApiProcess>> create(harness::Namespace& node, std::string directory,
                                                    std::string address);

  // Starts it on what is in the directory and waits until it serves: how long that took.
  Result<std::chrono::duration<double, std::milli>> start();
  void kill();  // SIGKILL, and waits for the end
  // Exit code of an orderly end (SIGTERM).
  Result<int> stop();

  std::string url() const;
  std::string kubeconfig() const { return directory_ + "/pki/admin.kubeconfig"; }
  std::string log() const;  // since the last start

 private:
  ApiProcess(harness::Namespace& node, std::string directory, std::string address);
  std::string log_path() const;

  harness::Namespace& node_;
  std::string directory_;
  std::string address_;
  Fd log_;
  std::unique_ptr<harness::ChildProcess> child_;
};

}  // namespace fairlead::demo
