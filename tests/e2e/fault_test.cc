// What may go wrong around the daemon without touching traffic: the API server, the daemon itself.
#include <algorithm>

#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

class Outage : public Scenario {
 protected:
  // New connections of every kind to `web`, all the time, from three places.
  std::vector<Question> steady_questions(const ServiceObject& web) {
    std::vector<Question> questions;
    for (const Place& from : everywhere()) {
      for (const Target& to : web.at_cluster_ip(family())) questions.push_back(question(from, to));
    }
    for (const Target& to : web.at_node_port(family()))
      questions.push_back(question(outside(), to));
    return questions;
  }
  void bring_up_api() {
    const Status up = world().api().bring_up();
    ASSERT_TRUE(up.ok()) << up.message();
  }
  void TearDown() override {
    if (!IsSkipped()) bring_up_api();  // whatever went wrong, the next scenario needs it
    Scenario::TearDown();
  }
  void expect_undisturbed(Traffic& traffic) {
    const Traffic::Report report = traffic.stop();
    // All askers may have a question on its way when an endpoint goes, however few they ask.
    const uint64_t allowed = std::max<uint64_t>(4, report.asked / 1000);
    if (!has(mode(), Behaviour::kStaleUdpSocketsAreAborted)) {
      EXPECT_EQ(report.aborted, 0U);
    }
    EXPECT_LE(report.aborted, allowed);
    EXPECT_GT(report.asked, 50U);
    // IPVS: the kernel forgets the connections of a destination with it, and an answer that is on
    // its way then is no one's.
    const bool datagrams = has(mode(), Behaviour::kADatagramIsLostWithItsEndpoint);
    EXPECT_LE(report.failed, datagrams ? allowed : 0U) << "of " << report.asked << ":\n"
                                                       << report.failures;
  }
};
FAIRLEAD_SCENARIOS(Outage);

TEST_P(Outage, TrafficGoesOnWithoutApiServerAndChangesArriveAfterwards) {
  auto web = service().endpoints({"a1", "b1"}).node_port();
  web.apply();
  Traffic traffic(steady_questions(web));
  world().api().take_down();
  EXPECT_TRUE(
      eventually([&] { return world().proxy().metric("fairlead_api_server_reachable") == 0; }));
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
  web.endpoints({"a1", "a2"}).write();  // while nobody can see it
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
  bring_up_api();
  settle();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "a2"});
  expect_undisturbed(traffic);
}

TEST_P(Outage, KilledAndRestartedWithoutALostConnection) {
  auto web = service().endpoints({"a1", "b1"}).node_port();
  auto tcp = service("tcp").endpoints({"a1", "b1"}).protocols({Protocol::kTcp});
  web.write();
  tcp.apply();
  Conversation connection(question(pod(), tcp.at_cluster_ip(family()).front()));
  const Answer first = connection.exchange();
  Traffic traffic(steady_questions(web));
  for (int i = 0; i < 2; ++i) {
    world().proxy().kill();
    reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
    const Status started = world().start_proxy();
    ASSERT_TRUE(started.ok()) << started.message();
    settle();
  }
  expect_undisturbed(traffic);
  const Answer last = connection.exchange();
  EXPECT_EQ(last.endpoint, first.endpoint) << last.to_string();
  EXPECT_EQ(last.source_port, first.source_port);
}

TEST_P(Outage, StoppedInOrderItLeavesItsRules) {
  auto web = service().endpoints({"a1", "b1"}).node_port();
  web.apply();
  Traffic traffic(steady_questions(web));
  const Result<int> code = world().proxy().stop();
  ASSERT_TRUE(code.ok()) << code.status().message();
  EXPECT_EQ(*code, 0);
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
  ASSERT_TRUE(world().start_proxy().ok());
  settle();
  reaches(everywhere(), web.at_node_port(family()), {"a1", "b1"});
  expect_undisturbed(traffic);
}

TEST_P(Outage, ChangesDuringItsAbsenceAreMadeUpForAtStart) {
  auto stays = service("stays").endpoints({"a1", "b1"}).node_port().external_ip();
  auto goes = service("goes").endpoints({"a1"}).node_port();
  auto comes = service("comes").endpoints({"a3"}).node_port();
  stays.write();
  goes.apply();
  world().proxy().kill();
  stays.endpoints({"a2", "b1"}).write();
  goes.remove();
  comes.write();
  ASSERT_TRUE(world().start_proxy().ok());
  settle();
  reaches(everywhere(), stays.at_cluster_ip(family()), {"a2", "b1"});
  reaches(everywhere(), stays.at_external_ip(family()), {"a2", "b1"});
  dropped({outside()}, goes.at_cluster_ip(family()));
  refused({outside()}, goes.at_node_port(family()));
  reaches(everywhere(), comes.at_cluster_ip(family()), {"a3"});
}

TEST_P(Outage, NothingIsTornDownBeforeTheFirstList) {
  auto web = service().endpoints({"a1", "b1"}).node_port();
  web.apply();
  world().stop_proxy();
  world().api().take_down();
  Traffic traffic(steady_questions(web));
  EXPECT_FALSE(world().start_proxy(1500ms).ok()) << "ready without an API server";
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
  bring_up_api();
  ASSERT_TRUE(world().proxy().wait_ready().ok());
  settle();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
  expect_undisturbed(traffic);
}

