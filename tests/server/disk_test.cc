// A full disk, and a disk that fails: writes are refused with a Status, reads and watches go on.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "base/fd.h"
#include "tests/server/http_client.h"
#include "tests/server/server_process.h"
#include "tests/unit/store/scratch.h"

namespace fairlead::server_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::string config_map(std::string_view name) {
  return fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}"}}}})",
                     name);
}

class Asker {
 public:
  explicit Asker(const ServerProcess& server) : server_(server) {}
  Answer ask(std::string_view method, const std::string& path, const std::string& body = "") const {
    return HttpClient(server_.port()).send(method, path, body).value_or(Answer());
  }
  std::string create(std::string_view name) const {
    return ask("POST", kPath, config_map(name)).verdict();
  }
  std::string read(const std::string& name) const {
    return ask("GET", std::string(kPath) + "/" + name).verdict();
  }
  int64_t revision() const {
    const Answer list = ask("GET", kPath);
    const schema::Document document = list.json();
    return std::stoll("0" + std::string(document.root.at("metadata.resourceVersion").as_string()));
  }

 private:
  const ServerProcess& server_;
};

// Takes all but `left` bytes of the file system of `directory`.
void fill_up(const std::string& directory, uint64_t left) {
  struct statvfs space {};
  ASSERT_EQ(::statvfs(directory.c_str(), &space), 0);
  const uint64_t free = space.f_bavail * space.f_frsize;
  ASSERT_GT(free, left);
  const Fd file(::open((directory + "/filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::posix_fallocate(file.get(), 0, static_cast<off_t>(free - left)), 0);
}

void expect_reads(const Asker& asker, uint16_t port) {
  EXPECT_EQ(asker.read("before"), "200");
  EXPECT_EQ(asker.ask("GET", kPath).status, 200);
  WatchClient watch(port, std::string(kPath) + "?watch=true");
  const auto line = watch.next(seconds(5));
  EXPECT_TRUE(line && line->find("\"ADDED\"") != std::string::npos);
}

// On a thread of its own: so is its view of the file systems.
void run_full_disk(const std::string& directory, bool* ran) {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", directory.c_str(), "tmpfs", 0, "size=200m") != 0) {
    return;
  }
  *ran = true;
  ServerProcess server(directory);
  const Asker asker(server);
  ASSERT_EQ(asker.create("before"), "201");
  // Less than the reserve is left: refused before anything is touched.
  fill_up(directory, uint64_t{20} << 20);
  const Answer refused = asker.ask("POST", kPath, config_map("a"));
  EXPECT_EQ(refused.verdict(), "507 InsufficientStorage");
  EXPECT_NE(refused.body.find("the disk is full"), std::string::npos) << refused.body;
  EXPECT_EQ(refused.head.find("retry-after"), std::string::npos) << refused.head;
  EXPECT_EQ(asker.ask("PUT", std::string(kPath) + "/before", config_map("before")).status, 200)
      << "an update that changes nothing needs no room";
  EXPECT_EQ(asker.ask("DELETE", std::string(kPath) + "/before").verdict(),
            "507 InsufficientStorage");
  EXPECT_EQ(asker.read("a"), "404 NotFound");
  expect_reads(asker, server.port());
  EXPECT_NE(asker.ask("GET", "/readyz").body.find("ok"), std::string::npos);
  // There is room again: no restart is needed.
  const int64_t revision = asker.revision();
  std::filesystem::remove(directory + "/filler");
  std::string verdict;
  for (int i = 0; i < 100 && verdict != "201"; ++i) {
    verdict = asker.create("after");
    std::this_thread::sleep_for(milliseconds(50));
  }
  EXPECT_EQ(verdict, "201");
  EXPECT_GT(asker.revision(), revision);
}

TEST(Disk, FullMeansNoWritesButReadsAndItRecovers) {
  const store::Scratch scratch;
  bool ran = false;
  std::thread([&] { run_full_disk(scratch.path(""), &ran); }).join();
  if (!ran) GTEST_SKIP() << "cannot mount a file system here";
}

// FAIRLEAD_FAILING_SYNC stands in for the C library's sync calls; they fail while the file that it
// names in the environment exists.
TEST(Disk, AfterAFailedSyncWritesAreRefusedUntilARestart) {
  if (sanitized()) GTEST_SKIP() << "sanitizers bear no library before their own";
  const store::Scratch scratch;
  const std::string broken = scratch.path("broken");
  ServerProcess server(
      scratch.path(""), {},
      {"/usr/bin/env", "LD_PRELOAD=" FAIRLEAD_FAILING_SYNC, "FAIRLEAD_SYNC_FAILS_IF=" + broken});
  const Asker asker(server);
  ASSERT_EQ(asker.create("before"), "201");
  const int64_t revision = asker.revision();
  std::ofstream(broken) << "x";
  EXPECT_EQ(asker.create("unknown"), "503 ServiceUnavailable");
  EXPECT_EQ(asker.create("refused"), "503 ServiceUnavailable");
  std::filesystem::remove(broken);
  // The disk works again, but nobody knows what it holds.
  EXPECT_EQ(asker.create("refused"), "503 ServiceUnavailable");
  EXPECT_EQ(asker.read("unknown"), "404 NotFound") << "what was not synced is not shown";
  expect_reads(asker, server.port());
  EXPECT_EQ(asker.ask("GET", "/readyz").status, 500);
  EXPECT_EQ(asker.ask("GET", "/livez").status, 200);
  server.kill();
  server.start_again();
  EXPECT_EQ(asker.read("before"), "200");
  EXPECT_EQ(asker.read("refused"), "404 NotFound");
  EXPECT_GE(asker.revision(), revision);
  EXPECT_EQ(asker.create("after"), "201");
}

}  // namespace
}  // namespace fairlead::server_test
