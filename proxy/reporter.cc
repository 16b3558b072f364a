#include "proxy/reporter.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"

namespace fairlead::proxy {

using dataplane::EntryKey;
using dataplane::ObjectName;

Reporter::Reporter(Metrics& metrics, Health& health, EventSink events)
    : metrics_(metrics), health_(health), events_(std::move(events)) {}

void Reporter::object(Resource resource, const ObjectName& name, bool removed,
                      const std::vector<api::Problem>& problems) {
  const std::string_view kind = kind_of(resource);
  const std::string_view label = to_string(resource);
  if (removed) {
    ledger_.remove(kind, name);
  } else if (const std::string sentence = ledger_.update(kind, name, problems); !sentence.empty()) {
    LOG_WARNING("malformed object: {}", sentence);
    metrics_.counter(Metric::kMalformedObjectsTotal, {label}).add();
    events_({EventReason::kMalformedObject, std::string(kind), name, sentence});
  }
  metrics_.gauge(Metric::kMalformedObjects, {label}).set(static_cast<double>(ledger_.count(kind)));
}

void Reporter::malformed(Resource resource, const Status& reason) {
  LOG_WARNING("malformed object among {}: {}", to_string(resource), reason.message());
  metrics_.counter(Metric::kMalformedObjectsTotal, {to_string(resource)}).add();
}

void Reporter::connection(Resource resource, const Status& status) {
  const auto known = connections_.find(resource);
  const bool was_ok = known == connections_.end() || known->second.ok();
  const bool new_trouble = !status && (was_ok || known->second.message() != status.message());
  if (new_trouble && resource == Resource::kServiceCidrs &&
      status.code() == StatusCode::kNotFound) {
    LOG_INFO("the API server has no ServiceCIDRs: addresses that no service has are not dropped");
  } else if (new_trouble) {
    LOG_WARNING("cannot watch {}: {}; rules stay as they are", to_string(resource),
                status.message());
  } else if (status && !was_ok) {
    LOG_INFO("watching {} again", to_string(resource));
  }
  connections_.insert_or_assign(resource, status);
  Status worst;
  for (const auto& [each, its_status] : connections_) {
    if (each != Resource::kServiceCidrs && !its_status) worst = its_status;
  }
  health_.set_api_server(worst);
}

void Reporter::conflicts(const std::vector<dataplane::FrontendConflict>& conflicts) {
  std::set<std::string> standing;
  for (const dataplane::FrontendConflict& conflict : conflicts) {
    std::string sentence = fmt::format(
        "{} of {} ({}) is held by {}, which is older", conflict.frontend.address.to_string(),
        conflict.loser.to_string(), to_string(conflict.frontend.kind), conflict.winner.to_string());
    if (!told_conflicts_.contains(sentence)) {
      LOG_WARNING("address conflict: {}", sentence);
      events_({EventReason::kAddressConflict, "Service", conflict.loser.service, sentence});
    }
    standing.insert(std::move(sentence));
  }
  told_conflicts_ = std::move(standing);
  metrics_.gauge(Metric::kConflictingAddresses).set(static_cast<double>(conflicts.size()));
}

void Reporter::unserved(dataplane::Family family, const ObjectName& service) {
  if (!told_families_.insert(family).second) return;
  LOG_WARNING("{} is not served on this node: {} has such an address, and others may",
              to_string(family), service.to_string());
}

void Reporter::refusals(const std::vector<dataplane::Refusal>& refusals) {
  std::map<EntryKey, std::string> standing;
  for (const dataplane::Refusal& refusal : refusals) {
    std::string sentence = fmt::format("{}: {}", refusal.key.to_string(), refusal.reason.message());
    const auto told = told_refusals_.find(refusal.key);
    if (told == told_refusals_.end() || told->second != sentence) {
      LOG_ERROR("refused by the datapath: {}", sentence);
      const bool full = refusal.reason.code() == StatusCode::kExhausted;
      events_({full ? EventReason::kTableFull : EventReason::kEntryRefused, "Service",
               refusal.key.service, sentence});
    }
    standing.emplace(refusal.key, std::move(sentence));
  }
  told_refusals_ = std::move(standing);
  metrics_.gauge(Metric::kRefusedEntries).set(static_cast<double>(refusals.size()));
}

void Reporter::sync_failed(const Status& reason) {
  metrics_.counter(Metric::kApplyFailures).add();
  if (told_failure_ == reason.message()) return;
  told_failure_ = reason.message();
  LOG_ERROR("sync failed, will be tried again: {}", told_failure_);
  events_({EventReason::kSyncFailed, "Node", {}, told_failure_});
}

void Reporter::sync_worked() {
  if (told_failure_.empty()) return;
  LOG_INFO("sync works again");
  events_({EventReason::kSyncRecovered, "Node", {}, "sync works again after: " + told_failure_});
  told_failure_.clear();
}

void Reporter::repaired(const dataplane::AuditReport& report) {
  metrics_.counter(Metric::kAuditRuns).add();
  metrics_.counter(Metric::kAuditRepairs).add(static_cast<double>(report.repaired));
  if (report.repaired == 0) return;
  const std::string sentence =
      fmt::format("{} of {} kernel objects were missing or changed by somebody else; put right",
                  report.repaired, report.checked);
  LOG_WARNING("audit: {}", sentence);
  events_({EventReason::kRulesRepaired, "Node", {}, sentence});
}

}  // namespace fairlead::proxy
