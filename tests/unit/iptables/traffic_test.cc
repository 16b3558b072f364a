// What the rules do to packets that no scenario of tests/e2e sends.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>

#include "base/fd.h"
#include "tests/harness/netns.h"
#include "tests/harness/packet.h"
#include "tests/unit/iptables/backend_fixture.h"

namespace fairlead::iptables {
namespace {

// The test's own namespace is the node. A pod hangs on its veth "pod0"; 192.0.2.9 is behind
// the cable "out0", of which nobody looks at the other end.
class IptablesTraffic : public BackendFixture {
 protected:
  void SetUp() override {
    BackendFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    Result<std::unique_ptr<harness::Namespace>> pod = harness::Namespace::create("pod");
    ASSERT_TRUE(pod) << pod.status().message();
    pod_ = std::move(*pod);
    const Fd own(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    const Status cabled = pod_->ip("link add eth0 type veth peer name pod0 netns /proc/" +
                                   std::to_string(::getpid()) + "/fd/" + std::to_string(own.get()) +
                                   "\naddress add 10.244.1.7/16 dev eth0\nlink set eth0 up\n"
                                   "route add default via 10.244.0.1\n");
    ASSERT_TRUE(cabled) << cabled.message();
    ASSERT_EQ(std::system(R"(set -e
        ip link set lo up
        ip address add 10.244.0.1/16 dev pod0
        ip link set pod0 up
        ip link add out0 type veth peer name out1
        ip address add 192.0.2.1/24 dev out0
        ip link set out0 up
        ip link set out1 up
        ip neighbour add 192.0.2.9 lladdr 02:00:00:00:00:09 dev out0
        sysctl -qw net.ipv4.ip_forward=1
        sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.pod0.rp_filter=0)"),
              0);
    raw_ = pod_->run([] { return Fd(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)); });
    ASSERT_TRUE(raw_.valid());
    // What gets through comes to the end of FORWARD.
    run("*filter\n-A FORWARD -m comment --comment \"got through\"\nCOMMIT\n");
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

}  // namespace
}  // namespace fairlead::iptables
