#include "iptables/layout.h"

#include <gtest/gtest.h>

#include "iptables/render.h"
#include "iptables/save_text.h"

namespace fairlead::iptables {
namespace {

using dataplane::EntryKey;
using dataplane::Family;
using dataplane::Protocol;

EntryKey key(const std::string& name_space, const std::string& name, const std::string& port) {
  return {{name_space, name}, port, Protocol::kTcp, Family::kIPv4};
}

// Names that kube-proxy's own tests and public dumps have.
TEST(ChainNames, AreThoseOfKubeProxy) {
  EXPECT_EQ(service_chain("KUBE-SVC-", key("ns1", "svc1", "p80")), "KUBE-SVC-XPGD46QRK7WJZT7O");
  EXPECT_EQ(endpoint_chain(key("ns1", "svc1", "p80"), {dataplane::Address::v4(0x0ab40001), 80}),
            "KUBE-SEP-SXIVWICOYRO3J4NJ");
  EXPECT_EQ(service_chain("KUBE-EXT-", key("default", "nginx", "")), "KUBE-EXT-2CMXP7HKUVJN7L6M");
}

TEST(ChainNames, OursAndOthers) {
  EXPECT_TRUE(is_proxy_chain(Table::kNat, "KUBE-SVC-XPGD46QRK7WJZT7O"));
  EXPECT_TRUE(is_proxy_chain(Table::kFilter, "KUBE-FORWARD"));
  EXPECT_FALSE(is_proxy_chain(Table::kNat, "KUBE-SVC-mine"));
  EXPECT_FALSE(is_proxy_chain(Table::kFilter, "KUBE-FIREWALL"));
  EXPECT_FALSE(is_proxy_chain(Table::kMangle, "KUBE-KUBELET-CANARY"));
  EXPECT_FALSE(is_proxy_chain(Table::kNat, "CNI-HOSTPORT-DNAT"));
}

TEST(ProxyJump, IsOneThatAProxyMakes) {
  const std::string portals = "-m comment --comment \"kubernetes service portals\" -j ";
  const std::string fresh = "-m conntrack --ctstate NEW ";
  EXPECT_TRUE(is_proxy_jump(Table::kNat, "PREROUTING", portals + "KUBE-SERVICES"));
  EXPECT_TRUE(is_proxy_jump(Table::kFilter, "INPUT", fresh + portals + "KUBE-SERVICES"));
  EXPECT_TRUE(is_proxy_jump(Table::kFilter, "INPUT", "-j KUBE-FIREWALL"));
  EXPECT_FALSE(is_proxy_jump(Table::kNat, "PREROUTING", "-p tcp -j KUBE-SERVICES"));
  EXPECT_FALSE(is_proxy_jump(Table::kNat, "PREROUTING", "-g KUBE-SERVICES"));
  EXPECT_FALSE(is_proxy_jump(Table::kNat, "PREROUTING", portals + "KUBE-MARK-MASQ"));
  EXPECT_FALSE(is_proxy_jump(Table::kNat, "POSTROUTING", portals + "KUBE-SERVICES"));
  EXPECT_FALSE(is_proxy_jump(Table::kFilter, "CNI-FORWARD", portals + "KUBE-FORWARD"));
}

TEST(Rule, CannotBeEndedByAComment) {
  RuleText rule{.source = {}, .comment = "a\" -j ACCEPT\n-A INPUT `x`", .target = "DROP"};
  EXPECT_EQ(rule.to_string(), "-m comment --comment \"a? -j ACCEPT?-A INPUT ?x?\" -j DROP");
  rule.comment = std::string(1000, 'x');
  EXPECT_LT(rule.to_string().size(), 300U);
}

// 1/(n-i) in ten decimals, as kube-proxy writes it, and what becomes of it in the kernel.
TEST(Probability, IsWhatSavePrints) {
  EXPECT_EQ(probability(2), "0.50000000000");
  EXPECT_EQ(probability(3), "0.33333333349");
  EXPECT_EQ(probability(5), "0.20000000019");
}

TEST(SaveText, RulesComeBackByChain) {
  const auto table = parse_save(
      "# a comment\n*nat\n:A - [0:0]\n:OUTPUT ACCEPT [1:2]\n[3:4] -A A -j B\n-A OUTPUT -j A\n"
      "-A A -m comment --comment \"x y\" -j C\nCOMMIT\n*filter\n:A - [0:0]\n-A A -j Z\nCOMMIT\n",
      "nat");
  ASSERT_TRUE(table.ok()) << table.status().message();
  EXPECT_EQ(table->size(), 2U);
  EXPECT_EQ(table->at("A"),
            (std::vector<std::string>{"-j B", "-m comment --comment \"x y\" -j C"}));
  EXPECT_EQ(table->at("OUTPUT"), std::vector<std::string>{"-j A"});
}

void refuses(std::string_view text, std::string_view reason) {
  const auto table = parse_save(text, "nat");
  ASSERT_FALSE(table.ok()) << text;
  EXPECT_EQ(table.status().detail(), reason);
}

TEST(SaveText, WhatIsNoneIsRefusedByLine) {
  refuses("*nat\n:A - [0:0]\n", "line 2: the text ends before COMMIT");
  refuses("*nat\n-A A -j B\nCOMMIT\n", "line 2: a rule in an undeclared chain");
  refuses("*nat\n*filter\n", "line 2: a table inside of a table");
  refuses("COMMIT\n", "line 1: COMMIT without a table");
  refuses("iptables: command not found\n", "line 1: text outside of a table");
  refuses("*nat\nnonsense\n", "line 2: neither a chain nor a rule");
}

TEST(SaveText, OrderOfMatchesIsNoDifference) {
  EXPECT_TRUE(
      same_rule("-d 10.0.0.1/32 -p tcp -m comment --comment \"a b\" -m tcp --dport 80 -j X",
                "-p tcp -m tcp --dport 80 -d 10.0.0.1/32 -m comment --comment \"a b\" -j X"));
  EXPECT_FALSE(same_rule("! -s 10.0.0.0/8 -j X", "-s 10.0.0.0/8 -j X"));
  EXPECT_FALSE(same_rule("-m comment --comment \"a b\"", "-m comment --comment \"b a\""));
  EXPECT_EQ(target_of("-m comment --comment \"-j no\" -j YES --more"), "YES");
}

TEST(SaveText, PacketsAreCounted) {
  const std::map<std::string, uint64_t> expected = {
      {"-A F -p tcp -j DROP", 7}, {"-A F -m comment --comment \"-c 1 1\" -j DROP", 9}};
  EXPECT_EQ(packets_by_rule("-N F\n-A F -p tcp -c 7 420 -j DROP\n-A F -c 5 9\n"
                            "-A F -m comment --comment \"-c 1 1\" -c 9 9 -j DROP\n",
                            "DROP"),
            expected);
  EXPECT_TRUE(packets_by_rule("-A F -j DROP -c x", "DROP").empty());
}

}  // namespace
}  // namespace fairlead::iptables
