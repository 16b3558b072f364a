#include "proxy/feed.h"

#include <array>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "base/log.h"
#include "control/api/decode.h"
#include "control/client/client.h"
#include "control/client/event_recorder.h"
#include "control/client/reflector.h"

namespace fairlead::proxy {
namespace {

using client::Client;
using client::Reflector;
using dataplane::ObjectName;

constexpr std::chrono::milliseconds kStatisticsPeriod{5000};

struct ResourceRow {
  Resource resource;
  std::string_view label;
  std::string_view kind;
  std::string_view api_version;
  std::string_view path;
  bool filtered;  // by the labels that keep objects from service proxies
};
constexpr std::array<ResourceRow, 4> kResources = {{
    {Resource::kServices, "services", "Service", "v1", "/api/v1/services", true},
    {Resource::kEndpointSlices, "endpointslices", "EndpointSlice", "discovery.k8s.io/v1",
     "/apis/discovery.k8s.io/v1/endpointslices", true},
    {Resource::kNode, "nodes", "Node", "v1", "/api/v1/nodes", false},
    {Resource::kServiceCidrs, "servicecidrs", "ServiceCIDR", "networking.k8s.io/v1",
     "/apis/networking.k8s.io/v1/servicecidrs", false},
}};

const ResourceRow& row_of(Resource resource) {
  return kResources[static_cast<size_t>(resource)];
}

// Turns one resource's objects into messages.
class Sink final : public client::ReflectorSink {
 public:
  using Convert = std::function<Status(const api::RawObject&, ObjectMessage&)>;

  Sink(Resource resource, Mailbox<FeedMessage>& mailbox, Metrics& metrics, Convert convert)
      : resource_(resource),
        mailbox_(mailbox),
        convert_(std::move(convert)),
        connected_(metrics.gauge(Metric::kReflectorConnected, {to_string(resource)})) {}

  void on_upsert(const api::RawObject& object) override {
    ObjectMessage message;
    message.resource = resource_;
    message.name = {object.name_space, object.name};
    message.received = std::chrono::steady_clock::now();
    if (const Status status = convert_(object, message); !status) {
      // What it was before stays in force.
      mailbox_.post(MalformedMessage{resource_, status});
      return;
    }
    mailbox_.post(std::move(message));
  }

  void on_remove(const std::string& name_space, const std::string& name) override {
    ObjectMessage message;
    message.resource = resource_;
    message.name = {name_space, name};
    message.removed = true;
    message.received = std::chrono::steady_clock::now();
    mailbox_.post(std::move(message));
  }

  void on_listed() override { mailbox_.post(ListedMessage{resource_}); }
  void on_unsupported() override { mailbox_.post(ListedMessage{resource_}); }
  void on_malformed(const Status& reason) override {
    mailbox_.post(MalformedMessage{resource_, reason});
  }
  void on_health(const Status& status) override {
    connected_.set(status ? 1 : 0);
    mailbox_.post(ConnectionMessage{resource_, status});
  }

 private:
  const Resource resource_;
  Mailbox<FeedMessage>& mailbox_;
  const Convert convert_;
  const Gauge connected_;
};

class FeedImpl final : public Feed {
 public:
  FeedImpl(std::unique_ptr<Client> client, std::string node_name,
           std::unique_ptr<client::EventRecorder> recorder, Metrics& metrics)
      : client_(std::move(client)),
        recorder_(std::move(recorder)),
        metrics_(metrics),
        node_name_(std::move(node_name)) {}

  ~FeedImpl() override {
    client_->stop();
    if (thread_.joinable()) thread_.join();
    reflectors_.clear();
    recorder_.reset();
  }

  void begin(Mailbox<FeedMessage>& mailbox);
  void record(const Event& event) override;
  const ZoneHints& hints() const override { return hints_; }

 private:
  Status convert(Resource resource, const api::RawObject& raw, ObjectMessage& message);
  void add(Resource resource, Mailbox<FeedMessage>& mailbox);
  void observe_requests();
  void report_statistics();

