// Deletes connection tracking entries that would go on sending datagrams to endpoints that are
// gone.
//
// NAT is decided once per flow and remembered in conntrack. A client that keeps one UDP socket
// keeps its flow, so after its endpoint went away (or when the flow began before there was any
// endpoint, and was never translated) its datagrams go nowhere, for hours. After a sync the sync
// thread posts the frontends that changed with their current targets; this thread streams the
// kernel's table once per family and protocol and deletes each flow whose original destination is
// one of these frontends and whose replies come from none of its targets. That one rule covers
// moved endpoints, zero endpoints, deleted Services (no targets) and flows that were never
// translated (replies from the virtual address itself).
//
// UDP and SCTP. An SCTP association whose endpoint is gone is dead, but multi-homed clients retry
// it for minutes; without its entry the next heartbeat reaches a live endpoint, which answers
// ABORT, and the client reconnects. An association whose endpoint still serves is never touched.
// TCP is left alone: the client sees resets or time-outs and opens a new connection from a new
// port.
//
// A pass takes time, and the next change does not wait for it: what it deletes must not be judged
// by the state before that change. So changes are announced before the rules are written; flows to
// their frontends are left alone from then on until the request that tells of the change is merged.
//
// A question whose answer is on its way when its endpoint leaves would lose it with the entry: a
// flow that has been translated and has no reply yet is given a moment (answer_patience).
//
// Failures are retried with back-off; requests that arrive meanwhile are merged (the newest state
// of a frontend counts).
//
// Threads: announce() and post() from the sync thread, they never block on the kernel; the observer
// is called on the reconciler's thread.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/status.h"
#include "dataplane/address.h"
#include "dataplane/forwarding.h"
#include "proxy/runtime/conntrack_table.h"

namespace fairlead::proxy {

// A place that clients send to. For a node port `address.address` is its family's unspecified
// address, as in dataplane::Frontend.
struct ConntrackFrontend {
  dataplane::Protocol protocol = dataplane::Protocol::kUdp;
  dataplane::SocketAddress address;

  friend auto operator<=>(const ConntrackFrontend&, const ConntrackFrontend&) = default;
};

using ConntrackTargets = std::shared_ptr<const std::vector<dataplane::SocketAddress>>;

// A changed frontend and every target that may still hold flows: all endpoints that serve now,
// ready or terminating, chosen for new connections or not. Null or empty: nobody; the service may
// be gone.
struct ConntrackChange {
  ConntrackFrontend frontend;
  ConntrackTargets targets;
};

struct ConntrackRequest {
  std::vector<ConntrackChange> changes;
  // The addresses on which node ports answer now (of this request's families): a flow to a node
  // port's number on any other address is not ours.
  std::vector<dataplane::Address> node_addresses;

  // Adds the frontends of `entry` with `targets`, if its protocol is one that the reconciler
  // handles.
  void add(const dataplane::ForwardingEntry& entry, const ConntrackTargets& targets);
  // The same with the targets of the entry's two choices: for callers that have no better list.
  void add(const dataplane::ForwardingEntry& entry);
};

bool conntrack_handles(dataplane::Protocol protocol);  // UDP and SCTP

// One pass over one family.
struct ConntrackPass {
  dataplane::Family family = dataplane::Family::kIPv4;
  size_t frontends = 0;
  uint64_t scanned = 0;
  uint64_t deleted = 0;
  std::chrono::nanoseconds duration{};
  Status status;  // an error: the pass will be tried again
};

struct ConntrackOptions {
  std::chrono::milliseconds backoff_min{1000};
  std::chrono::milliseconds backoff_max{60000};
  std::chrono::milliseconds answer_patience{250};  // counted from when the change was posted
};

class ConntrackReconciler {
 public:
  // `table` is opened before, so that a missing feature is known at start.
  static std::unique_ptr<ConntrackReconciler> start(
      std::unique_ptr<ConntrackTable> table, ConntrackOptions options,
      std::function<void(const ConntrackPass&)> observer);
  virtual ~ConntrackReconciler() = default;  // finishes the pass at hand, joins

  // The frontends of `request` are about to change. It (or one with more in it) must be posted when
  // they have.
  virtual void announce(const ConntrackRequest& request) = 0;
  virtual void post(ConntrackRequest request) = 0;
  // Waits until every request posted before the call has been worked off or has failed once.
  virtual void flush() = 0;
};

}  // namespace fairlead::proxy
