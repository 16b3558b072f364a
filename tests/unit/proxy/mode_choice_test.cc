// Which mode runs, by what its probe says. With the real ones: mode_test.cc, privileges_test.cc.
#include <gtest/gtest.h>

#include <set>

#include "proxy/mode.h"

namespace fairlead::proxy {
namespace {

// A datapath that works wherever it is asked for.
class WorkingBackend final : public dataplane::Backend {
 public:
  std::string_view name() const override { return "working"; }
  Status start(const dataplane::NodeRules&) override { return {}; }
  Result<dataplane::Ack> apply(const dataplane::Delta&) override { return dataplane::Ack{}; }
  bool disturbed() override { return false; }
  Result<dataplane::AuditReport> audit() override { return dataplane::AuditReport{}; }
  std::vector<dataplane::Counter> counters() override { return {}; }
  Status remove_all() override { return {}; }
};

std::set<ProxyMode> lacking_modes;   // the kernel does not have them
std::set<ProxyMode> failing_modes;   // and of these, probes do not see it
std::vector<ProxyMode> tried_modes;  // in this order

template <ProxyMode mode>
constexpr ModeRow mode_row() {
  return {mode,
          [] {
            tried_modes.push_back(mode);
            return lacking_modes.contains(mode)
                       ? Status::error(StatusCode::kPermission, "use", "it", "no key")
                       : Status();
          },
          [](const ProxyConfig&) -> Result<std::unique_ptr<dataplane::Backend>> {
            if (failing_modes.contains(mode)) {
              return Status::error(StatusCode::kUnavailable, "open", "it", "jammed");
            }
            return std::unique_ptr<dataplane::Backend>(std::make_unique<WorkingBackend>());
          }};
}

// A build with ebpf, nftables and ipvs.
constexpr std::array<ModeRow, 3> kBuiltModes = {
    mode_row<ProxyMode::kEbpf>(), mode_row<ProxyMode::kNftables>(), mode_row<ProxyMode::kIpvs>()};

class ModeChoiceTest : public ::testing::Test {
 protected:
  std::string chosen(ProxyMode asked, std::set<ProxyMode> lacks, std::set<ProxyMode> fails = {}) {
    lacking_modes = std::move(lacks);
    failing_modes = std::move(fails);
    tried_modes.clear();
    ProxyConfig config;
    config.mode = asked;
    const Result<ModeChoice> choice = choose_mode(config, kBuiltModes);
    if (!choice) {
      EXPECT_EQ(choice.status().code(), StatusCode::kUnsupported);
      return choice.status().message();
    }
    EXPECT_EQ(choice->backend->name(), "working");
    return std::string(to_string(choice->mode)) + ", " + choice->reason;
  }
};

TEST_F(ModeChoiceTest, AutoTakesTheFirstThatWorks) {
  EXPECT_EQ(chosen(ProxyMode::kAuto, {ProxyMode::kIpvs}),
            "ebpf, the best mode of this build, and the kernel has it");
  EXPECT_EQ(tried_modes, std::vector{ProxyMode::kEbpf});
}

TEST_F(ModeChoiceTest, AutoSaysWhyNotABetterOne) {
  EXPECT_EQ(chosen(ProxyMode::kAuto, {ProxyMode::kEbpf}),
            "nftables, the best mode that works here; ebpf does not: use it: no key");
  EXPECT_EQ(chosen(ProxyMode::kAuto, {ProxyMode::kEbpf}, {ProxyMode::kNftables}),
            "ipvs, the best mode that works here; ebpf does not: use it: no key; nftables does "
            "not: open it: jammed");
}

TEST_F(ModeChoiceTest, AutoWithoutAnyNamesAll) {
  EXPECT_EQ(chosen(ProxyMode::kAuto, {ProxyMode::kEbpf, ProxyMode::kNftables, ProxyMode::kIpvs}),
            "run in proxy mode auto: ebpf does not: use it: no key; nftables does not: use it: no "
            "key; ipvs does not: use it: no key");
}

TEST_F(ModeChoiceTest, AModeAskedForByNameRunsOrNothingDoes) {
  EXPECT_EQ(chosen(ProxyMode::kIpvs, {ProxyMode::kEbpf}), "ipvs, asked for by name");
  EXPECT_EQ(tried_modes, std::vector{ProxyMode::kIpvs});
  EXPECT_EQ(chosen(ProxyMode::kEbpf, {ProxyMode::kEbpf}),
            "run in proxy mode ebpf: ebpf does not: use it: no key");
  EXPECT_EQ(tried_modes, std::vector{ProxyMode::kEbpf});
  EXPECT_EQ(chosen(ProxyMode::kIptables, {}),
            "run in proxy mode iptables: this build has: ebpf, nftables, ipvs");
  EXPECT_TRUE(tried_modes.empty());
}

}  // namespace
}  // namespace fairlead::proxy
