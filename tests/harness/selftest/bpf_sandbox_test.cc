// Who is inside the sandbox, who is not, and what is left of it.
#include "tests/harness/bpf_sandbox.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "tests/harness/features.h"
#include "tests/harness/process.h"

namespace fairlead::harness {
namespace {

std::string cgroup_of_this_thread() {
  std::ifstream file("/proc/thread-self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::")) return line;
  }
  return "";
}

std::string on_thread(const std::function<std::string()>& function) {
  std::string result;
  std::thread([&] { result = function(); }).join();
  return result;
}

// Sandboxes change a process for good: each has one of its own. Returns its exit code.
int in_child(const std::function<int(BpfSandbox*)>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    Result<std::unique_ptr<BpfSandbox>> made = BpfSandbox::create();
    if (!made) {
      std::fprintf(stderr, "%s\n", made.status().message().c_str());
      ::_exit(100);
    }
    const int code = body(made->get());
    made->reset();
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

class Sandbox : public testing::Test {
 protected:
  void SetUp() override {
    const std::string missing =
        missing_features({Feature::kRoot, Feature::kBpf, Feature::kCgroup2});
    if (!missing.empty()) GTEST_SKIP() << missing;
  }
  // A file of `name` through which the child tells a path.
  std::string told(const std::string& name) const {
    std::ifstream file(directory_ / name);
    std::string text;
    std::getline(file, text);
    return text;
  }
  void tell(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ / name) << text << std::flush;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path directory_ = [] {
    std::string name = std::filesystem::temp_directory_path() / "fairlead-sandbox-XXXXXX";
    return std::filesystem::path(::mkdtemp(name.data()));
  }();
};

TEST_F(Sandbox, HoldsTheThreadsThatEnterAndTheirChildren) {
  const int code = in_child([](BpfSandbox* sandbox) {
    if (cgroup_of_this_thread().ends_with("/inside")) return 1;
    const std::string entered = on_thread([&] {
      if (!sandbox->enter()) return std::string("failed");
      const auto child = run_command({"cat", "/proc/self/cgroup"});
      const bool child_inside = child && child->output.find("/inside\n") != std::string::npos;
      return child_inside ? cgroup_of_this_thread() : std::string("the child is elsewhere");
    });
    if (!entered.ends_with("/inside")) return 2;
    const std::string left = on_thread([&] {
      const bool moved = sandbox->enter().ok() && sandbox->leave().ok();
      return moved ? cgroup_of_this_thread() : std::string("failed");
    });
    return left == cgroup_of_this_thread() ? 0 : 3;
  });
  EXPECT_EQ(code, 0);
}

TEST_F(Sandbox, HasABpfFileSystemThatNobodyElseSees) {
  const int code = in_child([](BpfSandbox*) {
    return std::filesystem::create_directory("/sys/fs/bpf/fairlead-trial") ? 0 : 1;
  });
  EXPECT_EQ(code, 0);
  EXPECT_FALSE(std::filesystem::exists("/sys/fs/bpf/fairlead-trial"));
}

TEST_F(Sandbox, LeavesNothing) {
  EXPECT_EQ(in_child([&](BpfSandbox* sandbox) {
              tell("path", sandbox->inside_path());
              return std::filesystem::exists(sandbox->inside_path()) ? 0 : 1;
            }),
            0);
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::path(told("path")).parent_path()));
}

TEST_F(Sandbox, OfAKilledProcessIsRemovedByTheNext) {
  EXPECT_EQ(in_child([&](BpfSandbox* sandbox) {
              tell("path", sandbox->inside_path());
              std::raise(SIGKILL);
              return 0;
            }),
            128 + SIGKILL);
  EXPECT_TRUE(std::filesystem::exists(told("path")));
  EXPECT_EQ(in_child([](BpfSandbox*) { return 0; }), 0);
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::path(told("path")).parent_path()));
}

}  // namespace
}  // namespace fairlead::harness
