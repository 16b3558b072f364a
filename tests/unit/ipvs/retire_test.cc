// Another mode serves: what last connections need stays, and nothing else.
#include <set>
#include <string>
#include <utility>

#include "backend_fixture.h"

namespace fairlead::ipvs {
namespace {

using dataplane::Family;
using dataplane::Protocol;
using dataplane::testing::address;
using testing::seams_of;
using testing::service;

class Retirement : public testing::IpvsBackend {
 protected:
  // How many there are to the destination of that server, by its text.
  void connections(const std::string& server, const std::string& destination, uint32_t count) {
    for (auto& [key, each] : host_.servers) {
      if (key.to_string() != server) continue;
      for (auto& [at, listed] : each.destinations) {
        if (at.to_string() != destination) continue;
        listed.connections = count;
        return;
      }
    }
    ADD_FAILURE() << "no " << server << " -> " << destination;
  }
  // Of the service that the next two make.
  void connect(uint32_t count) { connections("TCP 10.96.0.1:80", "10.1.0.1:8080", count); }
  void serve_one_connection() {
    set(service("web", "10.96.0.1"), {"10.1.0.1:8080"});
    apply();
    connect(1);
  }
  void serve_both_families() {
    rules_.families = view_.families = {Family::kIPv4, Family::kIPv6};
    restart();
    set(service("four", "10.96.0.1"), {"10.1.0.1:8080"});
    set(service("six", "fd00:96::1"), {"[fd00:1::1]:8080"});
    apply();
  }
  // The daemon of another mode begins.
  void leave() { backend_ = create_backend(seams_of(host_), options_); }
  // In seconds; -1: an error.
  int64_t release() {
    const auto wait = backend_->release();
    return wait ? wait->count() : -1;
  }
  void retire() {
    leave();
    EXPECT_EQ(release(), 5);
    EXPECT_EQ(release(), 10);
  }
  bool has(const std::string& table, const std::string& text) {
    return host_.rules[table].find(text) != std::string::npos;
  }
  void expect_nothing_left() {
    EXPECT_EQ(release(), 0);
    ASSERT_TRUE(backend_->remove_all().ok());
    EXPECT_EQ(host_.describe(), "");
    EXPECT_TRUE(host_.sets.empty());
    EXPECT_FALSE(host_.device);
    for (const auto& [table, text] : host_.rules) {
      EXPECT_EQ(text.find("FAIRLEAD"), std::string::npos) << table << text;
    }
  }
};

TEST_F(Retirement, KeepsWhatTheLastConnectionNeeds) {
  set(service("web", "10.96.0.1"), {"10.1.0.1:8080 local", "10.1.0.2:8080"});
  set(service("idle", "10.96.0.2"), {"10.1.0.3:8080 local"});
  apply();
  connections("TCP 10.96.0.1:80", "10.1.0.2:8080", 1);
  const std::string before = host_.describe();
  leave();
  EXPECT_EQ(release(), 5);
  EXPECT_EQ(host_.describe(), before) << "packets may be on their way";
  EXPECT_EQ(release(), 10);
  EXPECT_EQ(host_.describe(), "TCP 10.96.0.1:80 rr -> 10.1.0.2:8080*0\n");
  EXPECT_EQ(host_.on_device, std::set{address("10.96.0.1")});
  EXPECT_EQ(host_.elements("KUBE-IPVS-IPS"), "10.96.0.1");
  EXPECT_EQ(host_.elements("KUBE-CLUSTER-IP"), "10.96.0.1,tcp:80");
  EXPECT_EQ(host_.elements("KUBE-LOOP-BACK"), "");
  EXPECT_FALSE(has("v4 nat", "KUBE-SERVICES")) << host_.rules["v4 nat"];
  EXPECT_TRUE(
      has("v4 nat", "--match-set KUBE-IPVS-IPS src -m addrtype --src-type LOCAL -j MASQUERADE"));
  EXPECT_TRUE(has("v4 nat", "-A POSTROUTING -j FAIRLEAD-IPVS-LAST\n"));
  EXPECT_FALSE(has("v4 filter", "KUBE-IPVS-FILTER"));
  EXPECT_TRUE(has("v4 filter", "-A INPUT -j FAIRLEAD-IPVS-LAST\n"));
  EXPECT_TRUE(has("v4 filter",
                  "-A FAIRLEAD-IPVS-LAST -p tcp -m conntrack --ctstate NEW -m set --match-set "
                  "KUBE-IPVS-IPS dst -j REJECT --reject-with tcp-reset\n"));
  EXPECT_FALSE(has("v4 mangle", "FAIRLEAD"));

  const int restores = host_.restores;
  EXPECT_EQ(release(), 10);
  EXPECT_EQ(host_.restores, restores) << "a look is no reason for processes";
  connections("TCP 10.96.0.1:80", "10.1.0.2:8080", 0);
  expect_nothing_left();
}

TEST_F(Retirement, GoesOnAfterARestart) {
  serve_one_connection();
  for (int run = 0; run < 2; ++run) {
    retire();
    EXPECT_EQ(host_.describe(), "TCP 10.96.0.1:80 rr -> 10.1.0.1:8080*0\n");
    const std::string& filter = host_.rules["v4 filter"];
    const size_t jump = filter.find("-A INPUT -j FAIRLEAD-IPVS-LAST\n");
    EXPECT_NE(jump, std::string::npos);
    EXPECT_EQ(filter.find("-A INPUT -j FAIRLEAD-IPVS-LAST\n", jump + 1), std::string::npos);
  }
  connect(0);
  leave();
  expect_nothing_left();
}

// What pods have by a mark: the address stays for it, though its own server goes.
TEST_F(Retirement, KeepsServersThatAreFoundByAMark) {
  dataplane::Service web = service("web", "10.96.0.1");
  web.external_ips = {address("203.0.113.1")};
  web.external_traffic_local = true;
  set(web, {"10.1.0.1:8080 local", "10.1.1.1:8080"});
  apply();
  std::string marked;
  for (const auto& [key, server] : host_.servers) {
    if (key.mark != 0) marked = key.to_string();
  }
  connections(marked, "10.1.1.1:8080", 1);
  retire();
  EXPECT_EQ(host_.describe(), marked + " rr -> 10.1.1.1:8080*0\n");
  EXPECT_EQ(host_.on_device, std::set{address("203.0.113.1")});
  EXPECT_EQ(host_.elements("FAIRLEAD-MARKS"), "203.0.113.1,tcp:80");
  connections(marked, "10.1.1.1:8080", 0);
  expect_nothing_left();
}

TEST_F(Retirement, KeepsNodePortsKnownAsOurs) {
  dataplane::Service web = service("web", "10.96.0.1");
  web.ports[0].node_port = 30080;
  set(web, {"10.1.0.1:8080"});
  apply();
  connections("TCP 192.0.2.2:30080", "10.1.0.1:8080", 1);
  retire();
  EXPECT_EQ(host_.describe(), "TCP 192.0.2.2:30080 rr -> 10.1.0.1:8080*0\n");
  EXPECT_EQ(host_.elements("FAIRLEAD-NODE-PORTS"), "192.0.2.2,tcp:30080");
  EXPECT_TRUE(host_.on_device.empty());
  EXPECT_EQ(release(), 10) << "still known as ours";
  connections("TCP 192.0.2.2:30080", "10.1.0.1:8080", 0);
  expect_nothing_left();
}

TEST_F(Retirement, LeavesOthersServersAlone) {
  const ServerKey foreign = ServerKey::at(Protocol::kTcp, {address("10.96.0.9"), 80});
  host_.servers[foreign].settings.scheduler = "wlc";
  serve_one_connection();
  retire();
  EXPECT_EQ(host_.describe(), "TCP 10.96.0.1:80 rr -> 10.1.0.1:8080*0\nTCP 10.96.0.9:80 wlc ->\n");
}

// The rules of a family are not needed for connections of the other.
TEST_F(Retirement, AFamilyWithoutConnectionsGoesAtOnce) {
  serve_both_families();
  connect(1);
  leave();
  EXPECT_EQ(release(), 5);
  EXPECT_TRUE(has("v6 nat", "KUBE-SERVICES"));
  EXPECT_EQ(host_.on_device.size(), 2U);
  EXPECT_EQ(release(), 10);
  EXPECT_FALSE(has("v6 nat", "KUBE-SERVICES"));
  EXPECT_FALSE(has("v6 filter", "FAIRLEAD"));
  EXPECT_EQ(host_.sets.count("KUBE-6-CLUSTER-IP"), 0U);
  EXPECT_EQ(host_.on_device, std::set{address("10.96.0.1")}) << "nothing guards the other";
  connect(0);
  expect_nothing_left();
}

TEST_F(Retirement, IsTriedAgainWhenRulesCannotBeWritten) {
  serve_one_connection();
  leave();
  EXPECT_EQ(release(), 5);
  host_.fail_restore = 1;
  EXPECT_EQ(release(), -1);
  EXPECT_EQ(host_.describe(), "TCP 10.96.0.1:80 rr -> 10.1.0.1:8080*0\n");
  EXPECT_EQ(release(), 10);
  EXPECT_FALSE(has("v4 nat", "KUBE-SERVICES"));
}

// A firewall is reloaded, say.
TEST_F(Retirement, AGuardThatSomebodyTookAwayComesBack) {
  serve_one_connection();
  retire();
  EXPECT_EQ(release(), 10);
  host_.rules["v4 filter"] = "*filter\n:INPUT ACCEPT [0:0]\n";
  ++host_.stamp;
  EXPECT_EQ(release(), 10);
  EXPECT_TRUE(has("v4 filter", "-A INPUT -j FAIRLEAD-IPVS-LAST\n")) << host_.rules["v4 filter"];
}

// Connections must not end for what else is wrong on the node.
TEST_F(Retirement, GoesOnBesideWhatCannotBeRemoved) {
  serve_both_families();
  connect(1);
  leave();
  EXPECT_EQ(release(), 5);
  host_.unreadable = "v6 nat";
  EXPECT_EQ(release(), 10);
  EXPECT_EQ(host_.on_device, std::set{address("10.96.0.1")});
  host_.unreadable = "";
  EXPECT_EQ(release(), 10);
  EXPECT_FALSE(has("v6 nat", "KUBE-SERVICES"));
  connect(0);
  expect_nothing_left();
}

TEST_F(Retirement, WhatOneFamilyRefusesKeepsNothingOfTheOther) {
  serve_both_families();
  host_.unreadable = "v4 nat";
  EXPECT_FALSE(backend_->remove_all().ok());
  EXPECT_TRUE(host_.on_device.empty()) << "without rules they lead to the node's own processes";
  EXPECT_FALSE(has("v6 nat", "KUBE-SERVICES"));
  host_.unreadable = "";
  leave();
  expect_nothing_left();
}

TEST_F(Retirement, EndsWhenTheModeComesBack) {
  serve_one_connection();
  retire();
  restart();
  apply();
  EXPECT_EQ(host_.describe(), "TCP 10.96.0.1:80 rr -> 10.1.0.1:8080*1\n");
  EXPECT_FALSE(has("v4 filter", "FAIRLEAD-IPVS-LAST"));
  EXPECT_TRUE(has("v4 filter", "KUBE-IPVS-FILTER"));
}

// What another variant of the tool has of it.
TEST_F(Retirement, AGuardInAnotherVariantGoes) {
  serve_one_connection();
  retire();
  std::swap(host_.rules["other v4 filter"], host_.rules["v4 filter"]);
  OwnedSeams seams = seams_of(host_);
  seams.other_iptables.push_back(testing::other_tool_of(host_));
  backend_ = create_backend(std::move(seams), options_);
  EXPECT_EQ(release(), 5);
  EXPECT_EQ(release(), 10);
  EXPECT_TRUE(has("v4 filter", "FAIRLEAD-IPVS-LAST"));
  EXPECT_FALSE(has("other v4 filter", "FAIRLEAD-IPVS-LAST"));
}

}  // namespace
}  // namespace fairlead::ipvs
