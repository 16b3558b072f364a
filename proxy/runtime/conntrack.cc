#include "proxy/runtime/conntrack.h"

#include <poll.h>

#include <algorithm>
#include <deque>
#include <future>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/log.h"
#include "base/mailbox.h"
#include "base/thread_annotations.h"

namespace fairlead::proxy {
namespace {

using dataplane::Address;
using dataplane::Family;
using dataplane::Protocol;
using dataplane::SocketAddress;
using SteadyClock = std::chrono::steady_clock;

struct SocketAddressHash {
  size_t operator()(const SocketAddress& address) const { return dataplane::stable_hash(address); }
};

// Who may answer for each frontend, for one family and protocol: built once a pass, asked once a
// flow.
class Wanted {
 public:
  void add(const SocketAddress& frontend, const ConntrackTargets& targets) {
    if (frontend.address.is_unspecified()) {
      has_node_port_ = true;
    } else if (frontends_.empty() || one_address_ == frontend.address) {
      one_address_ = frontend.address;
    } else {
      one_address_.reset();
    }
    frontends_.emplace(frontend, sorted(targets));
  }

  bool empty() const { return frontends_.empty(); }
  size_t size() const { return frontends_.size(); }
  // The one original destination that any of our flows can have, if there is only one.
  std::optional<Address> sole_destination() const {
    return has_node_port_ ? std::nullopt : one_address_;
  }

  // The frontend that the flow goes to if nobody there answers it any more; null when it is to
  // stay. `on_node` tells whether an address is one on which node ports answer.
  template <typename OnNode>
  const SocketAddress* stale_at(const ConntrackFlow& flow, OnNode on_node) const {
    const SocketAddress& destination = flow.original.destination;
    auto found = frontends_.find(destination);
    if (found == frontends_.end()) {
      if (!has_node_port_ || !on_node(destination.address)) return nullptr;
      const Address any = destination.address.is_v4() ? Address() : Address::v6({});
      found = frontends_.find({any, destination.port});
      if (found == frontends_.end()) return nullptr;
    }
    const Sorted& targets = *found->second;
    const bool serves = std::binary_search(targets.begin(), targets.end(), flow.reply.source);
    return serves ? nullptr : &found->first;
  }

 private:
  using Sorted = std::vector<SocketAddress>;

  // The frontends of a service share their targets: each list is sorted once.
  const Sorted* sorted(const ConntrackTargets& targets) {
    const auto [entry, is_new] = by_source_.emplace(targets.get(), nullptr);
    if (is_new) {
      Sorted& copy = lists_.emplace_back(targets ? *targets : Sorted());
      std::sort(copy.begin(), copy.end());
      entry->second = &copy;
    }
    return entry->second;
  }

  std::unordered_map<SocketAddress, const Sorted*, SocketAddressHash> frontends_;
  std::unordered_map<const void*, const Sorted*> by_source_;
  std::deque<Sorted> lists_;
  std::optional<Address> one_address_;
  bool has_node_port_ = false;
};

// Frontends whose rules are being changed.
class Announcements {
 public:
  void announce(const ConntrackRequest& request) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    ++last_;
    for (const ConntrackChange& change : request.changes) changing_[change.frontend] = last_;
  }
  // What has been announced so far is told by the request that is posted now.
  uint64_t last() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return last_;
  }
  // The change is known that was announced at `number` or before.
  void settle(const ConntrackRequest& request, uint64_t number) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    for (const ConntrackChange& change : request.changes) {
      const auto found = changing_.find(change.frontend);
      if (found != changing_.end() && found->second <= number) changing_.erase(found);
    }
  }
  bool contains(const ConntrackFrontend& frontend) const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return changing_.contains(frontend);
  }

 private:
  mutable Mutex mutex_;
  uint64_t last_ GUARDED_BY(mutex_) = 0;
  std::map<ConntrackFrontend, uint64_t> changing_ GUARDED_BY(mutex_);
};

