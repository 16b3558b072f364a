// What the rules do to packets that no scenario of tests/e2e sends.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>

#include "base/fd.h"
#include "tests/harness/endpoints.h"
#include "tests/harness/netns.h"
#include "tests/harness/packet.h"
#include "tests/harness/probe.h"
#include "tests/unit/iptables/backend_fixture.h"

namespace fairlead::iptables {
namespace {

// The test's own namespace is the node. A pod hangs on "pod0", a client outside on "out0".
class IptablesTraffic : public BackendFixture {
 protected:
  void SetUp() override {
    BackendFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    add(pod_, "pod", "pod0", R"(address add 10.244.1.7/32 dev eth0
        address add 10.244.1.0/32 dev eth0
        address add 10.244.1.1/32 dev eth0
        link set eth0 up
        route add 10.244.0.1 dev eth0
        route add default via 10.244.0.1)");
    add(outside_, "outside", "out0", R"(address add 192.0.2.9/24 dev eth0
        link set eth0 up
        route add default via 192.0.2.1)");
    ASSERT_FALSE(HasFatalFailure());
    ASSERT_EQ(std::system(R"(set -e
        ip link set lo up
        ip address add 10.244.0.1/32 dev pod0
        ip link set pod0 up
        ip route add 10.244.1.0/24 dev pod0
        ip address add 192.0.2.1/24 dev out0
        ip link set out0 up
        sysctl -qw net.ipv4.ip_forward=1
        sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.pod0.rp_filter=0)"),
              0);
    raw_ = pod_->run([] { return Fd(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)); });
    ASSERT_TRUE(raw_.valid());
    // What gets through comes to the end of FORWARD.
    run("*filter\n-A FORWARD -i pod0 -m comment --comment \"got through\"\nCOMMIT\n");
  }

