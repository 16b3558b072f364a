// Session affinity and the evenness of choice without it.
#include <cmath>
#include <map>
#include <thread>

#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

class Affinity : public Scenario {
 protected:
  using Pins =
      std::map<std::pair<std::string, std::string>, std::string>;  // (client, target) -> pod

  std::vector<Place> clients() const {
    std::vector<Place> places = {pod(), node()};
    for (int n = 0; n < harness::kOutsideAddresses; ++n) places.push_back(outside(n));
    return places;
  }

  // Where every client's connections go: to one endpoint each, over several connections.
  Pins pins(const Targets& to, int times = 6) {
    std::vector<std::pair<std::string, std::string>> keys;
    std::vector<Question> questions;
    for (const Place& client : clients()) {
      for (const Target& target : to) {
        keys.emplace_back(client.source, dataplane::to_string(target.protocol));
        questions.push_back(question(client, target));
      }
    }
    Pins found;
    for (int i = 0; i < times; ++i) {
      const std::vector<Answer> answers = harness::ask(questions, kPatience);
      for (size_t n = 0; n < answers.size(); ++n) {
        EXPECT_EQ(answers[n].fate, Fate::kAnswered) << answers[n].to_string();
        const auto [pin, is_new] = found.emplace(keys[n], answers[n].endpoint);
        EXPECT_EQ(pin->second, answers[n].endpoint)
            << keys[n].first << " moved, " << questions[n].target.to_string();
      }
    }
    return found;
  }

  static Pods used(const Pins& pins) {
    Pods pods;
    for (const auto& [client, pod] : pins) pods.insert(pod);
    return pods;
  }
};
FAIRLEAD_SCENARIOS(Affinity);

TEST_P(Affinity, EveryClientStaysWithOneEndpoint) {
  auto web = service().endpoints({"a1", "a2", "b1", "b2"}).affinity(600);
  web.apply();
  EXPECT_GT(used(pins(web.at_cluster_ip(family()))).size(), 1U) << "all clients on one endpoint";
}

TEST_P(Affinity, HoldsAcrossTheAddressesOfAServicePort) {
  auto web = service().endpoints({"a1", "a2", "b1", "b2"}).affinity(600);
  web.node_port().external_ip().load_balancer().apply();
  const Pins first = pins(web.at_cluster_ip(family()), 2);
  for (const Targets& other :
       {web.at_node_port(family()), web.at_external_ip(family()), web.at_load_balancer(family())}) {
    const Pins there = pins(other, 2);  // pinned everywhere
    if (!has(mode(), Behaviour::kAffinityIsPerAddress)) {
      EXPECT_EQ(first, there);
    }
  }
}

TEST_P(Affinity, SurvivesNewEndpoints) {
  auto web = service().endpoints({"a1", "b1"}).affinity(600);
  web.apply();
  const Pins before = pins(web.at_cluster_ip(family()), 2);
  web.endpoints({"a1", "a2", "a3", "b1", "b2"}).apply();
  EXPECT_EQ(before, pins(web.at_cluster_ip(family()), 2));
}

TEST_P(Affinity, MovesWhenItsEndpointGoesAndOnlyThen) {
  auto web = service().endpoints({"a1", "a2", "b1"}).affinity(600);
  web.apply();
  const Pins before = pins(web.at_cluster_ip(family()), 2);
  web.endpoints({"a1", "b1"}).apply();
  const Pins after = pins(web.at_cluster_ip(family()));
  EXPECT_FALSE(used(after).contains("a2"));
  for (const auto& [client, endpoint] : before) {
    if (endpoint != "a2") {
      EXPECT_EQ(after.at(client), endpoint) << client.first;
    }
  }
}

TEST_P(Affinity, EndsAfterItsTimeout) {
  auto web = service().endpoints({"a1", "a2", "b1", "b2"}).affinity(1);
  web.apply();
  const Pins before = pins(web.at_cluster_ip(family()), 2);
  std::this_thread::sleep_for(2500ms);  // the timeout is the thing under test
  if (has(mode(), Behaviour::kAffinityOutlivesConnections)) {
    EXPECT_EQ(before, pins(web.at_cluster_ip(family()), 1));
    return;
  }
  // 24 pairs of client and protocol choose anew among four: that all choose the same has odds of 1
  // in 4^24.
  EXPECT_NE(before, pins(web.at_cluster_ip(family()), 1));
}

TEST_P(Affinity, NeverBreaksTheTrafficPolicy) {
  auto web = service().endpoints({"b1", "b2"}).affinity(600).node_port().external_local();
  web.apply();
  pins(web.at_cluster_ip(family()), 1);  // everybody is pinned to an endpoint elsewhere
  web.endpoints({"a1", "b1", "b2"}).apply();
  reaches({outside(), outside(5)}, web.at_node_port(family()), {"a1"}, Seen::kOwn);
}

class Balance : public Scenario {
 protected:
  // Asks `total` times over new connections and returns Pearson's chi-square against equal shares.
  double chi_square(const Target& to, size_t endpoints, size_t total) {
    std::map<std::string, size_t> shares;
    const std::vector<Question> questions(total, question(outside(), to));
    for (const Answer& answer : harness::ask(questions, kPatience)) {
      EXPECT_EQ(answer.fate, Fate::kAnswered) << answer.to_string();
      ++shares[answer.endpoint];
    }
    EXPECT_EQ(shares.size(), endpoints);
    const double expected = static_cast<double>(total) / static_cast<double>(endpoints);
    double sum = 0;
    for (const auto& [endpoint, share] : shares) {
      const double off = static_cast<double>(share) - expected;
      sum += off * off / expected;
    }
    return sum;
  }

  // What chi-square with `endpoints - 1` degrees of freedom exceeds with odds below e^-20 (Laurent
  // and Massart, 2000, lemma 1).
  static double bound(size_t endpoints) {
    const double freedom = static_cast<double>(endpoints - 1);
    return freedom + 2 * std::sqrt(freedom * 20) + 2 * 20;
  }
};
FAIRLEAD_SCENARIOS(Balance);

TEST_P(Balance, SharesOfThreeEndpointsAreEven) {
  auto web = service().endpoints({"a1", "a2", "b1"});
  web.apply();
  for (const Target& target : web.at_cluster_ip(family())) {
    EXPECT_LT(chi_square(target, 3, 3000), bound(3)) << target.to_string();
  }
}

TEST_P(Balance, SharesOfSevenEndpointsAreEven) {
  auto web = service().endpoints({"a1", "a2", "a3", "b1", "b2", "b3", "b4"}).node_port();
  web.apply();
  for (const Target& target : web.at_node_port(family())) {
    EXPECT_LT(chi_square(target, 7, 3000), bound(7)) << target.to_string();
  }
}

TEST_P(Balance, SharesAreEvenAgainAfterEveryChange) {
  auto web = service().endpoints({"a1", "a2", "b1", "b2"}).protocols({Protocol::kUdp});
  web.apply();
  web.endpoints({"a1", "b2"}).apply();
  web.endpoints({"a1", "a3", "b2", "b3", "b4"}).apply();
  EXPECT_LT(chi_square(web.at_cluster_ip(family()).front(), 5, 2000), bound(5));
}

}  // namespace
}  // namespace fairlead::e2e
