#include "demo/stage.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <sstream>
#include <utility>

#include "tests/api_server/objects.h"

namespace fairlead::demo {

using dataplane::Family;
using dataplane::Protocol;
using harness::DualAddress;
using harness::Topology;

namespace {

constexpr int kPort = 80;
constexpr const char* kTcpName = "http";
constexpr const char* kUdpName = "http3";

std::vector<std::string> both(const DualAddress& address) {
  if (address.v4.empty()) return {};
  return {address.v4, address.v6};
}

std::string slice_json(const DemoService& service, Family family) {
  api_server::EndpointSliceSpec slice;
  slice.service = service.name;
  slice.name = service.name + (family == Family::kIPv4 ? "-ipv4" : "-ipv6");
  slice.address_type = dataplane::to_string(family);
  slice.ports = {{.name = kTcpName, .port = harness::kEchoPort},
                 {.name = kUdpName, .protocol = "UDP", .port = harness::kEchoPort}};
  for (const std::string& pod : service.pods) {
    slice.endpoints.push_back({.address = Topology::pod(pod).of(family),
                               .node = std::string(Topology::node_of(pod)),
                               .pod = pod});
  }
  return api_server::endpoint_slice_json(slice);
}

}  // namespace

harness::Target DemoService::at_cluster_ip(Family family, Protocol protocol) const {
  return {protocol, cluster_ip.of(family), kPort};
}

Result<std::unique_ptr<Stage>> Stage::build() {
  std::unique_ptr<Stage> stage(new Stage());
  stage->log_.reset(::memfd_create("fairlead-proxy.log", MFD_CLOEXEC));
  if (!stage->log_.valid()) return Status::from_errno(errno, "create", "log");
  ASSIGN_OR_RETURN(stage->topology_, Topology::create());
  // The server's thread is born inside the namespace and stays there, with all of its sockets.
  ASSIGN_OR_RETURN(stage->api_,
                   stage->at("node-a").run([] { return api_server::ApiServer::start({}); }));
  // With it, packets to addresses that no service has yet are dropped before connection tracking
  // remembers them: a client that comes too early does not spoil its source port for later.
  api_server::ServiceCidrSpec range;
  range.cidrs.clear();
  std::stringstream ranges(Topology::service_cidrs());
  for (std::string cidr; std::getline(ranges, cidr, ',');) range.cidrs.push_back(cidr);
  RETURN_IF_ERROR(stage->api_->put(api_server::service_cidr_json(range)));
  const DualAddress node = Topology::node_a();
  RETURN_IF_ERROR(
      stage->api_->put(api_server::node_json({.name = "node-a",
                                              .internal_ips = {node.v4, node.v6},
                                              .pod_cidrs = {"10.244.1.0/24", "fd00:10:244:1::/64"},
                                              .zone = "zone-a"})));
  return stage;
}

std::vector<std::string> Stage::arguments() const {
  return {"--master=" + api_->url(),    "--hostname-override=node-a",
          "--proxy-mode=nftables",      "--cluster-cidr=" + Topology::cluster_cidrs(),
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

void Stage::take_api_down() {
  api_->stop_listening();
  api_->close_connections();
}

Status Stage::bring_api_up() {
  return at("node-a").run([this] { return api_->start_listening(); });
}

Status Stage::write(const DemoService& service) {
  RETURN_IF_ERROR(write_service(service));
  return write_endpoints(service);
}

Status Stage::write_service(const DemoService& service) {
  api_server::ServiceSpec spec;
  spec.name = service.name;
  spec.cluster_ips = both(service.cluster_ip);
  spec.load_balancer_ips = both(service.load_balancer_ip);
  spec.type = !service.load_balancer_ip.v4.empty() ? "LoadBalancer"
              : service.node_port != 0             ? "NodePort"
                                                   : "ClusterIP";
  spec.ports = {
      {.name = kTcpName, .port = kPort, .node_port = service.node_port},
      {.name = kUdpName, .protocol = "UDP", .port = kPort, .node_port = service.node_port}};
  if (service.external_local) spec.external_traffic_policy = "Local";
  spec.health_check_node_port = service.external_local ? service.health_check_port : 0;
  spec.affinity_seconds = service.affinity_seconds;
  return api_->put(api_server::service_json(spec));
}

Status Stage::write_endpoints(const DemoService& service) {
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    RETURN_IF_ERROR(api_->put(slice_json(service, family)));
  }
  return {};
}

harness::Question Stage::question(std::string_view place, harness::Target target) {
  return {&at(place), std::move(target), "", 0};
}

Result<Milliseconds> Stage::until(Clock::time_point begin, const harness::Question& question,
                                  const std::function<bool(const harness::Answer&)>& right) {
  // Silence must not hide when the first answer became possible, so patience starts small; it grows
  // for machines that are slow.
  std::chrono::milliseconds patience(3);
  harness::Answer last;
  while (Clock::now() - begin < std::chrono::seconds(15)) {
    last = harness::ask(question, patience);
    if (right(last)) return Milliseconds(Clock::now() - begin);
    patience = std::min(patience + std::chrono::milliseconds(1), std::chrono::milliseconds(300));
  }
  return Status::error(StatusCode::kUnavailable, "wait for the right answer of",
                       question.target.to_string(), "the last one was: " + last.to_string());
}

}  // namespace fairlead::demo
