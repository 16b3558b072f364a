// The harness tests itself: plain routing and rules written by hand must show as what they are.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/harness/features.h"
#include "tests/harness/probe.h"
#include "tests/harness/process.h"
#include "tests/harness/topology.h"

namespace fairlead::harness {
namespace {

using dataplane::Family;
using dataplane::Protocol;

class Network : public testing::TestWithParam<std::tuple<Family, Protocol>> {
 protected:
  static void SetUpTestSuite() {
    auto made = Topology::create();
    if (made) topology_ = std::move(made).value().release();
    problem_ = made ? Status() : made.status();
  }
  static void TearDownTestSuite() { delete std::exchange(topology_, nullptr); }
  void SetUp() override {
    if (problem_.code() == StatusCode::kUnsupported) GTEST_SKIP() << problem_.message();
    ASSERT_TRUE(problem_.ok()) << problem_.message();
  }

  Family family() const { return std::get<0>(GetParam()); }

  Answer ask_from(std::string_view from, const DualAddress& to, uint16_t port,
                  std::chrono::milliseconds timeout = kPatience) {
    return ask({&topology_->at(from), {std::get<1>(GetParam()), to.of(family()), port}, "", 0},
               timeout);
  }

  // Loads rules into node-a for as long as the returned value lives.
  std::shared_ptr<void> rules(const std::string& text) {
    Namespace& node = topology_->at("node-a");
    const Status loaded = node.run([&] { return run_checked({"nft", "-f", "-"}, text); });
    EXPECT_TRUE(loaded.ok()) << loaded.message();
    return {nullptr, [&node](void*) {
              node.run([] { EXPECT_TRUE(run_checked({"nft", "flush", "ruleset"}).ok()); });
            }};
  }

  std::string for_service(const std::string& verdict) {
    const std::string ip = family() == Family::kIPv4 ? "ip" : "ip6";
    return "table inet trial { chain pre { type nat hook prerouting priority -100;\n" + ip +
           " daddr " + Topology::service_ip(0).of(family()) + " " + verdict + "\n}\n}\n";
  }

