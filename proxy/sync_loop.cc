#include "proxy/sync_loop.h"

#include <malloc.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/log.h"
#include "dataplane/compile.h"

namespace fairlead::proxy {
namespace {

using namespace std::chrono_literals;  // NOLINT: literals only
using dataplane::Ack;
using dataplane::Delta;
using dataplane::EndpointGroup;
using dataplane::EntryPointer;
using dataplane::Family;
using dataplane::Frontend;
using dataplane::ObjectName;
using dataplane::Service;
using std::chrono::nanoseconds;
using std::chrono::steady_clock;

constexpr nanoseconds kFirstRetry = 500ms;
constexpr nanoseconds kMaxRest = 1s;  // between rounds under load
// After a delta this large the allocator holds more free memory than it will need again.
constexpr uint64_t kTrimAfterOperations = 20000;

size_t index_of(Family family) {
  return family == Family::kIPv4 ? 0 : 1;
}

int64_t wall_micros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

SyncLoop::SyncLoop(SyncOptions options, SyncParts parts)
    : options_(std::move(options)),
      parts_(parts),
      stop_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      started_micros_(wall_micros()) {}

void SyncLoop::stop() {
  stopping_ = true;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(stop_fd_.get(), &one, sizeof one);
}

Status SyncLoop::run() {
  parts_.node->set_interface_addresses(parts_.addresses->addresses());
  while (!stopping_) {
    std::array<pollfd, 4> fds = {{{parts_.mailbox->wake_fd(), POLLIN, 0},
                                  {parts_.addresses->fd(), POLLIN, 0},
                                  {stop_fd_.get(), POLLIN, 0},
                                  {parts_.backend->wake_fd(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), wait_milliseconds(steady_clock::now())) < 0 &&
        errno != EINTR) {
      return Status::from_errno(errno, "poll", "sync loop");
    }
    if (fds[1].revents != 0) {
      const Result<bool> changed = parts_.addresses->process();
      if (!changed) LOG_WARNING("{}", changed.status().message());
      if (changed.ok() && *changed) {
        parts_.node->set_interface_addresses(parts_.addresses->addresses());
        node_dirty_ = true;
      }
    }
    if (fds[3].revents != 0 && parts_.backend->disturbed()) {
      next_check_ = next_audit_ = steady_clock::now();  // what it tells of does not wait
    }
    take_messages();
    if (parts_.node->pod_cidrs_changed()) {
      return Status::error(StatusCode::kConflict, "detect local traffic by", "NodeCIDR",
                           "the node's podCIDRs changed; restarting to follow them");
    }
    RETURN_IF_ERROR(check_primary(parts_.node->primary_family(), options_.families_left_out));
    const Time now = steady_clock::now();
    const bool has_work = has_news() || table_.has_pending();
    if (ready(now) && has_work && now >= next_due()) sync(now);
    if (complete_sent_ && now >= next_check_) check(now);
  }
  return {};
}

bool SyncLoop::has_news() const {
  return tracker_.has_changed() || node_dirty_ || !complete_sent_;
}

SyncLoop::Time SyncLoop::next_due() const {
  Time due = std::max(next_sync_, retry_.value_or(next_sync_));
  // Refused entries wait; what is new does not wait for them.
  if (refused_.retry_at() && !has_news()) due = std::max(due, *refused_.retry_at());
  return due;
}

int SyncLoop::wait_milliseconds(Time now) const {
  Time until = now + 1h;
  if (lists_complete_ && (has_news() || table_.has_pending())) {
    until = ready(now) ? next_due() : now + 250ms;
  }
  if (complete_sent_) until = std::min(until, next_check_);
  if (until <= now) return 0;
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(until - now).count());
}

void SyncLoop::take_messages() {
  bool changed = false;
  for (FeedMessage& message : parts_.mailbox->take()) {
    std::visit([this](auto& each) { handle(std::move(each)); }, message);
    changed = true;
  }
  if (changed && (tracker_.has_changed() || node_dirty_)) note_queued();
}

void SyncLoop::note_queued() {
  for (const Family family : options_.families) {
    parts_.health->queued(family);
    parts_.metrics->gauge(Metric::kSyncLastQueuedTimestamp, {to_string(family)})
        .set(static_cast<double>(wall_micros()) / 1e6);
  }
  parts_.metrics->gauge(Metric::kServiceChangesPending).set(service_changes_);
  parts_.metrics->gauge(Metric::kEndpointChangesPending).set(endpoint_changes_);
}

void SyncLoop::handle(ObjectMessage message) {
  if (!oldest_message_) oldest_message_ = message.received;
  switch (message.resource) {
    case Resource::kServices:
      ++service_changes_;
      parts_.metrics->counter(Metric::kServiceChanges).add();
      if (message.service) {
        tracker_.put_service(std::move(*message.service));
      } else {
        tracker_.remove_service(message.name);
      }
      break;
    case Resource::kEndpointSlices:
      ++endpoint_changes_;
      parts_.metrics->counter(Metric::kEndpointChanges).add();
      if (message.slice) {
        tracker_.put_slice(std::move(*message.slice));
      } else {
        tracker_.remove_slice(message.name.name_space, message.name.name);
      }
      break;
    case Resource::kNode:
      node_dirty_ = true;
      if (message.node) {
        node_known_ = true;
        parts_.health->set_node(*message.node);
        for (api::Problem& problem : parts_.node->set_node(*message.node)) {
          message.problems.push_back(std::move(problem));
        }
      } else {
        parts_.health->set_node_gone();
      }
      break;
    case Resource::kServiceCidrs: {
      node_dirty_ = true;
      if (message.service_cidr) {
        service_cidrs_[message.name.name] = std::move(*message.service_cidr);
      } else {
        service_cidrs_.erase(message.name.name);
      }
      std::vector<api::ServiceCidr> all;
      for (const auto& [name, cidr] : service_cidrs_) all.push_back(cidr);
      for (api::Problem& problem : parts_.node->set_service_cidrs(all)) {
        if (problem.field.starts_with(message.name.name + ":")) {
          message.problems.push_back(std::move(problem));
        }
      }
      break;
    }
  }
  parts_.reporter->object(message.resource, message.name, message.removed, message.problems);
}

void SyncLoop::handle(const ListedMessage& message) {
  listed_.insert(message.resource);
  if (!lists_complete_ && listed_.contains(Resource::kServices) &&
      listed_.contains(Resource::kEndpointSlices)) {
    lists_complete_ = steady_clock::now();
    LOG_INFO("listed {} services and {} endpoint slices", tracker_.services(), tracker_.slices());
  }
}

void SyncLoop::handle(const ConnectionMessage& message) {
  parts_.reporter->connection(message.resource, message.status);
}

void SyncLoop::handle(const MalformedMessage& message) {
  parts_.reporter->malformed(message.resource, message.reason);
}

bool SyncLoop::ready(Time now) const {
  if (!lists_complete_ || !parts_.node->complete()) return false;
  return node_known_ || now - *lists_complete_ >= options_.node_patience;
}

// The view that compile() has, and the rules that the backend has, follow the node.
void SyncLoop::refresh_node(Delta& delta) {
  if (!node_dirty_) return;
  dataplane::CompileView view = parts_.node->view();
  if (!(view == view_) || parts_.node->zone() != zone_) {
    view_ = std::move(view);
    zone_ = parts_.node->zone();
    tracker_.mark_all();
  }
  dataplane::NodeRules rules = parts_.node->rules();
  if (!rules_ || !(rules == *rules_)) {
    delta.node = std::make_shared<const dataplane::NodeRules>(std::move(rules));
    if (parts_.service_health != nullptr) {
      parts_.service_health->set_addresses(parts_.node->rules().node_port_addresses);
    }
  }
}

void SyncLoop::sync(Time now) {
  Delta delta;
  refresh_node(delta);
  const Time compile_start = steady_clock::now();
  compile_changed();
  parts_.metrics->histogram(Metric::kCompileDuration)
      .observe(in_seconds(steady_clock::now() - compile_start));

  if (!rules_) {
    if (const Status started = parts_.backend->start(*delta.node); !started) {
      failed(started, now);
      return;
    }
    rules_ = std::exchange(delta.node, nullptr);
  }
  const std::shared_ptr<const dataplane::NodeRules> new_rules = delta.node;
  Delta pending = table_.pending();
  pending.node = std::move(delta.node);
  pending.complete = !complete_sent_;
  refused_.hold_back(pending, now);
  pending.generation = ++generation_;
  parts_.metrics->gauge(Metric::kPendingGeneration).set(static_cast<double>(generation_));
  const Time apply_start = steady_clock::now();
  if (parts_.conntrack != nullptr) parts_.conntrack->announce(conntrack_);
  const Result<Ack> ack = parts_.backend->apply(pending);
  const nanoseconds took = steady_clock::now() - apply_start;
  if (!ack) {
    failed(ack.status(), now);
    return;
  }
  if (new_rules) rules_ = new_rules;
  node_dirty_ = false;
  acknowledged(pending, *ack, now, took);
  // Rest as long as the round took, unless told how long: bursts gather meanwhile.
  const Time end = steady_clock::now();
  next_sync_ = options_.min_sync_period ? now + *options_.min_sync_period
                                        : end + std::min(end - now, Time::duration(kMaxRest));
}

void SyncLoop::compile_changed() {
  for (const ObjectName& name : tracker_.take_changed()) compile_one(name);
}

void SyncLoop::compile_one(const ObjectName& name) {
  const Service* const service = tracker_.service(name);
  const std::vector<EndpointGroup> groups = tracker_.groups(name, *parts_.hints, zone_);
  const std::vector<EntryPointer> before = table_.find_service(name);
  table_.replace(name, service != nullptr ? dataplane::compile(*service, groups, view_)
                                          : std::vector<dataplane::ForwardingEntry>());
  const std::vector<EntryPointer> after = table_.find_service(name);
  if (service != nullptr) report_unserved(*service);
  report_health_port(name, service, groups);
  queue_conntrack(before, after, groups);
  count_missing_local(name, after);
  for (const int64_t micros : tracker_.take_trigger_times(name)) {
    if (micros < started_micros_) continue;
    for (const Family family : options_.families) {
      const bool concerned = std::any_of(after.begin(), after.end(), [family](const auto& entry) {
        return entry->key.family == family;
      });
      if (concerned) trigger_times_.emplace_back(family, micros);
    }
  }
}

void SyncLoop::report_unserved(const Service& service) {
  for (const dataplane::Address& address : service.cluster_ips) {
    const auto& served = options_.families;
    if (std::find(served.begin(), served.end(), address.family()) == served.end()) {
      parts_.reporter->unserved(address.family(), service.name);
    }
  }
}

// The load balancer is told before the rules change: it should stop sending first.
void SyncLoop::report_health_port(const ObjectName& name, const Service* service,
                                  const std::vector<EndpointGroup>& groups) {
  if (parts_.service_health == nullptr) return;
  if (service != nullptr && service->health_check_node_port != 0) {
    parts_.service_health->update(
        name, ServiceHealthTarget{service->health_check_node_port,
                                  dataplane::count_local_ready_addresses(groups)});
  } else {
    parts_.service_health->update(name, std::nullopt);
  }
}

void SyncLoop::queue_conntrack(const std::vector<EntryPointer>& before,
                               const std::vector<EntryPointer>& after,
                               const std::vector<EndpointGroup>& groups) {
  if (parts_.conntrack == nullptr) return;
  const auto same_entry = [](const std::vector<EntryPointer>& entries,
                             const dataplane::EntryKey& key) -> EntryPointer {
    const auto found = std::find_if(entries.begin(), entries.end(),
                                    [&](const EntryPointer& e) { return e->key == key; });
    return found == entries.end() ? nullptr : *found;
  };
  // First what nobody has any more, so that a frontend which another entry took over counts for
  // that.
  for (const EntryPointer& entry : before) {
    if (!conntrack_handles(entry->key.protocol)) continue;
    const EntryPointer now = same_entry(after, entry->key);
    if (!now || now->frontends != entry->frontends) conntrack_.add(*entry, nullptr);
  }
  for (const EntryPointer& entry : after) {
    if (!conntrack_handles(entry->key.protocol)) continue;
    const EntryPointer was = same_entry(before, entry->key);
    if (was && *was == *entry) continue;
    auto targets = std::make_shared<std::vector<dataplane::SocketAddress>>();
    for (const EndpointGroup& group : groups) {
      if (group.port_name != entry->key.port_name || group.protocol != entry->key.protocol ||
          group.family != entry->key.family) {
        continue;
      }
      for (const dataplane::Endpoint& endpoint : group.endpoints) {
        if (endpoint.ready || endpoint.serving) targets->push_back(endpoint.target);
      }
    }
    conntrack_.add(*entry, targets);
  }
}

void SyncLoop::count_missing_local(const ObjectName& name,
                                   const std::vector<EntryPointer>& entries) {
  MissingLocal missing;
  for (const EntryPointer& entry : entries) {
    if (!entry->local.targets.empty() ||
        entry->local.when_empty != dataplane::EmptyVerdict::kDrop) {
      continue;
    }
    bool internal = false;
    bool external = false;
    for (const Frontend& frontend : entry->frontends) {
      const bool local =
          frontend.route(dataplane::SourceClass::kOther).choice == dataplane::Choice::kLocal;
      (frontend.kind == dataplane::FrontendKind::kClusterIp ? internal : external) |= local;
    }
    const size_t family = index_of(entry->key.family);
    missing.internal[family] = static_cast<uint8_t>(missing.internal[family] + internal);
    missing.external[family] = static_cast<uint8_t>(missing.external[family] + external);
  }
  const auto known = missing_local_.find(name);
  const MissingLocal before = known == missing_local_.end() ? MissingLocal() : known->second;
  if (missing == before) return;
  for (size_t family = 0; family < 2; ++family) {
    missing_totals_[0][family] += missing.internal[family] - before.internal[family];
    missing_totals_[1][family] += missing.external[family] - before.external[family];
  }
  if (missing == MissingLocal()) {
    missing_local_.erase(known);
  } else {
    missing_local_[name] = missing;
  }
}

void SyncLoop::acknowledged(const Delta& delta, const Ack& ack, Time snapshot, nanoseconds took) {
  std::vector<dataplane::EntryKey> refused;
  for (const dataplane::Refusal& refusal : ack.refused) refused.push_back(refusal.key);
  table_.acknowledge(delta, refused);
  parts_.reporter->refusals(refused_.note(delta, ack, steady_clock::now() + options_.sync_period));
  parts_.reporter->conflicts(table_.conflicts());
  parts_.reporter->sync_worked();
  retry_.reset();
  retry_delay_ = {};

  Metrics& metrics = *parts_.metrics;
  const Time end = steady_clock::now();
  const double now_seconds = static_cast<double>(wall_micros()) / 1e6;
  std::array<double, 2> entries{};
  for (const EntryPointer& entry :
       delta.complete ? table_.entries() : std::vector<EntryPointer>()) {
    ++entries[index_of(entry->key.family)];
  }
  for (const Family family : options_.families) {
    const std::string_view label = to_string(family);
    metrics.histogram(Metric::kSyncDuration, {label}).observe(in_seconds(end - snapshot));
    metrics
        .histogram(delta.complete ? Metric::kSyncFullDuration : Metric::kSyncPartialDuration,
                   {label})
        .observe(in_seconds(end - snapshot));
    metrics.gauge(Metric::kSyncLastTimestamp, {label}).set(now_seconds);
    if (delta.complete) {
      metrics.gauge(Metric::kTableEntries, {label}).set(entries[index_of(family)]);
    }
    const auto missing = [&](size_t policy) {
      return static_cast<double>(missing_totals_[policy][index_of(family)]);
    };
    metrics.gauge(Metric::kNoLocalEndpoints, {label, "internal"}).set(missing(0));
    metrics.gauge(Metric::kNoLocalEndpoints, {label, "external"}).set(missing(1));
    parts_.health->applied(family, snapshot);
  }
  metrics.histogram(Metric::kApplyDuration).observe(in_seconds(took));
  metrics.counter(Metric::kBackendOperations).add(static_cast<double>(ack.operations));
  metrics.gauge(Metric::kAcknowledgedGeneration).set(static_cast<double>(ack.generation));
  metrics.gauge(Metric::kServiceChangesPending).set(0);
  metrics.gauge(Metric::kEndpointChangesPending).set(0);
  service_changes_ = endpoint_changes_ = 0;
  if (oldest_message_) {
    metrics.histogram(Metric::kWatchToKernel).observe(in_seconds(end - *oldest_message_));
    oldest_message_.reset();
  }
  for (const auto& [family, micros] : trigger_times_) {
    metrics.histogram(Metric::kNetworkProgrammingDuration, {to_string(family)})
        .observe(now_seconds - static_cast<double>(micros) / 1e6);
  }
  trigger_times_.clear();
  if (parts_.conntrack != nullptr && !conntrack_.changes.empty()) {
    conntrack_.node_addresses = parts_.node->local_addresses();
    parts_.conntrack->post(std::exchange(conntrack_, {}));
  }
  if (delta.complete) {
    complete_sent_ = true;
    next_check_ = end + check_period();
    parts_.health->first_sync_done();
    metrics.gauge(Metric::kFirstSyncDone).set(1);
    LOG_INFO("first sync: {} service ports, {} kernel objects changed, {:.0f} ms", table_.size(),
             ack.operations, in_seconds(end - snapshot) * 1e3);
  } else {
    LOG_V(2, "sync {}: {} upserted, {} removed, {} kernel objects, {:.2f} ms", ack.generation,
          delta.upserted.size(), delta.removed.size(), ack.operations,
          in_seconds(end - snapshot) * 1e3);
  }
  // A restart changes next to nothing but has read the whole table.
  if (delta.complete || ack.operations > kTrimAfterOperations) ::malloc_trim(0);
}

void SyncLoop::failed(const Status& reason, Time now) {
  parts_.reporter->sync_failed(reason);
  for (const Family family : options_.families) {
    // Does nothing in other modes; the iptables mode counts its failed runs itself.
    parts_.metrics->counter(Metric::kNftablesSyncFailures, {to_string(family)}).add();
  }
  retry_delay_ =
      std::clamp(2 * retry_delay_, kFirstRetry, std::max(kFirstRetry, options_.sync_period));
  retry_ = now + retry_delay_;
  refused_.release();  // they are tried with everything else then
}

nanoseconds SyncLoop::check_period() const {
  if (options_.audit_period.count() == 0) return options_.check_period;
  return std::min(options_.audit_period, options_.check_period);
}

void SyncLoop::check(Time now) {
  next_check_ = now + check_period();
  if (parts_.backend->disturbed() && now >= next_audit_) audit(now);
}

void SyncLoop::audit(Time now) {
  const Result<dataplane::AuditReport> report = parts_.backend->audit();
  const Time end = steady_clock::now();
  const nanoseconds period =
      options_.audit_period.count() == 0 ? options_.check_period : options_.audit_period;
  const double rest = static_cast<double>((end - now).count()) / options_.audit_share;
  next_audit_ =
      end + (rest < static_cast<double>(period.count()) ? nanoseconds(static_cast<int64_t>(rest))
                                                        : period);
  parts_.metrics->histogram(Metric::kAuditDuration).observe(in_seconds(end - now));
  if (!report) {
    LOG_WARNING("audit: {}", report.status().message());
    return;
  }
  parts_.reporter->repaired(*report);
  if (report->needs_complete) {
    table_.forget_acknowledged();
    complete_sent_ = false;
  }
}

}  // namespace fairlead::proxy