// Everything at once: endpoints change, the daemon is killed, stopped and replaced by another copy
// of its program, while new connections are made all the time and old ones go on.
TEST_P(Outage, NothingIsLostThroughChurnKillsAndUpgrades) {
  auto web = service().endpoints({"a1", "b1"}).node_port();
  auto tcp = service("tcp").endpoints({"a1", "b1"}).protocols({Protocol::kTcp}).node_port();
  web.write();
  tcp.apply();
  std::vector<Conversation> connections;
  std::vector<Answer> first;
  for (const Family each : {Family::kIPv4, Family::kIPv6}) {
    connections.emplace_back(question(pod(), tcp.at_cluster_ip(each).front()));
    connections.emplace_back(question(outside(), tcp.at_node_port(each).front()));
  }
  for (Conversation& connection : connections) first.push_back(connection.exchange());
  const auto expect_connected = [&] {
    for (size_t i = 0; i < connections.size(); ++i) {
      const Answer now = connections[i].exchange();
      EXPECT_EQ(now.endpoint, first[i].endpoint) << i << ": " << now.to_string();
      EXPECT_EQ(now.source_port, first[i].source_port) << i;
    }
  };
  const harness::ProxyCopy upgrade;
  Traffic traffic(steady_questions(web));
  const std::vector<std::vector<EndpointObject>> sets = {
      {{"a2"}, {"b1"}}, {{"a2"}, {"b2"}, {"b3"}}, {{"a1"}, {"a2"}, {"a3"}, {"b1"}}, {{"b4"}}};
  for (int round = 0; round < 6; ++round) {
    for (const std::vector<EndpointObject>& endpoints : sets) {
      web.endpoints(endpoints).apply();
      tcp.endpoints(endpoints).write();
    }
    expect_connected();
    upgrade.use(round % 2 == 0);
    if (round % 3 == 0) {
      world().stop_proxy();
    } else {
      world().proxy().kill();
    }
    expect_connected();
    const Status started = world().start_proxy();
    ASSERT_TRUE(started.ok()) << started.message();
    settle();
  }
  expect_undisturbed(traffic);
  expect_connected();
}

TEST_P(Outage, ASecondInstanceDoesNotStart) {
  auto web = service().endpoints({"a1"});
  web.apply();
  std::vector<std::string> arguments = world().arguments(mode(), {});
  arguments.push_back("--healthz-bind-address=127.0.0.1:20256");
  arguments.push_back("--metrics-bind-address=127.0.0.1:20249");
  const Result<harness::CommandResult> second = harness::run_proxy(world().at("node-a"), arguments);
  ASSERT_TRUE(second.ok()) << second.status().message();
  EXPECT_NE(second->exit_code, 0);
  EXPECT_LT(second->exit_code, 128) << "it crashed";
  EXPECT_TRUE(world().proxy().running());
  web.endpoints({"a2"}).apply();
  reaches(everywhere(), web.at_cluster_ip(family()), {"a2"});
}

class Switch : public Scenario {};
FAIRLEAD_SCENARIOS(Switch);

TEST_P(Switch, OtherFlagsTakeEffectOnRestart) {
  auto web = service().endpoints({"a1", "b1"});
  web.apply();
  reaches({pod()}, web.at_cluster_ip(family()), {"a1", "b1"}, Seen::kOwn);
  Status running = world().ensure_proxy(mode(), {"--masquerade-all=true"});
  ASSERT_TRUE(running.ok()) << running.message();
  settle();
  reaches({pod()}, web.at_cluster_ip(family()), {"a1", "b1"}, Seen::kMasqueraded);
  running = world().ensure_proxy(mode(), {});
  ASSERT_TRUE(running.ok()) << running.message();
  settle();
  reaches({pod()}, web.at_cluster_ip(family()), {"a1", "b1"}, Seen::kOwn);
}

// Without a way to tell pods from others nobody who uses a cluster IP is masqueraded, but for
// hairpins.
TEST_P(Switch, WithoutADetectorClientsKeepTheirAddress) {
  const Status running = world().ensure_proxy(mode(), {"--cluster-cidr="});
  ASSERT_TRUE(running.ok()) << running.message();
  auto web = service().endpoints({"a1", "a2"});
  web.apply();
  reaches({outside(), pod(), pod("a1")}, web.at_cluster_ip(family()), {"a1", "a2"}, Seen::kOwn);
}

TEST_P(Switch, PodsCanBeToldByTheirInterfaces) {
  const Status running = world().ensure_proxy(
      mode(), {"--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=veth-"});
  ASSERT_TRUE(running.ok()) << running.message();
  auto web = service().endpoints({"a1", "a2"}).external_ip().external_local();
  web.apply();
  reaches({pod()}, web.at_cluster_ip(family()), {"a1", "a2"}, Seen::kOwn);
  reaches({outside(), node()}, web.at_cluster_ip(family()), {"a1", "a2"}, Seen::kNode);
}

}  // namespace
}  // namespace fairlead::e2e
