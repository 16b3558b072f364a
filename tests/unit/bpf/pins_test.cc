#include "bpf/pins.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <fstream>

#include "bpf/layout.h"
#include "private_mounts.h"

namespace fairlead::bpf {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kRoot = "/sys/fs/bpf/fairlead";

class PinsTest : public testing::PrivateMounts {
 protected:
  void pin_a_map(const std::string& path) {
    const Fd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "test", 4, 4, 1, nullptr));
    ASSERT_EQ(bpf_obj_pin(map.get(), path.c_str()), 0) << path;
  }
  Pins open() {
    Result<Pins> pins = Pins::open(kRoot);
    EXPECT_TRUE(pins) << pins.status().message();
    return std::move(pins).value();
  }
  std::vector<std::string> list(const std::string& path) {
    Result<std::vector<std::string>> names = list_directory(path);
    EXPECT_TRUE(names) << names.status().message();
    return names ? std::move(names).value() : std::vector<std::string>();
  }
};

TEST_F(PinsTest, MakesTheDirectoriesOfThisLayout) {
  const Pins pins = open();
  const std::string version = fmt::format("v{}", FL_LAYOUT_VERSION);
  EXPECT_THAT(list(kRoot), ElementsAre(version));
  EXPECT_THAT(list(kRoot + "/" + version), ElementsAre("links", "maps"));
  EXPECT_EQ(pins.maps(), kRoot + "/" + version + "/maps");
}

TEST_F(PinsTest, MountsABpffsWhereThereIsNone) {
  ASSERT_EQ(::umount("/sys/fs/bpf"), 0);
  while (::umount("/sys/fs/bpf") == 0) continue;  // one that the machine had below ours
  open();
  struct statfs info = {};
  ASSERT_EQ(::statfs("/sys/fs/bpf", &info), 0);
  EXPECT_EQ(info.f_type, BPF_FS_MAGIC);
}

TEST_F(PinsTest, TakesADirectoryDeepInABpffs) {
  EXPECT_TRUE(Pins::open("/sys/fs/bpf/a/b/fairlead"));
}

TEST_F(PinsTest, RefusesPathsThatAreNoPlaceForPins) {
  struct Case {
    const char* path;
    StatusCode code;
  };
  ASSERT_EQ(::mkdir("/run/full", 0700), 0);
  ASSERT_EQ(::mkdir("/run/full/something", 0700), 0);
  for (const Case& c :
       {Case{"fairlead", StatusCode::kInvalid}, Case{"", StatusCode::kInvalid},
        Case{"/", StatusCode::kInvalid}, Case{"/sys/fs/bpf/../fairlead", StatusCode::kInvalid},
        Case{"/run/full/fairlead", StatusCode::kInvalid}, Case{"/fairlead", StatusCode::kInvalid},
        Case{"/run/missing/fairlead", StatusCode::kNotFound}}) {
    const Result<Pins> pins = Pins::open(c.path);
    EXPECT_EQ(pins.status().code(), c.code) << c.path << ": " << pins.status().message();
  }
}

TEST_F(PinsTest, SaysWhatToDoWhenItMayNotMount) {
  while (::umount("/sys/fs/bpf") == 0) continue;
  testing::with_capabilities(0, [] {
    const Status status = Pins::open(kRoot).status();
    EXPECT_EQ(status.code(), StatusCode::kPermission);
    EXPECT_THAT(status.message(), HasSubstr("CAP_SYS_ADMIN"));
  });
}

TEST_F(PinsTest, ListsLinksAndOtherVersions) {
  const Pins pins = open();
  pin_a_map(pins.links() + "/b");
  pin_a_map(pins.links() + "/a");
  for (const char* name : {"v0", "v77", "vx", "v", "other"}) {
    ASSERT_EQ(::mkdir((kRoot + "/" + name).c_str(), 0700), 0);
  }
  EXPECT_THAT(pins.list_links().value(), ElementsAre("a", "b"));
  EXPECT_THAT(pins.other_versions().value(), ElementsAre(kRoot + "/v0", kRoot + "/v77"));
}

TEST_F(PinsTest, RemovesEverythingOfItsOwnAndNothingElse) {
  const Pins pins = open();
  pin_a_map(pins.maps() + "/fl_flows");
  pin_a_map(pins.links() + "/fl_ingress");
  pin_a_map("/sys/fs/bpf/others");
  ASSERT_EQ(::mkdir((kRoot + "/v9").c_str(), 0700), 0);
  pin_a_map(kRoot + "/v9/stray");
  ASSERT_TRUE(pins.remove());
  EXPECT_NE(::access(kRoot.c_str(), F_OK), 0);
  EXPECT_EQ(::access("/sys/fs/bpf/others", F_OK), 0);
  EXPECT_TRUE(pins.remove()) << "a second time";
}

