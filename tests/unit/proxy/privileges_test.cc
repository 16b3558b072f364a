// What the one-shot actions say when privileges are missing: never that something is done which is
// not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <thread>

#include "proxy/daemon.h"
#include "proxy/mode.h"

namespace fairlead::proxy {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kNone = 0;
constexpr uint64_t kNetAdmin = uint64_t{1} << CAP_NET_ADMIN;
constexpr uint64_t kAll = ~uint64_t{0};

// Neither this thread nor a program that it starts has other capabilities.
void keep_capabilities(uint64_t kept) {
  for (unsigned capability = 0; capability <= CAP_LAST_CAP; ++capability) {
    if ((kept >> capability & 1) == 0) ::prctl(PR_CAPBSET_DROP, capability);
  }
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data = {};
  ASSERT_EQ(::syscall(SYS_capget, &header, data.data()), 0);
  for (size_t word = 0; word < data.size(); ++word) {
    const auto mask = static_cast<uint32_t>(kept >> (32 * word));
    data[word].effective &= mask;
    data[word].permitted &= mask;
    data[word].inheritable &= mask;
  }
  ASSERT_EQ(::syscall(SYS_capset, &header, data.data()), 0);
}

class Privileges : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: for namespaces of its own";
    loaded_.config.oom_score_adj = 0;  // as it is: the test's own process
  }

  // Calls `action` on a thread with the capabilities `kept`, in a network and a file tree of its
  // own.
  Status with(uint64_t kept, const std::function<Status()>& action) {
    Status result;
    std::thread([&] {
      ASSERT_EQ(::unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
      ASSERT_EQ(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
      ASSERT_EQ(::mount("tmpfs", "/run", "tmpfs", 0, nullptr), 0);
      ASSERT_EQ(::mount("bpf", "/sys/fs/bpf", "bpf", 0, nullptr), 0);
      keep_capabilities(kept);
      result = action();
    }).join();
    return result;
  }
  std::string cleaned_up(uint64_t kept) {
    return with(kept, [this] { return clean_up(loaded_); }).message();
  }
  std::string initialized(ProxyMode mode, uint64_t kept) {
    loaded_.config.mode = mode;
    return with(kept, [this] { return initialize_node(loaded_); }).message();
  }

  Loaded loaded_;
};

TEST_F(Privileges, CleaningUpNamesEachModeThatItCouldNotLookFor) {
  EXPECT_THAT(cleaned_up(kNetAdmin), AllOf(HasSubstr("mode ebpf"), HasSubstr("capabilities BPF"),
                                           Not(HasSubstr("mode nftables")), Not(HasSubstr("\n"))));
  EXPECT_THAT(cleaned_up(kNone), AllOf(HasSubstr("mode ebpf"), HasSubstr("mode nftables")));
}

TEST_F(Privileges, TheChosenModeKnowsWhichOthersItCouldNotLookFor) {
  AllBackends others;
  static_cast<void>(with(kNetAdmin, [&] {
    others = create_all_backends(loaded_.config, ProxyMode::kNftables);
    return Status();
  }));
  ASSERT_EQ(others.left_out.size(), 1U);
  EXPECT_EQ(others.left_out[0].mode, ProxyMode::kEbpf);
  EXPECT_EQ(others.left_out[0].reason.code(), StatusCode::kPermission);
  for (const auto& backend : others.backends) EXPECT_NE(backend->name(), "nftables");
}

TEST_F(Privileges, CleaningUpWithAllOfThemIsSilent) {
  EXPECT_EQ(cleaned_up(kAll), "ok");
}

TEST_F(Privileges, InitializingSaysWhatTheModeLacks) {
  EXPECT_THAT(initialized(ProxyMode::kEbpf, kNetAdmin),
              AllOf(HasSubstr("proxy mode ebpf"), HasSubstr("capabilities BPF, PERFMON"),
                    Not(HasSubstr("\n"))));
  EXPECT_EQ(initialized(ProxyMode::kEbpf, kAll), "ok");
}

// What `--proxy-mode=auto` takes here, and the line that the daemon logs about it.
TEST_F(Privileges, AutoTakesTheBestModeThatTheyAllow) {
  loaded_.config.mode = ProxyMode::kAuto;
  ModeChoice chosen;
  const auto choose = [&] {
    Result<ModeChoice> choice = choose_mode(loaded_.config);
    if (choice) chosen = std::move(*choice);
    chosen.backend.reset();
    return choice.status();
  };
  EXPECT_EQ(with(kAll, choose).message(), "ok");
  EXPECT_EQ(chosen.mode, ProxyMode::kEbpf);
  EXPECT_EQ(chosen.reason, "the best mode of this build, and the kernel has it");

  EXPECT_EQ(with(kNetAdmin, choose).message(), "ok");
  EXPECT_EQ(chosen.mode, ProxyMode::kNftables);
  EXPECT_THAT(chosen.reason,
              AllOf(HasSubstr("the best mode that works here; ebpf does not: "),
                    HasSubstr("capabilities BPF"), Not(HasSubstr("nftables does not"))));

  const Status none = with(kNone, choose);
  EXPECT_EQ(none.code(), StatusCode::kUnsupported);
  EXPECT_THAT(none.message(),
              AllOf(HasSubstr("run in proxy mode auto"), HasSubstr("ebpf does not: "),
                    HasSubstr("; nftables does not: "), HasSubstr("; iptables does not: "),
                    HasSubstr("; ipvs does not: "), Not(HasSubstr("\n"))));
}

}  // namespace
}  // namespace fairlead::proxy
