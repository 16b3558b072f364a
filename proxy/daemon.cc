#include "proxy/daemon.h"

#include <fmt/format.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/thread_annotations.h"
#include "control/client/config.h"
#include "proxy/config/file_watch.h"
#include "proxy/feed.h"
#include "proxy/mode.h"
#include "proxy/mode_handover.h"
#include "proxy/node_state.h"
#include "proxy/reporter.h"
#include "proxy/runtime/http_endpoints.h"
#include "proxy/runtime/instance_lock.h"
#include "proxy/runtime/sysctl.h"
#include "proxy/sync_loop.h"

namespace fairlead::proxy {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

// Events may come before the API client exists (a listener that cannot bind): they wait.
class EventRelay {
 public:
  void record(const Event& event) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (feed_ != nullptr) {
      feed_->record(event);
    } else {
      early_.push_back(event);
    }
  }
  void connect(Feed* feed) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    feed_ = feed;
    for (const Event& event : std::exchange(early_, {})) {
      if (feed_ != nullptr) feed_->record(event);
    }
  }

 private:
  Mutex mutex_;
  Feed* feed_ GUARDED_BY(mutex_) = nullptr;
  std::vector<Event> early_ GUARDED_BY(mutex_);
};

Result<client::ClientConfig> client_config(const ProxyConfig& config) {
  client::ClientConfig result;
  if (!config.kubeconfig.empty()) {
    ASSIGN_OR_RETURN(result, client::load_kubeconfig(config.kubeconfig));
  } else if (config.master.empty()) {
    ASSIGN_OR_RETURN(result, client::load_in_cluster());
  }
  if (!config.master.empty()) {
    result.server = config.master;
    while (result.server.ends_with('/')) result.server.pop_back();
  }
  result.user_agent = fmt::format("fairlead-proxy/{} (linux/amd64)", FAIRLEAD_VERSION);
  return result;
}

std::optional<std::chrono::seconds> whole_seconds(std::chrono::nanoseconds duration) {
  if (duration.count() == 0) return std::nullopt;
  return duration_cast<std::chrono::seconds>(duration);
}

// The eBPF mode keeps its flows itself: what the kernel's connection tracking holds is others'.
bool uses_conntrack(ProxyMode mode) {
  return mode != ProxyMode::kEbpf;
}

void tune_kernel(const ProxyConfig& config, ProxyMode mode,
                 const std::function<void(const Event&)>& events) {
  const Sysctl sysctl;
  if (const Status status = sysctl.set_oom_score(config.oom_score_adj); !status) {
    LOG_WARNING("{}", status.message());
  }
  if (!uses_conntrack(mode)) return;
  ConntrackSettings settings;
  settings.max_per_core = config.conntrack.max_per_core;
  settings.min = config.conntrack.min;
  settings.tcp_established_timeout = whole_seconds(config.conntrack.tcp_established_timeout);
  settings.tcp_close_wait_timeout = whole_seconds(config.conntrack.tcp_close_wait_timeout);
  settings.tcp_be_liberal = config.conntrack.tcp_be_liberal;
  settings.udp_timeout = duration_cast<std::chrono::seconds>(config.conntrack.udp_timeout);
  settings.udp_stream_timeout =
      duration_cast<std::chrono::seconds>(config.conntrack.udp_stream_timeout);
  const Sysctl::ConntrackOutcome outcome =
      sysctl.apply(settings, std::thread::hardware_concurrency());
  if (outcome.read_only_sysfs) {
    events({EventReason::kReadOnlySysFs,
            "Node",
            {},
            "the conntrack hash size cannot be raised: "
            "sysfs is read-only"});
    LOG_WARNING("sysfs is read-only: the conntrack hash size stays as it is");
  }
  for (const Status& problem : outcome.problems) {
    LOG_WARNING("{}", problem.message());
    events({EventReason::kSysctlFailed, "Node", {}, problem.message()});
  }
}

// What main waits for: signals, a changed configuration file, the end of the sync loop.
class Waiter {
 public:
  // Blocks the signals for this thread and those started later.
  static Result<Waiter> create(const Loaded& loaded);

  // Any thread, once: the sync loop ended and why.
  void sync_ended(Status status) {
    sync_status_ = std::move(status);
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(sync_ended_.get(), &one, sizeof one);
  }
  Status wait();