  // One more namespace, with a cable from its "eth0" to the node's `device`.
  void add(std::unique_ptr<harness::Namespace>& where, const std::string& name,
           const std::string& device, const std::string& commands) {
    Result<std::unique_ptr<harness::Namespace>> made = harness::Namespace::create(name);
    ASSERT_TRUE(made) << made.status().message();
    where = std::move(*made);
    const Fd node(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    const Status cabled = where->ip("link add eth0 type veth peer name " + device +
                                    " netns /proc/" + std::to_string(::getpid()) + "/fd/" +
                                    std::to_string(node.get()) + "\n" + commands + "\n");
    ASSERT_TRUE(cabled) << cabled.message();
  }
  // Whether it gets through when the pod sends what no connection is known of: an answer to an
  // unsent SYN. One that always gets through is sent behind it: they arrive in order.
  bool passes(const std::string& from) {
    const uint64_t before = got_through();
    for (const std::string& each : {from, std::string("10.244.1.7:9")}) {
      const harness::Packet packet = harness::tcp(each, "192.0.2.9:4000").flags("SA");
      const auto bytes = packet.from_network();
      sockaddr_in where{};
      where.sin_family = AF_INET;
      where.sin_addr.s_addr = ::inet_addr("192.0.2.9");
      EXPECT_EQ(::sendto(raw_.get(), bytes.data(), bytes.size(), 0,
                         reinterpret_cast<const sockaddr*>(&where), sizeof where),
                static_cast<ssize_t>(bytes.size()));
    }
    for (int i = 0; i < 500 && got_through() == before; ++i) ::usleep(10000);
    const uint64_t passed = got_through() - before;
    EXPECT_GE(passed, 1U) << "nothing gets through";
    return passed > 1;
  }
  // How many packets came to the end of FORWARD so far.
  uint64_t got_through() {
    const Result<std::string> listing = create_tool(create_process_runner(), GetParam())
                                            ->list_chain(Family::kIPv4, "filter", "FORWARD");
    EXPECT_TRUE(listing);
    uint64_t packets = 0;
    for (const auto& [rule, count] : packets_by_rule(*listing, "got through")) packets += count;
    return packets;
  }
  double dropped() {
    for (const dataplane::Counter& each : backend_->counters()) {
      if (each.name == "kubeproxy_iptables_ct_state_invalid_dropped_packets_total") {
        return each.value;
      }
    }
    return -1;
  }

  std::unique_ptr<harness::Namespace> pod_;
  std::unique_ptr<harness::Namespace> outside_;
  Fd raw_;
};

INSTANTIATE_TEST_SUITE_P(Variants, IptablesTraffic,
                         ::testing::Values(Variant::kLegacy, Variant::kNft),
                         [](const auto& each) { return std::string(to_string(each.param)); });

// 8080 is what the service's endpoints listen on.
TEST_P(IptablesTraffic, InvalidAnswersOfServicesAreDroppedAndCounted) {
  options_.counter_age = std::chrono::seconds(0);
  restart();
  put(1, 2);
  apply(true);
  EXPECT_FALSE(passes("10.244.1.7:8080"));
  EXPECT_FALSE(passes("10.244.1.7:8080"));
  EXPECT_TRUE(passes("192.0.2.77:8080")) << "no pod's address";
  EXPECT_TRUE(passes("10.244.1.7:8081")) << "of no service";
  EXPECT_EQ(dropped(), 2);

  // Rules come and go, and are written anew; what was counted stays.
  table_.replace(service(1).name, {});
  apply();
  EXPECT_EQ(dropped(), 2);
  EXPECT_TRUE(passes("10.244.1.7:8080")) << "no service any more";
  put(2, 1);
  apply();
  EXPECT_FALSE(passes("10.244.1.7:8080"));
  EXPECT_EQ(dropped(), 3);
  run("*filter\n-F KUBE-FORWARD\n-F FAIRLEAD-INVALID\nCOMMIT\n");
  ASSERT_TRUE(backend_->audit());
  EXPECT_EQ(dropped(), 3);
  EXPECT_FALSE(passes("10.244.1.7:8080"));
  EXPECT_EQ(dropped(), 4);
  expect_exact();
}

TEST_P(IptablesTraffic, InvalidAnswersAreDroppedWhereNobodyKnowsPods) {
  rules_.detector.pod_prefixes.clear();
  restart();
  put(1, 1);
  apply(true);
  EXPECT_FALSE(passes("10.244.1.7:8080"));
  EXPECT_TRUE(passes("10.244.1.7:8081"));
  EXPECT_EQ(dropped(), 1);
  expect_exact();
}

TEST_P(IptablesTraffic, InvalidAnswersPassWhereConnectionTrackingIsLiberal) {
  options_.fixed.tcp_be_liberal = true;
  restart();
  put(1, 1);
  apply(true);
  EXPECT_TRUE(passes("10.244.1.7:8080"));
  EXPECT_EQ(everything().find("INVALID"), std::string::npos);
  expect_exact();
}

// Ports are shared by services: a rule for each that some endpoint has.
TEST_P(IptablesTraffic, OneRuleForEachTargetPort) {
  const auto ports = [this] {
    std::istringstream text(saved(Family::kIPv6, "filter"));
    std::string all;
    for (std::string line; std::getline(text, line);) {
      if (line.starts_with("-A FAIRLEAD-INVALID ")) all += line.substr(20) + "\n";
    }
    return all;
  };
  const std::string rule = "-p tcp -m tcp --sport 8080 -j DROP\n";
  put_many();
  apply(true);
  EXPECT_EQ(ports(), rule);
  put(1, 4);
  put(60, 4);
  tool_->inputs.clear();
  apply();
  for (const std::string& input : tool_->inputs) {
    EXPECT_EQ(input.find("8080 -j DROP"), std::string::npos) << input;
  }
  restart();
  apply(true);
  EXPECT_EQ(ports(), rule);
  expect_exact();
  for (int n = 0; n <= 60; ++n) table_.replace(service(n).name, {});
  apply();
  EXPECT_EQ(ports(), "");
  expect_exact();
}

// What kube-proxy has for a service of two endpoints, for one that is gone, and for itself, beside
// what the kubelet has. "@" stands for what a kernel without nfacct does not take.
constexpr std::string_view kKubeProxys = R"(*mangle
:KUBE-PROXY-CANARY - [0:0]
COMMIT
*filter
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
@-A KUBE-FORWARD -m conntrack --ctstate INVALID -m nfacct --nfacct-name  ct_state_invalid_dropped_pkts -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-SERVICES -d 10.96.9.8/32 -p tcp -m comment --comment "a/empty:http has no endpoints" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
COMMIT
*nat
:KUBE-EXT-6FQZKDMVESNX7NUN - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-SEP-I6R7I47XQNSUFBFQ - [0:0]
:KUBE-SEP-SILIDWQIISBQU52U - [0:0]
:KUBE-SEP-STALESTALESTALES - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-6FQZKDMVESNX7NUN - [0:0]
:KUBE-SVC-STALESTALESTALES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-EXT-6FQZKDMVESNX7NUN -m comment --comment "masquerade traffic for default/svc1:http external destinations" -j KUBE-MARK-MASQ
-A KUBE-EXT-6FQZKDMVESNX7NUN -j KUBE-SVC-6FQZKDMVESNX7NUN
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
@-A KUBE-NODEPORTS -d 127.0.0.0/8 -p tcp -m comment --comment "default/svc1:http" -m tcp --dport 30001 -m nfacct --nfacct-name  localhost_nps_accepted_pkts -j KUBE-EXT-6FQZKDMVESNX7NUN
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/svc1:http" -m tcp --dport 30001 -j KUBE-EXT-6FQZKDMVESNX7NUN
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-SEP-I6R7I47XQNSUFBFQ -s 10.244.1.0/32 -m comment --comment "default/svc1:http" -j KUBE-MARK-MASQ
-A KUBE-SEP-I6R7I47XQNSUFBFQ -p tcp -m comment --comment "default/svc1:http" -m tcp -j DNAT --to-destination 10.244.1.0:8080
-A KUBE-SEP-SILIDWQIISBQU52U -s 10.244.1.1/32 -m comment --comment "default/svc1:http" -j KUBE-MARK-MASQ
-A KUBE-SEP-SILIDWQIISBQU52U -p tcp -m comment --comment "default/svc1:http" -m tcp -j DNAT --to-destination 10.244.1.1:8080
-A KUBE-SEP-STALESTALESTALES -s 10.244.9.9/32 -m comment --comment "a/gone:http" -j KUBE-MARK-MASQ
-A KUBE-SEP-STALESTALESTALES -p tcp -m comment --comment "a/gone:http" -m tcp -j DNAT --to-destination 10.244.9.9:80
-A KUBE-SERVICES -d 10.96.9.9/32 -p tcp -m comment --comment "a/gone:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-STALESTALESTALES
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/svc1:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-6FQZKDMVESNX7NUN
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-6FQZKDMVESNX7NUN ! -s 10.244.0.0/16 -d 10.96.0.1/32 -p tcp -m comment --comment "default/svc1:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-6FQZKDMVESNX7NUN -m comment --comment "default/svc1:http -> 10.244.1.0:8080" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-I6R7I47XQNSUFBFQ
-A KUBE-SVC-6FQZKDMVESNX7NUN -m comment --comment "default/svc1:http -> 10.244.1.1:8080" -j KUBE-SEP-SILIDWQIISBQU52U
-A KUBE-SVC-STALESTALESTALES ! -s 10.244.0.0/16 -d 10.96.9.9/32 -p tcp -m comment --comment "a/gone:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-STALESTALESTALES -m comment --comment "a/gone:http -> 10.244.9.9:80" -j KUBE-SEP-STALESTALESTALES
COMMIT
)";

std::string kube_proxys(bool nfacct) {
  std::istringstream lines{std::string(kKubeProxys)};
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with('@')) {
      text += line + "\n";
    } else if (nfacct) {
      text += line.substr(1) + "\n";
    }
  }
  return text;
}

