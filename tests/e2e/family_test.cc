// An image or a kernel that has what a mode needs for IPv4 only: IPv4 is served, IPv6 is told of.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>

#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

// While it lives, programs are searched where there is every iptables but none of IPv6.
class PathWithoutIp6tables {
 public:
  PathWithoutIp6tables()
      : before_(std::getenv("PATH")),
        directory_(std::filesystem::temp_directory_path() /
                   ("fairlead-path-" + std::to_string(::getpid()))) {
    std::filesystem::create_directory(directory_);
    for (const char* variant : {"", "-nft", "-legacy"}) {
      for (const char* action : {"", "-save", "-restore"}) {
        link("iptables" + std::string(variant) + action);
      }
    }
    ::setenv("PATH", directory_.c_str(), 1);
  }
  ~PathWithoutIp6tables() {
    ::setenv("PATH", before_.c_str(), 1);
    std::filesystem::remove_all(directory_);
  }
  PathWithoutIp6tables(const PathWithoutIp6tables&) = delete;
  PathWithoutIp6tables& operator=(const PathWithoutIp6tables&) = delete;

 private:
  void link(const std::string& program) const {
    std::istringstream folders(before_);
    for (std::string folder; std::getline(folders, folder, ':');) {
      const std::filesystem::path path = std::filesystem::path(folder) / program;
      if (!std::filesystem::exists(path)) continue;
      std::filesystem::create_symlink(path, directory_ / program);
      return;
    }
  }

  const std::string before_;
  const std::filesystem::path directory_;
};

class FamilyLeftOut : public Scenario {
 protected:
  void SetUp() override {
    Scenario::SetUp();
    if (IsSkipped()) return;
    world().stop_proxy();
    const Status clean = world().clean_up();
    ASSERT_TRUE(clean.ok()) << clean.message();
    without_.emplace();
  }
  void TearDown() override {
    without_.reset();
    if (!IsSkipped()) {
      world().stop_proxy();
      const Status started = world().start_proxy();
      EXPECT_TRUE(started.ok()) << started.message();
      settle();  // both families are served again
    }
    Scenario::TearDown();
  }
  size_t times_logged(const std::string& words, size_t after) {
    const std::string log = world().proxy().log();
    size_t times = 0;
    for (size_t at = log.find(words, after); at != std::string::npos;
         at = log.find(words, at + 1)) {
      ++times;
    }
    return times;
  }

  std::optional<PathWithoutIp6tables> without_;
};
FAIRLEAD_SCENARIOS_IN(FamilyLeftOut, (std::vector<std::string>{"iptables", "ipvs"}));

TEST_P(FamilyLeftOut, TheOtherOneIsServedAndCleanedUp) {
  auto web = service().endpoints({"a1", "b1"}).node_port();
  web.write();
  auto more = service("more").endpoints({"a2"});
  more.write();
  const Status started = world().start_proxy();
  ASSERT_TRUE(started.ok()) << started.message();
  const size_t begin = world().proxy().log().rfind("proxy mode " + mode());
  const auto answered = [&](const Target& to, const std::string& pod) {
    return eventually([&] { return ask(outside(), to, kSilence).endpoint == pod; });
  };
  if (family() == Family::kIPv4) {
    reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
    reaches({outside()}, web.at_node_port(family()), {"a1", "b1"});
    web.endpoints({"a2"}).write();
    for (const Target& to : web.at_cluster_ip(family())) EXPECT_TRUE(answered(to, "a2"));
  } else {
    for (const Target& to : web.at_cluster_ip(family())) {
      EXPECT_NE(ask(outside(), to, kSilence).fate, Fate::kAnswered) << to.to_string();
    }
  }
  EXPECT_EQ(world().proxy().metric("fairlead_family_served", "IPv4"), 1);
  EXPECT_EQ(world().proxy().metric("fairlead_family_served", "IPv6"), 0);
  EXPECT_EQ(world().proxy().metric("fairlead_apply_failures_total"), 0);
  const Result<harness::HttpAnswer> alive = world().proxy().get_health("/livez");
  EXPECT_TRUE(alive.ok() && alive->status == 200);
  EXPECT_EQ(times_logged("IPv6 does not work here and is left out", begin), 1U);
  EXPECT_EQ(times_logged("IPv6 is not served on this node", begin), 1U);
  EXPECT_TRUE(
      eventually([&] { return world().api().count_events("IPFamilyLeftOut", "ip6tables-") > 0; }));

  world().stop_proxy();
  const Status clean = world().clean_up();
  EXPECT_TRUE(clean.ok()) << clean.message();
  if (family() == Family::kIPv4) {
    for (const Target& to : web.at_cluster_ip(family()))
      EXPECT_FALSE(ask(outside(), to, kSilence).fate == Fate::kAnswered) << to.to_string();
  }
}

}  // namespace
}  // namespace fairlead::e2e
