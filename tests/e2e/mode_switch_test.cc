// Another --proxy-mode on a live node, with traffic flowing: over every ordered pair of modes.
#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <sstream>
#include <thread>

#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

// Before Linux 6.6 a device must be given a clsact, and drops what it should send meanwhile.
bool gives_devices_a_qdisc() {
  utsname kernel{};
  int major = 0;
  int minor = 0;
  if (::uname(&kernel) != 0) return false;
  std::istringstream release(kernel.release);
  char dot = 0;
  release >> major >> dot >> minor;
  return release && std::pair(major, minor) < std::pair(6, 6);
}

class ModeSwitch : public Scenario {
 protected:
  struct Open {
    std::string what;
    Conversation conversation;
    bool datagrams = false;
    Answer first = {};
  };

  std::string run(std::vector<std::string> command) {
    const Result<harness::CommandResult> result =
        world().at("node-a").run([&] { return harness::run_command(command); });
    return result ? result->output : result.status().message();
  }

  // eventually(), for questions that cost a dozen processes, which emulation makes dear.
  bool asked_now_and_then(const std::function<bool()>& condition, std::chrono::seconds deadline) {
    const std::chrono::milliseconds pause = mode() == "ipvs" ? 3s : 500ms;
    return harness::eventually(
        [&] {
          if (condition()) return true;
          std::this_thread::sleep_for(pause);
          return false;
        },
        deadline);
  }

  // What `left` would show of itself beside `present`.
  std::string remains(const std::string& left, const std::string& present) {
    std::string text;
    const auto lines_with = [&](const std::vector<std::string>& command, const std::string& sign) {
      std::istringstream lines(run(command));
      for (std::string line; std::getline(lines, line);) {
        if ((line + "\n").find(sign) != std::string::npos) text += line + "\n";
      }
    };
    if (left == "nftables") lines_with({"nft", "list", "tables"}, " fairlead\n");
    if (left == "iptables") {
      for (const char* save : {"iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save",
                               "ip6tables-legacy-save"}) {
        // The two modes with kube-proxy's chains have some in common.
        const bool shared = present == "ipvs";
        lines_with({save}, shared ? "KUBE-SVC-" : "KUBE-");
        lines_with({save}, shared ? "FAIRLEAD-IPTABLES" : "FAIRLEAD");
        if (shared) lines_with({save}, "KUBE-FIREWALL");
        if (shared) lines_with({save}, "KUBE-NODEPORTS");
      }
    }
    if (left == "ipvs") {
      lines_with({"ipset", "list", "-n"}, "-");
      lines_with({"ip", "-o", "link"}, "kube-ipvs0");
      lines_with({"ipvsadm", "-L", "-n"}, "Masq");
      for (const char* save : {"iptables-save", "ip6tables-save"}) {
        lines_with({save}, "IPVS");
        lines_with({save}, "KUBE-NODE-PORT ");
      }
    }
    if (left == "ebpf") {
      std::error_code none;
      for (const auto& pin : std::filesystem::directory_iterator("/sys/fs/bpf", none)) {
        // The kernel's own end in ".debug".
        if (pin.path().extension() != ".debug") text += pin.path().string() + "\n";
      }
      lines_with({"bpftool", "net", "show"}, "fl_");
      lines_with({"nft", "list", "tables"}, "fairlead-ebpf");
    }
    return text;
  }

  // IPVS remembers a SYN that a mode's change left without an answer for two minutes.
  void expect_nothing_left_of_mode(const std::string& present) {
    EXPECT_TRUE(asked_now_and_then([&] { return remains(mode(), present).empty(); }, 150s))
        << "left by mode " << mode() << ":\n"
        << remains(mode(), present) << run({"cat", "/proc/net/ip_vs_conn"});
  }

