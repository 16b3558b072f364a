// What the daemon tells people: each finding once, by log line, Event and metric together.
//
// Threads: one owner (the sync thread).
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "dataplane/backend.h"
#include "dataplane/table.h"
#include "proxy/feed.h"
#include "proxy/problem_ledger.h"
#include "proxy/runtime/events.h"
#include "proxy/runtime/health.h"
#include "proxy/runtime/metrics.h"

namespace fairlead::proxy {

class Reporter {
 public:
  Reporter(Metrics& metrics, Health& health, EventSink events);

  // An object arrived or went, with what is wrong in it.
  void object(Resource resource, const dataplane::ObjectName& name, bool removed,
              const std::vector<api::Problem>& problems);
  void malformed(Resource resource, const Status& reason);
  void connection(Resource resource, const Status& status);
  void conflicts(const std::vector<dataplane::FrontendConflict>& conflicts);
  // A service has addresses of a family that this node is not served in. Told once, of the first.
  void unserved(dataplane::Family family, const dataplane::ObjectName& service);
  void refusals(const std::vector<dataplane::Refusal>& refusals);
  // An apply (or start) failed, or works again.
  void sync_failed(const Status& reason);
  void sync_worked();
  void repaired(const dataplane::AuditReport& report);

 private:
  Metrics& metrics_;
  Health& health_;
  EventSink events_;
  ProblemLedger ledger_;
  std::set<std::string> told_conflicts_;
  std::set<dataplane::Family> told_families_;
  std::map<dataplane::EntryKey, std::string> told_refusals_;
  std::map<Resource, Status> connections_;
  std::string told_failure_;
};

}  // namespace fairlead::proxy
