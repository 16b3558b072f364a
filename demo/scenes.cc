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
       {&Scenes::start_the_server, &Scenes::start, &Scenes::reach_a_service,
        &Scenes::reach_the_server, &Scenes::share_evenly, &Scenes::change_endpoints,
        &Scenes::lose_all_endpoints, &Scenes::keep_the_source, &Scenes::stick_to_an_endpoint,
        &Scenes::kill_the_api_server, &Scenes::kill_the_proxy, &Scenes::look_into_the_kernel,
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
  RETURN_IF_ERROR(stage_.write_endpoints(web_));
  const Clock::time_point begin = Clock::now();
  Milliseconds took;
  ASSIGN_OR_RETURN(
      took, stage_.until(begin, stage_.question("pod", web_.at_cluster_ip()), answered_by(pod)));
  RETURN_IF_ERROR(settle());
  return took;
}

Status Scenes::settle() {
  const std::set<std::string> pods(web_.pods.begin(), web_.pods.end());
  // Of five endpoints, one that is still there stays unseen once in a million times.
  constexpr size_t kEnough = 60;
  Status last;
  for (const Family family : {kIPv4, kIPv6}) {
    const bool settled = harness::eventually([&] {
      last = expect_all_from(ask_times(stage_.question("pod", web_.at_cluster_ip(family)), kEnough),
                             pods, "only the endpoints that are left");
      return last.ok();
    });
    if (!settled) return last;
  }
  return {};
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

Status Scenes::start_the_server() {
  page_.heading("A cluster comes up, and kubectl fills it");
  Milliseconds took;
  ASSIGN_OR_RETURN(took, stage_.api().start());
  page_.finding("`fairlead server` serves " + stage_.api().url() + " after",
                milliseconds_text(took));
  page_.text(
      "It made its keys, certificates and the kubeconfig that kubectl and the proxy show their "
      "client certificate from. Nodes and pods come from kubectl, and so does what a kubelet "
      "would report of them:");
  RETURN_IF_ERROR(stage_.make_nodes_and_pods());
  std::string pods;
  ASSIGN_OR_RETURN(pods, stage_.kubectl().run({"get", "pods", "-o", "wide"}));
  const auto running = [&] {
    size_t count = 0;
    for (size_t at = 0; (at = pods.find("Running", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  return expect(running() == 5, "five running pods", pods);
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
  const Answer answer =
      harness::ask(stage_.early(stage_.question("pod", web_.at_cluster_ip())), harness::kSilence);
  return expect(answer.fate != Fate::kAnswered, "no answer of a service that is not there",
                answer.to_string());
}

Status Scenes::reach_a_service() {
  page_.heading("A service is created and reached");
  page_.text(fmt::format(
      "Type LoadBalancer, both IP families. The controllers in the server find its pods by their "
      "label; {}, {} and {} have it.",
      web_.pods[0], web_.pods[1], web_.pods[2]));
  RETURN_IF_ERROR(stage_.write(web_));
  const Clock::time_point begin = Clock::now();
  Milliseconds took;
  ASSIGN_OR_RETURN(took, stage_.until(begin, stage_.question("pod", web_.at_cluster_ip()),
                                      [](const Answer& a) { return a.fate == Fate::kAnswered; }));
  Milliseconds took_all;  // the other family's slice comes a moment later
  ASSIGN_OR_RETURN(took_all,
                   stage_.until(begin, stage_.question("pod", web_.at_cluster_ip(kIPv6)),
                                [](const Answer& a) { return a.fate == Fate::kAnswered; }));
  page_.finding("kubectl has returned; the first answer over IPv4 after", milliseconds_text(took));
  page_.finding("... and over IPv6", milliseconds_text(took_all));
  ASSIGN_OR_RETURN(
      took, stage_.until(begin, stage_.question("outside", {kTcp, web_.load_balancer_ip.v6, 80}),
                         [](const Answer& a) { return a.fate == Fate::kAnswered; }));
  page_.finding("... and at the load balancer's address", milliseconds_text(took));
  RETURN_IF_ERROR(show_slices());
  page_.line();
  return show_rows();
}

// What the controllers made of the labels.
Status Scenes::show_slices() {
  std::string slices;
  ASSIGN_OR_RETURN(slices, stage_.kubectl().run(
                               {"get", "endpointslices", "-l", "kubernetes.io/service-name=web"}));
  for (const std::string& pod : web_.pods) {
    for (const Family family : {kIPv4, kIPv6}) {
      const std::string address = Topology::pod(pod).of(family);
      RETURN_IF_ERROR(expect(slices.find(address) != std::string::npos,
                             fmt::format("{} in the slices", address), slices));
    }
  }
  return {};
}

// The server's own service leads back to it, through the rules that it fed.
Status Scenes::reach_the_server() {
  page_.heading("The API server is a service, too");
  std::string service;
  ASSIGN_OR_RETURN(service, stage_.kubectl().run({"get", "service", "kubernetes"}));
  std::string version;
  ASSIGN_OR_RETURN(version,
                   stage_.kubectl().run({"--server=https://10.96.0.1", "get", "--raw", "/readyz"}));
  return expect(version == "ok", "ok from the server at its cluster IP", version);
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

Status Scenes::lose_readiness(const std::string& pod) {
  const Question question = stage_.question("pod", web_.at_cluster_ip());
  RETURN_IF_ERROR(stage_.write_ready(pod, false));
  const Clock::time_point begin = Clock::now();
  Milliseconds last_seen{0};
  for (int since = 0; since < 300; ++since) {
    const Milliseconds asked = Clock::now() - begin;
    RETURN_IF_ERROR(
        expect(asked < std::chrono::seconds(10), "an end of connections to the pod", pod));
    const Answer answer = harness::ask(question);
    RETURN_IF_ERROR(expect(answer.fate == Fate::kAnswered, "an answer", answer.to_string()));
    if (answer.endpoint != pod) continue;
    last_seen = asked;
    since = 0;
  }
  page_.finding(pod + " is not ready; its last new connection began after",
                last_seen.count() > 0 ? milliseconds_text(last_seen) : "(there was none)");
  return {};
}

Status Scenes::change_endpoints() {
  page_.heading("Endpoints come and go");
  const Question question = stage_.question("pod", web_.at_cluster_ip());
  harness::Conversation connection(question);
  const Answer first = connection.exchange();
  RETURN_IF_ERROR(expect(first.fate == Fate::kAnswered, "a connection", first.to_string()));
  page_.finding("a connection is opened, to endpoint", first.endpoint);

  Milliseconds took;
  ASSIGN_OR_RETURN(took, endpoints_until({"a1", "a2", "b1", "b2"}, "b2"));
  page_.finding("kubectl has returned; b2's first connection after", milliseconds_text(took));

  RETURN_IF_ERROR(lose_readiness(first.endpoint));
  const Answer again = connection.exchange();
  RETURN_IF_ERROR(
      expect(again.endpoint == first.endpoint, "the open connection to go on", again.to_string()));
  page_.finding("the connection that was open is still answered by", again.endpoint);
  RETURN_IF_ERROR(stage_.write_ready(first.endpoint, true));
  ASSIGN_OR_RETURN(took, stage_.until(Clock::now(), question, answered_by(first.endpoint)));
  page_.finding("it is ready again; its first new connection after", milliseconds_text(took));
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
  RETURN_IF_ERROR(stage_.write_endpoints(web_));
  const Clock::time_point begin = Clock::now();
  Milliseconds took;
  ASSIGN_OR_RETURN(took, stage_.until(begin, stage_.question("pod", web_.at_cluster_ip()),
                                      [](const Answer& a) { return a.fate == Fate::kRefused; }));
  page_.finding("kubectl has returned; the first refusal after", milliseconds_text(took));
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
  page_.finding("kubectl has returned; b1's first connection after", milliseconds_text(took));
  return {};
}

}  // namespace fairlead::demo
