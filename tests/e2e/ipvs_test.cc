// What operators see of the IPVS mode with the tools they know, and what others do to it: damage is
// repaired, foreign things survive, endpoints that go are left to end.
#include <thread>

#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

class Ipvs : public Scenario {
 protected:
  std::string shell(const std::string& command) {
    const Result<harness::CommandResult> said = world().at("node-a").run([&] {
      return harness::run_command({"sh", "-c", command});
    });
    return said ? said->output : said.status().message();
  }
  bool v4() const { return family() == Family::kIPv4; }
  std::string bracketed(const std::string& address) const {
    return v4() ? address : "[" + address + "]";
  }
  std::string set_name(const std::string& name) const {
    return (v4() ? "KUBE-" : "KUBE-6-") + name;
  }
  bool in_set(const std::string& set, const std::string& element) {
    return shell("ipset test " + set + " " + element).find("is in set") != std::string::npos;
  }
  bool has_address(const std::string& address) {
    return shell("ip -o address show dev kube-ipvs0").find(" " + address + "/") !=
           std::string::npos;
  }
  // The lines of one virtual server in ipvsadm's listing.
  std::string server(const std::string& option) { return shell("ipvsadm -L -n " + option); }
};
FAIRLEAD_SCENARIOS_OF(Ipvs, "ipvs");

TEST_P(Ipvs, OperatorsFindWhatTheyKnow) {
  auto web = service().endpoints({"a1", "b1"}).node_port().external_ip().load_balancer();
  web.source_ranges({"198.51.100.100/32", "2001:db8:100::64/128"}).affinity(120).apply();
  const std::string vip = of(web.cluster_ip());
  EXPECT_TRUE(has_address(vip)) << shell("ip address show dev kube-ipvs0");
  // Down, as kube-proxy's; its addresses answer all the same.
  const std::string link = shell("ip -o link show dev kube-ipvs0");
  EXPECT_NE(link.find("<BROADCAST,NOARP>"), std::string::npos) << link;
  const std::string listing = server("-t " + bracketed(vip) + ":80");
  EXPECT_NE(listing.find("TCP  " + bracketed(vip) + ":80 rr persistent 120"), std::string::npos)
      << listing;
  for (const char* endpoint : {"a1", "b1"}) {
    EXPECT_NE(listing.find("-> " + bracketed(of(Topology::pod(endpoint))) + ":8080"),
              std::string::npos)
        << listing;
  }
  EXPECT_NE(listing.find("Masq    1 "), std::string::npos) << listing;
  const std::string a1 = of(Topology::pod("a1"));
  const std::string balancer = web.at_load_balancer(family()).front().address;
  for (const auto& [set, element] : std::initializer_list<std::pair<const char*, std::string>>{
           {"CLUSTER-IP", vip + ",tcp:80"},
           {"CLUSTER-IP", vip + ",udp:80"},
           {"EXTERNAL-IP", web.at_external_ip(family()).front().address + ",tcp:80"},
           {"LOAD-BALANCER", balancer + ",tcp:80"},
           {"LOAD-BALANCER-FW", balancer + ",tcp:80"},
           {"NODE-PORT-TCP", std::to_string(web.node_port_number())},
           {"NODE-PORT-UDP", std::to_string(web.node_port_number())},
           {"LOOP-BACK", a1 + ",tcp:8080," + a1},
           {"IPVS-IPS", vip}}) {
    EXPECT_TRUE(in_set(set_name(set), element)) << set << " lacks " << element;
  }
  const std::string rules = shell(v4() ? "iptables-save" : "ip6tables-save");
  for (const char* chain :
       {":KUBE-SERVICES ", ":KUBE-LOAD-BALANCER ", ":KUBE-NODE-PORT ", ":KUBE-MARK-MASQ ",
        ":KUBE-POSTROUTING ", ":KUBE-FORWARD ", ":KUBE-PROXY-FIREWALL ",
        ":KUBE-SOURCE-RANGES-FIREWALL ", ":KUBE-IPVS-FILTER ", ":KUBE-IPVS-OUT-FILTER "}) {
    EXPECT_NE(rules.find(chain), std::string::npos) << chain;
  }
  web.remove();
  settle();
  EXPECT_FALSE(has_address(vip));
  EXPECT_FALSE(in_set(set_name("CLUSTER-IP"), vip + ",tcp:80"));
}

