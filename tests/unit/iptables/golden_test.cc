// One service of each kind, as iptables-save prints it: names, marks, comments and the order of
// rules are kube-proxy's, and what operators and tools look for.
#include "tests/unit/iptables/backend_fixture.h"

namespace fairlead::iptables {
namespace {

class IptablesGolden : public BackendFixture {
 protected:
  void SetUp() override {
    BackendFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    dataplane::Service plain = service(1);
    plain.external_ips.clear();
    plain.ports[0].node_port = 0;
    plain.affinity_seconds = 10800;
    dataplane::Service node_port = service(2);
    node_port.external_ips.clear();
    node_port.external_traffic_local = true;
    dataplane::Service balancer = service(3);
    balancer.external_ips.clear();
    balancer.external_traffic_local = true;
    balancer.health_check_node_port = 32003;
    balancer.load_balancer_ips = {address("203.0.113.9")};
    balancer.source_ranges = {prefix("192.0.2.0/24"), prefix("198.51.100.0/24")};
    install(plain, pods(1, 2));
    install(node_port, pods(2, 2));
    install(balancer, pods(3, 1));
    apply(true);
  }
  void install(const dataplane::Service& object,
               const std::vector<dataplane::EndpointGroup>& groups) {
    table_.replace(object.name, dataplane::compile(object, groups, view_));
  }

