// Sets' elements as text, marks, and rules among those of others.
#include "text.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <utility>

#include "iptables/layout.h"
#include "ipvs/layout.h"
#include "ipvs/rules.h"

namespace fairlead::ipvs {
namespace {

using dataplane::Family;
using dataplane::testing::prefix;

TEST(SetText, ReadsWhatItWrites) {
  struct Case {
    SetId set;
    Family family;
    const char* element;
  };
  for (const Case& each :
       {Case{SetId::kClusterIp, Family::kIPv4, "10.96.0.1,tcp:80"},
        Case{SetId::kClusterIp, Family::kIPv6, "fd00::1,udp:53"},
        Case{SetId::kLoopBack, Family::kIPv4, "10.1.0.1,sctp:80,10.1.0.1"},
        Case{SetId::kLoadBalancerSourceCidr, Family::kIPv6, "fd00::1,tcp:80,fd01::/16"},
        Case{SetId::kAddresses, Family::kIPv4, "10.96.0.1"},
        Case{SetId::kNodePortTcp, Family::kIPv4, "30080"}}) {
    const SetSpec spec = describe(each.set, each.family);
    const auto element = parse_set_line("add " + spec.name + " " + each.element, spec);
    ASSERT_TRUE(element) << each.element;
    EXPECT_EQ(to_string(*element, spec.type), each.element);
  }
  const SetSpec marks = describe(SetId::kMarks, Family::kIPv4);
  EXPECT_EQ(parse_set_line("add FAIRLEAD-MARKS 10.0.0.1,tcp:80 skbmark 0x7a000005", marks)->mark,
            0x7a000005U);
}

TEST(SetText, RefusesWhatIsNone) {
  const SetSpec spec = describe(SetId::kClusterIp, Family::kIPv4);
  for (const char* line :
       {"", "add", "create KUBE-CLUSTER-IP hash:ip,port", "add OTHER 10.0.0.1,tcp:80",
        "add KUBE-CLUSTER-IP 10.0.0.1", "add KUBE-CLUSTER-IP 10.0.0.1,tcp:70000",
        "add KUBE-CLUSTER-IP 10.0.0.1,icmp:8/0", "add KUBE-CLUSTER-IP fd00::1,tcp:80",
        "add KUBE-CLUSTER-IP 10.0.0.1,tcp:80,10.0.0.2"}) {
    EXPECT_FALSE(parse_set_line(line, spec)) << line;
  }
}

TEST(Layout, SetNamesFitTheKernel) {
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    std::set<std::string> names;
    for (size_t i = 0; i < kSetCount; ++i) {
      const std::string name = describe(static_cast<SetId>(i), family).name;
      EXPECT_LE(name.size(), 31U) << name;
      EXPECT_TRUE(names.insert(name).second) << name;
    }
  }
}

// What operators know from kube-proxy.
TEST(Layout, SetsHaveKubeProxysNamesAndTypes) {
  const std::pair<const char*, const char*> known[] = {
      {"LOOP-BACK", "hash:ip,port,ip"},
      {"CLUSTER-IP", "hash:ip,port"},
      {"EXTERNAL-IP", "hash:ip,port"},
      {"EXTERNAL-IP-LOCAL", "hash:ip,port"},
      {"LOAD-BALANCER", "hash:ip,port"},
      {"LOAD-BALANCER-LOCAL", "hash:ip,port"},
      {"LOAD-BALANCER-FW", "hash:ip,port"},
      {"LOAD-BALANCER-SOURCE-IP", "hash:ip,port,ip"},
      {"LOAD-BALANCER-SOURCE-CIDR", "hash:ip,port,net"},
      {"NODE-PORT-TCP", "bitmap:port"},
      {"NODE-PORT-LOCAL-TCP", "bitmap:port"},
      {"NODE-PORT-UDP", "bitmap:port"},
      {"NODE-PORT-LOCAL-UDP", "bitmap:port"},
      {"NODE-PORT-SCTP-HASH", "hash:ip,port"},
      {"NODE-PORT-LOCAL-SCTP-HASH", "hash:ip,port"},
      {"HEALTH-CHECK-NODE-PORT", "bitmap:port"},
      {"IPVS-IPS", "hash:ip"}};
  for (const auto& [family, prefix] :
       {std::pair(Family::kIPv4, "KUBE-"), std::pair(Family::kIPv6, "KUBE-6-")}) {
    std::map<std::string, std::string> made;
    for (size_t i = 0; i < kSetCount; ++i) {
      const SetSpec spec = describe(static_cast<SetId>(i), family);
      made[spec.name] = to_string(spec.type);
    }
    for (const auto& [name, type] : known) {
      EXPECT_EQ(made[(prefix + std::string(name)).substr(0, 31)], type) << prefix << name;
    }
  }
}

TEST(Layout, MarksNeverMeanMasqueradingAndComeBackAsNumbers) {
  for (int bit = 0; bit < 32; ++bit) {
    const MarkSpace space(uint32_t{1} << bit);
    for (uint32_t n = 1; n < 5000; n += 7) {
      const uint32_t mark = space.mark(n);
      EXPECT_EQ(mark & (uint32_t{1} << bit), 0U);
      EXPECT_EQ(mark & 0x8000U, 0U);
      EXPECT_EQ(space.number(mark), n);
    }
    EXPECT_EQ(space.number(7), space.limit());
  }
}

constexpr std::string_view kSaved =
    "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:SOMEBODY - [0:0]\n"
    "-A PREROUTING -j SOMEBODY\n-A PREROUTING -m comment --comment old -j KUBE-SERVICES\n"
    "-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ\n"
    "-A SOMEBODY -j KUBE-MARK-MASQ\n:KUBE-MARK-MASQ - [0:0]\nCOMMIT\n";

TableRules nat() {
  dataplane::NodeRules rules;
  rules.families = {Family::kIPv4};
  rules.detector.pod_prefixes = {prefix("10.1.0.0/16")};
  for (TableRules& table : wanted_rules(Family::kIPv4, rules)) {
    if (table.table == "nat") return table;
  }
  return {};
}

TEST(Rules, HealthChecksAreAcceptedInFilter) {
  dataplane::NodeRules rules;
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    const std::string set = describe(SetId::kHealthCheckNodePort, family).name;
    std::string text;
    for (const TableRules& table : wanted_rules(family, rules)) {
      if (table.table == "filter") text = install_text(table, "", true);
    }
    EXPECT_NE(text.find("-A KUBE-NODE-PORT -m comment --comment \"Kubernetes health check node "
                        "port\" -p tcp -m set --match-set " +
                        set + " dst -j ACCEPT\n"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("-j KUBE-NODE-PORT\n"), std::string::npos) << text;
  }
}

// A server that is ending would refuse what the node itself sends: IPVS sees that before table
// filter does.
TEST(Rules, TheNodesOwnPacketsVanishBeforeIpvsSeesThem) {
  const std::vector<TableRules> tables = wanted_rules(Family::kIPv4, {});
  ASSERT_EQ(tables[0].table, "mangle");
  const std::string text = install_text(tables[0], "", true);
  const size_t marked = text.find("-A FAIRLEAD-OUTPUT -j SET --map-set FAIRLEAD-MARKS ");
  const size_t dropped = text.find(
      "-A FAIRLEAD-OUTPUT -m comment --comment \"policy Local, no endpoint here\" -m conntrack "
      "--ctstate NEW -m set --match-set FAIRLEAD-NO-LOCAL dst,dst -m mark ! --mark ");
  ASSERT_NE(marked, std::string::npos) << text;
  ASSERT_NE(dropped, std::string::npos) << text;
  EXPECT_LT(marked, dropped);
}

TEST(Rules, TakeOldJumpsOverAndLeaveOthersAlone) {
  const std::string text = install_text(nat(), kSaved, true);
  EXPECT_NE(text.find("-D PREROUTING -m comment --comment old -j KUBE-SERVICES\n"),
            std::string::npos);
  EXPECT_NE(text.find("-I PREROUTING 1 "), std::string::npos);
  EXPECT_EQ(text.find("SOMEBODY"), std::string::npos);
  EXPECT_NE(text.find("! -s 10.1.0.0/16 "), std::string::npos);
}

TEST(Rules, RemovalLeavesChainsThatOthersUse) {
  const std::string text = removal_text(nat(), kSaved, true, Guard::kRemove);
  EXPECT_NE(text.find("-X KUBE-SERVICES\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("-X KUBE-MARK-MASQ\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("SOMEBODY"), std::string::npos) << text;
}

// A rule that no proxy puts into a built-in chain is of somebody who makes use of our chains.
TEST(Rules, RulesOfOthersInBuiltInChainsStay) {
  const std::string others =
      "-A PREROUTING -p tcp -m tcp --dport 9999 -j KUBE-MARK-MASQ\n"
      "-A PREROUTING -s 192.0.2.0/24 -j KUBE-SERVICES\n"
      "-A OUTPUT -j KUBE-SVC-XPGD46QRK7WJZT7O\n";
  const std::string before =
      "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n"
      ":KUBE-MARK-MASQ - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-SVC-XPGD46QRK7WJZT7O - [0:0]\n"
      "-A PREROUTING -j KUBE-SERVICES\n";
  const std::string saved = before + others + "COMMIT\n";
  for (const std::string& text :
       {install_text(nat(), saved, true), removal_text(nat(), saved, true, Guard::kRemove)}) {
    EXPECT_NE(text.find("-D PREROUTING -j KUBE-SERVICES\n"), std::string::npos) << text;
    for (const char* part : {"-D PREROUTING -p", "-D PREROUTING -s", "-D OUTPUT",
                             "-X KUBE-MARK-MASQ", "-X KUBE-SERVICES", "-X KUBE-SVC-"}) {
      EXPECT_EQ(text.find(part), std::string::npos) << part << " in\n" << text;
    }
  }
  EXPECT_NE(removal_text(nat(), saved, true, Guard::kRemove).find("-X KUBE-POSTROUTING\n"),
            std::string::npos);
  EXPECT_EQ(our_part(nat(), saved), our_part(nat(), before + "COMMIT\n")) << "no damage";
}

// What we have made ourselves goes, whatever it looks at.
TEST(Rules, EveryJumpOfOursIsTakenOutAgain) {
  for (const TableRules& table : wanted_rules(Family::kIPv4, {})) {
    std::string saved = "*" + table.table + "\n";
    for (const Chain& chain : table.chains) saved += ":" + chain.name + " - [0:0]\n";
    for (const Jump& jump : table.jumps) saved += "-A " + jump.from + " " + jump.rule + "\n";
    const std::string installed = install_text(table, saved, true);
    const std::string removed = removal_text(table, saved, true, Guard::kRemove);
    for (const Jump& jump : table.jumps) {
      const std::string removal = "-D " + jump.from + " " + jump.rule + "\n";
      EXPECT_NE(installed.find(removal), std::string::npos) << removal << installed;
      EXPECT_NE(removed.find(removal), std::string::npos) << removal << removed;
      EXPECT_NE(removed.find("-X " + jump.to + "\n"), std::string::npos) << removed;
      EXPECT_NE(our_part(table, saved).find(jump.rule), std::string::npos);
    }
  }
}

constexpr std::string_view kRulesOfIptablesMode =
    "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-SVC-XPGD46QRK7WJZT7O - [0:0]\n"
    "-A PREROUTING -j KUBE-SERVICES\n"
    "-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-XPGD46QRK7WJZT7O\nCOMMIT\n";

// Without our mark in table mangle, chains of these names are another mode's or kube-proxy's.
TEST(Rules, RemovalLeavesOtherModesAlone) {
  EXPECT_EQ(removal_text(nat(), kRulesOfIptablesMode, false, Guard::kRemove), "");
  EXPECT_EQ(removal_text(nat(), "", true, Guard::kRemove), "");
  EXPECT_TRUE(foreign_proxy_rules(kRulesOfIptablesMode, ""));
  EXPECT_FALSE(foreign_proxy_rules(kRulesOfIptablesMode, "*mangle\n:FAIRLEAD-IPVS - [0:0]\n"));
  EXPECT_FALSE(foreign_proxy_rules("*nat\nCOMMIT\n", ""));
}

TEST(Rules, TakingOverRemovesWhatIsNotWanted) {
  const std::string text = install_text(nat(), kRulesOfIptablesMode, true);
  EXPECT_NE(text.find("-X KUBE-SVC-XPGD46QRK7WJZT7O\n"), std::string::npos) << text;
  EXPECT_LT(text.find("-X KUBE-SVC-"), text.find("-A KUBE-SERVICES "));
}

// KUBE-FIREWALL is the guard of 127.0.0.0/8 while packets to there are routed.
TEST(Rules, TakingOverLeavesAGuardThatIsNeeded) {
  const TableRules filter = wanted_rules(Family::kIPv4, {})[2];
  ASSERT_EQ(filter.table, "filter");
  const std::string guard =
      "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-FIREWALL - [0:0]\n"
      "-A INPUT -j KUBE-FIREWALL\n-A KUBE-FIREWALL " +
      iptables::martian_rule() + "\nCOMMIT\n";
  EXPECT_EQ(install_text(filter, guard, true).find("KUBE-FIREWALL"), std::string::npos);
  EXPECT_NE(install_text(filter, guard, false).find("-X KUBE-FIREWALL\n"), std::string::npos);
}

TEST(Rules, SeveralPodRangesAreAChain) {
  dataplane::NodeRules rules;
  rules.detector.pod_prefixes = {prefix("10.1.0.0/16"), prefix("10.2.0.0/16")};
  const std::string text = install_text(wanted_rules(Family::kIPv4, rules)[1], "", true);
  EXPECT_NE(text.find("-A FAIRLEAD-NOT-PODS -s 10.2.0.0/16 -j RETURN\n"), std::string::npos);
  // It goes with the second range, and when all goes.
  const std::string saved =
      "*nat\n:PREROUTING ACCEPT [0:0]\n:FAIRLEAD-NOT-PODS - [0:0]\n"
      "-A FAIRLEAD-NOT-PODS -j KUBE-MARK-MASQ\nCOMMIT\n";
  EXPECT_NE(install_text(nat(), saved, true).find("-X FAIRLEAD-NOT-PODS\n"), std::string::npos);
  EXPECT_NE(removal_text(nat(), saved, true, Guard::kRemove).find("-X FAIRLEAD-NOT-PODS\n"),
            std::string::npos);
}

}  // namespace
}  // namespace fairlead::ipvs
