#include "proxy/runtime/service_health.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <atomic>
#include <future>
#include <map>
#include <string>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/thread_annotations.h"
#include "control/api/json_writer.h"
#include "proxy/runtime/port_server.h"

namespace fairlead::proxy {
namespace {

using dataplane::Address;
using dataplane::ObjectName;

std::string quoted(const std::string& text) {
  return api::JsonWriter().string(text).take();
}

std::string response(int status, std::string_view reason, std::string_view headers,
                     std::string_view body, bool with_body) {
  return fmt::format(
      "HTTP/1.1 {} {}\r\n{}Date: {:%a, %d %b %Y %H:%M:%S} GMT\r\nContent-Length: {}\r\n"
      "Connection: close\r\n\r\n{}",
      status, reason, headers, fmt::gmtime(std::time(nullptr)), body.size(),
      with_body ? body : std::string_view());
}

std::string service_response(const ObjectName& service, size_t local_endpoints, bool keeps_up,
                             bool with_body) {
  const bool pass = local_endpoints > 0 && keeps_up;
  const std::string body = fmt::format(
      "{{\n\t\"service\": {{\n\t\t\"namespace\": {},\n\t\t\"name\": {}\n\t}},\n"
      "\t\"localEndpoints\": {},\n\t\"serviceProxyHealthy\": {}\n}}",
      quoted(service.name_space), quoted(service.name), local_endpoints, keeps_up);
  const std::string headers = fmt::format(
      "Content-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
      "X-Load-Balancing-Endpoint-Weight: {}\r\n",
      local_endpoints);
  return pass ? response(200, "OK", headers, body, with_body)
              : response(503, "Service Unavailable", headers, body, with_body);
}

class Servers final : public ServiceHealthServers {
 public:
  Servers(ServiceHealthOptions options, std::function<bool()> keeps_up, BindFailure failure)
      : options_(std::move(options)),
        keeps_up_(std::move(keeps_up)),
        on_bind_failure_(std::move(failure)),
        addresses_(options_.addresses) {}
  ~Servers() override;

  Status start();
  void reconcile(Desired desired) override;
  void update(const ObjectName& service, std::optional<ServiceHealthTarget> target) override;
  void set_addresses(std::vector<Address> addresses) override;
  size_t open_ports() const override { return open_ports_; }
  size_t failed_ports() const override { return failed_ports_; }
  void flush() override;

 private:
  // One service's port as it is: opened, or waiting for its next attempt.
  struct Port {
    PortServer::PortId id = 0;
    uint16_t port = 0;
    bool open = false;
    bool reported = false;
  };
  struct Failure {
    ObjectName service;
    uint16_t port = 0;
    Status reason;
  };

  void run();
  void sync_ports();
  std::string answer(PortServer::PortId id, HeadState head);

  const ServiceHealthOptions options_;
  const std::function<bool()> keeps_up_;
  const BindFailure on_bind_failure_;

  Mutex mutex_;
  Desired desired_ GUARDED_BY(mutex_);
  std::vector<Address> addresses_ GUARDED_BY(mutex_);
  bool ports_changed_ GUARDED_BY(mutex_) = false;
  bool addresses_changed_ GUARDED_BY(mutex_) = false;
  bool stop_ GUARDED_BY(mutex_) = false;
  std::vector<std::promise<void>> flushes_ GUARDED_BY(mutex_);

  std::atomic<size_t> open_ports_{0};
  std::atomic<size_t> failed_ports_{0};

  // Owned by thread_, but for wake().
  std::optional<PortServer> server_;
  std::map<ObjectName, Port> ports_;
  std::map<PortServer::PortId, ObjectName> services_;
  PortServer::PortId next_id_ = 1;
  std::optional<std::chrono::steady_clock::time_point> retry_at_;

  std::thread thread_;
};

Status Servers::start() {
  auto server = PortServer::create(
      {options_.max_connections, options_.io_timeout},
      [this](PortServer::PortId id, HeadState head) { return answer(id, head); });
  if (!server) return server.status();
  server_ = std::move(*server);
  thread_ = std::thread([this] { run(); });
  return Status();
}

Servers::~Servers() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    stop_ = true;
  }
  server_->wake();
  thread_.join();
}

void Servers::reconcile(Desired desired) {
  {
    MutexLock lock(mutex_);
    const auto same_port = [](const auto& a, const auto& b) {
      return a.first == b.first && a.second.port == b.second.port;
    };
    const bool same_ports =
        std::equal(desired.begin(), desired.end(), desired_.begin(), desired_.end(), same_port);
    desired_ = std::move(desired);
    if (same_ports) return;
    ports_changed_ = true;
  }
  server_->wake();
}