  // Connections that IPVS has begun keep what they need, and nothing else: servers of weight 0.
  bool only_last_connections_are_left() {
    std::istringstream lines(run({"ipvsadm", "-L", "-n"}));
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string arrow, destination, way;
      int weight = 0;
      if (words >> arrow >> destination >> way >> weight && arrow == "->" && weight != 0) {
        return false;
      }
    }
    const std::string set = family() == Family::kIPv4 ? "KUBE-LOOP-BACK" : "KUBE-6-LOOP-BACK";
    return run({"ipset", "list", set}).find(":8080") == std::string::npos;
  }

  // Of each protocol. With ten times as many, a port that is given twice is no rare accident.
  static constexpr int kHeld = 30;
  // Traffic goes on, and nothing of the old mode stays behind.
  void switches_to(const std::string& next) {
    if (next == mode()) GTEST_SKIP() << "that is the mode it is in";
    const auto known = std::find_if(modes().begin(), modes().end(),
                                    [&](const Mode& each) { return each.name == next; });
    const std::string missing = harness::missing_features(known->needs);
    if (!missing.empty()) GTEST_SKIP() << "no mode " << next << " here: " << missing;
    auto web = service().endpoints({"a1", "b1"}).node_port();
    auto tcp = service("tcp").endpoints({"a1", "b1"}).protocols({Protocol::kTcp}).node_port();
    web.write();
    tcp.apply();
    ASSERT_EQ(remains(next, mode()), "");
    std::vector<Open> open;
    const Target cluster_ip = tcp.at_cluster_ip(family()).front();
    // Connection tracking need not know a connection that a socket has made straight to an
    // endpoint. From a port that neither the kernel gives to clients nor masquerading chooses, no
    // other connection is translated onto it; and from one of its own, because connection tracking
    // still knows the translated one of the switch before.
    static uint16_t next_port = 700;
    for (const auto& [what, from] :
         {std::pair("pod to a cluster IP", pod()), std::pair("node to a cluster IP", node())}) {
      Question asked = question(from, cluster_ip);
      asked.source_port = next_port++;
      open.push_back({what, Conversation(asked)});
    }
    open.push_back({"outside to a node port",
                    Conversation(question(outside(), tcp.at_node_port(family()).front()))});
    if (mode() == "ipvs") {
      for (const Target& to : web.at_node_port(family())) {
        if (to.protocol != Protocol::kUdp) continue;
        open.push_back(
            {"outside to a node port, datagrams", Conversation(question(outside(), to)), true});
      }
      // How long it remembers them, for this test not to last as long.
      ASSERT_EQ(run({"ipvsadm", "--set", "30", "0", "30"}), "");
    }
    // Programs and connection tracking give ports to connections without knowing of each other.
    const int held = mode() == "ebpf" || next == "ebpf" ? kHeld : 0;
    for (int i = 0; i < held; ++i) {
      for (const Target& to : web.at_node_port(family())) {
        open.push_back({"outside to a node port, held", Conversation(question(outside(), to)),
                        to.protocol == Protocol::kUdp});
      }
    }
    for (Open& each : open) each.first = each.conversation.exchange();
    // A client that speaks again after an answer holds a conversation; for connection tracking, of
    // datagrams, when two seconds have gone by.
    if (next == "ebpf") std::this_thread::sleep_for(std::chrono::milliseconds(2100));
    for (Open& each : open) each.first = each.conversation.exchange();

    // Of the eBPF mode's masquerading ports no other socket may be bound to one.
    if (next == "ebpf") harness::use_client_ports_from(32768);
    std::vector<Question> questions;
    for (const Place& from : everywhere()) {
      for (const Target& to : web.at_cluster_ip(family())) questions.push_back(question(from, to));
    }
    for (const Target& to : web.at_node_port(family())) {
      questions.push_back(question(outside(), to));
    }
    Traffic traffic(questions);
    const Status switched = world().switch_mode(next);
    ASSERT_TRUE(switched.ok()) << switched.message();
    settle();
    if (mode() == "ipvs") {
      EXPECT_TRUE(asked_now_and_then([&] { return only_last_connections_are_left(); }, 30s))
          << run({"ipvsadm", "-L", "-n"});
      EXPECT_NE(remains("ipvs", next), "") << "connections go on";
    } else {
      expect_nothing_left_of_mode(next);
    }
    for (Open& each : open) {
      // Of datagrams programs cannot tell whether one begins a conversation.
      if (next == "ebpf" && each.datagrams && each.first.source_port >= 32768) continue;
      const Answer last = each.conversation.exchange();
      EXPECT_EQ(last.endpoint, each.first.endpoint) << each.what << ": " << last.to_string();
      EXPECT_EQ(last.source_port, each.first.source_port) << each.what;
      EXPECT_EQ(each.conversation.reconnections(), 0) << each.what;
    }
    // Programs leave the rest to the stack for a while, and then as long as there is any.
    if (next == "ebpf") {
      EXPECT_TRUE(harness::eventually([&] {
        return world().proxy().log_tail().find("connection tracking translates connections") !=
               std::string::npos;
      }));
      EXPECT_NE(run({"nft", "list", "tables"}).find("fairlead-ebpf"), std::string::npos);
    }
    const Traffic::Report report = traffic.stop();
    EXPECT_GT(report.asked, 50U);
    const uint64_t allowed = next == "ebpf" && gives_devices_a_qdisc() ? report.asked / 100 : 0;
    EXPECT_LE(report.failed, allowed) << "of " << report.asked << ":\n" << report.failures;
    // And it is the new mode that follows changes, of old flows too.
    web.endpoints({"a2"}).apply();
    for (Open& each : open) {
      if (!each.datagrams) continue;
      EXPECT_TRUE(harness::eventually([&] {
        return each.conversation.exchange().endpoint == "a2";
      })) << each.what;
    }
    reaches(everywhere(), web.at_cluster_ip(family()), {"a2"});
    open.clear();
    if (mode() == "ipvs") expect_nothing_left_of_mode(next);
    world().cluster().clear();
  }
};
FAIRLEAD_SCENARIOS(ModeSwitch);

// A virtual address that stays for the last connections is the node's own meanwhile: the node has
// it as its source when it asks there, and nobody else masquerades it without a detector.
TEST_P(ModeSwitch, TheNodeIsServedBesideLastConnections) {
  if (mode() != "ipvs") GTEST_SKIP() << "only ipvs leaves addresses";
  ASSERT_TRUE(world().ensure_proxy(mode(), {"--cluster-cidr="}));
  auto web = service().endpoints({"b1"}).protocols({Protocol::kTcp});
  web.apply();
  const Target to = web.at_cluster_ip(family()).front();
  Conversation conversation(question(pod(), to));
  ASSERT_EQ(conversation.exchange().endpoint, "b1");
  ASSERT_TRUE(world().switch_mode("iptables"));
  settle();
  ASSERT_TRUE(asked_now_and_then([&] { return only_last_connections_are_left(); }, 30s));
  EXPECT_NE(remains("ipvs", "iptables"), "");
  reaches({node()}, {to}, {"b1"}, Seen::kNode);
  reaches({pod(), outside()}, {to}, {"b1"});
  EXPECT_EQ(conversation.exchange().endpoint, "b1");
}

TEST_P(ModeSwitch, ToNftables) {
  switches_to("nftables");
}

TEST_P(ModeSwitch, ToIptables) {
  switches_to("iptables");
}

TEST_P(ModeSwitch, ToEbpf) {
  switches_to("ebpf");
}

TEST_P(ModeSwitch, ToIpvs) {
  switches_to("ipvs");
}

}  // namespace
}  // namespace fairlead::e2e
