// What an eBPF dataplane needs around it, private to this process: a BPF file system, and a cgroup
// that holds the sockets of some threads and of nobody else on the machine.
//
//   fairlead-e2e-PID/          this process
//   fairlead-e2e-PID/inside/   threaded: the threads that took themselves in, and their children
//
// A socket belongs for good to the cgroup of the thread that makes it, so threads go in (or out)
// before they make sockets. The mounts vanish with the last process of this tree, however it ends;
// the cgroups are removed by the destructor, or by the next sandbox on the machine.
//
// Threads: create before any thread that shall share it, on the thread that starts the others;
// enter() and leave() act on the calling thread.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"

namespace fairlead::harness {

class BpfSandbox {
 public:
  // Moves the calling thread into a mount namespace of its own, and this process into its cgroup.
  static Result<std::unique_ptr<BpfSandbox>> create();
  // Moves this process back to where it was. Children must have ended.
  ~BpfSandbox();
  BpfSandbox(const BpfSandbox&) = delete;
  BpfSandbox& operator=(const BpfSandbox&) = delete;

  const std::string& inside_path() const { return inside_; }
  Status enter() const;
  Status leave() const;

  // Why there can be none here: no cgroup v2, or none with threads. Empty: there can.
  static std::string why_no_cgroup();
  // Why this process cannot load BPF programs or mount their file system. Empty: it can.
  static std::string why_no_bpf();

 private:
  BpfSandbox() = default;

  std::string home_;    // the cgroup that the process came from
  std::string outer_;   // ours
  std::string inside_;  // its child
};

}  // namespace fairlead::harness