TEST_F(PinsTest, RemovesNothingOutsideThePinPath) {
  const Pins pins = open();
  pin_a_map("/sys/fs/bpf/others");
  for (const std::string& path :
       {std::string("/sys/fs/bpf/others"), std::string("/sys/fs/bpf"), kRoot, kRoot + "/../others",
        kRoot + "lead/x", std::string("others")}) {
    EXPECT_EQ(pins.remove(path).code(), StatusCode::kInvalid) << path;
  }
  EXPECT_EQ(::access("/sys/fs/bpf/others", F_OK), 0);
  EXPECT_TRUE(pins.remove(kRoot + "/v7"));
  EXPECT_TRUE(pins.remove(pins.links()));
  EXPECT_NE(::access(pins.links().c_str(), F_OK), 0);
}

TEST_F(PinsTest, RemovalFollowsNoLinkAndEntersNoOtherFileSystem) {
  const Pins pins = open();
  ASSERT_EQ(::mkdir("/run/elsewhere", 0700), 0);
  std::ofstream("/run/elsewhere/precious") << "x";
  ASSERT_EQ(::symlink("/run/elsewhere", (pins.maps() + "/link").c_str()), 0);
  ASSERT_EQ(::mkdir((pins.maps() + "/mounted").c_str(), 0700), 0);
  ASSERT_EQ(
      ::mount("/run/elsewhere", (pins.maps() + "/mounted").c_str(), nullptr, MS_BIND, nullptr), 0);
  EXPECT_EQ(pins.remove().code(), StatusCode::kConflict);
  EXPECT_EQ(::access("/run/elsewhere/precious", F_OK), 0);
  ASSERT_EQ(::umount((pins.maps() + "/mounted").c_str()), 0);
  EXPECT_TRUE(pins.remove());
  EXPECT_EQ(::access("/run/elsewhere/precious", F_OK), 0);
}

TEST_F(PinsTest, RemovalByPathTouchesBpffsAlone) {
  ASSERT_EQ(::mkdir("/run/fairlead", 0700), 0);
  EXPECT_TRUE(remove_pins("/run/fairlead"));
  EXPECT_EQ(::access("/run/fairlead", F_OK), 0);
  open();
  EXPECT_TRUE(remove_pins(kRoot));
  EXPECT_NE(::access(kRoot.c_str(), F_OK), 0);
}

TEST_F(PinsTest, MountsCgroup2WhenItIsMountedNowhere) {
  const Result<std::string> before = find_or_mount_cgroup2();
  ASSERT_TRUE(before) << before.status().message();
  EXPECT_NE(*before, kOwnCgroup2);
  ASSERT_EQ(::umount2("/sys/fs/cgroup", MNT_DETACH), 0);
  const Result<std::string> after = find_or_mount_cgroup2();
  ASSERT_TRUE(after) << after.status().message();
  EXPECT_EQ(*after, kOwnCgroup2);
}

TEST_F(PinsTest, ACgroupBelowTheRootIsNotTheRoot) {
  const Result<std::string> root = find_or_mount_cgroup2();
  ASSERT_TRUE(root);
  const std::string below = *root + fmt::format("/fairlead-pins-test-{}", ::getpid());
  ASSERT_EQ(::mkdir(below.c_str(), 0700), 0);
  EXPECT_TRUE(is_cgroup_root(*root));
  EXPECT_FALSE(is_cgroup_root(below));
  EXPECT_FALSE(is_cgroup_root("/proc"));
  EXPECT_EQ(::rmdir(below.c_str()), 0);
}

TEST(MountinfoTest, FindsCgroup2) {
  const std::string unified = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
  const std::string part = "30 23 0:26 /../.. /host/cgroup rw master:9 - cgroup2 cgroup2 rw\n";
  const std::string old = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";
  EXPECT_THAT(cgroup2_mounts(unified), ElementsAre("/sys/fs/cgroup"));
  EXPECT_THAT(cgroup2_mounts(part + old + unified), ElementsAre("/sys/fs/cgroup", "/host/cgroup"));
  EXPECT_THAT(cgroup2_mounts(old), IsEmpty());
  EXPECT_THAT(cgroup2_mounts(""), IsEmpty());
  EXPECT_THAT(cgroup2_mounts("no separator cgroup2\n - cgroup2\n29 23 - cgroup2"), IsEmpty());
  EXPECT_THAT(cgroup2_mounts("29 23 0:26 / /a\\040b\\134 rw shared:1 master:2 - cgroup2 none rw"),
              ElementsAre("/a b\\"));
  EXPECT_THAT(cgroup2_mounts("29 23 0:26 / /odd\\04 rw - cgroup2 none rw"),
              ElementsAre("/odd\\04"));
}

}  // namespace
}  // namespace fairlead::bpf
