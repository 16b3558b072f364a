// Is what the maps hold what was acknowledged? And its repair, object by object.
#include <algorithm>

#include "bpf/tables_state.h"

namespace fairlead::bpf {

using dataplane::AuditReport;
using dataplane::Choice;
using dataplane::ForwardingEntry;

Result<AuditReport> Tables::State::audit() {
  AuditReport report;
  for (const uint32_t index : by_key) audit_record(index, report);

  std::vector<FrontendRecord> found;
  ASSIGN_OR_RETURN(found, maps.read_frontends());
  size_t right = 0;
  for (const auto& [key, value] : found) {
    const auto known = frontends.find(key);
    if (known != frontends.end() && same_bytes(known->second, value)) {
      ++right;
    } else {
      stale_frontends.insert(key);
    }
  }
  if (right != frontends.size()) {
    FrontendKeys present;
    for (const FrontendRecord& record : found) present.insert(record.key);
    for (const auto& [key, value] : frontends) {
      if (!present.contains(key)) stale_frontends.insert(key);
    }
  }
  std::vector<fl_prefix_key> found_prefixes;
  ASSIGN_OR_RETURN(found_prefixes, maps.read_prefixes());
  PrefixKeys present;
  foreign_prefixes = 0;
  for (const fl_prefix_key& key : found_prefixes) {
    const uint32_t domain = domain_of(key);
    if (domain == FL_DOMAIN_PODS || domain == FL_DOMAIN_SERVICES) {
      ++foreign_prefixes;
      continue;
    }
    present.insert(key);
    if (!prefixes.contains(key)) stale_prefixes.insert(key);
  }
  for (const fl_prefix_key& key : prefixes) {
    if (!present.contains(key)) stale_prefixes.insert(key);
  }
  report.checked += frontends.size() + prefixes.size();
  const size_t wrong = stale_frontends.size() + stale_prefixes.size();
  settle();
  const size_t left = stale_frontends.size() + stale_prefixes.size();
  report.repaired += wrong - left;
  if (left > 0) {
    return Status::error(StatusCode::kUnavailable, "repair", "fl_frontends and fl_prefixes",
                         std::to_string(left) + " records could not be written");
  }
  return report;
}

void Tables::State::audit_record(uint32_t index, AuditReport& report) {
  const Record& record = records[index];
  const ForwardingEntry& entry = *record.entry;
  const std::vector<WantedEndpoint> wanted = wanted_endpoints(entry);
  const auto repair = [&](auto& place, const auto& value) {
    ++report.checked;
    if (same_bytes(place, value)) return;
    ++report.repaired;
    ++operations;
    place = value;
  };
  for (size_t i = 0; i < wanted.size(); ++i) {
    const uint32_t endpoint = record.endpoints[i];
    repair(endpoints[endpoint], fl_endpoint{.address = wanted[i].address,
                                            .entry = index,
                                            .generation = generations[endpoint],
                                            .port = wanted[i].port,
                                            .flags = wanted[i].flags,
                                            .zero = {}});
  }
  for (const Choice choice : {Choice::kCluster, Choice::kLocal}) {
    const uint64_t ring = record.ring[static_cast<size_t>(choice)];
    const bool shared = choice == Choice::kLocal && ring == record.ring[0];
    if (FL_RING_SIZE(ring) == 0 || shared) continue;
    const std::vector<uint32_t> slots = ring_of(entry, choice, wanted, record.endpoints);
    ++report.checked;
    const auto run = ring_slots.subspan(FL_RING_OFFSET(ring), FL_RING_SIZE(ring));
    if (slots.size() != run.size() || std::equal(slots.begin(), slots.end(), run.begin())) continue;
    ++report.repaired;
    ++operations;
    for (size_t s = 0; s < slots.size(); ++s) {
      std::atomic_ref(run[s]).store(slots[s], std::memory_order_release);
    }
  }
  fl_entry expected{.ring = {record.ring[0], record.ring[1]},
                    .affinity_seconds = entry.affinity_seconds,
                    .when_empty = {static_cast<fl_u8>(entry.cluster.when_empty),
                                   static_cast<fl_u8>(entry.local.when_empty)},
                    .live = 1,
                    .protocol = static_cast<fl_u8>(entry.key.protocol)};
  repair(entries[index], expected);
}

}  // namespace fairlead::bpf