 private:
  Status config_file_changed();

  const Loaded* loaded_ = nullptr;
  Fd signals_;
  Fd sync_ended_;
  Status sync_status_;  // written before, read after sync_ended_ is signalled
  std::optional<ConfigFileWatch> file_watch_;
};

Result<Waiter> Waiter::create(const Loaded& loaded) {
  Waiter waiter;
  waiter.loaded_ = &loaded;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);  // taken and ignored: a closed terminal must not end a daemon
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  waiter.signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC));
  waiter.sync_ended_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!waiter.signals_.valid() || !waiter.sync_ended_.valid()) {
    return Status::from_errno(errno, "create", "signalfd");
  }
  if (!loaded.config.config_file.empty()) {
    Result<ConfigFileWatch> watch =
        ConfigFileWatch::create(loaded.config.config_file, loaded.config_text);
    if (!watch) return watch.status();
    waiter.file_watch_ = std::move(*watch);
  }
  return waiter;
}

Status Waiter::config_file_changed() {
  const Result<FileChange> change = file_watch_->check();
  if (!change) {
    LOG_WARNING("{}", change.status().message());
    return {};
  }
  const std::string& path = loaded_->config.config_file;
  if (*change == FileChange::kGone) LOG_WARNING("configuration file {} cannot be read now", path);
  if (*change != FileChange::kContent) return {};
  if (loaded_->config.on_config_change == OnConfigChange::kIgnore) {
    LOG_WARNING("configuration file {} changed; it counts from the next start", path);
    return {};
  }
  return Status::error(StatusCode::kConflict, "go on with", path,
                       "its content changed; exiting to be restarted with it");
}

Status Waiter::wait() {
  if (file_watch_) RETURN_IF_ERROR(config_file_changed());
  while (true) {
    pollfd fds[] = {{signals_.get(), POLLIN, 0},
                    {sync_ended_.get(), POLLIN, 0},
                    {file_watch_ ? file_watch_->fd() : -1, POLLIN, 0}};
    if (::poll(fds, std::size(fds), -1) < 0 && errno != EINTR) {
      return Status::from_errno(errno, "poll", "signals");
    }
    if (fds[0].revents != 0) {
      signalfd_siginfo info{};
      if (::read(signals_.get(), &info, sizeof info) == sizeof info && info.ssi_signo != SIGHUP) {
        LOG_INFO("{} received; the rules stay", strsignal(static_cast<int>(info.ssi_signo)));
        return {};
      }
    }
    if (fds[1].revents != 0) return sync_status_;
    if (fds[2].revents != 0) RETURN_IF_ERROR(config_file_changed());
  }
}

std::unique_ptr<ConntrackReconciler> start_conntrack(
    Metrics& metrics, const std::function<void(const Event&)>& events) {
  Result<std::unique_ptr<ConntrackTable>> table = open_kernel_conntrack();
  if (!table) {
    const std::string note = "stale UDP flows will not be cleared: " + table.status().message();
    LOG_WARNING("{}", note);
    events({EventReason::kConntrackUnavailable, "Node", {}, note});
    return nullptr;
  }
  return ConntrackReconciler::start(std::move(*table), {}, [&metrics](const ConntrackPass& pass) {
    const std::string_view family = to_string(pass.family);
    metrics.counter(Metric::kConntrackScanned, {family}).add(static_cast<double>(pass.scanned));
    metrics.counter(Metric::kConntrackDeleted, {family}).add(static_cast<double>(pass.deleted));
    metrics.histogram(Metric::kConntrackDuration, {family})
        .observe(std::chrono::duration<double>(pass.duration).count());
    if (!pass.status) {
      metrics.counter(Metric::kConntrackFailures, {family}).add();
      LOG_WARNING("conntrack: {}", pass.status.message());
    }
  });
}

void tell_families(const FamilyChoice& choice, Metrics& metrics, const EventSink& events) {
  for (const auto family : {dataplane::Family::kIPv4, dataplane::Family::kIPv6}) {
    const bool served = std::count(choice.served.begin(), choice.served.end(), family) != 0;
    metrics.gauge(Metric::kFamilyServed, {to_string(family)}).set(served ? 1 : 0);
  }
  for (const FamilyLeftOut& each : choice.left_out) {
    const std::string note = choice.left_out_note(each);
    LOG_WARNING("{}", note);
    events({EventReason::kFamilyLeftOut, "Node", {}, note});
  }
}

