// The heart of the daemon: messages in, deltas out.
//
// Takes everything that waits in the mailbox, compiles the services that changed, gives the backend
// one delta and tells health, metrics and conntrack when it is acknowledged. A lone change goes
// through at once; under load the next round starts when the last one has ended and taken as long a
// rest, so that a burst becomes a few large deltas and the thread uses at most half a core. Nothing
// is programmed before Services and EndpointSlices have been listed and the Node is known (or known
// to be missing).
//
// Threads: run() on one thread, which owns everything inside; stop() from any.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/mailbox.h"
#include "base/status.h"
#include "dataplane/backend.h"
#include "dataplane/table.h"
#include "proxy/families.h"
#include "proxy/feed.h"
#include "proxy/node_state.h"
#include "proxy/refused_entries.h"
#include "proxy/reporter.h"
#include "proxy/runtime/addresses.h"
#include "proxy/runtime/conntrack.h"
#include "proxy/runtime/health.h"
#include "proxy/runtime/metrics.h"
#include "proxy/runtime/service_health.h"
#include "proxy/tracker.h"

namespace fairlead::proxy {

struct SyncOptions {
  std::optional<std::chrono::nanoseconds> min_sync_period;  // nullopt: by the loop's own measure
  std::chrono::nanoseconds sync_period{std::chrono::seconds(30)};
  // How often the backend is asked whether somebody disturbed it; more often when the audit period
  // is shorter.
  std::chrono::nanoseconds check_period{std::chrono::seconds(5)};
  // A disturbed backend is audited at once. But an audit costs what the table is large, and others
  // change tables all the time on some nodes: the next one waits until audits have taken no more
  // than this share of the time, or for the period.
  std::chrono::nanoseconds audit_period{std::chrono::seconds(30)};  // 0: as check_period
  double audit_share = 0.02;
  // How long the first sync waits for a Node that the server does not show.
  std::chrono::nanoseconds node_patience{std::chrono::seconds(15)};
  std::vector<dataplane::Family> families;
  // Those that would not work. A node whose primary family is among them is not served at all.
  std::vector<FamilyLeftOut> families_left_out;
};

// What the loop works with; all of it outlives the loop. Null where the feature is off.
struct SyncParts {
  Mailbox<FeedMessage>* mailbox = nullptr;
  const ZoneHints* hints = nullptr;
  dataplane::Backend* backend = nullptr;
  NodeState* node = nullptr;
  AddressWatcher* addresses = nullptr;
  Metrics* metrics = nullptr;
  Health* health = nullptr;
  Reporter* reporter = nullptr;
  ServiceHealthServers* service_health = nullptr;  // may be null
  ConntrackReconciler* conntrack = nullptr;        // may be null
};

class SyncLoop {
 public:
  SyncLoop(SyncOptions options, SyncParts parts);

  // Until stop(), or until the daemon must be restarted: then the reason.
  Status run();
  void stop();

 private:
  using Time = std::chrono::steady_clock::time_point;

  void take_messages();
  void handle(ObjectMessage message);
  void handle(const ListedMessage& message);
  void handle(const ConnectionMessage& message);
  void handle(const MalformedMessage& message);
  bool ready(Time now) const;
  bool has_news() const;
  Time next_due() const;
  void note_queued();

  void sync(Time now);
  void refresh_node(dataplane::Delta& delta);
  void compile_changed();
  void compile_one(const dataplane::ObjectName& name);
  void report_unserved(const dataplane::Service& service);
  void report_health_port(const dataplane::ObjectName& name, const dataplane::Service* service,
                          const std::vector<dataplane::EndpointGroup>& groups);
  void queue_conntrack(const std::vector<dataplane::EntryPointer>& before,
                       const std::vector<dataplane::EntryPointer>& after,
                       const std::vector<dataplane::EndpointGroup>& groups);
  void count_missing_local(const dataplane::ObjectName& name,
                           const std::vector<dataplane::EntryPointer>& entries);
  void acknowledged(const dataplane::Delta& delta, const dataplane::Ack& ack, Time snapshot,
                    std::chrono::nanoseconds took);
  void failed(const Status& reason, Time now);
  // Asks the backend whether it was disturbed; audits it when it was and the last audit is long
  // enough ago.
  void check(Time now);
  void audit(Time now);
  std::chrono::nanoseconds check_period() const;
  int wait_milliseconds(Time now) const;

  const SyncOptions options_;
  const SyncParts parts_;
  Fd stop_fd_;
  std::atomic<bool> stopping_{false};

  Tracker tracker_;
  dataplane::ForwardingTable table_;
  dataplane::CompileView view_;
  std::shared_ptr<const dataplane::NodeRules> rules_;  // as the backend has them; null before start
  std::string zone_;
  std::map<std::string, api::ServiceCidr> service_cidrs_;
  std::set<Resource> listed_;
  std::optional<Time> lists_complete_;
  bool node_known_ = false;
  bool node_dirty_ = true;
  bool complete_sent_ = false;  // the first delta has been acknowledged
  uint64_t generation_ = 0;

  Time next_sync_{};
  Time next_check_{};
  Time next_audit_{};  // not before
  std::optional<Time> retry_;
  std::chrono::nanoseconds retry_delay_{};
  std::optional<Time> oldest_message_;
  std::vector<std::pair<dataplane::Family, int64_t>> trigger_times_;  // microseconds since 1970
  int64_t started_micros_ = 0;
  ConntrackRequest conntrack_;
  // Entries without local endpoints under a Local policy, by service: what the gauges sum up.
  struct MissingLocal {
    std::array<uint8_t, 2> internal{};
    std::array<uint8_t, 2> external{};
    friend bool operator==(const MissingLocal&, const MissingLocal&) = default;
  };
  std::map<dataplane::ObjectName, MissingLocal> missing_local_;
  std::array<std::array<int64_t, 2>, 2> missing_totals_{};  // by policy, family
  RefusedEntries refused_;
  double service_changes_ = 0;
  double endpoint_changes_ = 0;
};

}  // namespace fairlead::proxy
