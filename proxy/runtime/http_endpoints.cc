#include "proxy/runtime/http_endpoints.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <utility>

#include "base/fd.h"
#include "base/log.h"
#include "control/net/server.h"
#include "proxy/runtime/debug_pages.h"

namespace fairlead::proxy {
namespace {

net::HttpResponse json_answer(const Health::Answer& answer) {
  return {
      answer.http_status, "application/json", {{"X-Content-Type-Options", "nosniff"}}, answer.body};
}

net::HttpResponse text(int status, std::string body) {
  return {status,
          "text/plain; charset=utf-8",
          {{"X-Content-Type-Options", "nosniff"}},
          std::move(body)};
}

class Endpoints final : public HttpEndpoints {
 public:
  Endpoints(HttpEndpointsOptions options, Health& health, Metrics& metrics, EventSink events)
      : options_(std::move(options)),
        health_(health),
        metrics_(metrics),
        events_(std::move(events)) {
    listeners_[0] = {"health", options_.health, EventReason::kFailedToStartProxierHealthcheck,
                     nullptr};
    listeners_[1] = {"metrics", options_.metrics, EventReason::kFailedToStartMetricServer, nullptr};
  }
  ~Endpoints() override;

  Status start();
  uint16_t health_port() const override { return health_port_; }
  uint16_t metrics_port() const override { return metrics_port_; }

 private:
  struct Listener {
    std::string_view name;
    std::optional<dataplane::SocketAddress> address;
    EventReason failure = EventReason::kFailedToStartMetricServer;
    std::unique_ptr<net::Server> server;
  };

  Status bind(size_t index);
  void retry_until_bound();
  bool all_bound() const;
  net::HttpResponse health_page(const std::string& path);
  net::HttpResponse metrics_page(const std::string& path);
  Health::Answer counted(Metric metric, const Health::Answer& answer);
  void update_slis();

  const HttpEndpointsOptions options_;
  Health& health_;
  Metrics& metrics_;
  const EventSink events_;

  // Written by start(), then by the retry thread alone.
  std::array<Listener, 2> listeners_;
  std::atomic<uint16_t> health_port_{0};
  std::atomic<uint16_t> metrics_port_{0};
  Fd stop_;
  std::thread retry_;
};

Endpoints::~Endpoints() {
  if (retry_.joinable()) {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(stop_.get(), &one, sizeof one);
    retry_.join();
  }
}

bool Endpoints::all_bound() const {
  return std::all_of(listeners_.begin(), listeners_.end(), [](const Listener& listener) {
    return !listener.address || listener.server != nullptr;
  });
}

Status Endpoints::bind(size_t index) {
  Listener& listener = listeners_[index];
  net::ServerOptions server;
  server.address = listener.address->address.to_string();
  server.port = listener.address->port;
  server.http2 = false;
  server.max_body = 64 << 10;
  server.max_connections = 1000;
  const auto handler = [this, index](const net::HttpRequest& request,
                                     std::unique_ptr<net::Responder> responder) {
    if (request.method != "GET" && request.method != "HEAD") {
      net::HttpResponse refusal = text(405, "method not allowed\n");
      refusal.headers.emplace_back("Allow", "GET, HEAD");
      responder->respond(std::move(refusal));
      return;
    }
    responder->respond(index == 0 ? health_page(request.path) : metrics_page(request.path));
  };
  auto started = net::Server::start(std::move(server), handler);
  if (!started) return started.status();
  listener.server = std::move(*started);
  (index == 0 ? health_port_ : metrics_port_) = listener.server->port();
  LOG_INFO("{} listener on {} port {}", listener.name, listener.address->address.to_string(),
           listener.server->port());
  return Status();
}

Status Endpoints::start() {
  for (size_t i = 0; i < listeners_.size(); ++i) {
    const Listener& listener = listeners_[i];
    if (!listener.address) continue;
    const Status status = bind(i);
    if (status.ok()) continue;
    if (options_.hard_fail) return status;
    LOG_ERROR("{} listener: {}; trying again every {} ms", listener.name, status.message(),
              options_.retry_period.count());
    if (events_) events_({listener.failure, "Node", {}, status.message()});
  }
  if (all_bound()) return Status();
  stop_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!stop_.valid()) return Status::from_errno(errno, "create", "an eventfd");
  retry_ = std::thread([this] { retry_until_bound(); });
  return Status();
}

void Endpoints::retry_until_bound() {
  while (!all_bound()) {
    pollfd stop{stop_.get(), POLLIN, 0};
    if (::poll(&stop, 1, static_cast<int>(options_.retry_period.count())) > 0) return;
    for (size_t i = 0; i < listeners_.size(); ++i) {
      if (!listeners_[i].address || listeners_[i].server != nullptr) continue;
      if (const Status status = bind(i); !status) {
        LOG_V(2, "{} listener: {}", listeners_[i].name, status.message());
      }
    }
  }
}

Health::Answer Endpoints::counted(Metric metric, const Health::Answer& answer) {
  metrics_.counter(metric, {answer.http_status == 200 ? "200" : "503"}).add();
  return answer;
}

net::HttpResponse Endpoints::health_page(const std::string& path) {
  if (path == "/healthz") return json_answer(counted(Metric::kHealthz, health_.healthz()));
  if (path == "/livez") return json_answer(counted(Metric::kLivez, health_.livez()));
  if (path == "/readyz") return json_answer(health_.readyz());
  return text(404, "404 page not found\n");
}

void Endpoints::update_slis() {
  const auto check = [this](std::string_view type, const Health::Answer& answer) {
    const bool passes = answer.http_status == 200;
    metrics_.gauge(Metric::kSliHealthcheck, {"proxy", type}).set(passes ? 1 : 0);
    metrics_.counter(Metric::kSliHealthchecks, {"proxy", passes ? "success" : "error", type}).add();
  };
  check("healthz", health_.healthz());
  check("livez", health_.livez());
  check("readyz", health_.readyz());
}

net::HttpResponse Endpoints::metrics_page(const std::string& path) {
  const auto page = [](std::string body) {
    return net::HttpResponse{200, std::string(Metrics::kContentType), {}, std::move(body)};
  };
  if (path == "/metrics") {
    metrics_.gauge(Metric::kFirstSyncDone).set(health_.ready() ? 1 : 0);
    metrics_.gauge(Metric::kApiServerReachable).set(health_.api_server_reachable() ? 1 : 0);
    return page(metrics_.text());
  }
  if (path == "/metrics/slis") {
    update_slis();
    return page(metrics_.slis_text());
  }
  if (path == "/healthz") return text(200, "ok");
  if (path == "/proxyMode") return text(200, options_.mode);
  if (path == "/configz") {
    const std::string configuration =
        options_.configuration_json ? options_.configuration_json() : "{}";
    return {200, "application/json", {}, "{\"kubeproxy.config.k8s.io\":" + configuration + "}"};
  }
  if (options_.profiling && path.starts_with("/debug")) {
    if (auto body = debug_page(path)) return text(200, std::move(*body));
  }
  return text(404, "404 page not found\n");
}

}  // namespace

Result<std::unique_ptr<HttpEndpoints>> HttpEndpoints::start(HttpEndpointsOptions options,
                                                            Health& health, Metrics& metrics,
                                                            EventSink events) {
  auto endpoints =
      std::make_unique<Endpoints>(std::move(options), health, metrics, std::move(events));
  RETURN_IF_ERROR(endpoints->start());
  return std::unique_ptr<HttpEndpoints>(std::move(endpoints));
}

}  // namespace fairlead::proxy
