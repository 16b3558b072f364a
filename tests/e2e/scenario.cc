#include "tests/e2e/scenario.h"

#include <cstdlib>
#include <map>

namespace fairlead::e2e {
namespace {

// So many questions that an endpoint which gets its share is missed once in a million million
// times.
size_t questions_for(size_t endpoints) {
  return endpoints == 1 ? 3 : 28 * endpoints;
}

std::string to_string(const Pods& pods) {
  std::string text;
  for (const std::string& pod : pods) text += (text.empty() ? "" : " ") + pod;
  return "{" + text + "}";
}

}  // namespace

std::string parameter_name(const testing::TestParamInfo<std::tuple<std::string, Family>>& info) {
  return std::get<0>(info.param) + "_" + std::string(to_string(std::get<1>(info.param)));
}

std::vector<std::string> mode_names() {
  std::vector<std::string> names;
  for (const Mode& mode : modes()) names.push_back(mode.name);
  return names;
}

void Scenario::SetUp() {
  for (const Mode& candidate : modes()) {
    if (candidate.name != mode()) continue;
    for (const harness::Feature need : candidate.needs) {
      if (const std::string missing = harness::missing_features({need}); !missing.empty()) {
        // Where all modes are known to be possible, a skipped one is a failure.
        ASSERT_EQ(std::getenv("FAIRLEAD_REQUIRE_FEATURES"), nullptr) << missing;
        GTEST_SKIP() << missing;
      }
    }
  }
  const Result<World*> world = World::get();
  ASSERT_TRUE(world.ok()) << world.status().message();
  world_ = world.value();
  const Status running = world_->ensure_proxy(mode(), flags());
  ASSERT_TRUE(running.ok()) << running.message();
}

void Scenario::TearDown() {
  if (world_ == nullptr) return;
  if (HasFailure()) std::fputs(world_->diagnosis().c_str(), stderr);
  world_->cluster().clear();
}

Question Scenario::question(const Place& from, const Target& to) {
  return {&world().at(from.name), to, from.bind ? from.source : "", 0};
}

Answer Scenario::ask(const Place& from, const Target& to, std::chrono::milliseconds patience) {
  return harness::ask(question(from, to), patience);
}

std::string Scenario::Asked::to_string() const {
  const std::string port = answer.own_port != 0 ? ", port " + std::to_string(answer.own_port) : "";
  return from.name + " (" + from.source + port + ") to " + to.to_string() + ": " +
         answer.to_string();
}

std::vector<Scenario::Asked> Scenario::ask_all(const std::vector<Place>& from, const Targets& to,
                                               size_t times, std::chrono::milliseconds patience) {
  std::vector<Question> questions;
  std::vector<Asked> asked;
  for (const Place& place : from) {
    for (const Target& target : to) {
      for (size_t i = 0; i < times; ++i) {
        questions.push_back(question(place, target));
        asked.push_back({place, target, {}});
      }
    }
  }
  const std::vector<Answer> answers = harness::ask(questions, patience);
  for (size_t i = 0; i < answers.size(); ++i) asked[i].answer = answers[i];
  return asked;
}

void Scenario::reaches(const std::vector<Place>& from, const Targets& to, const Pods& pods,
                       Seen seen, const char* file, int line) {
  std::map<std::string, Pods> reached;  // by place and target
  for (const Asked& asked : ask_all(from, to, questions_for(pods.size()), kPatience)) {
    const bool right = asked.answer.fate == Fate::kAnswered && pods.contains(asked.answer.endpoint);
    if (!right || !source_is_right(seen, asked.from, asked.answer)) {
      ADD_FAILURE_AT(file, line) << asked.to_string() << "\nexpected an answer of "
                                 << to_string(pods)
                                 << (seen == Seen::kOwn ? ", client's address kept" : "")
                                 << (seen >= Seen::kNode ? ", masqueraded" : "");
      return;
    }
    reached[asked.from.name + " to " + asked.to.to_string()].insert(asked.answer.endpoint);
  }
  for (const auto& [way, seen_pods] : reached) {
    if (seen_pods != pods) {
      ADD_FAILURE_AT(file, line) << way << " reached only " << to_string(seen_pods) << " of "
                                 << to_string(pods);
    }
  }
}

bool Scenario::source_is_right(Seen seen, const Place& from, const Answer& answer) const {
  const bool by_socket = from.name != "node-a" && Topology::runs_on_node_a(from.name) &&
                         !from.packets_only &&
                         has(mode(), Behaviour::kPodSocketsAreNeverMasqueraded);
  const bool from_node = Topology::is_node_a(answer.source);
  switch (seen) {
    case Seen::kAny:
      return true;
    case Seen::kOwn:
      if (answer.endpoint == from.name && !by_socket) return from_node;
      return answer.source == from.source;
    case Seen::kNode:
      return by_socket ? answer.source == from.source : from_node;
    case Seen::kMasqueraded:
      return from_node;
  }
  return false;
}

void Scenario::fails_as(Fate expected, const std::vector<Place>& from, const Targets& to,
                        std::chrono::milliseconds patience, const char* file, int line) {
  for (const Asked& asked : ask_all(from, to, 2, patience)) {
    if (asked.answer.fate != expected) {
      ADD_FAILURE_AT(file, line) << asked.to_string() << "\nexpected: " << expected;
    }
  }
}

void Scenario::refused(const std::vector<Place>& from, const Targets& to, const char* file,
                       int line) {
  fails_as(Fate::kRefused, from, to, kPatience, file, line);
}

void Scenario::dropped(const std::vector<Place>& from, const Targets& to, const char* file,
                       int line) {
  fails_as(Fate::kDropped, from, to, kSilence, file, line);
}

}  // namespace fairlead::e2e