class Reconciler final : public ConntrackReconciler {
 public:
  Reconciler(std::unique_ptr<ConntrackTable> table, ConntrackOptions options,
             std::function<void(const ConntrackPass&)> observer)
      : table_(std::move(table)), options_(options), observer_(std::move(observer)) {
    thread_ = std::thread([this] { run(); });
  }

  ~Reconciler() override {
    mailbox_.post(Message{{}, 0, {}, true});
    thread_.join();
  }

  void announce(const ConntrackRequest& request) override { announcements_.announce(request); }

  void post(ConntrackRequest request) override {
    mailbox_.post(Message{std::move(request), announcements_.last(), {}, false});
  }

  void flush() override {
    auto done = std::make_shared<std::promise<void>>();
    auto future = done->get_future();
    mailbox_.post(Message{{}, 0, std::move(done), false});
    future.wait();
  }

 private:
  struct Message {
    ConntrackRequest request;
    uint64_t announced = 0;  // up to which announcement it tells
    std::shared_ptr<std::promise<void>> flushed;
    bool stop = false;
  };

  struct Pending {
    ConntrackTargets targets;
    SteadyClock::time_point since;
  };

  void run();
  void wait() const;
  void merge(ConntrackRequest request, uint64_t announced);
  bool may_yet_be_answered(const ConntrackFlow& flow, const Pending& change) const {
    return !flow.answered && flow.reply.source != flow.original.destination &&
           SteadyClock::now() < change.since + options_.answer_patience;
  }
  bool reconcile(Family family);
  void reconcile(Protocol protocol, const Wanted& wanted, ConntrackPass& pass);

  const std::unique_ptr<ConntrackTable> table_;
  const ConntrackOptions options_;
  const std::function<void(const ConntrackPass&)> observer_;
  Mailbox<Message> mailbox_;
  Announcements announcements_;

  // Owned by thread_.
  std::map<ConntrackFrontend, Pending> pending_;
  std::set<ConntrackFrontend> waiting_;  // of the pass at hand: some flow may yet be answered
  std::unordered_set<SocketAddress, SocketAddressHash> node_addresses_;  // port 0
  std::optional<SteadyClock::time_point> retry_at_;
  std::chrono::milliseconds backoff_{0};

  std::thread thread_;  // last: it uses all of the above
};

void Reconciler::wait() const {
  int timeout = -1;
  if (retry_at_) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*retry_at_ - SteadyClock::now());
    timeout = static_cast<int>(std::max<int64_t>(left.count(), 0));
  }
  pollfd poll_fd{mailbox_.wake_fd(), POLLIN, 0};
  ::poll(&poll_fd, 1, timeout);
}

void Reconciler::merge(ConntrackRequest request, uint64_t announced) {
  announcements_.settle(request, announced);
  for (ConntrackChange& change : request.changes) {
    if (!conntrack_handles(change.frontend.protocol)) continue;
    // Who changes again and again does not wait for ever.
    const auto [pending, is_new] = pending_.try_emplace(change.frontend);
    pending->second.targets = std::move(change.targets);
    if (is_new) pending->second.since = SteadyClock::now();
  }
  if (!request.node_addresses.empty()) {
    node_addresses_.clear();
    for (const Address& address : request.node_addresses) node_addresses_.insert({address, 0});
  }
}

void Reconciler::run() {
  while (true) {
    wait();
    std::vector<std::shared_ptr<std::promise<void>>> flushed;
    bool stop = false;
    for (Message& message : mailbox_.take()) {
      merge(std::move(message.request), message.announced);
      if (message.flushed) flushed.push_back(std::move(message.flushed));
      stop = stop || message.stop;
    }
    if (!stop && !pending_.empty()) {
      const bool v4 = reconcile(Family::kIPv4);
      const bool v6 = reconcile(Family::kIPv6);
      if (v4 && v6) {
        backoff_ = {};
        retry_at_.reset();
        for (const auto& [frontend, change] : pending_) {
          const auto at = change.since + options_.answer_patience;
          retry_at_ = std::min(retry_at_.value_or(at), at);
        }
      } else {
        backoff_ = std::clamp(backoff_ * 2, options_.backoff_min, options_.backoff_max);
        retry_at_ = SteadyClock::now() + backoff_;
      }
    }
    for (const auto& promise : flushed) promise->set_value();
    if (stop) return;
  }
}