// What goes on beside the syncs on the thread that owns the backend. Its counters read the kernel:
// not on the scraping thread, and not on every sync. And when it has taken over, what other modes
// left goes.
class AttendedBackend final : public dataplane::Backend {
 public:
  AttendedBackend(std::unique_ptr<dataplane::Backend> backend, ModeHandover handover,
                  Metrics& metrics)
      : backend_(std::move(backend)), handover_(std::move(handover)), metrics_(metrics) {}

  std::string_view name() const override { return backend_->name(); }
  Status start(const dataplane::NodeRules& rules) override { return backend_->start(rules); }
  Result<dataplane::Ack> apply(const dataplane::Delta& delta) override {
    Result<dataplane::Ack> ack = backend_->apply(delta);
    if (delta.complete && ack.ok()) {
      taken_over_ = true;
      attend();
    }
    return ack;
  }
  bool disturbed() override {
    attend();  // asked every few seconds
    return backend_->disturbed();
  }
  int wake_fd() const override { return backend_->wake_fd(); }
  Result<dataplane::AuditReport> audit() override { return backend_->audit(); }
  std::vector<dataplane::Counter> counters() override { return backend_->counters(); }
  Result<std::chrono::seconds> release() override { return backend_->release(); }
  Status remove_all() override { return backend_->remove_all(); }

 private:
  void attend() {
    if (taken_over_) handover_.remove_other_modes(std::chrono::steady_clock::now());
    metrics_.set_backend_counters(backend_->counters());
  }

  std::unique_ptr<dataplane::Backend> backend_;
  ModeHandover handover_;
  bool taken_over_ = false;
  Metrics& metrics_;
};

}  // namespace

