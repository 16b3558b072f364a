// One IP family without its tool: it is known beforehand, and the other one works.
#include <gtest/gtest.h>

#include <optional>

#include "tests/unit/iptables/backend_fixture.h"
#include "tests/unit/iptables/fake_runner.h"

namespace fairlead::iptables {
namespace {

// The real tools, but for one family's, which are not installed.
class HalfRunner final : public ProcessRunner {
 public:
  explicit HalfRunner(Family missing)
      : prefix_(missing == Family::kIPv4 ? "iptables" : "ip6tables"),
        real_(create_process_runner()) {}

  Result<CommandResult> run(const Command& command) override {
    if (!command.arguments.front().starts_with(prefix_)) return real_->run(command);
    return Status::from_errno(ENOENT, "run", command.arguments.front());
  }

 private:
  const std::string prefix_;
  std::unique_ptr<ProcessRunner> real_;
};

Status check(Variant variant, Family family, CommandResult answer) {
  const std::string program = (family == Family::kIPv4 ? "iptables-" : "ip6tables-") +
                              std::string(to_string(variant)) + "-restore";
  const auto tool = create_tool(std::make_unique<FakeRunner>(std::map<std::string, CommandResult>{
                                    {program + " -w 5 --noflush --counters", std::move(answer)}}),
                                variant);
  return check_family(*tool, family);
}

void expect_error(const Status& status, StatusCode code, const std::string& words) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
}

TEST(CheckFamily, WorksWhenRulesCanBeWritten) {
  EXPECT_TRUE(check(Variant::kNft, Family::kIPv6, {}));
}

TEST(CheckFamily, WhatTheKernelLacksIsNamed) {
  CommandResult lacks{3, "",
                      "ip6tables-restore v1.8.9 (legacy): ip6tables-restore: unable to initialize "
                      "table 'nat'\n"};
  expect_error(check(Variant::kLegacy, Family::kIPv6, lacks), StatusCode::kInvalid,
               "unable to initialize table 'nat' (try: modprobe -a ip6table_nat");
  expect_error(check(Variant::kNft, Family::kIPv6,
                     {4, "",
                      "ip6tables-nft-restore v1.8.9 (nf_tables): \nline 6: RULE_APPEND failed (No "
                      "such file or directory): rule in chain FORWARD\n"}),
               StatusCode::kUnsupported, "rule in chain FORWARD (try: modprobe -a nft_chain_nat");
}

TEST(CheckFamily, AHeldLockSaysNothing) {
  EXPECT_EQ(
      check(Variant::kLegacy, Family::kIPv6, {4, "", "Another app is currently holding the lock\n"})
          .code(),
      StatusCode::kUnavailable);
}

TEST(CheckFamily, AToolThatIsNotInstalledIsNamed) {
  const auto tool = create_tool(std::make_unique<HalfRunner>(Family::kIPv6), Variant::kNft);
  expect_error(check_family(*tool, Family::kIPv6), StatusCode::kNotFound,
               "run ip6tables-nft-restore: No such file or directory (install ip6tables");
}

class IptablesFamily : public BackendFixture {
 protected:
  // A new process that has no tools of IPv6.
  void restart_without_ipv6() {
    BackendParts parts;
    parts.tool = create_tool(std::make_unique<HalfRunner>(Family::kIPv6), GetParam());
    parts.others.push_back(
        create_tool(std::make_unique<HalfRunner>(Family::kIPv6),
                    GetParam() == Variant::kNft ? Variant::kLegacy : Variant::kNft));
    parts.route_localnet = route_localnet_;
    backend_ = create_backend(std::move(parts), options_);
  }
};
INSTANTIATE_TEST_SUITE_P(Tools, IptablesFamily, ::testing::Values(Variant::kNft, Variant::kLegacy),
                         [](const auto& each) { return std::string(to_string(each.param)); });

TEST_P(IptablesFamily, AskingLeavesNoRule) {
  ASSERT_TRUE(backend_->remove_all());
  for (const Family family : rules_.families) {
    const Status works = backend_->can_serve(family);
    EXPECT_TRUE(works) << works.message();
    for (const char* table : {"nat", "filter"}) EXPECT_EQ(rules_in(family, table), 0) << table;
  }
}

TEST_P(IptablesFamily, OneWithoutItsToolDoesNotHoldUpTheOther) {
  ASSERT_TRUE(backend_->remove_all());
  restart_without_ipv6();
  EXPECT_TRUE(backend_->can_serve(Family::kIPv4));
  EXPECT_EQ(backend_->can_serve(Family::kIPv6).code(), StatusCode::kNotFound);
  const double foreign = rules_in(Family::kIPv6, "nat");
  rules_.families = view_.families = {Family::kIPv4};
  const Status started = backend_->start(rules_);
  ASSERT_TRUE(started) << started.message();
  put(1, 2);
  apply(true);
  expect_exact();
  EXPECT_GT(rules_in(Family::kIPv4, "nat"), 0);
  EXPECT_EQ(rules_in(Family::kIPv6, "nat"), foreign);
  const Status removed = backend_->remove_all();
  EXPECT_TRUE(removed) << removed.message();
  EXPECT_EQ(rules_in(Family::kIPv4, "nat"), 0);
}

}  // namespace
}  // namespace fairlead::iptables
