// Which mode is chosen, and in which IP families, with the real kernel and tools in a network
// namespace of its own.
#include "proxy/mode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

namespace fairlead::proxy {
namespace {

using dataplane::Family;
using ::testing::HasSubstr;

class ChooseMode : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: network namespaces";
    if (kernel_families().size() < 2) GTEST_SKIP() << "the kernel has no IPv6";
    path_ = std::getenv("PATH");
    folder_ = std::filesystem::temp_directory_path() /
              ("fairlead-mode-test-" + std::to_string(::getpid()));
    std::filesystem::create_directory(folder_);
  }
  void TearDown() override {
    if (IsSkipped()) return;
    ::setenv("PATH", path_.c_str(), 1);
    std::filesystem::remove_all(folder_);
  }

  // From here on every program of IPv6 fails so.
  void break_ip6tables(const std::string& words, int exit_code) {
    for (const char* variant : {"nft", "legacy"}) {
      const auto program = folder_ / (std::string("ip6tables-") + variant + "-restore");
      std::ofstream(program) << "#!/bin/sh\necho \"" << words << "\" >&2\nexit " << exit_code
                             << "\n";
      std::filesystem::permissions(program, std::filesystem::perms::owner_all);
    }
    ::setenv("PATH", (folder_.string() + ":" + path_).c_str(), 1);
  }
  // "iptables: IPv4", or why there is none.
  std::string chosen() {
    std::string result;
    std::thread([&] {
      ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
      const Result<ModeChoice> choice = choose_mode(config_);
      if (!choice) {
        result = choice.status().message();
        return;
      }
      EXPECT_EQ(choice->backend->name(), to_string(choice->mode));
      result = std::string(to_string(choice->mode)) + ":";
      for (const Family family : choice->families.served) {
        result += " " + std::string(to_string(family));
      }
    }).join();
    return result;
  }

  ProxyConfig config_;
  std::string path_;
  std::filesystem::path folder_;
};

TEST_F(ChooseMode, OneFamilyIsEnoughUnlessItIsNotThePrimaryOne) {
  config_.mode = ProxyMode::kIptables;
  if (chosen() != "iptables: IPv4 IPv6") GTEST_SKIP() << chosen();
  break_ip6tables("unable to initialize table 'nat'", 3);
  EXPECT_EQ(chosen(), "iptables: IPv4");
  config_.bind_address = dataplane::Address::v4(0xc0000201U);
  EXPECT_EQ(chosen(), "iptables: IPv4");
  config_.bind_address = *dataplane::Address::parse("2001:db8::1");
  EXPECT_THAT(chosen(), HasSubstr("iptables does not: serve IPv6, the node's primary family: "));
  EXPECT_THAT(chosen(), HasSubstr("unable to initialize table 'nat'"));
}

TEST_F(ChooseMode, AHeldLockLeavesNobodyOut) {
  config_.mode = ProxyMode::kIptables;
  if (chosen() != "iptables: IPv4 IPv6") GTEST_SKIP() << chosen();
  break_ip6tables("Another app is currently holding the xtables lock", 4);
  EXPECT_EQ(chosen(), "iptables: IPv4 IPv6");
}

}  // namespace
}  // namespace fairlead::proxy
