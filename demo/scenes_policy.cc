// The scenes in which a Service's fields decide who answers.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "demo/checks.h"
#include "demo/scenes.h"

namespace fairlead::demo {

using dataplane::Family;
using harness::Answer;
using harness::Fate;
using harness::Question;
using harness::Topology;

Status Scenes::keep_the_source() {
  page_.heading("externalTrafficPolicy: Local keeps the client's address");
  const Question question = stage_.question(
      "outside", {dataplane::Protocol::kTcp, Topology::node_a().v4, web_.node_port});
  const std::string client = Topology::outside().v4;
  const Answer before = harness::ask(question);
  RETURN_IF_ERROR(
      expect(Topology::is_node_a(before.source), "a masqueraded source", before.to_string()));
  page_.finding("Cluster: every endpoint may answer, and sees", before.source + " (node-a's)");

  Milliseconds took;
  ASSIGN_OR_RETURN(took, endpoints_until({"a1", "b1", "b2"}, "b2"));
  web_.external_local = true;
  RETURN_IF_ERROR(stage_.write_policy(web_));
  const Clock::time_point begin = Clock::now();
  ASSIGN_OR_RETURN(took, stage_.until(begin, question, [&](const Answer& answer) {
    return answer.source == client && answer.endpoint == "a1";
  }));
  for (const Answer& answer : ask_times(question, 100)) {
    RETURN_IF_ERROR(expect(answer.endpoint == "a1" && answer.source == client,
                           "the endpoint on node-a to see the client", answer.to_string()));
  }
  page_.finding("Local: 100 of 100 answered by a1, on this node; it sees",
                client + " (the client's)");
  page_.finding("kubectl has returned; the first answer that obeys after", milliseconds_text(took));
  return show_silence_and_health();
}

Status Scenes::show_silence_and_health() {
  const Question question = stage_.question(
      "outside", {dataplane::Protocol::kTcp, Topology::node_a().v4, web_.node_port});
  const auto health = [this] {
    const Result<harness::HttpAnswer> answer =
        harness::http_get(stage_.at("outside"), Topology::node_a().v4, web_.health_check_port, "/");
    return answer.ok() ? answer->status : 0;
  };
  const auto check_health = [&](int status, std::string_view what) {
    const bool right = harness::eventually([&] { return health() == status; });
    if (right) page_.finding(what, fmt::format("HTTP {}", status));
    return expect(right, fmt::format("status {} of the health check", status),
                  std::to_string(health()));
  };
  RETURN_IF_ERROR(check_health(200, "a load balancer asks healthCheckNodePort 32080"));
  web_.pods = {"b1", "b3"};
  const Clock::time_point begin = Clock::now();
  RETURN_IF_ERROR(stage_.write_endpoints(web_));
  RETURN_IF_ERROR(check_health(503, "a1 goes, none is left on this node; the same question"));
  Milliseconds took;
  ASSIGN_OR_RETURN(
      took, stage_.until(begin, stage_.question("pod", web_.at_cluster_ip()), answered_by("b3")));
  const Answer answer = harness::ask(question, harness::kSilence);
  RETURN_IF_ERROR(expect(answer.fate == Fate::kDropped, "silence", answer.to_string()));
  page_.finding("the client at the node port meets", "silence");
  const Answer inside = harness::ask(
      stage_.question("pod", {dataplane::Protocol::kTcp, Topology::node_a().v4, web_.node_port}));
  RETURN_IF_ERROR(expect_all_from({inside}, {"b1", "b3"}, "pods to reach all endpoints"));
  page_.finding("a pod at the node port is still answered, by", inside.endpoint);
  web_.external_local = false;
  RETURN_IF_ERROR(stage_.write_policy(web_));
  ASSIGN_OR_RETURN(took, endpoints_until({"a1", "a2", "b1"}, "a1"));
  ASSIGN_OR_RETURN(took, stage_.until(begin, question, [](const Answer& a) {
    return a.fate == Fate::kAnswered && Topology::is_node_a(a.source);
  }));
  return {};
}

Status Scenes::stick_to_an_endpoint() {
  page_.heading("Session affinity: clients stay with their endpoint");
  DemoService cart{.name = "cart",
                   .cluster_ip = {"10.96.0.20", "fd00:10:96::14"},
                   .pods = {"a1", "a2", "b1"},
                   .affinity_seconds = 600};
  RETURN_IF_ERROR(stage_.write(cart));
  const Clock::time_point begin = Clock::now();
  Milliseconds took;
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    ASSIGN_OR_RETURN(took,
                     stage_.until(begin, stage_.question("node-a", cart.at_cluster_ip(family)),
                                  [](const Answer& a) { return a.fate == Fate::kAnswered; }));
  }
  std::vector<Question> questions;
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    for (int n = 0; n < harness::kOutsideAddresses; ++n) {
      Question question = stage_.question("outside", cart.at_cluster_ip(family));
      question.source_address = Topology::outside(n).of(family);
      questions.push_back(std::move(question));
    }
  }
  // Several rounds, every time over new connections: each client's endpoint.
  const auto pins = [&](int rounds) -> Result<std::vector<std::string>> {
    std::vector<std::string> pinned(questions.size());
    for (int round = 0; round < rounds; ++round) {
      const std::vector<Answer> answers = harness::ask(questions, harness::kPatience);
      for (size_t i = 0; i < answers.size(); ++i) {
        if (round == 0) pinned[i] = answers[i].endpoint;
        RETURN_IF_ERROR(
            expect(answers[i].fate == Fate::kAnswered && answers[i].endpoint == pinned[i],
                   fmt::format("{} to stay with {}", questions[i].source_address, pinned[i]),
                   answers[i].to_string()));
      }
    }
    return pinned;
  };
  std::vector<std::string> before;
  ASSIGN_OR_RETURN(before, pins(10));
  std::map<std::string, size_t> counts;
  for (const std::string& pod : before) ++counts[pod];
  RETURN_IF_ERROR(expect(counts.size() > 1, "several endpoints in use", before.front()));
  page_.text("20 clients, 10 connections each: every client met one endpoint only.");
  page_.shares({counts.begin(), counts.end()});

  const std::string gone = before.front();
  std::erase(cart.pods, gone);
  const Clock::time_point removed = Clock::now();
  RETURN_IF_ERROR(stage_.write_endpoints(cart));
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    const auto first = static_cast<size_t>(
        std::find(before.begin() + (family == Family::kIPv4 ? 0 : harness::kOutsideAddresses),
                  before.end(), gone) -
        before.begin());
    if (first == before.size()) continue;
    ASSIGN_OR_RETURN(took, stage_.until(removed, questions[first], [&](const Answer& a) {
      return a.fate == Fate::kAnswered && a.endpoint != gone;
    }));
  }
  std::vector<std::string> after;
  ASSIGN_OR_RETURN(after, pins(3));
  size_t moved = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i] == after[i]) continue;
    ++moved;
    RETURN_IF_ERROR(expect(before[i] == gone, "others to stay", questions[i].source_address));
  }
  RETURN_IF_ERROR(
      expect(moved == counts[gone], "all of its clients to move", std::to_string(moved)));
  page_.finding(fmt::format("{} goes: clients that moved, clients that stayed", gone),
                fmt::format("{}, {}", moved, before.size() - moved));
  return {};
}

}  // namespace fairlead::demo