// True when nothing of `family` is left to do but to wait for answers.
bool Reconciler::reconcile(Family family) {
  std::map<Protocol, Wanted> wanted;
  ConntrackPass pass;
  pass.family = family;
  for (const auto& [frontend, change] : pending_) {
    if (frontend.address.address.family() != family) continue;
    wanted[frontend.protocol].add(frontend.address, change.targets);
    ++pass.frontends;
  }
  if (wanted.empty()) return true;

  waiting_.clear();
  const auto start = SteadyClock::now();
  for (const auto& [protocol, frontends] : wanted) reconcile(protocol, frontends, pass);
  pass.duration = SteadyClock::now() - start;
  if (pass.status.ok()) {
    std::erase_if(pending_, [&](const auto& change) {
      return change.first.address.address.family() == family && !waiting_.contains(change.first);
    });
  }
  if (observer_) observer_(pass);
  return pass.status.ok();
}

void Reconciler::reconcile(Protocol protocol, const Wanted& wanted, ConntrackPass& pass) {
  const auto on_node = [this](const Address& address) {
    return node_addresses_.contains({address, 0});
  };
  Status first_failure;
  const auto visit = [&](const ConntrackFlow& flow) {
    ++pass.scanned;
    // Services are translated in the default zone; other zones are somebody else's.
    if (flow.zone != 0) return true;
    const SocketAddress* const frontend = wanted.stale_at(flow, on_node);
    if (frontend == nullptr || announcements_.contains({protocol, *frontend})) return true;
    if (may_yet_be_answered(flow, pending_.at({protocol, *frontend}))) {
      waiting_.insert({protocol, *frontend});
      return true;
    }
    const Status removed = table_->remove(flow);
    if (removed.ok()) {
      ++pass.deleted;
      LOG_V(4, "deleted conntrack entry {} {} -> {} (replies from {})", to_string(protocol),
            flow.original.source.to_string(), flow.original.destination.to_string(),
            flow.reply.source.to_string());
    } else if (removed.code() != StatusCode::kNotFound && first_failure.ok()) {
      first_failure = removed;
    }
    return true;
  };
  const Status listed = table_->list({pass.family, protocol, wanted.sole_destination()}, visit);
  if (pass.status.ok()) pass.status = listed.ok() ? first_failure : listed;
}

}  // namespace

bool conntrack_handles(Protocol protocol) {
  return protocol == Protocol::kUdp || protocol == Protocol::kSctp;
}

void ConntrackRequest::add(const dataplane::ForwardingEntry& entry,
                           const ConntrackTargets& targets) {
  if (!conntrack_handles(entry.key.protocol)) return;
  for (const dataplane::Frontend& frontend : entry.frontends) {
    changes.push_back({{entry.key.protocol, frontend.address}, targets});
  }
}

void ConntrackRequest::add(const dataplane::ForwardingEntry& entry) {
  if (!conntrack_handles(entry.key.protocol)) return;
  auto targets = std::make_shared<std::vector<SocketAddress>>();
  for (const auto* choice : {&entry.cluster, &entry.local}) {
    for (const dataplane::Target& target : choice->targets) targets->push_back(target.address);
  }
  add(entry, std::move(targets));
}

std::unique_ptr<ConntrackReconciler> ConntrackReconciler::start(
    std::unique_ptr<ConntrackTable> table, ConntrackOptions options,
    std::function<void(const ConntrackPass&)> observer) {
  return std::make_unique<Reconciler>(std::move(table), options, std::move(observer));
}

}  // namespace fairlead::proxy
