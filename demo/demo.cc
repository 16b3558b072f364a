// fairlead-demo: Fairlead at work on a network of its own, for people who see it for the first
// time.
//
// Exit code 0: every step did what its line says. 1: one did not; 2: this machine cannot show it.
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

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
                          pods a1 a2 a3 and "pod"         10.244.2.x, fd00:10:244:2::x
                          10.244.1.x, fd00:10:244:1::x)";

// The proxy that was built beside this program, unless somebody names another.
void find_proxy() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string beside = (self.parent_path() / "fairlead-proxy").string();
  if (!error) ::setenv("FAIRLEAD_PROXY", beside.c_str(), 0);
}

// Lock files belong to this run alone. Where this is not allowed they stay in /run/fairlead, empty
// of meaning.
void use_private_run_directory() {
  if (::unshare(CLONE_NEWNS) != 0) return;
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
  ::mount("fairlead-demo", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m");
}

std::string what_is_missing() {
  const std::string missing = harness::missing_features(
      {Feature::kRoot, Feature::kNetns, Feature::kVeth, Feature::kIPv6, Feature::kNftables});
  if (!missing.empty()) return missing;
  const std::string proxy = harness::proxy_binary();
  return ::access(proxy.c_str(), X_OK) == 0 ? "" : proxy + ": not there, build fairlead-proxy";
}

int play() {
  const Clock::time_point begin = Clock::now();
  demo::Page page;
  page.title("Fairlead: Kubernetes Services on one node");
  page.text(
      "Everything happens in network namespaces that belong to this process alone and vanish with "
      "it. The API server is a small one in memory, spoken to over HTTP; fairlead-proxy, the "
      "kernel's rules and every connection are real. Each line was checked as it was printed.");
  page.line(kPicture);
  Result<std::unique_ptr<demo::Stage>> stage = demo::Stage::build();
  if (!stage) {
    std::fprintf(stderr, "fairlead-demo: %s\n", stage.status().message().c_str());
    return 2;
  }
  const Status status = demo::Scenes(**stage, page).play();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  if (!status) {
    page.line(fmt::format("\nFAILED after {:.1f} s: {}", seconds, status.message()));
    page.line("The end of fairlead-proxy's log:\n" + (*stage)->log_tail());
    return 1;
  }
  page.line(
      fmt::format("\nAll of it held, in {:.1f} s. Nothing is left on this machine.", seconds));
  return 0;
}

}  // namespace

int main() {
  find_proxy();
  if (const std::string missing = what_is_missing(); !missing.empty()) {
    std::fprintf(stderr,
                 "fairlead-demo cannot run here. Missing: %s\n"
                 "It needs root, network namespaces, veth, IPv6, nftables (package nftables) and "
                 "ip (package iproute2).\n",
                 missing.c_str());
    return 2;
  }
  use_private_run_directory();
  return play();
}
