#include "demo/stage.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

namespace fairlead::demo {

using dataplane::Family;
using dataplane::Protocol;
using harness::DualAddress;
using harness::Topology;

namespace {

constexpr int kPort = 80;
constexpr const char* kTcpName = "http";
constexpr const char* kUdpName = "http3";

const std::vector<std::string>& pods_used() {
  static const std::vector<std::string> pods = {"a1", "a2", "b1", "b2", "b3"};
  return pods;
}

std::string node_yaml(std::string_view name, int number) {
  return fmt::format(
      R"(- apiVersion: v1
  kind: Node
  metadata: {{name: {0}}}
  spec: {{podCIDR: 10.244.{1}.0/24, podCIDRs: [10.244.{1}.0/24, "fd00:10:244:{1}::/64"]}}
)",
      name, number);
}

std::string service_yaml(const DemoService& service) {
  const bool balanced = !service.load_balancer_ip.v4.empty();
  std::string text = fmt::format(R"(apiVersion: v1
kind: Service
metadata: {{name: {0}}}
spec:
  type: {1}
  ipFamilyPolicy: RequireDualStack
  clusterIP: {2}
  clusterIPs: [{2}, "{3}"]
  selector: {{{0}: "yes"}}
)",
                                 service.name, balanced ? "LoadBalancer" : "ClusterIP",
                                 service.cluster_ip.v4, service.cluster_ip.v6);
  if (service.affinity_seconds != 0) {
    text += fmt::format(R"(  sessionAffinity: ClientIP
  sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {}}}}}
)",
                        service.affinity_seconds);
  }
  const std::string node_port =
      service.node_port == 0 ? "" : fmt::format(", nodePort: {}", service.node_port);
  text += fmt::format(R"(  ports:
  - {{name: {3}, protocol: TCP, port: {0}, targetPort: {1}{2}}}
  - {{name: {4}, protocol: UDP, port: {0}, targetPort: {1}{2}}}
)",
                      kPort, harness::kEchoPort, node_port, kTcpName, kUdpName);
  return text;
}

}  // namespace

harness::Target DemoService::at_cluster_ip(Family family, Protocol protocol) const {
  return {protocol, cluster_ip.of(family), kPort};
}

Result<std::unique_ptr<Stage>> Stage::build(Page& page) {
  std::unique_ptr<Stage> stage(new Stage());
  stage->log_.reset(::memfd_create("fairlead-proxy.log", MFD_CLOEXEC));
  if (!stage->log_.valid()) return Status::from_errno(errno, "create", "log");
  ASSIGN_OR_RETURN(stage->topology_, Topology::create());
  ASSIGN_OR_RETURN(stage->api_,
                   ApiProcess::create(stage->at("node-a"), kDirectory, Topology::node_a().v4));
  // Before the first kubectl: every child finds the cluster by these.
  ::setenv("HOME", kDirectory, 1);
  ::setenv("KUBECONFIG", stage->api_->kubeconfig().c_str(), 1);
  stage->kubectl_ = std::make_unique<Kubectl>(stage->at("node-a"), page);
  return stage;
}

std::vector<std::string> Stage::arguments() const {
  return {"--kubeconfig=" + api_->kubeconfig(),
          "--hostname-override=node-a",
          "--proxy-mode=nftables",
          "--cluster-cidr=" + Topology::cluster_cidrs(),
          "--conntrack-max-per-core=0",  // the machine's own limits stay as they are
          "--oom-score-adj=0"};
}

Result<Milliseconds> Stage::start_proxy() {
  const Clock::time_point begin = Clock::now();
  const std::string log_path =
      "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(log_.get());
  ASSIGN_OR_RETURN(proxy_, harness::ProxyProcess::start(at("node-a"), arguments(), log_path));
  RETURN_IF_ERROR(proxy_->wait_ready());
  return Milliseconds(Clock::now() - begin);
}

Result<harness::CommandResult> Stage::clean_up() {
  std::vector<std::string> all = arguments();
  all.push_back("--cleanup");
  return harness::run_proxy(at("node-a"), std::move(all));
}

Result<harness::CommandResult> Stage::run_on_node(std::vector<std::string> command) {
  return at("node-a").run([&] { return harness::run_command(std::move(command)); });
}

std::string Stage::logs() const {
  std::string server = api_->log();
  if (server.size() > 4000) server.erase(0, server.size() - 4000);
  return fmt::format("The end of fairlead server's log:\n{}\nThe end of fairlead-proxy's log:\n{}",
                     server, proxy_ ? proxy_->log_tail(20) : "");
}

