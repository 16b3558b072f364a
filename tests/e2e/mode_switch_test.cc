// Another --proxy-mode on a live node, with traffic flowing: over every ordered pair of modes.
#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <sstream>
#include <thread>

#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

// Whether a connection that is open when the mode changes must live on. docs/modes.md gives the
// reasons: connection tracking carries what netfilter translates, and what eBPF programs have told
// it of when they go; a socket that the eBPF mode has connected to an endpoint needs nobody any
// more.
bool are_carried_from(const std::string& mode) {
  return mode != "ipvs";
}

// Programs go on with what another mode has translated, but for what begins on the node itself or
// is masqueraded with a port of its sockets: that connection tracking translates as long as there
// is a rule that says so of anything. Most nodes have one of their network's, which masquerades
// pods.
constexpr std::string_view kOthersRules =
    "table ip others { chain last { type nat hook postrouting priority 100;"
    " ip saddr 192.0.2.0/24 masquerade; }; }\n"
    "table ip6 others { chain last { type nat hook postrouting priority 100;"
    " ip6 saddr 2001:db8:ffff::/64 masquerade; }; }\n";

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

  // What `left` would show of itself beside `present`.
  std::string remains(const std::string& left, const std::string& present) {
    std::string text;
    const auto lines_with = [&](const std::vector<std::string>& command, const std::string& sign) {
      std::istringstream lines(run(command));
      for (std::string line; std::getline(lines, line);) {
        if (line.find(sign) != std::string::npos) text += line + "\n";
      }
    };
    if (left == "nftables") lines_with({"nft", "list", "tables"}, "fairlead");
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
    }
    return text;
  }

  // Traffic goes on, and nothing of the old mode stays behind.
  // Of each protocol. With ten times as many, a port that is given twice is no rare accident.
  static constexpr int kHeld = 30;
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
    const bool others_have_rules = next == "ebpf" && are_carried_from(mode());
    if (others_have_rules) {
      ASSERT_EQ(run({"nft", std::string(kOthersRules)}), "");
    }
    Traffic traffic(questions);
    const Status switched = world().switch_mode(next);
    ASSERT_TRUE(switched.ok()) << switched.message();
    settle();
    EXPECT_TRUE(harness::eventually([&] { return remains(mode(), next).empty(); }))
        << "left by mode " << mode() << ":\n"
        << remains(mode(), next);
    const Traffic::Report report = traffic.stop();
    EXPECT_GT(report.asked, 50U);
    const uint64_t allowed = next == "ebpf" && gives_devices_a_qdisc() ? report.asked / 100 : 0;
    EXPECT_LE(report.failed, allowed) << "of " << report.asked << ":\n" << report.failures;
    // Programs leave the rest to the stack for a while, and then as long as there is any.
    if (others_have_rules) {
      EXPECT_TRUE(harness::eventually([&] {
        return world().proxy().log_tail().find("that another mode began") != std::string::npos;
      }));
    }
    for (Open& each : open) {
      if (!are_carried_from(mode())) continue;
      // Of datagrams programs cannot tell whether one begins a conversation.
      if (others_have_rules && each.datagrams && each.first.source_port >= 32768) continue;
      const Answer last = each.conversation.exchange();
      EXPECT_EQ(last.endpoint, each.first.endpoint) << each.what << ": " << last.to_string();
      EXPECT_EQ(last.source_port, each.first.source_port) << each.what;
      EXPECT_EQ(each.conversation.reconnections(), 0) << each.what;
    }
    if (others_have_rules) run({"nft", "delete table ip others; delete table ip6 others"});
    // And it is the new mode that follows changes.
    web.endpoints({"a2"}).apply();
    reaches(everywhere(), web.at_cluster_ip(family()), {"a2"});
    world().cluster().clear();
  }
};
FAIRLEAD_SCENARIOS(ModeSwitch);

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
