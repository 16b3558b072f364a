// fairlead-demo: Fairlead at work on a network of its own, for people who see it for the first
// time.
//
// Exit code 0: every step did what its line says. 1: one did not; 77: this machine cannot show it.
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "demo/api_process.h"
#include "demo/kubectl.h"
#include "demo/page.h"
#include "demo/scenes.h"
#include "demo/stage.h"
#include "tests/harness/features.h"

namespace {

using namespace fairlead;
using demo::Clock;
using harness::Feature;

constexpr const char* kPicture = R"(
     client             node-a                          node-b
     198.51.100.100 --- 198.51.100.11 / 172.31.0.11 --- 172.31.0.12
     2001:db8:100::64   2001:db8:100::11                a plain router
                        API server, fairlead-proxy        |
                          |                               pods b1 b2 b3
                          pods a1 a2 and "pod"            10.244.2.x, fd00:10:244:2::x
                          10.244.1.x, fd00:10:244:1::x)";

// The programs that were built beside this one, unless somebody names others.
void find_programs() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return;
  ::setenv("FAIRLEAD_PROXY", (self.parent_path() / "fairlead-proxy").c_str(), 0);
  ::setenv("FAIRLEAD_SERVER", (self.parent_path() / "fairlead").c_str(), 0);
}

// Lock files and the server's directory belong to this run alone and go with it.
Status use_private_run_directory() {
  if (::unshare(CLONE_NEWNS) != 0) return Status::from_errno(errno, "make", "mount namespace");
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("fairlead-demo", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=512m") != 0 ||
      ::mkdir(demo::kDirectory, 0700) != 0) {
    return Status::from_errno(errno, "make a private", "/run");
  }
  return {};
}

std::string what_is_missing() {
  std::string missing = harness::missing_features(
      {Feature::kRoot, Feature::kNetns, Feature::kVeth, Feature::kIPv6, Feature::kNftables});
  const std::string kubectl = demo::kubectl_binary();
  if (missing.empty() && ::access(kubectl.c_str(), X_OK) != 0) {
    missing = kubectl + ": scripts/install-deps.sh unpacks it";
  }
  return missing;
}

Status check_programs() {
  for (const std::string& program : {harness::proxy_binary(), demo::server_binary()}) {
    if (::access(program.c_str(), X_OK) != 0) return Status::from_errno(errno, "run", program);
  }
  return {};
}

int fail(const Status& status) {
  std::fprintf(stderr, "fairlead-demo: %s\n", status.message().c_str());
  return 1;
}

int play() {
  const Clock::time_point begin = Clock::now();
  demo::Page page;
  page.title("Fairlead: Kubernetes Services on one node");
  page.text(
      "Everything happens in network namespaces that belong to this process alone and vanish with "
      "it. The API server is `fairlead server`, kubectl is Debian's; fairlead-proxy, the kernel's "
      "rules and every connection are real. Each line was checked as it was printed.");
  page.line(kPicture);
  Result<std::unique_ptr<demo::Stage>> stage = demo::Stage::build(page);
  if (!stage) return fail(stage.status());
  const Status status = demo::Scenes(**stage, page).play();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  if (!status) {
    page.line(fmt::format("\nFAILED after {:.1f} s: {}", seconds, status.message()));
    page.line((*stage)->logs());
    return 1;
  }
  page.line(
      fmt::format("\nAll of it held, in {:.1f} s. Nothing is left on this machine.", seconds));
  return 0;
}

}  // namespace

int main() {
  find_programs();
  if (const std::string missing = what_is_missing(); !missing.empty()) {
    std::fprintf(stderr,
                 "fairlead-demo cannot run here. Missing: %s\n"
                 "It needs root, network namespaces, veth, IPv6, nftables (package nftables), ip "
                 "(package iproute2) and kubectl.\n",
                 missing.c_str());
    return 77;
  }
  if (const Status status = check_programs(); !status) return fail(status);
  if (const Status status = use_private_run_directory(); !status) return fail(status);
  return play();
}