  // The rules of all chains that `expected` has rules of must read like that; in one chain in that
  // order.
  void expect_text(std::string_view table, const std::string& expected) {
    std::vector<std::string> chains;
    std::istringstream wanted(expected);
    for (std::string line; std::getline(wanted, line);) {
      const std::string chain = line.substr(0, line.find(' ', 3) + 1);
      if (chains.empty() || chains.back() != chain) chains.push_back(chain);
    }
    std::string got;
    for (const std::string& chain : chains) {
      std::istringstream text(saved(Family::kIPv4, table));
      for (std::string line; std::getline(text, line);) {
        if (line.starts_with(chain)) got += line + "\n";
      }
    }
    EXPECT_EQ(got, expected);
  }
};

INSTANTIATE_TEST_SUITE_P(Variants, IptablesGolden,
                         ::testing::Values(Variant::kLegacy, Variant::kNft),
                         [](const auto& each) { return std::string(to_string(each.param)); });

// The masquerading mark, the endpoint that is remembered, then chance.
TEST_P(IptablesGolden, ClusterIpWithAffinity) {
  expect_text(
      "nat",
      R"(-A KUBE-SVC-6FQZKDMVESNX7NUN ! -s 10.244.0.0/16 -d 10.96.0.1/32 -p tcp -m comment --comment "default/svc1:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-6FQZKDMVESNX7NUN -m comment --comment "default/svc1:http -> 10.244.1.0:8080" -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-I6R7I47XQNSUFBFQ --mask 255.255.255.255 --rsource -j KUBE-SEP-I6R7I47XQNSUFBFQ
-A KUBE-SVC-6FQZKDMVESNX7NUN -m comment --comment "default/svc1:http -> 10.244.1.1:8080" -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-SILIDWQIISBQU52U --mask 255.255.255.255 --rsource -j KUBE-SEP-SILIDWQIISBQU52U
-A KUBE-SVC-6FQZKDMVESNX7NUN -m comment --comment "default/svc1:http -> 10.244.1.0:8080" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-I6R7I47XQNSUFBFQ
-A KUBE-SVC-6FQZKDMVESNX7NUN -m comment --comment "default/svc1:http -> 10.244.1.1:8080" -j KUBE-SEP-SILIDWQIISBQU52U
-A KUBE-SEP-I6R7I47XQNSUFBFQ -s 10.244.1.0/32 -m comment --comment "default/svc1:http" -j KUBE-MARK-MASQ
-A KUBE-SEP-I6R7I47XQNSUFBFQ -p tcp -m comment --comment "default/svc1:http" -m recent --set --name KUBE-SEP-I6R7I47XQNSUFBFQ --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.244.1.0:8080
-A KUBE-SEP-SILIDWQIISBQU52U -s 10.244.1.1/32 -m comment --comment "default/svc1:http" -j KUBE-MARK-MASQ
-A KUBE-SEP-SILIDWQIISBQU52U -p tcp -m comment --comment "default/svc1:http" -m recent --set --name KUBE-SEP-SILIDWQIISBQU52U --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.244.1.1:8080
)");
}

// Pods and the node go everywhere, the node masqueraded; everybody else stays here.
TEST_P(IptablesGolden, NodePortWithPolicyLocal) {
  expect_text(
      "nat",
      R"(-A KUBE-EXT-VHY7WZ5HGRUCKQB5 -s 10.244.0.0/16 -m comment --comment "pod traffic for default/svc2:http external destinations" -j KUBE-SVC-VHY7WZ5HGRUCKQB5
-A KUBE-EXT-VHY7WZ5HGRUCKQB5 -m comment --comment "masquerade LOCAL traffic for default/svc2:http external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
-A KUBE-EXT-VHY7WZ5HGRUCKQB5 -m comment --comment "route LOCAL traffic for default/svc2:http external destinations" -m addrtype --src-type LOCAL -j KUBE-SVC-VHY7WZ5HGRUCKQB5
-A KUBE-EXT-VHY7WZ5HGRUCKQB5 -j KUBE-SVL-VHY7WZ5HGRUCKQB5
-A KUBE-SVC-VHY7WZ5HGRUCKQB5 ! -s 10.244.0.0/16 -d 10.96.0.2/32 -p tcp -m comment --comment "default/svc2:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-VHY7WZ5HGRUCKQB5 -m comment --comment "default/svc2:http -> 10.244.2.0:8080" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-6P3Y6YS5ZMVM46QR
-A KUBE-SVC-VHY7WZ5HGRUCKQB5 -m comment --comment "default/svc2:http -> 10.244.2.1:8080" -j KUBE-SEP-KWSGMBNUYHCHZWFE
-A KUBE-SVL-VHY7WZ5HGRUCKQB5 -m comment --comment "default/svc2:http -> 10.244.2.0:8080" -j KUBE-SEP-6P3Y6YS5ZMVM46QR
-A KUBE-SEP-6P3Y6YS5ZMVM46QR -s 10.244.2.0/32 -m comment --comment "default/svc2:http" -j KUBE-MARK-MASQ
-A KUBE-SEP-6P3Y6YS5ZMVM46QR -p tcp -m comment --comment "default/svc2:http" -m tcp -j DNAT --to-destination 10.244.2.0:8080
-A KUBE-SEP-KWSGMBNUYHCHZWFE -s 10.244.2.1/32 -m comment --comment "default/svc2:http" -j KUBE-MARK-MASQ
-A KUBE-SEP-KWSGMBNUYHCHZWFE -p tcp -m comment --comment "default/svc2:http" -m tcp -j DNAT --to-destination 10.244.2.1:8080
)");
}

TEST_P(IptablesGolden, LoadBalancerWithSourceRanges) {
  expect_text(
      "nat",
      R"(-A KUBE-EXT-AVOOM6O24ZAFEGVT -s 10.244.0.0/16 -m comment --comment "pod traffic for default/svc3:http external destinations" -j KUBE-SVC-AVOOM6O24ZAFEGVT
-A KUBE-EXT-AVOOM6O24ZAFEGVT -m comment --comment "masquerade LOCAL traffic for default/svc3:http external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
-A KUBE-EXT-AVOOM6O24ZAFEGVT -m comment --comment "route LOCAL traffic for default/svc3:http external destinations" -m addrtype --src-type LOCAL -j KUBE-SVC-AVOOM6O24ZAFEGVT
-A KUBE-EXT-AVOOM6O24ZAFEGVT -j KUBE-SVL-AVOOM6O24ZAFEGVT
-A KUBE-FW-AVOOM6O24ZAFEGVT -s 192.0.2.0/24 -m comment --comment "default/svc3:http loadbalancer IP" -j KUBE-EXT-AVOOM6O24ZAFEGVT
-A KUBE-FW-AVOOM6O24ZAFEGVT -s 198.51.100.0/24 -m comment --comment "default/svc3:http loadbalancer IP" -j KUBE-EXT-AVOOM6O24ZAFEGVT
-A KUBE-FW-AVOOM6O24ZAFEGVT -m comment --comment "other traffic to default/svc3:http will be dropped by KUBE-PROXY-FIREWALL"
-A KUBE-SVC-AVOOM6O24ZAFEGVT ! -s 10.244.0.0/16 -d 10.96.0.3/32 -p tcp -m comment --comment "default/svc3:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-AVOOM6O24ZAFEGVT -m comment --comment "default/svc3:http -> 10.244.3.0:8080" -j KUBE-SEP-E4JGGXLKGHQWFNWQ
-A KUBE-SVL-AVOOM6O24ZAFEGVT -m comment --comment "default/svc3:http -> 10.244.3.0:8080" -j KUBE-SEP-E4JGGXLKGHQWFNWQ
-A KUBE-SEP-E4JGGXLKGHQWFNWQ -s 10.244.3.0/32 -m comment --comment "default/svc3:http" -j KUBE-MARK-MASQ
-A KUBE-SEP-E4JGGXLKGHQWFNWQ -p tcp -m comment --comment "default/svc3:http" -m tcp -j DNAT --to-destination 10.244.3.0:8080
)");
  expect_text(
      "filter",
      R"(-A KUBE-NODEPORTS -p tcp -m comment --comment "default/svc3:http health check node port" -m tcp --dport 32003 -j ACCEPT
-A KUBE-PROXY-FIREWALL -d 203.0.113.9/32 -p tcp -m comment --comment "default/svc3:http traffic not accepted by KUBE-FW-AVOOM6O24ZAFEGVT" -m tcp --dport 80 -j DROP
)");
}

// Services in any order (Fairlead: the newest first), the jump to the node ports last.
TEST_P(IptablesGolden, ChainsOfAllServices) {
  expect_text("nat",
              R"(-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-SERVICES -d 10.96.0.3/32 -p tcp -m comment --comment "default/svc3:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-AVOOM6O24ZAFEGVT
-A KUBE-SERVICES -d 203.0.113.9/32 -p tcp -m comment --comment "default/svc3:http loadbalancer IP" -m tcp --dport 80 -j KUBE-FW-AVOOM6O24ZAFEGVT
-A KUBE-SERVICES -d 10.96.0.2/32 -p tcp -m comment --comment "default/svc2:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-VHY7WZ5HGRUCKQB5
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/svc1:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-6FQZKDMVESNX7NUN
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/svc3:http" -m tcp --dport 30003 -j KUBE-EXT-AVOOM6O24ZAFEGVT
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/svc2:http" -m tcp --dport 30002 -j KUBE-EXT-VHY7WZ5HGRUCKQB5
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m comment --comment "node ports on the loopback interface" -m conntrack --ctstate DNAT --ctorigdst 127.0.0.0/8
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
)");
  expect_text(
      "filter",
      R"(-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FORWARD -s 10.244.0.0/16 -p tcp -m comment --comment "answers that connection tracking does not know" -m conntrack --ctstate INVALID -j FAIRLEAD-INVALID
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FIREWALL -m comment --comment "route_localnet has been set to 1 by fairlead"
)");
}

}  // namespace
}  // namespace fairlead::iptables
