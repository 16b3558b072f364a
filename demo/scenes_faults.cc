// The scenes in which something breaks or ends, and the one that looks into the kernel.
#include <fmt/format.h>

#include <set>
#include <sstream>
#include <thread>

#include "demo/checks.h"
#include "demo/scenes.h"

namespace fairlead::demo {

using harness::Answer;
using harness::Fate;
using harness::Question;
using harness::Topology;
using namespace std::chrono_literals;

namespace {

std::string undisturbed(const harness::Traffic::Report& report) {
  return fmt::format("{} asked, {} failed", thousands(report.asked), report.failed);
}

}  // namespace

Result<std::string> Scenes::objects() {
  return stage_.kubectl().run(
      {"get", "pods,services", "--no-headers", "-o",
       "custom-columns=KIND:.kind,NAME:.metadata.name,UID:.metadata.uid,REVISION:.metadata."
       "resourceVersion"},
      {}, Show::kNothing);
}

Status Scenes::kill_the_api_server() {
  page_.heading("The API server is killed (SIGKILL) and started again");
  harness::Traffic traffic(steady_questions());
  web_.pods = {"a1", "a2", "b1", "b3"};
  RETURN_IF_ERROR(stage_.write_endpoints(web_));
  stage_.api().kill();  // b3's label was acknowledged a moment ago
  RETURN_IF_ERROR(expect(harness::eventually([&] {
                           return stage_.proxy().metric("fairlead_api_server_reachable") == 0;
                         }),
                         "the proxy to notice", "fairlead_api_server_reachable is still 1"));
  std::this_thread::sleep_for(1s);  // the traffic meanwhile is the point
  harness::CommandResult refused;
  ASSIGN_OR_RETURN(refused, stage_.kubectl().attempt({"get", "pods"}));
  RETURN_IF_ERROR(expect(refused.exit_code != 0, "kubectl to be refused", refused.output));
  page_.command("kubectl get pods", refused.output);
  RETURN_IF_ERROR(expect_all_from(ask_times(stage_.question("pod", web_.at_cluster_ip()), 100),
                                  {"a1", "a2", "b1", "b3"}, "the endpoints that were last known"));
  page_.finding("dead for a second; what was last known", "goes on");
  Milliseconds took;
  ASSIGN_OR_RETURN(took, stage_.api().start());
  page_.finding("started again on the same directory: serves after", milliseconds_text(took));
  std::string labelled;
  ASSIGN_OR_RETURN(labelled, stage_.kubectl().run({"get", "pods", "-l", "web=yes"}));
  for (const std::string& pod : web_.pods) {
    RETURN_IF_ERROR(expect(labelled.find(pod) != std::string::npos,
                           fmt::format("{}'s label not to be lost", pod), labelled));
  }
  ASSIGN_OR_RETURN(took, stage_.until(Clock::now(), stage_.question("pod", web_.at_cluster_ip()),
                                      answered_by("b3")));
  return resume(traffic);
}

// Nothing is lost, and the proxy, which was not told of anything, hears the next change.
Status Scenes::resume(harness::Traffic& traffic) {
  Milliseconds took;
  ASSIGN_OR_RETURN(took, endpoints_until({"a1", "a2", "b1", "b2", "b3"}, "b2"));
  page_.finding("kubectl has returned; b2's first connection after", milliseconds_text(took));
  // Each resource comes back by itself, after a pause that has grown with its failures.
  RETURN_IF_ERROR(
      expect(harness::eventually(
                 [&] { return stage_.proxy().metric("fairlead_api_server_reachable") == 1; }, 35s),
             "the proxy to watch again", "fairlead_api_server_reachable is still 0"));
  std::string before;
  ASSIGN_OR_RETURN(before, objects());
  stage_.api().kill();
  ASSIGN_OR_RETURN(took, stage_.api().start());
  std::string after;
  ASSIGN_OR_RETURN(after, objects());
  RETURN_IF_ERROR(expect(before == after, before, after));
  page_.finding("killed again: uids and revisions of pods and services", "are the same");
  ASSIGN_OR_RETURN(took, endpoints_until({"a1", "a2", "b1", "b2"}, "b2"));
  const harness::Traffic::Report report = traffic.stop();
  page_.finding("connections from pod, node and client meanwhile", undisturbed(report));
  return expect(report.failed == 0 && report.asked > 0, "no failed connection",
                report.first_failure);
}

Status Scenes::kill_the_proxy() {
  page_.heading("The proxy is killed (SIGKILL) and started again");
  harness::Conversation connection(stage_.question("pod", web_.at_cluster_ip()));
  const Answer first = connection.exchange();
  RETURN_IF_ERROR(expect(first.fate == Fate::kAnswered, "a connection", first.to_string()));
  page_.finding("a connection is opened, to endpoint", first.endpoint);
  harness::Traffic traffic(steady_questions());
  stage_.proxy().kill();
  RETURN_IF_ERROR(expect(!stage_.proxy().running(), "the proxy to be dead", "it runs"));
  std::this_thread::sleep_for(1s);  // as above
  web_.pods = {"a1", "a2", "b1", "b3"};
  RETURN_IF_ERROR(stage_.write_endpoints(web_));
  RETURN_IF_ERROR(expect_all_from(ask_times(stage_.question("pod", web_.at_cluster_ip()), 100),
                                  {"a1", "a2", "b1", "b2"}, "the rules to stay"));
  page_.finding("dead for a second; meanwhile b3 takes the place of b2", "the rules stay");
  Milliseconds took;
  ASSIGN_OR_RETURN(took, stage_.start_proxy());
  page_.finding("started again: ready after", milliseconds_text(took));
  const std::vector<Answer> answers = ask_times(stage_.question("pod", web_.at_cluster_ip()), 200);
  RETURN_IF_ERROR(expect_all_from(answers, {"a1", "a2", "b1", "b3"}, "the new endpoints"));
  std::set<std::string> seen;
  for (const Answer& answer : answers) seen.insert(answer.endpoint);
  page_.finding("it has caught up; 200 connections were answered by", joined(seen));
  const harness::Traffic::Report report = traffic.stop();
  page_.finding("connections from pod, node and client meanwhile", undisturbed(report));
  RETURN_IF_ERROR(
      expect(report.failed == 0 && report.asked > 0, "no failed connection", report.first_failure));
  const Answer last = connection.exchange();
  RETURN_IF_ERROR(expect(last.endpoint == first.endpoint && last.source_port == first.source_port,
                         "the open connection to live on", last.to_string()));
  page_.finding("the open connection lives on, with endpoint", last.endpoint);
  return {};
}

// What `nft get element` says of one key: its value.
Result<std::string> Scenes::look_up(std::string_view map, std::string_view key) {
  const std::string braced = fmt::format("{{ {} }}", key);
  harness::CommandResult result;
  ASSIGN_OR_RETURN(result, stage_.run_on_node({"nft", "get", "element", "ip", "fairlead",
                                               std::string(map), braced}));
  const size_t elements = result.output.find("elements = {");
  const size_t end = result.output.find('}', elements);
  RETURN_IF_ERROR(expect(result.exit_code == 0 && end != std::string::npos,
                         fmt::format("an element {} in {}", key, map), result.output));
  std::string found;
  std::istringstream words(result.output.substr(elements, end + 1 - elements));
  for (std::string word; words >> word;) found += (found.empty() ? "" : " ") + word;
  page_.command(fmt::format("nft get element ip fairlead {} '{}'", map, braced), found);
  const size_t value = found.rfind(" : ");
  RETURN_IF_ERROR(expect(value != std::string::npos, "a value", found));
  return found.substr(value + 3, found.size() - value - 5);
}

Status Scenes::look_into_the_kernel() {
  page_.heading("What the kernel holds for the service");
  page_.text(
      "Tables ip fairlead and ip6 fairlead, the same few rules for any number of services; a "
      "service is elements in maps. From default/web's cluster IP to an endpoint by hand, "
      "each answer without the map's header:");
  const std::string frontend = web_.cluster_ip.v4 + " . tcp . 80";
  std::string set;
  ASSIGN_OR_RETURN(set, look_up("service-set", frontend));
  std::string pick_class;
  ASSIGN_OR_RETURN(pick_class, look_up("set-class", set));
  std::string chain;
  ASSIGN_OR_RETURN(chain, look_up("classes", pick_class));
  const std::string wanted = fmt::format("goto pick-{}", web_.pods.size());
  RETURN_IF_ERROR(expect(chain == wanted, wanted, chain));
  page_.text(fmt::format("Chain pick-{0} takes one of {0} slots at random:", web_.pods.size()));
  std::set<std::string> targets;
  for (size_t slot = 0; slot < web_.pods.size(); ++slot) {
    std::string target;
    ASSIGN_OR_RETURN(target, look_up("endpoints", fmt::format("{} . {}", set, slot)));
    targets.insert(target);
  }
  for (const std::string& pod : web_.pods) {
    const std::string wanted_target =
        fmt::format("{} . {}", Topology::pod(pod).v4, harness::kEchoPort);
    RETURN_IF_ERROR(expect(targets.contains(wanted_target), wanted_target, joined(targets)));
  }
  return {};
}

Status Scenes::leave_nothing() {
  page_.heading("The end: both stop in order, and nothing is left");
  Result<int> server = stage_.api().stop();
  if (!server) return server.status();
  RETURN_IF_ERROR(expect(*server == 0, "exit code 0", std::to_string(*server)));
  page_.finding("the server is stopped (SIGTERM): exit code", "0");
  Result<int> code = stage_.proxy().stop();
  if (!code) return code.status();
  RETURN_IF_ERROR(expect(*code == 0, "exit code 0", std::to_string(*code)));
  const Question question = stage_.question("pod", web_.at_cluster_ip());
  const Answer still = harness::ask(question);
  RETURN_IF_ERROR(expect(still.fate == Fate::kAnswered, "rules that stay", still.to_string()));
  page_.finding("the proxy is stopped (SIGTERM), exit code 0; the service", "still answers");
  harness::CommandResult result;
  ASSIGN_OR_RETURN(result, stage_.clean_up());
  RETURN_IF_ERROR(expect(result.exit_code == 0, "exit code 0 of --cleanup", result.output));
  ASSIGN_OR_RETURN(result, stage_.run_on_node({"nft", "list", "ruleset"}));
  RETURN_IF_ERROR(
      expect(result.exit_code == 0 && result.output.empty(), "no rules left", result.output));
  page_.finding("fairlead-proxy --cleanup; then nft list ruleset shows", "nothing");
  const Answer gone = harness::ask(question, harness::kSilence);
  RETURN_IF_ERROR(expect(gone.fate != Fate::kAnswered, "no service any more", gone.to_string()));
  page_.finding("and the service's address", "no longer answers");
  return {};
}

}  // namespace fairlead::demo