  static inline Topology* topology_ = nullptr;
  static inline Status problem_;
};

TEST_P(Network, RoutesBetweenAllPlaces) {
  for (const std::string from : {"outside", "node-a", "node-b", "pod", "a1", "b1"}) {
    for (const std::string& to : Topology::pods()) {
      const Answer answer = ask_from(from, Topology::pod(to), kEchoPort);
      EXPECT_EQ(answer.endpoint, to) << from << " to " << to << ": " << answer.to_string();
      EXPECT_EQ(answer.local_port, kEchoPort);
      if (from[0] == 'a' || from[0] == 'b' || from == "pod") {
        EXPECT_EQ(answer.source, Topology::pod(from).of(family()));
      }
    }
  }
  EXPECT_EQ(ask_from("outside", Topology::node_a(), kOtherPort).endpoint, "node-a");
}

TEST_P(Network, TellsRefusedFromSilent) {
  EXPECT_EQ(ask_from("outside", Topology::pod("a1"), 1).fate, Fate::kRefused);
  EXPECT_EQ(ask_from("outside", Topology::service_ip(0), 80, kSilence).fate, Fate::kDropped);
}

TEST_P(Network, FollowsTranslation) {
  const auto installed = rules(for_service("dnat to " + Topology::pod("b2").of(family())));
  const Answer answer = ask_from("outside", Topology::service_ip(0), kEchoPort);
  EXPECT_EQ(answer.endpoint, "b2") << answer.to_string();
  EXPECT_EQ(answer.source, Topology::outside().of(family()));
}

TEST_P(Network, SeesEveryRefusalOfMany) {
  const auto installed = rules(
      "table inet trial { chain forward { type filter hook forward priority 0;\n"
      "meta l4proto tcp reject with tcp reset\nreject with icmpx type port-unreachable\n}\n}\n");
  const std::vector<Question> questions(
      300, {&topology_->at("outside"),
            {std::get<1>(GetParam()), Topology::service_ip(0).of(family()), 80},
            "",
            0});
  for (const Answer& answer : ask(questions, kPatience)) {
    ASSERT_EQ(answer.fate, Fate::kRefused) << answer.to_string();
  }
}

TEST_P(Network, ConversationKeepsItsFlow) {
  Conversation conversation({&topology_->at("outside"),
                             {std::get<1>(GetParam()), Topology::pod("a1").of(family()), kEchoPort},
                             Topology::outside(3).of(family()),
                             0});
  const Answer first = conversation.exchange();
  const Answer second = conversation.exchange();
  EXPECT_EQ(first.endpoint, "a1") << first.to_string();
  EXPECT_EQ(first.source, Topology::outside(3).of(family()));
  EXPECT_EQ(first.source_port, second.source_port) << second.to_string();
}

TEST_P(Network, TrafficCountsFailures) {
  const auto to = [&](uint16_t port) {
    return Question{&topology_->at("outside"),
                    {std::get<1>(GetParam()), Topology::pod("a1").of(family()), port},
                    "",
                    0};
  };
  Traffic good({to(kEchoPort)});
  Traffic bad({to(1)});
  std::this_thread::sleep_for(20ms);
  const Traffic::Report good_report = good.stop();
  EXPECT_GT(good_report.asked, 0U);
  EXPECT_EQ(good_report.failed, 0U) << good_report.first_failure;
  EXPECT_GT(bad.stop().failed, 0U);
}

INSTANTIATE_TEST_SUITE_P(Families, Network,
                         testing::Combine(testing::Values(Family::kIPv4, Family::kIPv6),
                                          testing::Values(Protocol::kTcp, Protocol::kUdp)),
                         [](const auto& tested) {
                           return std::string(to_string(std::get<0>(tested.param))) +
                                  std::string(to_string(std::get<1>(tested.param)));
                         });

TEST(NamespaceLife, EndsWithItsProcessEvenWhenKilled) {
  if (const std::string missing =
          missing_features({Feature::kRoot, Feature::kNetns, Feature::kVeth});
      !missing.empty()) {
    GTEST_SKIP() << missing;
  }
  auto kept = Namespace::create("kept");
  ASSERT_TRUE(kept.ok()) << kept.status().message();
  int report[2];
  ASSERT_EQ(::pipe(report), 0);
  const pid_t doomed = ::fork();
  if (doomed == 0) {
    // The kept namespace's thread is not in this copy of the process, so the cable is laid from
    // here.
    auto lost = Namespace::create("lost");
    const bool laid = lost.ok() && (*lost)->ip("link add ve0 type veth peer name ve1 netns " +
                                               (*kept)->path() + "\n");
    auto child = lost.ok() ? (*lost)->run([] {
      return ChildProcess::start({"/bin/sleep", "1000"}, "/dev/null");
    })
                           : Result<std::unique_ptr<ChildProcess>>(lost.status());
    const pid_t sleeper = laid && child.ok() ? (*child)->pid() : -1;
    [[maybe_unused]] const ssize_t written = ::write(report[1], &sleeper, sizeof sleeper);
    ::pause();
  }
  pid_t sleeper = 0;
  ASSERT_EQ(::read(report[0], &sleeper, sizeof sleeper), static_cast<ssize_t>(sizeof sleeper));
  ASSERT_GT(sleeper, 0);
  const auto cable = [&] { return (*kept)->ip("link show ve1\n").ok(); };
  EXPECT_TRUE(cable());
  ::kill(doomed, SIGKILL);
  ::waitpid(doomed, nullptr, 0);
  EXPECT_TRUE(eventually([&] { return !cable(); })) << "the namespace outlived its process";
  EXPECT_TRUE(eventually([&] { return ::kill(sleeper, 0) != 0; })) << "the child outlived the test";
  ::close(report[0]);
  ::close(report[1]);
}

TEST(Processes, RunToTheEndWithInputAndOutput) {
  const auto result = run_command({"cat"}, "some\ntext\n");
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->output, "some\ntext\n");
  EXPECT_FALSE(run_checked({"false"}).ok());
  EXPECT_FALSE(run_command({"/no/such/program"}).ok());
}

}  // namespace
}  // namespace fairlead::harness
