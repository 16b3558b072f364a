#include "proxy/config/file_watch.h"

#include <poll.h>

#include <functional>

#include "cases.h"

namespace fairlead::proxy {
namespace {

namespace fs = std::filesystem;

bool readable(const ConfigFileWatch& watch) {
  pollfd entry{watch.fd(), POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

// A file with the content "old", watched, and what is done to it. The kernel queues events before
// the call that causes them returns: nothing has to be waited for.
struct WatchCase {
  const char* name;
  std::function<void(const TempDir&)> prepare;  // makes "file"
  std::function<void(const TempDir&)> change;
  FileChange expected;
  bool wakes = true;  // the descriptor becomes readable
};

void plain(const TempDir& dir) {
  dir.write("file", "old");
}

// As the kubelet lays out a ConfigMap: file -> ..data/file, ..data -> ..1
void config_map(const TempDir& dir) {
  fs::create_directory(dir / "..1");
  dir.write("..1/file", "old");
  fs::create_directory_symlink("..1", dir / "..data");
  fs::create_symlink("..data/file", dir / "file");
}

std::function<void(const TempDir&)> swap_config_map(const std::string& content) {
  return [content](const TempDir& dir) {
    fs::create_directory(dir / "..2");
    dir.write("..2/file", content);
    fs::create_directory_symlink("..2", dir / "..data_tmp");
    fs::rename(dir / "..data_tmp", dir / "..data");
    fs::remove_all(dir / "..1");
  };
}

void link_elsewhere(const TempDir& dir) {
  fs::create_directory(dir / "elsewhere");
  dir.write("elsewhere/target", "old");
  fs::create_symlink(dir / "elsewhere/target", dir / "file");
}

void linked_directory(const TempDir& dir) {
  fs::create_directories(dir / "real/sub");
  dir.write("real/sub/actual", "old");
  fs::create_directory_symlink("real/sub", dir / "sub");
  fs::create_symlink("sub/actual", dir / "file");
}

// file -> hop/link/target, hop/link -> far: a link half way, in a directory of its own.
void two_hops(const TempDir& dir) {
  fs::create_directory(dir / "hop");
  fs::create_directory(dir / "far");
  dir.write("far/target", "old");
  fs::create_directory(dir / "near");
  dir.write("near/target", "new");
  fs::create_directory_symlink("../far", dir / "hop/link");
  fs::create_symlink("hop/link/target", dir / "file");
}

TEST(ConfigFileWatch, NoticesEveryWayToChangeAFile) {
  const WatchCase cases[] = {
      {"nothing", plain, [](const TempDir&) {}, FileChange::kNone, false},
      {"written in place", plain, [](const TempDir& d) { d.write("file", "new"); },
       FileChange::kContent},
      {"written with the same", plain, [](const TempDir& d) { d.write("file", "old"); },
       FileChange::kNone},
      {"renamed over", plain,
       [](const TempDir& d) { fs::rename(d.write("other", "new"), d / "file"); },
       FileChange::kContent},
      {"renamed over by the same", plain,
       [](const TempDir& d) { fs::rename(d.write("other", "old"), d / "file"); },
       FileChange::kNone},
      {"renamed away", plain, [](const TempDir& d) { fs::rename(d / "file", d / "away"); },
       FileChange::kGone},
      {"removed", plain, [](const TempDir& d) { fs::remove(d / "file"); }, FileChange::kGone},
      {"removed and back", plain,
       [](const TempDir& d) {
         fs::remove(d / "file");
         d.write("file", "old");
       },
       FileChange::kNone},
      {"grown too large", plain,
       [](const TempDir& d) { d.write("file", std::string((1 << 20) + 1, 'x')); },
       FileChange::kContent},
      {"replaced by a hard link", plain,
       [](const TempDir& d) {
         d.write("other", "new");
         fs::remove(d / "file");
         fs::create_hard_link(d / "other", d / "file");
       },
       FileChange::kContent},
      {"replaced by a symbolic link", plain,
       [](const TempDir& d) {
         d.write("other", "new");
         fs::remove(d / "file");
         fs::create_symlink("other", d / "file");
       },
       FileChange::kContent},
      {"a neighbour", plain, [](const TempDir& d) { d.write("other", "new"); }, FileChange::kNone},
      {"ConfigMap swapped", config_map, swap_config_map("new"), FileChange::kContent},
      {"ConfigMap swapped, same content", config_map, swap_config_map("old"), FileChange::kNone},
      {"link's target written", link_elsewhere,
       [](const TempDir& d) { d.write("elsewhere/target", "new"); }, FileChange::kContent},
      {"link half way swapped", two_hops,
       [](const TempDir& d) {
         fs::create_directory_symlink("../near", d / "hop/link_tmp");
         fs::rename(d / "hop/link_tmp", d / "hop/link");
       },
       FileChange::kContent},
      {"directory link swapped", linked_directory,
       [](const TempDir& d) {
         fs::create_directory(d / "second");
         d.write("second/actual", "new");
         fs::create_directory_symlink("second", d / "sub_tmp");
         fs::rename(d / "sub_tmp", d / "sub");
       },
       FileChange::kContent},
  };
  for (const WatchCase& c : cases) {
    SCOPED_TRACE(c.name);
    const TempDir dir;
    c.prepare(dir);
    Result<ConfigFileWatch> watch = ConfigFileWatch::create(dir / "file", "old");
    ASSERT_TRUE(watch) << watch.status().message();
    EXPECT_EQ(*watch->check(), FileChange::kNone);
    c.change(dir);
    EXPECT_EQ(readable(*watch), c.wakes);
    EXPECT_EQ(*watch->check(), c.expected);
  }
}

TEST(ConfigFileWatch, FollowsAConfigMapThroughManySwaps) {
  const TempDir dir;
  config_map(dir);
  ConfigFileWatch watch = *ConfigFileWatch::create(dir / "file", "old");
  for (int i = 2; i < 6; ++i) {
    const std::string version = "..v" + std::to_string(i);
    fs::create_directory(dir / version);
    dir.write(version + "/file", i < 5 ? "old" : "new");
    fs::create_directory_symlink(version, dir / "..data_tmp");
    fs::rename(dir / "..data_tmp", dir / "..data");
    EXPECT_TRUE(readable(watch));
    EXPECT_EQ(*watch.check(), i < 5 ? FileChange::kNone : FileChange::kContent) << i;
  }
}

TEST(ConfigFileWatch, AHalfWrittenNewFileIsNotLookedAt) {
  const TempDir dir;
  plain(dir);
  ConfigFileWatch watch = *ConfigFileWatch::create(dir / "file", "old");
  fs::remove(dir / "file");
  EXPECT_EQ(*watch.check(), FileChange::kGone);
  std::ofstream writer(dir / "file");
  writer << "ol" << std::flush;
  EXPECT_EQ(*watch.check(), FileChange::kNone);
  writer << "d" << std::flush;
  writer.close();
  EXPECT_TRUE(readable(watch));
  EXPECT_EQ(*watch.check(), FileChange::kNone);
}

TEST(ConfigFileWatch, TheFirstCheckFindsWhatChangedBefore) {
  const TempDir dir;
  dir.write("file", "new");
  EXPECT_EQ(*ConfigFileWatch::create(dir / "file", "old")->check(), FileChange::kContent);
  EXPECT_EQ(*ConfigFileWatch::create(dir / "absent", "old")->check(), FileChange::kGone);
}

}  // namespace
}  // namespace fairlead::proxy
