// Whether nf_tables works in an IP family, asked of a real kernel and of one that lacks something.
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <string>

#include "nftables/backend.h"
#include "nftables/kernel_state.h"

namespace fairlead::nftables {
namespace {

using dataplane::Family;

// The kernel says so to everything about IPv6.
class HalfText final : public TextClient {
 public:
  explicit HalfText(std::string says) : says_(std::move(says)) {}

  Status run(const std::string&) override { return {}; }
  Status check(const std::string& commands) override {
    if (commands.find(" ip6 ") == std::string::npos) return {};
    return Status::error(StatusCode::kInternal, "run", "nft command", says_);
  }

 private:
  const std::string says_;
};

class NftablesFamily : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: network namespaces and nf_tables";
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    if (const Status ready = probe(); !ready) GTEST_SKIP() << ready.message();
  }
};

TEST_F(NftablesFamily, AskingChangesNothing) {
  Result<std::unique_ptr<dataplane::Backend>> backend = create_backend(FamilyOptions{});
  ASSERT_TRUE(backend) << backend.status().message();
  Result<std::unique_ptr<NetlinkTransport>> transport = open_netlink();
  ASSERT_TRUE(transport);
  KernelState kernel(**transport, Family::kIPv4);
  const Result<uint32_t> before = kernel.generation();
  ASSERT_TRUE(before);
  for (const Family family : {Family::kIPv4, Family::kIPv6, Family::kIPv4}) {
    const Status works = (*backend)->can_serve(family);
    EXPECT_TRUE(works) << works.message();
  }
  EXPECT_EQ(kernel.generation().value(), *before);
  // What runs afterwards is done again.
  dataplane::NodeRules rules;
  rules.families = {Family::kIPv4, Family::kIPv6};
  ASSERT_TRUE((*backend)->start(rules));
  EXPECT_TRUE(KernelState(**transport, Family::kIPv6).table_exists().value());
}

// The kernel's side of check() answers, not libnftables alone.
TEST_F(NftablesFamily, TheKernelIsAsked) {
  Result<std::unique_ptr<TextClient>> text = open_text_client();
  ASSERT_TRUE(text);
  EXPECT_TRUE((*text)->check("add table ip6 t\nadd chain ip6 t c\n"));
  const Status checked =
      (*text)->check("add table ip6 t\nadd chain ip6 t c { type nat hook forward priority 0; }\n");
  EXPECT_FALSE(checked);
}

Status asked_about_ipv6(const std::string& says) {
  Result<std::unique_ptr<NetlinkTransport>> transport = open_netlink();
  if (!transport) return transport.status();
  const auto backend =
      create_backend(std::move(*transport), std::make_unique<HalfText>(says), FamilyOptions{});
  EXPECT_TRUE(backend->can_serve(Family::kIPv4));
  return backend->can_serve(Family::kIPv6);
}

TEST_F(NftablesFamily, WhatTheKernelLacksIsNamed) {
  EXPECT_EQ(
      asked_about_ipv6("Could not process rule: No such file or directory\nadd table ip6 t\n^^^")
          .message(),
      "use nf_tables for IPv6: Could not process rule: No such file or directory (NAT and "
      "reject are needed; try: modprobe -a nft_chain_nat nft_masq nft_reject_ipv6)");
}

TEST_F(NftablesFamily, ABusyKernelSaysNothing) {
  EXPECT_EQ(asked_about_ipv6("Could not process rule: Device or resource busy").code(),
            StatusCode::kUnavailable);
}

}  // namespace
}  // namespace fairlead::nftables