Status Stage::make_nodes_and_pods() {
  std::string list = "apiVersion: v1\nkind: List\nitems:\n";
  list += node_yaml("node-a", 1) + node_yaml("node-b", 2);
  for (const std::string& pod : pods_used()) {
    list += fmt::format(
        R"(- apiVersion: v1
  kind: Pod
  metadata: {{name: {}}}
  spec: {{nodeName: {}, containers: [{{name: echo, image: echo}}]}}
)",
        pod, Topology::node_of(pod));
  }
  RETURN_IF_ERROR(kubectl_->run({"create", "-f", "-"}, list).status());
  for (const auto& [name, address] :
       {std::pair("node-a", Topology::node_a()), std::pair("node-b", Topology::node_b())}) {
    const std::string status = fmt::format(
        R"({{"addresses":[{{"type":"InternalIP","address":"{}"}},{{"type":"InternalIP","address":"{}"}}],"conditions":[{{"type":"Ready","status":"True"}}]}})",
        address.v4, address.v6);
    RETURN_IF_ERROR(kubectl_->write_status(fmt::format("/api/v1/nodes/{}", name), "Node", status));
  }
  for (const std::string& pod : pods_used()) RETURN_IF_ERROR(write_ready(pod, true));
  return {};
}

Status Stage::write_ready(const std::string& pod, bool ready) {
  const DualAddress address = Topology::pod(pod);
  const std::string status = fmt::format(
      R"({{"phase":"Running","podIP":"{0}","podIPs":[{{"ip":"{0}"}},{{"ip":"{1}"}}],"conditions":[{{"type":"Ready","status":"{2}"}}],"containerStatuses":[{{"name":"echo","image":"echo","imageID":"","restartCount":0,"ready":{3},"state":{{"running":{{}}}}}}]}})",
      address.v4, address.v6, ready ? "True" : "False", ready);
  std::string labels;
  for (const auto& [service, pods] : labelled_) {
    if (!pods.contains(pod)) continue;
    labels += fmt::format(R"({}"{}":"yes")", labels.empty() ? "" : ",", service);
  }
  return kubectl_->write_status(fmt::format("/api/v1/namespaces/default/pods/{}", pod), "Pod",
                                status, "{" + labels + "}");
}

// The pods first: whoever asks early finds all of them.
Status Stage::write(const DemoService& service) {
  RETURN_IF_ERROR(write_endpoints(service));
  RETURN_IF_ERROR(kubectl_->run({"create", "-f", "-"}, service_yaml(service)).status());
  if (!service.load_balancer_ip.v4.empty()) {
    const std::string status =
        fmt::format(R"({{"loadBalancer":{{"ingress":[{{"ip":"{}"}},{{"ip":"{}"}}]}}}})",
                    service.load_balancer_ip.v4, service.load_balancer_ip.v6);
    RETURN_IF_ERROR(kubectl_->write_status(
        fmt::format("/api/v1/namespaces/default/services/{}", service.name), "Service", status));
  }
  return {};
}

Status Stage::write_policy(const DemoService& service) {
  const std::string patch =
      service.external_local
          ? fmt::format(
                R"({{"spec":{{"externalTrafficPolicy":"Local","healthCheckNodePort":{}}}}})",
                service.health_check_port)
          : R"({"spec":{"externalTrafficPolicy":"Cluster"}})";
  return kubectl_->run({"patch", "service", service.name, "-p", patch}).status();
}

// Those that come first, then those that go: there is never less than there should be.
Status Stage::write_endpoints(const DemoService& service) {
  std::set<std::string>& now = labelled_[service.name];
  const std::set<std::string> wanted(service.pods.begin(), service.pods.end());
  std::vector<std::string> come = {"label", "pods"};
  std::vector<std::string> go = come;
  for (const std::string& pod : wanted) {
    if (!now.contains(pod)) come.push_back(pod);
  }
  for (const std::string& pod : now) {
    if (!wanted.contains(pod)) go.push_back(pod);
  }
  if (come.size() > 2) {
    come.push_back(service.name + "=yes");
    RETURN_IF_ERROR(kubectl_->run(std::move(come)).status());
  }
  if (go.size() > 2) {
    go.push_back(service.name + "-");
    RETURN_IF_ERROR(kubectl_->run(std::move(go)).status());
  }
  now = wanted;
  return {};
}

harness::Question Stage::question(std::string_view place, harness::Target target) {
  return {&at(place), std::move(target), "", 0};
}

harness::Question Stage::early(harness::Question question) {
  constexpr uint16_t kFirst = 20000;
  constexpr uint16_t kPorts = 10000;  // ends below node ports and the kernel's own choice
  question.source_port = static_cast<uint16_t>(kFirst + early_port_++ % kPorts);
  return question;
}

Result<Milliseconds> Stage::until(Clock::time_point begin, const harness::Question& question,
                                  const std::function<bool(const harness::Answer&)>& right) {
  // Silence must not hide when the first answer became possible, so patience starts small; it grows
  // for machines that are slow.
  std::chrono::milliseconds patience(3);
  harness::Answer last;
  while (Clock::now() - begin < std::chrono::seconds(15)) {
    last = harness::ask(early(question), patience);
    if (right(last)) return Milliseconds(Clock::now() - begin);
    patience = std::min(patience + std::chrono::milliseconds(1), std::chrono::milliseconds(300));
  }
  return Status::error(StatusCode::kUnavailable, "wait for the right answer of",
                       question.target.to_string(), "the last one was: " + last.to_string());
}

}  // namespace fairlead::demo