TEST_P(Ipvs, HealthCheckNodePortsAreInTheirSet) {
  auto web = service().endpoints({"a1"}).load_balancer().external_local().health_check_port();
  web.apply();
  const std::string port = std::to_string(web.health_check_port_number());
  const std::string set = set_name("HEALTH-CHECK-NODE-PORT");
  EXPECT_TRUE(in_set(set, port)) << shell("ipset list " + set);
  const std::string tables = v4() ? "iptables" : "ip6tables";
  const std::string filter = shell(tables + "-save -t filter");
  EXPECT_NE(filter.find("--match-set " + set + " dst -j ACCEPT"), std::string::npos) << filter;
  EXPECT_NE(filter.find("-j KUBE-NODE-PORT"), std::string::npos) << filter;
  web.remove();
  settle();
  EXPECT_FALSE(in_set(set, port));
}

TEST_P(Ipvs, AnEndpointThatGoesIsLeftToEnd) {
  auto web = service().endpoints({"a1"}).protocols({Protocol::kTcp});
  web.apply();
  Conversation connection(question(pod(), web.at_cluster_ip(family()).front()));
  EXPECT_EQ(connection.exchange().endpoint, "a1");
  web.endpoints({"b1"}).apply();
  const std::string listing = server("-t " + bracketed(of(web.cluster_ip())) + ":80");
  EXPECT_NE(listing.find(bracketed(of(Topology::pod("a1"))) + ":8080"), std::string::npos);
  EXPECT_NE(listing.find("Masq    0      1"), std::string::npos) << listing;
  EXPECT_EQ(connection.exchange().endpoint, "a1");
  EXPECT_TRUE(eventually(
      [&] { return world().proxy().metric("fairlead_backend_ipvs_draining_destinations") >= 1; }));
}

TEST_P(Ipvs, TheLastLocalEndpointIsLeftToEndAlsoByTheNextRun) {
  auto web = service().endpoints({"a1", "b1"}).protocols({Protocol::kTcp}).external_ip();
  web.external_local().apply();
  const Target target = web.at_external_ip(family()).front();
  const std::string listed = "-t " + bracketed(target.address) + ":80";
  Conversation connection(question(outside(), target));
  EXPECT_EQ(connection.exchange().endpoint, "a1");
  web.endpoints({"b1"}).apply();
  EXPECT_NE(server(listed).find("Masq    0      1"), std::string::npos) << server(listed);
  world().stop_proxy();
  EXPECT_EQ(connection.exchange().endpoint, "a1");
  ASSERT_TRUE(world().start_proxy().ok());
  settle();
  EXPECT_EQ(connection.exchange().endpoint, "a1");
  EXPECT_NE(server(listed).find("Masq    0      1"), std::string::npos) << server(listed);
  dropped({outside()}, {target});
}

TEST_P(Ipvs, DamageIsRepaired) {
  auto web = service().endpoints({"a1", "b1"}).node_port();
  web.apply();
  const std::string vip = of(web.cluster_ip());
  const auto expect_repair = [&](const std::string& damage) {
    SCOPED_TRACE(damage);
    const double repairs = world().proxy().metric("fairlead_audit_repairs_total");
    shell(damage);
    EXPECT_TRUE(
        eventually([&] { return world().proxy().metric("fairlead_audit_repairs_total") > repairs; },
                   std::chrono::seconds(25)));
    reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
    reaches({outside()}, web.at_node_port(family()), {"a1", "b1"}, Seen::kNode);
  };
  // Of these the kernel tells at once, of the others the next look does.
  expect_repair("ip address delete " + vip + (v4() ? "/32" : "/128") + " dev kube-ipvs0");
  expect_repair(std::string(v4() ? "iptables" : "ip6tables") + " -t nat -F KUBE-SERVICES");
  expect_repair("ip link delete kube-ipvs0");
  expect_repair("ipvsadm -C; ipset flush " + set_name("CLUSTER-IP"));
}