Status run_daemon(const Loaded& loaded) {
  const ProxyConfig& config = loaded.config;
  // Two arenas are enough for threads that mostly hand over; more only hold memory back.
  ::mallopt(M_ARENA_MAX, 2);

  // Who we are, and that we are alone.
  Result<InstanceLock> lock = InstanceLock::acquire();
  if (!lock) return lock.status();
  std::string name;
  ASSIGN_OR_RETURN(name, node_name(config));
  client::ClientConfig api;
  ASSIGN_OR_RETURN(api, client_config(config));
  Result<Waiter> waiter = Waiter::create(loaded);
  if (!waiter) return waiter.status();

  // The datapath.
  Result<ModeChoice> choice = choose_mode(config);
  if (!choice) return choice.status();
  LOG_INFO("proxy mode {}: {}", to_string(choice->mode), choice->reason);
  const std::vector<dataplane::Family>& families = choice->families.served;

  // What watches over it.
  EventRelay relay;
  const EventSink events = [&relay](const Event& event) { relay.record(event); };
  MetricsOptions metrics_options;
  metrics_options.mode = to_string(choice->mode);
  metrics_options.families = families;
  metrics_options.version = "v" FAIRLEAD_VERSION;
  Metrics metrics(metrics_options);
  Health health({duration_cast<milliseconds>(2 * config.sync_period), families});
  tune_kernel(config, choice->mode, events);
  HttpEndpointsOptions http;
  http.health = config.healthz_bind_address;
  http.metrics = config.metrics_bind_address;
  http.hard_fail = config.bind_address_hard_fail;
  http.mode = to_string(choice->mode);
  http.configuration_json = [&loaded] { return loaded.configz; };
  std::unique_ptr<HttpEndpoints> endpoints;
  ASSIGN_OR_RETURN(endpoints, HttpEndpoints::start(std::move(http), health, metrics, events));
  LOG_INFO("health on port {}, metrics on port {}", endpoints->health_port(),
           endpoints->metrics_port());
  std::unique_ptr<ServiceHealthServers> service_health;
  ASSIGN_OR_RETURN(
      service_health,
      ServiceHealthServers::start(
          {}, [&health] { return health.keeps_up(); },
          [&events](const dataplane::ObjectName& service, uint16_t port, const Status& reason) {
            const std::string note = fmt::format("healthCheckNodePort {} of {}: {}", port,
                                                 service.to_string(), reason.message());
            LOG_WARNING("{}", note);
            events({EventReason::kFailedToStartServiceHealthcheck, "Service", service, note});
          }));
  metrics.before_scrape([&metrics, &service_health] {
    metrics.gauge(Metric::kServiceHealthPorts)
        .set(static_cast<double>(service_health->open_ports()));
    metrics.gauge(Metric::kServiceHealthFailures)
        .set(static_cast<double>(service_health->failed_ports()));
  });
  std::unique_ptr<ConntrackReconciler> conntrack;
  if (uses_conntrack(choice->mode)) conntrack = start_conntrack(metrics, events);

  // The node, the API server, the loop between them.
  std::unique_ptr<AddressWatcher> addresses;
  ASSIGN_OR_RETURN(addresses, AddressWatcher::open());
  NodeState node(config, choice->mode, families);
  Mailbox<FeedMessage> mailbox;
  std::unique_ptr<Feed> feed;
  ASSIGN_OR_RETURN(feed, Feed::start(std::move(api), name, mailbox, metrics));
  relay.connect(feed.get());
  events({EventReason::kStarting, "Node", {}, ""});
  events({EventReason::kModeChosen,
          "Node",
          {},
          fmt::format("{}: {}", to_string(choice->mode), choice->reason)});
  tell_families(choice->families, metrics, events);
  Reporter reporter(metrics, health, events);
  AllBackends others = create_all_backends(config, choice->mode);
  for (const AllBackends::LeftOut& other : others.left_out) {
    LOG_WARNING(
        "if mode {} ran here, what it left stays until --cleanup is run with privileges: {}",
        to_string(other.mode), other.reason.message());
  }
  // The network stack translates a connection only as long as somebody's NAT rules stand. Programs
  // see new connections before it does, so that what others left begins none meanwhile.
  const std::chrono::seconds beside{choice->mode == ProxyMode::kEbpf ? 5 : 0};
  AttendedBackend backend(std::move(choice->backend),
                          ModeHandover(std::move(others.backends), beside), metrics);
  SyncOptions options;
  options.min_sync_period = config.min_sync_period;
  options.sync_period = config.sync_period;
  options.audit_period = config.audit_period;
  options.families = families;
  options.families_left_out = choice->families.left_out;
  SyncLoop loop(std::move(options),
                {&mailbox, &feed->hints(), &backend, &node, addresses.get(), &metrics, &health,
                 &reporter, service_health.get(), conntrack.get()});
  std::thread sync_thread([&] { waiter->sync_ended(loop.run()); });

  const Status ended = waiter->wait();
  loop.stop();
  sync_thread.join();
  relay.connect(nullptr);
  return ended;
}

Status clean_up(const Loaded& loaded) {
  const AllBackends all = create_all_backends(loaded.config);
  StatusCode code = StatusCode::kOk;
  std::string problems;
  const auto note = [&](std::string_view mode, const Status& reason) {
    if (problems.empty()) code = reason.code();
    problems += fmt::format("{}mode {}: {}", problems.empty() ? "" : "; ", mode, reason.message());
  };
  for (const AllBackends::LeftOut& left : all.left_out) note(to_string(left.mode), left.reason);
  for (const auto& backend : all.backends) {
    const Status status = backend->remove_all();
    if (status) {
      LOG_INFO("{}: removed", backend->name());
    } else {
      note(backend->name(), status);
    }
  }
  if (problems.empty()) return {};
  return Status::error(code, "remove all that was installed on", "this node", problems);
}

Status initialize_node(const Loaded& loaded) {
  Status first_problem;
  tune_kernel(loaded.config, loaded.config.mode, [&first_problem](const Event& event) {
    if (event.reason == EventReason::kSysctlFailed && first_problem) {
      first_problem = Status::error(StatusCode::kPermission, "initialize", "node", event.note);
    }
  });
  // After the settings: they are of use to another mode too.
  const Result<ModeChoice> choice = choose_mode(loaded.config);
  if (!choice) return choice.status();
  LOG_INFO("proxy mode {} can run here: {}", to_string(choice->mode), choice->reason);
  for (const FamilyLeftOut& each : choice->families.left_out) {
    LOG_WARNING("{}", choice->families.left_out_note(each));
  }
  return first_problem;
}

}  // namespace fairlead::proxy