// While clients ask without a pause. What is left in the end is what there is without kube-proxy.
TEST_P(IptablesTraffic, NothingIsLostWhenKubeProxyIsTakenOver) {
  using harness::Fate;
  rules_.families = {Family::kIPv4};
  view_.families = rules_.families;
  ASSERT_TRUE(backend_->remove_all());
  run("*mangle\n:KUBE-KUBELET-CANARY - [0:0]\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"
      "*nat\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n*filter\n:KUBE-KUBELET-CANARY - [0:0]\n"
      "COMMIT\n");
  restart();
  dataplane::Service web = service(1);
  web.external_ips.clear();
  table_.replace(web.name, dataplane::compile(web, pods(1, 2), view_));
  apply(true);
  const std::string wanted = everything();
  ASSERT_TRUE(backend_->remove_all());
  run("*filter\n:KUBE-FIREWALL - [0:0]\n-D INPUT -j KUBE-FIREWALL\n-D OUTPUT -j KUBE-FIREWALL\n"
      "-X KUBE-FIREWALL\nCOMMIT\n");
  ASSERT_EQ(everything().find("KUBE-SERVICES"), std::string::npos);
  if (!tool_->restore(Family::kIPv4, kube_proxys(true))) run(kube_proxys(false));
  ASSERT_NE(everything().find("STALE"), std::string::npos);

  Result<std::unique_ptr<harness::EchoServers>> servers = harness::EchoServers::start();
  ASSERT_TRUE(servers) << servers.status().message();
  for (const char* own : {"10.244.1.0", "10.244.1.1"}) {
    const Status listens = (*servers)->listen(*pod_, own, dataplane::Protocol::kTcp, own, 8080);
    ASSERT_TRUE(listens) << listens.message();
  }
  harness::Question cluster_ip;
  cluster_ip.from = outside_.get();
  cluster_ip.target = {dataplane::Protocol::kTcp, "10.96.0.1", 80};
  harness::Question node_port = cluster_ip;
  node_port.target = {dataplane::Protocol::kTcp, "192.0.2.1", 30001};
  harness::Conversation open(cluster_ip);
  harness::Conversation open_at_node(node_port);
  ASSERT_EQ(open.exchange().fate, Fate::kAnswered);
  ASSERT_EQ(open_at_node.exchange().fate, Fate::kAnswered);
  harness::Traffic traffic({cluster_ip, node_port});
  const auto go_on = [&] {
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(open.exchange().fate, Fate::kAnswered);
      EXPECT_EQ(open_at_node.exchange().fate, Fate::kAnswered);
      ::usleep(10000);
    }
  };
  go_on();
  restart();
  EXPECT_NE(everything().find("10.244.9.9:80"), std::string::npos) << "gone before the first sync";
  go_on();
  apply(true);
  go_on();
  EXPECT_EQ(open.reconnections() + open_at_node.reconnections(), 0);
  const harness::Traffic::Report report = traffic.stop();
  EXPECT_GT(report.asked, 20U);
  EXPECT_EQ(report.failed + report.aborted, 0U) << report.failures;
  EXPECT_EQ(everything(), wanted);
  expect_exact();
}

}  // namespace
}  // namespace fairlead::iptables