void Servers::update(const ObjectName& service, std::optional<ServiceHealthTarget> target) {
  {
    MutexLock lock(mutex_);
    const auto found = desired_.find(service);
    const uint16_t before = found == desired_.end() ? 0 : found->second.port;
    if (target) {
      desired_[service] = *target;
    } else if (found != desired_.end()) {
      desired_.erase(found);
    }
    if (before == (target ? target->port : 0)) return;
    ports_changed_ = true;
  }
  server_->wake();
}

void Servers::set_addresses(std::vector<Address> addresses) {
  {
    MutexLock lock(mutex_);
    if (addresses == addresses_) return;
    addresses_ = std::move(addresses);
    addresses_changed_ = true;
  }
  server_->wake();
}

void Servers::flush() {
  std::future<void> done;
  {
    MutexLock lock(mutex_);
    done = flushes_.emplace_back().get_future();
  }
  server_->wake();
  done.wait();
}

void Servers::run() {
  while (true) {
    std::vector<std::promise<void>> flushes;
    bool sync = false;
    {
      MutexLock lock(mutex_);
      flushes.swap(flushes_);
      sync = ports_changed_ || addresses_changed_ || stop_;
    }
    if (sync || (retry_at_ && *retry_at_ <= std::chrono::steady_clock::now())) sync_ports();
    for (auto& promise : flushes) promise.set_value();
    {
      MutexLock lock(mutex_);
      if (stop_) break;
    }
    server_->run_once(retry_at_);
  }
  server_->close_all();
}

// Closes what is not wanted any more, then opens what is wanted: a port may pass from one service
// to another.
void Servers::sync_ports() {
  std::map<ObjectName, uint16_t> wanted;
  std::vector<Address> addresses;
  bool reopen = false;
  {
    MutexLock lock(mutex_);
    for (const auto& [service, target] : desired_) wanted.emplace(service, target.port);
    addresses = addresses_;
    reopen = std::exchange(addresses_changed_, false);
    ports_changed_ = false;
  }
  std::erase_if(ports_, [&](const auto& entry) {
    const auto& [service, port] = entry;
    const auto found = wanted.find(service);
    if (!reopen && found != wanted.end() && found->second == port.port) return false;
    server_->close(port.id);
    services_.erase(port.id);
    return true;
  });

  std::vector<Failure> failures;
  size_t open = 0;
  for (const auto& [service, number] : wanted) {
    Port& port = ports_[service];
    if (!port.open) {
      if (port.id == 0) {
        port.id = next_id_++;
        port.port = number;
        services_[port.id] = service;
      }
      const Status status = server_->open(port.id, addresses, number);
      port.open = status.ok();
      if (!status.ok() && !std::exchange(port.reported, true)) {
        failures.push_back({service, number, status});
      }
    }
    open += port.open ? 1 : 0;
  }
  open_ports_ = open;
  failed_ports_ = wanted.size() - open;
  retry_at_.reset();
  if (open < wanted.size()) {
    retry_at_ = std::chrono::steady_clock::now() + options_.retry_period;
  }
  for (const Failure& failure : failures) {
    LOG_WARNING("health check port {} of service {}: {}", failure.port, failure.service.to_string(),
                failure.reason.message());
    if (on_bind_failure_) on_bind_failure_(failure.service, failure.port, failure.reason);
  }
}

std::string Servers::answer(PortServer::PortId id, HeadState head) {
  const bool with_body = head != HeadState::kHead;
  if (head == HeadState::kBad) return response(400, "Bad Request", "", "bad request\n", true);
  if (head == HeadState::kOtherMethod) {
    return response(405, "Method Not Allowed", "Allow: GET, HEAD\r\n", "method not allowed\n",
                    true);
  }
  const auto service = services_.find(id);
  size_t local_endpoints = 0;
  bool known = service != services_.end();
  if (known) {
    MutexLock lock(mutex_);
    const auto found = desired_.find(service->second);
    known = found != desired_.end();
    if (known) local_endpoints = found->second.local_endpoints;
  }
  // The port is about to close; a load balancer that still asks must not send anybody here.
  if (!known) return response(503, "Service Unavailable", "", "no such service\n", with_body);
  return service_response(service->second, local_endpoints, keeps_up_(), with_body);
}

}  // namespace

Result<std::unique_ptr<ServiceHealthServers>> ServiceHealthServers::start(
    ServiceHealthOptions options, std::function<bool()> keeps_up, BindFailure on_bind_failure) {
  auto servers = std::make_unique<Servers>(std::move(options), std::move(keeps_up),
                                           std::move(on_bind_failure));
  RETURN_IF_ERROR(servers->start());
  return std::unique_ptr<ServiceHealthServers>(std::move(servers));
}

}  // namespace fairlead::proxy
