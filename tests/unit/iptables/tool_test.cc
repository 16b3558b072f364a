#include "iptables/tool.h"

#include <gtest/gtest.h>

#include "tests/unit/iptables/fake_runner.h"

namespace fairlead::iptables {
namespace {

using dataplane::Family;
using Answers = std::map<std::string, CommandResult>;

CommandResult says(std::string output) {
  return {0, std::move(output), ""};
}

const Answers kBoth = {
    {"iptables-nft-restore --version", says("iptables-restore v1.8.9 (nf_tables)")},
    {"iptables-legacy-restore --version", says("iptables-restore v1.8.9 (legacy)")}};

void detects(Answers answers, Variant expected) {
  answers.insert(kBoth.begin(), kBoth.end());
  FakeRunner runner(std::move(answers));
  const Result<Variant> found = detect_variant(runner);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(to_string(*found), to_string(expected));
}

TEST(Variant, ByTheHintOfTheKubelet) {
  detects({{"iptables-nft -w 5 -t mangle -S KUBE-IPTABLES-HINT", says("-N KUBE-IPTABLES-HINT\n")},
           {"iptables --version", says("iptables v1.8.9 (legacy)")}},
          Variant::kNft);
  detects(
      {{"ip6tables-nft -w 5 -t mangle -S KUBE-KUBELET-CANARY", says("-N KUBE-KUBELET-CANARY\n")},
       {"iptables --version", says("iptables v1.8.9 (legacy)")}},
      Variant::kNft);
}

TEST(Variant, ByWhatAnEarlierProxyLeft) {
  detects({{"iptables-nft -w 5 -t mangle -S KUBE-PROXY-CANARY", says("-N KUBE-PROXY-CANARY\n")},
           {"iptables --version", says("iptables v1.8.9 (legacy)")}},
          Variant::kNft);
}

TEST(Variant, ByWhereRulesAre) {
  detects(
      {{"iptables-nft-save -t filter", says("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\n")},
       {"iptables --version", says("iptables v1.8.9 (legacy)")}},
      Variant::kNft);
}

TEST(Variant, ElseTheOneThatIptablesStandsFor) {
  detects({{"iptables --version", says("iptables v1.8.9 (legacy)")}}, Variant::kLegacy);
  detects({{"iptables --version", says("iptables v1.8.9 (nf_tables)")}}, Variant::kNft);
}

TEST(Variant, TheOnlyOneInstalled) {
  FakeRunner runner({{"iptables-legacy-restore --version", says("v1.8.9 (legacy)")}});
  ASSERT_TRUE(detect_variant(runner).ok());
  EXPECT_EQ(*detect_variant(runner), Variant::kLegacy);
}

TEST(Variant, NoneIsAClearError) {
  FakeRunner runner({});
  const Result<Variant> found = detect_variant(runner);
  EXPECT_EQ(found.status().code(), StatusCode::kNotFound);
  EXPECT_NE(found.status().message().find("apt-get install iptables"), std::string::npos);
}

Status save_that_answers(CommandResult result) {
  const auto tool =
      create_tool(std::make_unique<FakeRunner>(Answers{{"ip6tables-nft-save", std::move(result)}}),
                  Variant::kNft);
  return tool->save(Family::kIPv6, "").status();
}

TEST(Save, ATableThatTheToolCannotShowIsAnError) {
  const Status status =
      save_that_answers(says("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
                             "# Table `nat' is incompatible, use 'nft' tool.\n"));
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_NE(status.message().find("ip6tables-nft-save: table nat"), std::string::npos)
      << status.message();
}

TEST(Save, WhatElseStandsInCommentsIsNone) {
  for (const char* text :
       {"# Table `security' is incompatible, use 'nft' tool.\n",
        "# Table `nat' contains incompatible base-chains, use 'nft' tool to list them.\n",
        "*nat\n-A X -m comment --comment \"# Table `nat' is incompatible\"\nCOMMIT\n"}) {
    EXPECT_TRUE(save_that_answers(says(text))) << text;
  }
}

// The nft tool has one answer for a chain that it cannot list and for one that is missing.
Result<bool> has_chain_when_saved(std::string saved) {
  const auto tool = create_tool(
      std::make_unique<FakeRunner>(
          Answers{{"iptables-nft -w 5 -t mangle -S X",
                   {1, "",
                    "iptables v1.8.9 (nf_tables): chain `X' in table `mangle' is incompatible, use "
                    "'nft' tool.\n"}},
                  {"iptables-nft-save -t mangle", says(std::move(saved))}}),
      Variant::kNft);
  return tool->has_chain(Family::kIPv4, "mangle", "X");
}

TEST(HasChain, WhatCannotBeListedIsLookedForInTheTable) {
  const Result<bool> missing = has_chain_when_saved("*mangle\n:XY - [0:0]\nCOMMIT\n");
  ASSERT_TRUE(missing) << missing.status().message();
  EXPECT_FALSE(*missing);
  const Result<bool> there = has_chain_when_saved("*mangle\n:X - [0:0]\nCOMMIT\n");
  ASSERT_TRUE(there) << there.status().message();
  EXPECT_TRUE(*there);
  EXPECT_EQ(
      has_chain_when_saved("# Table `mangle' is incompatible, use 'nft' tool.\n").status().code(),
      StatusCode::kUnsupported);
}

TEST(HasChain, WithoutTheFamilysProgramThereIsNone) {
  const auto tool = create_tool(std::make_unique<FakeRunner>(Answers{}), Variant::kNft);
  const Result<bool> there = tool->has_chain(Family::kIPv6, "mangle", "X");
  ASSERT_TRUE(there) << there.status().message();
  EXPECT_FALSE(*there);
}

Status restore_that_answers(CommandResult result) {
  const auto tool = create_tool(
      std::make_unique<FakeRunner>(
          Answers{{"iptables-legacy-restore -w 5 --noflush --counters", std::move(result)}}),
      Variant::kLegacy);
  return tool->restore(Family::kIPv4, "*nat\nCOMMIT\n");
}

TEST(Restore, ALockedTableMayWorkLater) {
  const Status status = restore_that_answers(
      {4, "",
       "Another app is currently holding the xtables lock; still 4s 0us time ahead to ...\n"});
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("holding the xtables lock"), std::string::npos);
}

TEST(Restore, ARefusalNamesTheLine) {
  const Status status = restore_that_answers(
      {1, "", "# Warning: other tables present\niptables-restore: line 7 failed\n"});
  EXPECT_EQ(status.code(), StatusCode::kInvalid);
  EXPECT_EQ(status.message(),
            "write rules by iptables-legacy-restore: iptables-restore: line 7 failed");
}

TEST(Restore, AMissingCapabilityIsToldAsSuch) {
  const Status status = restore_that_answers(
      {3, "", "iptables-restore: unable to initialize table 'nat'\nOperation not permitted\n"});
  EXPECT_EQ(status.code(), StatusCode::kPermission);
}

TEST(Restore, WithoutWordsTheExitCodeCounts) {
  EXPECT_EQ(restore_that_answers({2, "", ""}).detail(), "exit code 2");
  EXPECT_TRUE(restore_that_answers({0, "", "# a warning\n"}).ok());
}

}  // namespace
}  // namespace fairlead::iptables
