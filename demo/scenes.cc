#include "demo/scenes.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "demo/checks.h"
#include "tests/harness/socket_address.h"

namespace fairlead::demo {

using dataplane::Family;
using dataplane::Protocol;
using harness::Answer;
using harness::Fate;
using harness::Question;
using harness::Target;
using harness::Topology;

namespace {

constexpr auto kIPv4 = Family::kIPv4;
constexpr auto kIPv6 = Family::kIPv6;
constexpr auto kTcp = Protocol::kTcp;
constexpr auto kUdp = Protocol::kUdp;

std::string whose(const std::string& address, std::string_view asker) {
  if (Topology::is_node_a(address)) return "node-a's";
  const std::string own = harness::canonical_host(address);
  const harness::DualAddress client =
      asker == "client" ? Topology::outside() : Topology::pod(asker);
  return own == harness::canonical_host(client.v4) || own == harness::canonical_host(client.v6)
             ? "its own"
             : "?";
}

// The place in the test network that plays a role of the demo.
std::string_view place_of(std::string_view role) {
  return role == "client" ? "outside" : role;
}

}  // namespace

Scenes::Scenes(Stage& stage, Page& page)
    : stage_(stage),
      page_(page),
      web_{.name = "web",
           .cluster_ip = {"10.96.0.10", "fd00:10:96::a"},
           .pods = {"a1", "a2", "b1"},
           .node_port = 30080,
           .load_balancer_ip = {"203.0.113.80", "2001:db8:203::80"},
           .health_check_port = 32080} {}

Status Scenes::play() {
  for (Status (Scenes::*scene)() :
       {&Scenes::start, &Scenes::reach_a_service, &Scenes::share_evenly, &Scenes::change_endpoints,
        &Scenes::lose_all_endpoints, &Scenes::keep_the_source, &Scenes::stick_to_an_endpoint,
        &Scenes::lose_the_api_server, &Scenes::kill_the_proxy, &Scenes::look_into_the_kernel,
        &Scenes::leave_nothing}) {
    RETURN_IF_ERROR((this->*scene)());
  }
  return {};
}

std::vector<Answer> Scenes::ask_times(const Question& question, size_t times) {
  return harness::ask(std::vector<Question>(times, question), harness::kPatience);
}

Result<Milliseconds> Scenes::endpoints_until(std::vector<std::string> pods, std::string_view pod) {
  web_.pods = std::move(pods);
  const Clock::time_point begin = Clock::now();
  RETURN_IF_ERROR(stage_.write_endpoints(web_));
  return stage_.until(begin, stage_.question("pod", web_.at_cluster_ip()), answered_by(pod));
}

std::vector<Question> Scenes::steady_questions() {
  std::vector<Question> questions;
  for (const Family family : {kIPv4, kIPv6}) {
    for (const Protocol protocol : {kTcp, kUdp}) {
      for (const char* place : {"pod", "node-a", "outside"}) {
        questions.push_back(stage_.question(place, web_.at_cluster_ip(family, protocol)));
      }
      questions.push_back(
          stage_.question("outside", {protocol, Topology::node_a().of(family), web_.node_port}));
    }
  }
  return questions;
}

Status Scenes::start() {
  page_.heading("The proxy starts");
  Milliseconds took;
  ASSIGN_OR_RETURN(took, stage_.start_proxy());
  harness::HttpAnswer mode;
  ASSIGN_OR_RETURN(mode, stage_.proxy().get_metrics("/proxyMode"));
  RETURN_IF_ERROR(expect(mode.body == "nftables", "proxy mode nftables", mode.body));
  utsname kernel{};
  ::uname(&kernel);
  page_.finding("mode, and the kernel that does the work",
                fmt::format("{}, Linux {}", mode.body, kernel.release));
  page_.finding("start to ready: lists read, rules in the kernel", milliseconds_text(took));
  // ServiceCIDRs are no condition of readiness: most clusters have them, older ones do not.
  const bool range_known = harness::eventually([this] {
    for (const char* family : {"ip", "ip6"}) {
      const Result<harness::CommandResult> found =
          stage_.run_on_node({"nft", "list", "set", family, "fairlead", "service-prefixes"});
      if (!found || found->output.find("elements") == std::string::npos) return false;
    }
    return true;
  });
  RETURN_IF_ERROR(expect(range_known, "the service range in the kernel", "no elements"));
  const Answer answer =
      harness::ask(stage_.question("pod", web_.at_cluster_ip()), harness::kSilence);
  RETURN_IF_ERROR(expect(answer.fate == Fate::kDropped, "silence", answer.to_string()));
  page_.finding("a packet to a service address that no service has is", "dropped");
  return {};
}

Status Scenes::reach_a_service() {
  page_.heading("A service is created and reached");
  page_.text(fmt::format(
      "Service default/web: type LoadBalancer, port 80 of TCP and UDP, both IP families, with the "
      "pods {}, {} and {} as endpoints.",
      web_.pods[0], web_.pods[1], web_.pods[2]));
  const Clock::time_point begin = Clock::now();
  RETURN_IF_ERROR(stage_.write(web_));
  Milliseconds took;
  ASSIGN_OR_RETURN(took, stage_.until(begin, stage_.question("pod", web_.at_cluster_ip()),
                                      [](const Answer& a) { return a.fate == Fate::kAnswered; }));
  Milliseconds took_all;  // the other family's slice comes a moment later
  ASSIGN_OR_RETURN(took_all,
                   stage_.until(begin, stage_.question("pod", web_.at_cluster_ip(kIPv6)),
                                [](const Answer& a) { return a.fate == Fate::kAnswered; }));
  page_.finding("written to the API server, first answer over IPv4", milliseconds_text(took));
  page_.finding("... and over IPv6", milliseconds_text(took_all));
  page_.line();
  return show_rows();
}

Status Scenes::show_rows() {
  struct Row {
    const char* role;
    Target target;
    const char* kind;
    const char* saw;
    const char* only = "";  // ask until this pod answers
  };
  const harness::DualAddress node = Topology::node_a();
  const Target node_port = {kTcp, node.v4, web_.node_port};
  const std::vector<Row> rows = {
      {"pod", web_.at_cluster_ip(), "cluster IP", "its own"},
      {"pod", web_.at_cluster_ip(kIPv6, kUdp), "cluster IP", "its own"},
      {"node-a", web_.at_cluster_ip(), "cluster IP", "node-a's"},
      {"a1", web_.at_cluster_ip(), "cluster IP", "node-a's", "a1"},
      {"client", web_.at_cluster_ip(), "cluster IP", "node-a's"},
      {"client", node_port, "node port", "node-a's"},
      {"client", {kUdp, node.v6, web_.node_port}, "node port", "node-a's"},
      {"client", {kTcp, web_.load_balancer_ip.v4, 80}, "load balancer", "node-a's"},
      {"client", {kUdp, web_.load_balancer_ip.v6, 80}, "load balancer", "node-a's"},
  };
  std::vector<std::vector<std::string>> cells = {
      {"who asks", "what address", "which is a", "answered by", "which saw", "that is"}};
  for (const Row& row : rows) {
    const Question question = stage_.question(place_of(row.role), row.target);
    Answer answer;
    for (int i = 0; i < 200; ++i) {
      answer = harness::ask(question);
      if (*row.only == '\0' || answer.endpoint == row.only) break;
    }
    RETURN_IF_ERROR(expect(std::count(web_.pods.begin(), web_.pods.end(), answer.endpoint) == 1 &&
                               (*row.only == '\0' || answer.endpoint == row.only),
                           fmt::format("an answer of {} to {}", row.target.to_string(), row.role),
                           answer.to_string()));
    const std::string saw = whose(answer.source, row.role);
    RETURN_IF_ERROR(expect(saw == row.saw, fmt::format("{} to see {}", answer.endpoint, row.saw),
                           answer.to_string()));
    const bool itself = answer.endpoint == row.role;
    cells.push_back({row.role, row.target.to_string(), row.kind,
                     answer.endpoint + (itself ? " (itself)" : ""), answer.source, saw});
  }
  page_.table(cells);
  return {};
}

Status Scenes::share_evenly() {
  constexpr size_t kConnections = 3000;
  page_.heading("3,000 connections share three endpoints");
  const Clock::time_point begin = Clock::now();
  const std::vector<Answer> answers =
      ask_times(stage_.question("pod", web_.at_cluster_ip()), kConnections);
  const Milliseconds took = Clock::now() - begin;
  RETURN_IF_ERROR(expect_all_from(answers, {"a1", "a2", "b1"}, "only answers of endpoints"));
  std::map<std::string, size_t> counts;
  for (const Answer& answer : answers) ++counts[answer.endpoint];
  page_.shares({counts.begin(), counts.end()});
  // Of a fair choice among three, the shares' deviation exceeds this about once in a billion runs.
  const double fair = kConnections / 3.0;
  const double bound = 6.5 * std::sqrt(kConnections * (1 / 3.0) * (2 / 3.0));
  for (const auto& [pod, count] : counts) {
    RETURN_IF_ERROR(expect(std::abs(static_cast<double>(count) - fair) < bound, "even shares",
                           fmt::format("{} got {} of {}", pod, count, kConnections)));
  }
  page_.finding("none failed; connect, question and answer of all", milliseconds_text(took));
  return expect(counts.size() == 3, "three endpoints at work", std::to_string(counts.size()));
}

Status Scenes::change_endpoints() {
  page_.heading("Endpoints come and go");
  const Question question = stage_.question("pod", web_.at_cluster_ip());
  harness::Conversation connection(question);
  const Answer first = connection.exchange();
  RETURN_IF_ERROR(expect(first.fate == Fate::kAnswered, "a connection", first.to_string()));
  page_.finding("a connection is opened, to endpoint", first.endpoint);

  std::vector<std::string> pods = {"a1", "a2", "b1", "b2"};
  Milliseconds took;
  ASSIGN_OR_RETURN(took, endpoints_until(pods, "b2"));
  page_.finding("b2 is added; its first connection after", milliseconds_text(took));

  std::erase(pods, first.endpoint);
  web_.pods = pods;
  const Clock::time_point begin = Clock::now();
  RETURN_IF_ERROR(stage_.write_endpoints(web_));
  Milliseconds last_seen{0};
  for (int since = 0; since < 300; ++since) {
    const Milliseconds asked = Clock::now() - begin;
    RETURN_IF_ERROR(expect(asked < std::chrono::seconds(10), "an end of connections to the pod",
                           first.endpoint));
    const Answer answer = harness::ask(question);
    RETURN_IF_ERROR(expect(answer.fate == Fate::kAnswered, "an answer", answer.to_string()));
    if (answer.endpoint != first.endpoint) continue;
    last_seen = asked;
    since = 0;
  }
  page_.finding(first.endpoint + " is removed; the last new connection to it began after",
                last_seen.count() > 0 ? milliseconds_text(last_seen) : "(there was none)");
  const Answer again = connection.exchange();
  RETURN_IF_ERROR(
      expect(again.endpoint == first.endpoint, "the open connection to go on", again.to_string()));
  page_.finding("the connection that was open is still answered by", again.endpoint);
  const double changes = stage_.proxy().metric("fairlead_watch_to_kernel_seconds_count");
  const double seconds = stage_.proxy().metric("fairlead_watch_to_kernel_seconds_sum");
  RETURN_IF_ERROR(expect(changes > 0, "the proxy's own measurements", "none"));
  page_.finding("the proxy's own measure: watch to kernel, on average",
                milliseconds_text(std::chrono::duration<double>(seconds / changes)));
  return {};
}

Status Scenes::lose_all_endpoints() {
  page_.heading("A service without endpoints refuses at once");
  web_.pods.clear();
  const Clock::time_point begin = Clock::now();
  RETURN_IF_ERROR(stage_.write_endpoints(web_));
  Milliseconds took;
  ASSIGN_OR_RETURN(took, stage_.until(begin, stage_.question("pod", web_.at_cluster_ip()),
                                      [](const Answer& a) { return a.fate == Fate::kRefused; }));
  page_.finding("the last endpoints go; the first refusal after", milliseconds_text(took));
  Milliseconds took_ipv6;
  ASSIGN_OR_RETURN(took_ipv6,
                   stage_.until(begin, stage_.question("pod", web_.at_cluster_ip(kIPv6)),
                                [](const Answer& a) { return a.fate == Fate::kRefused; }));
  for (const auto& [protocol, how] : {std::pair(kTcp, "reset"), std::pair(kUdp, "ICMP error")}) {
    const Clock::time_point asked = Clock::now();
    const Answer answer =
        harness::ask(stage_.question("outside", web_.at_cluster_ip(kIPv6, protocol)));
    const Milliseconds waited = Clock::now() - asked;
    RETURN_IF_ERROR(expect(answer.fate == Fate::kRefused, "a refusal", answer.to_string()));
    page_.finding(
        fmt::format("{} is refused ({}), not kept waiting:", dataplane::to_string(protocol), how),
        milliseconds_text(waited));
  }
  ASSIGN_OR_RETURN(took, endpoints_until({"a1", "a2", "b1"}, "b1"));
  page_.finding("endpoints come back; b1's first connection after", milliseconds_text(took));
  return {};
}

Status Scenes::keep_the_source() {
  page_.heading("externalTrafficPolicy: Local keeps the client's address");
  const Question question =
      stage_.question("outside", {kTcp, Topology::node_a().v4, web_.node_port});
  const std::string client = Topology::outside().v4;
  const Answer before = harness::ask(question);
  RETURN_IF_ERROR(
      expect(Topology::is_node_a(before.source), "a masqueraded source", before.to_string()));
  page_.finding("Cluster: every endpoint may answer, and sees", before.source + " (node-a's)");

  Milliseconds took;
  ASSIGN_OR_RETURN(took, endpoints_until({"a1", "b1", "b2"}, "b2"));
  web_.external_local = true;
  const Clock::time_point begin = Clock::now();
  RETURN_IF_ERROR(stage_.write_service(web_));
  ASSIGN_OR_RETURN(took, stage_.until(begin, question, [&](const Answer& answer) {
    return answer.source == client && answer.endpoint == "a1";
  }));
  for (const Answer& answer : ask_times(question, 100)) {
    RETURN_IF_ERROR(expect(answer.endpoint == "a1" && answer.source == client,
                           "the endpoint on node-a to see the client", answer.to_string()));
  }
  page_.finding("Local: 100 of 100 answered by a1, on this node; it sees",
                client + " (the client's)");
  page_.finding("policy written, first answer that obeys it after", milliseconds_text(took));
  return show_silence_and_health();
}

Status Scenes::show_silence_and_health() {
  const Question question =
      stage_.question("outside", {kTcp, Topology::node_a().v4, web_.node_port});
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
  const Answer inside =
      harness::ask(stage_.question("pod", {kTcp, Topology::node_a().v4, web_.node_port}));
  RETURN_IF_ERROR(expect_all_from({inside}, {"b1", "b3"}, "pods to reach all endpoints"));
  page_.finding("a pod at the node port is still answered, by", inside.endpoint);
  web_.external_local = false;
  RETURN_IF_ERROR(stage_.write_service(web_));
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
  const Clock::time_point begin = Clock::now();
  RETURN_IF_ERROR(stage_.write(cart));
  Milliseconds took;
  for (const Family family : {kIPv4, kIPv6}) {
    ASSIGN_OR_RETURN(took,
                     stage_.until(begin, stage_.question("node-a", cart.at_cluster_ip(family)),
                                  [](const Answer& a) { return a.fate == Fate::kAnswered; }));
  }
  std::vector<Question> questions;
  for (const Family family : {kIPv4, kIPv6}) {
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
  page_.text(
      "Service default/cart, sessionAffinity: ClientIP. 20 clients, 10 connections each: "
      "every client met one endpoint only.");
  page_.shares({counts.begin(), counts.end()});

  const std::string gone = before.front();
  std::erase(cart.pods, gone);
  const Clock::time_point removed = Clock::now();
  RETURN_IF_ERROR(stage_.write_endpoints(cart));
  for (const Family family : {kIPv4, kIPv6}) {
    const auto first = static_cast<size_t>(
        std::find(before.begin() + (family == kIPv4 ? 0 : harness::kOutsideAddresses), before.end(),
                  gone) -
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
