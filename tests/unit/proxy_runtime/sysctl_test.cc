#include "proxy/runtime/sysctl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace fairlead::proxy {
namespace {

using std::chrono::seconds;

// A /proc/sys of files in a temporary directory.
class SysctlTest : public testing::Test {
 protected:
  SysctlTest() : root_(testing::TempDir() + "sysctl-" + std::to_string(::getpid())) {
    std::filesystem::create_directories(root_ + "/net/netfilter");
    set("nf_conntrack_max", "65536");
    set("nf_conntrack_tcp_timeout_established", "432000");
    set("nf_conntrack_tcp_timeout_close_wait", "60");
    set("nf_conntrack_tcp_be_liberal", "0");
    set("nf_conntrack_udp_timeout", "30");
    set("nf_conntrack_udp_timeout_stream", "120");
    write("hashsize", "16384");
    write("mounts", "proc /proc proc rw 0 0\nsysfs /sys sysfs rw,nosuid 0 0\n");
    write("oom", "0");
  }
  ~SysctlTest() override { std::filesystem::remove_all(root_); }

  void write(const std::string& file, const std::string& text) {
    std::ofstream(root_ + "/" + file) << text << "\n";
  }
  void set(const std::string& name, const std::string& value) {
    write("net/netfilter/" + name, value);
  }
  std::string read(const std::string& file) const {
    std::ifstream in(root_ + "/" + file);
    std::string word;
    in >> word;
    return word;
  }
  std::string get(const std::string& name) const { return read("net/netfilter/" + name); }
  Sysctl sysctl() const {
    return Sysctl({root_, root_ + "/hashsize", root_ + "/mounts", root_ + "/oom"});
  }

  const std::string root_;
  const ConntrackSettings defaults_{32768, 131072, seconds(86400), seconds(3600), false, {}, {}};
};

TEST_F(SysctlTest, MaxFollowsCoresButNotBelowTheMinimum) {
  EXPECT_EQ(conntrack_max(defaults_, 2), 131072);
  EXPECT_EQ(conntrack_max(defaults_, 64), 32768 * 64);
  EXPECT_EQ(conntrack_max({0, 131072, {}, {}, false, {}, {}}, 64), 0);
  EXPECT_EQ(conntrack_max({}, 64), 0);
}

TEST_F(SysctlTest, DefaultsAreApplied) {
  const auto outcome = sysctl().apply(defaults_, 8);
  EXPECT_TRUE(outcome.problems.empty());
  EXPECT_FALSE(outcome.read_only_sysfs);
  EXPECT_EQ(get("nf_conntrack_max"), "262144");
  EXPECT_EQ(read("hashsize"), "65536");
  EXPECT_EQ(get("nf_conntrack_tcp_timeout_established"), "86400");
  EXPECT_EQ(get("nf_conntrack_tcp_timeout_close_wait"), "3600");
  // Not asked for: untouched.
  EXPECT_EQ(get("nf_conntrack_tcp_be_liberal"), "0");
  EXPECT_EQ(get("nf_conntrack_udp_timeout"), "30");
}

TEST_F(SysctlTest, OptionalSettingsAreApplied) {
  const auto outcome =
      sysctl().apply({std::nullopt, 1000, {}, {}, true, seconds(10), seconds(20)}, 8);
  EXPECT_TRUE(outcome.problems.empty());
  EXPECT_EQ(get("nf_conntrack_max"), "65536");
  EXPECT_EQ(get("nf_conntrack_tcp_be_liberal"), "1");
  EXPECT_EQ(get("nf_conntrack_udp_timeout"), "10");
  EXPECT_EQ(get("nf_conntrack_udp_timeout_stream"), "20");
}

TEST_F(SysctlTest, ALargeEnoughHashIsLeft) {
  write("hashsize", "1000000");
  EXPECT_TRUE(sysctl().apply(defaults_, 8).problems.empty());
  EXPECT_EQ(read("hashsize"), "1000000");
}

TEST_F(SysctlTest, ReadOnlySysfsIsToldAndTheRestGoesOn) {
  write("mounts", "sysfs /sys sysfs ro,nosuid 0 0");
  const auto outcome = sysctl().apply(defaults_, 8);
  EXPECT_TRUE(outcome.read_only_sysfs);
  EXPECT_TRUE(outcome.problems.empty());
  EXPECT_EQ(read("hashsize"), "16384");
  EXPECT_EQ(get("nf_conntrack_tcp_timeout_close_wait"), "3600");
}

TEST_F(SysctlTest, OneMissingSettingDoesNotStopTheOthers) {
  std::filesystem::remove(root_ + "/net/netfilter/nf_conntrack_tcp_timeout_established");
  const auto outcome = sysctl().apply(defaults_, 8);
  ASSERT_EQ(outcome.problems.size(), 1U);
  EXPECT_THAT(outcome.problems[0].message(),
              testing::HasSubstr("nf_conntrack_tcp_timeout_established"));
  EXPECT_EQ(get("nf_conntrack_tcp_timeout_close_wait"), "3600");
}

TEST_F(SysctlTest, EqualValuesAreNotWritten) {
  // A directory entry that cannot be opened for writing: reading is enough when the value is right.
  const std::string file = root_ + "/net/netfilter/nf_conntrack_max";
  const auto before = std::filesystem::last_write_time(file);
  std::filesystem::last_write_time(file, before - seconds(100));
  EXPECT_TRUE(sysctl().write_if_different("net.netfilter.nf_conntrack_max", 65536).ok());
  EXPECT_EQ(std::filesystem::last_write_time(file), before - seconds(100));
  EXPECT_TRUE(sysctl().write_if_different("net/netfilter/nf_conntrack_max", 1).ok());
  EXPECT_EQ(*sysctl().read("net.netfilter.nf_conntrack_max"), 1);
}

TEST_F(SysctlTest, ReadRefusesWhatIsNoNumber) {
  set("nf_conntrack_max", "many");
  EXPECT_EQ(sysctl().read("net.netfilter.nf_conntrack_max").status().code(), StatusCode::kInvalid);
  EXPECT_EQ(sysctl().read("net.none").status().code(), StatusCode::kNotFound);
}

TEST_F(SysctlTest, OomScore) {
  EXPECT_TRUE(sysctl().set_oom_score(-999).ok());
  EXPECT_EQ(read("oom"), "-999");
  EXPECT_EQ(sysctl().set_oom_score(-1001).code(), StatusCode::kInvalid);
}

}  // namespace
}  // namespace fairlead::proxy