  std::unique_ptr<Client> client_;
  std::unique_ptr<client::EventRecorder> recorder_;
  Metrics& metrics_;
  const std::string node_name_;
  api::Decoder decoder_;
  ZoneHints hints_;
  std::vector<std::unique_ptr<Sink>> sinks_;
  std::vector<std::pair<Resource, std::unique_ptr<Reflector>>> reflectors_;
  std::thread thread_;
};

Status FeedImpl::convert(Resource resource, const api::RawObject& raw, ObjectMessage& message) {
  switch (resource) {
    case Resource::kServices: {
      Result<api::Decoded<api::Service>> decoded = decoder_.service(raw.json);
      if (!decoded) return decoded.status();
      message.problems = std::move(decoded->problems);
      message.service = convert_service(decoded->object, message.problems);
      return {};
    }
    case Resource::kEndpointSlices: {
      Result<api::Decoded<api::EndpointSlice>> decoded = decoder_.endpoint_slice(raw.json);
      if (!decoded) return decoded.status();
      message.problems = std::move(decoded->problems);
      message.slice = convert_slice(decoded->object, node_name_, hints_, message.problems);
      return {};
    }
    case Resource::kNode: {
      Result<api::Decoded<api::Node>> decoded = decoder_.node(raw.json);
      if (!decoded) return decoded.status();
      message.problems = std::move(decoded->problems);
      message.node = std::move(decoded->object);
      return {};
    }
    case Resource::kServiceCidrs: {
      Result<api::Decoded<api::ServiceCidr>> decoded = decoder_.service_cidr(raw.json);
      if (!decoded) return decoded.status();
      message.problems = std::move(decoded->problems);
      message.service_cidr = std::move(decoded->object);
      return {};
    }
  }
  return {};
}

void FeedImpl::add(Resource resource, Mailbox<FeedMessage>& mailbox) {
  const ResourceRow& row = row_of(resource);
  client::ReflectorOptions options;
  options.path = row.path;
  if (row.filtered) {
    options.label_selector =
        "!" + std::string(kServiceProxyNameLabel) + ",!" + std::string(kHeadlessLabel);
  }
  if (resource == Resource::kNode) options.field_selector = "metadata.name=" + node_name_;
  sinks_.push_back(
      std::make_unique<Sink>(resource, mailbox, metrics_,
                             [this, resource](const api::RawObject& raw, ObjectMessage& message) {
                               return convert(resource, raw, message);
                             }));
  reflectors_.emplace_back(resource,
                           Reflector::create(*client_, std::move(options), *sinks_.back()));
}

void FeedImpl::observe_requests() {
  struct Handles {
    std::map<std::string, Counter> requests;
    std::map<std::string, Histogram> durations;
  };
  client_->set_request_observer(
      [this, handles = std::make_shared<Handles>()](const Client::RequestReport& report) {
        const std::string code = report.code == 0 ? "<error>" : std::to_string(report.code);
        const std::string request_key = code + report.method + report.host;
        auto request = handles->requests.find(request_key);
        if (request == handles->requests.end()) {
          request = handles->requests
                        .emplace(request_key, metrics_.counter(Metric::kRestRequests,
                                                               {code, report.method, report.host}))
                        .first;
        }
        request->second.add();
        const std::string duration_key = report.verb + report.host;
        auto duration = handles->durations.find(duration_key);
        if (duration == handles->durations.end()) {
          duration = handles->durations
                         .emplace(duration_key, metrics_.histogram(Metric::kRestDuration,
                                                                   {report.verb, report.host}))
                         .first;
        }
        duration->second.observe(std::chrono::duration<double>(report.duration).count());
      });
}

void FeedImpl::report_statistics() {
  for (const auto& [resource, reflector] : reflectors_) {
    const std::string_view label = to_string(resource);
    const Reflector::Statistics statistics = reflector->statistics();
    metrics_.counter(Metric::kReflectorLists, {label})
        .raise_to(static_cast<double>(statistics.lists));
    metrics_.counter(Metric::kReflectorWatches, {label})
        .raise_to(static_cast<double>(statistics.watches));
    metrics_.counter(Metric::kReflectorExpired, {label})
        .raise_to(static_cast<double>(statistics.expired));
    metrics_.counter(Metric::kReflectorFailures, {label})
        .raise_to(static_cast<double>(statistics.failures));
    metrics_.gauge(Metric::kReflectorObjects, {label}).set(static_cast<double>(statistics.objects));
  }
  const client::EventRecorder::Statistics events = recorder_->statistics();
  metrics_.counter(Metric::kEvents, {"sent"})
      .raise_to(static_cast<double>(events.created + events.updated));
  metrics_.counter(Metric::kEvents, {"dropped"})
      .raise_to(static_cast<double>(events.dropped_full + events.dropped_rate));
  metrics_.counter(Metric::kEvents, {"failed"}).raise_to(static_cast<double>(events.failed));
  client_->after(kStatisticsPeriod, [this] { report_statistics(); });
}

void FeedImpl::begin(Mailbox<FeedMessage>& mailbox) {
  for (const ResourceRow& row : kResources) add(row.resource, mailbox);
  observe_requests();
  client_->post([this] {
    for (const auto& [resource, reflector] : reflectors_) reflector->start();
    report_statistics();
  });
  thread_ = std::thread([this] { client_->run(); });
}

void FeedImpl::record(const Event& event) {
  const EventInfo& info = event_info(event.reason);
  client::Event out;
  out.regarding.kind = event.kind;
  out.regarding.name_space = event.object.name_space;
  out.regarding.name = event.object.name.empty() ? node_name_ : event.object.name;
  out.regarding.api_version = "v1";
  for (const ResourceRow& row : kResources) {
    if (row.kind == event.kind) out.regarding.api_version = row.api_version;
  }
  // A node's events are found by its name as uid: the kubelet's convention.
  if (event.kind == "Node") out.regarding.uid = out.regarding.name;
  out.type =
      info.type == EventType::kWarning ? client::EventType::kWarning : client::EventType::kNormal;
  out.reason = info.reason;
  out.action = info.action;
  out.note = event.note;
  recorder_->record(std::move(out));
}

}  // namespace

std::string_view to_string(Resource resource) {
  return row_of(resource).label;
}
std::string_view kind_of(Resource resource) {
  return row_of(resource).kind;
}

Result<std::unique_ptr<Feed>> Feed::start(client::ClientConfig config, std::string node_name,
                                          Mailbox<FeedMessage>& mailbox, Metrics& metrics) {
  std::unique_ptr<Client> api_client;
  ASSIGN_OR_RETURN(api_client, Client::create(std::move(config)));
  client::EventRecorderOptions options;
  options.reporting_controller = "kube-proxy";  // what people filter by
  options.reporting_instance = "kube-proxy-" + node_name;
  std::unique_ptr<client::EventRecorder> recorder;
  ASSIGN_OR_RETURN(recorder, client::EventRecorder::create(*api_client, std::move(options)));
  auto feed = std::make_unique<FeedImpl>(std::move(api_client), std::move(node_name),
                                         std::move(recorder), metrics);
  feed->begin(mailbox);
  return std::unique_ptr<Feed>(std::move(feed));
}

}  // namespace fairlead::proxy