TEST_P(Ipvs, ForeignThingsSurviveEverythingAndOursGo) {
  auto web = service().endpoints({"a1"}).node_port();
  web.apply();
  const std::string foreign = bracketed(v4() ? "192.0.2.77" : "2001:db8:77::1") + ":80";
  const std::string real = bracketed(v4() ? "192.0.2.78" : "2001:db8:77::2") + ":8080";
  // At addresses of ours, too: a service's, and the node's with a node port's number.
  const std::string vip = bracketed(of(web.cluster_ip()));
  const std::vector<std::string> shared = {
      "-t " + vip + ":443", "-u " + vip + ":8080",
      "-t " + bracketed(web.at_node_port(family()).front().address) + ":9443"};
  const std::string tables = v4() ? "iptables" : "ip6tables";
  shell("ipvsadm -A -t " + foreign + " -s wlc; ipvsadm -a -t " + foreign + " -r " + real + " -m");
  shell("ipvsadm -A -f 7 -s rr" + std::string(v4() ? "" : " -6"));
  for (const std::string& each : shared) {
    shell("ipvsadm -A " + each + " -s wlc; ipvsadm -a " + each + " -r " + real + " -m");
  }
  shell("ipset create somebody hash:ip family " + std::string(v4() ? "inet" : "inet6"));
  shell(tables + " -N SOMEBODY; " + tables + " -A SOMEBODY -j KUBE-MARK-MASQ; " + tables +
        " -t nat -A PREROUTING -p tcp --dport 9999 -j KUBE-MARK-MASQ; " + tables +
        " -A FORWARD -m set --match-set somebody src -j ACCEPT");
  const auto expect_foreign = [&] {
    EXPECT_NE(server("-t " + foreign).find(real), std::string::npos) << shell("ipvsadm -L -n");
    EXPECT_NE(shell("ipvsadm -L -n").find("FWM  7"), std::string::npos);
    for (const std::string& each : shared) {
      EXPECT_NE(server(each).find(real), std::string::npos) << each << shell("ipvsadm -L -n");
    }
    EXPECT_NE(shell("ipset list -n").find("somebody"), std::string::npos);
    EXPECT_NE(shell(tables + "-save").find("--match-set somebody src"), std::string::npos);
    EXPECT_NE(shell(tables + "-save -t nat").find("--dport 9999 -j KUBE-MARK-MASQ"),
              std::string::npos)
        << shell(tables + "-save -t nat");
  };
  settle();
  expect_foreign();
  // An audit compares everything.
  const double audits = world().proxy().metric("fairlead_audit_repairs_total");
  shell("ipvsadm -D -t " + vip + ":80");
  EXPECT_TRUE(
      eventually([&] { return world().proxy().metric("fairlead_audit_repairs_total") > audits; },
                 std::chrono::seconds(25)));
  expect_foreign();
  world().stop_proxy();
  // The kernel's settings are made with every start.
  const std::vector<std::string> settings = {"/proc/sys/net/ipv4/ip_forward",
                                             "/proc/sys/net/ipv4/vs/conntrack",
                                             "/proc/sys/net/ipv4/vs/expire_nodest_conn",
                                             "/proc/sys/net/ipv4/vs/expire_quiescent_template"};
  for (const std::string& file : settings) shell("echo 0 >" + file);
  ASSERT_TRUE(world().start_proxy().ok());
  settle();
  for (const std::string& file : settings) EXPECT_EQ(shell("cat " + file), "1\n") << file;
  expect_foreign();
  world().stop_proxy();
  const Status cleaned = world().clean_up();
  EXPECT_TRUE(cleaned.ok()) << cleaned.message();
  expect_foreign();
  const std::string left = shell(
      "ipvsadm -L -n; ipset list -n; ip -o link; iptables-save; "
      "ip6tables-save");
  for (const char* ours : {"kube-ipvs0", "KUBE-SERVICES", "KUBE-CLUSTER-IP", "FAIRLEAD",
                           "KUBE-IPVS-FILTER", "KUBE-6-"}) {
    EXPECT_EQ(left.find(ours), std::string::npos) << ours << " is left\n" << left;
  }
  EXPECT_EQ(server("-t " + bracketed(of(web.cluster_ip())) + ":80").find("-> 10."),
            std::string::npos);
  const Status again = world().clean_up();
  EXPECT_TRUE(again.ok()) << "with nothing left to remove: " << again.message();
  shell("ipvsadm -D -t " + foreign + "; ipvsadm -D -f 7" + std::string(v4() ? "" : " -6"));
  for (const std::string& each : shared) shell("ipvsadm -D " + each);
  shell(tables + " -D FORWARD -m set --match-set somebody src -j ACCEPT; ipset destroy somebody; " +
        tables + " -t nat -D PREROUTING -p tcp --dport 9999 -j KUBE-MARK-MASQ; " + tables +
        " -F SOMEBODY; " + tables + " -X SOMEBODY");
  ASSERT_TRUE(world().start_proxy().ok());
  settle();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1"});
}

class IpvsScheduler : public Scenario {
  std::vector<std::string> flags() const override {
    return {"--ipvs-scheduler=mh",       "--ipvs-tcp-timeout=100s",
            "--ipvs-tcpfin-timeout=44s", "--ipvs-udp-timeout=55s",
            "--ipvs-strict-arp=true",    "--ipvs-exclude-cidrs=0.0.0.0/0,::/0"};
  }
};
FAIRLEAD_SCENARIOS_OF(IpvsScheduler, "ipvs");

TEST_P(IpvsScheduler, OptionsTakeEffect) {
  auto web = service().endpoints({"a1", "b1"}).external_ip().node_port();
  web.apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
  reaches({outside()}, web.at_external_ip(family()), {"a1", "b1"}, Seen::kNode);
  reaches({outside()}, web.at_node_port(family()), {"a1", "b1"}, Seen::kNode);
  const auto shell = [&](const std::string& command) {
    return world().at("node-a").run([&] {
      return harness::run_command({"sh", "-c", command})->output;
    });
  };
  EXPECT_NE(shell("ipvsadm -L -n").find(":80 mh (mh-port)"), std::string::npos)
      << shell("ipvsadm -L -n");
  EXPECT_EQ(shell("ipvsadm -L --timeout"), "Timeout (tcp tcpfin udp): 100 44 55\n");
  EXPECT_EQ(shell("cat /proc/sys/net/ipv4/conf/all/arp_ignore"), "1\n");
  EXPECT_EQ(shell("cat /proc/sys/net/ipv4/conf/all/arp_announce"), "2\n");
}

class IpvsSourceHash : public Scenario {
  std::vector<std::string> flags() const override { return {"--ipvs-scheduler=sh"}; }
};
FAIRLEAD_SCENARIOS_OF(IpvsSourceHash, "ipvs");

// By the client's address alone: it always comes to the same endpoint, others to another one.
TEST_P(IpvsSourceHash, EveryClientHasItsEndpoint) {
  auto web = service().endpoints({"a1", "a2", "b1", "b2"}).protocols({Protocol::kTcp});
  web.apply();
  const Target target = web.at_cluster_ip(family()).front();
  Pods chosen;
  for (int client = 0; client < harness::kOutsideAddresses; ++client) {
    const Answer first = ask(outside(client), target);
    ASSERT_EQ(first.fate, Fate::kAnswered) << first.to_string();
    chosen.insert(first.endpoint);
    for (int again = 0; again < 3; ++again) {
      EXPECT_EQ(ask(outside(client), target).endpoint, first.endpoint) << client;
    }
  }
  EXPECT_GT(chosen.size(), 1U);
}

}  // namespace
}  // namespace fairlead::e2e
