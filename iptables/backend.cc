#include "iptables/backend.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <utility>

#include "base/log.h"
#include "iptables/cleanup.h"
#include "iptables/process.h"

namespace fairlead::iptables {
namespace {

using dataplane::Ack;
using dataplane::AuditReport;
using dataplane::Delta;
using dataplane::EntryKey;
using dataplane::EntryKeyHash;
using dataplane::Family;
using dataplane::NodeRules;
using std::chrono::steady_clock;

// Interface names go into rules: only what no tool reads as anything else.
bool plain_interface_name(const std::string& name) {
  return name.size() < 15 && std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-' || c == '.' || c == ':' || c == '@';
         });
}

// The legacy tool's stamp does not see every change, so its tables are read now and then anyway.
constexpr std::chrono::minutes kBlindAudit{10};
// What rules have counted, also those that have gone or were written anew, which sets a rule's
// counter to zero.
struct PacketCounter {
  uint64_t total = 0;
  std::map<Family, std::map<std::string, uint64_t>> last;

  void read(Family family, std::map<std::string, uint64_t> now) {
    std::map<std::string, uint64_t>& before = last[family];
    for (const auto& [rule, packets] : now) {
      const auto known = before.find(rule);
      const bool goes_on = known != before.end() && packets >= known->second;
      total += packets - (goes_on ? known->second : 0);
    }
    before = std::move(now);
  }
};

class IptablesBackend final : public dataplane::Backend {
 public:
  IptablesBackend(BackendParts parts, TableOptions options)
      : parts_(std::move(parts)), options_(options) {}

  std::string_view name() const override { return "iptables"; }
  Status can_serve(Family family) override { return check_family(*parts_.tool, family); }
  Status start(const NodeRules& rules) override;
  Result<Ack> apply(const Delta& delta) override;
  bool disturbed() override;
  Result<AuditReport> audit() override;
  std::vector<dataplane::Counter> counters() override;
  Status remove_all() override;

 private:
  Status apply_rules(FamilyTable& table, const Delta& delta, Ack& ack);
  Status apply_to(FamilyTable& table, const Delta& delta, Ack& ack);
  bool claim_localhost(FamilyTable& table, const NodeRules& rules) const;
  void route_localhost() const;
  void count_packets();

  BackendParts parts_;
  const TableOptions options_;
  std::shared_ptr<const NodeRules> rules_;
  std::vector<std::unique_ptr<FamilyTable>> tables_;
  bool complete_ = false;
  bool disturbed_ = false;  // somebody changed the tables before our last run
  std::string unreadable_;  // why the last audit could not look; empty when it could
  steady_clock::time_point last_audit_;
  PacketCounter invalid_packets_;
  PacketCounter localhost_packets_;
  steady_clock::time_point counted_;
};

// Packets to 127.0.0.0/8 leave the node only when the kernel is told to route them. True: it has to
// be told, by route_localhost(), when the rules of `table` are in: those of KUBE-FIREWALL keep
// everybody else from making use of it.
bool IptablesBackend::claim_localhost(FamilyTable& table, const NodeRules& rules) const {
  if (!node_ports_on_loopback(table.family(), rules, options_.fixed)) return false;
  if (localnet_routed(parts_.route_localnet)) return false;
  table.claim_localnet();
  return true;
}

void IptablesBackend::route_localhost() const {
  const Status set = route_localnet(parts_.route_localnet, true);
  if (!set) LOG_WARNING("node ports will not answer on 127.0.0.1: {}", set.message());
}

Status IptablesBackend::start(const NodeRules& rules) {
  for (const std::string* name :
       {&rules.detector.bridge_interface, &rules.detector.interface_name_prefix}) {
    if (!plain_interface_name(*name)) {
      return Status::error(StatusCode::kInvalid, "use", "interface name \"" + *name + "\"",
                           "not a name that a network interface can have");
    }
  }
  LOG_INFO("iptables: the {} variant", to_string(parts_.tool->variant()));
  tables_.clear();
  rules_ = std::make_shared<const NodeRules>(rules);
  bool localhost_due = false;
  for (const Family family : rules.families) {
    auto table = std::make_unique<FamilyTable>(family, *parts_.tool, options_);
    localhost_due |= claim_localhost(*table, rules);
    RETURN_IF_ERROR(table->start(rules_));
    tables_.push_back(std::move(table));
  }
  if (localhost_due) route_localhost();
  for (auto& table : tables_) table->note_stamps();
  disturbed_ = false;
  complete_ = false;
  last_audit_ = steady_clock::now();
  return {};
}

// The delta's node rules to the entries that there are. One that is refused does not hold up what
// the delta brings, be it a better version of the same.
Status IptablesBackend::apply_rules(FamilyTable& table, const Delta& delta, Ack& ack) {
  const uint64_t before = table.operations();
  std::vector<dataplane::Refusal> refused;
  RETURN_IF_ERROR(table.set_node_rules(rules_, refused));
  ack.operations += table.operations() - before;
  boost::unordered_flat_set<EntryKey, EntryKeyHash> comes(delta.removed.begin(),
                                                          delta.removed.end());
  for (const dataplane::EntryPointer& entry : delta.upserted) comes.insert(entry->key);
  for (dataplane::Refusal& refusal : refused) {
    if (!comes.contains(refusal.key)) ack.refused.push_back(std::move(refusal));
  }
  return {};
}

Status IptablesBackend::apply_to(FamilyTable& table, const Delta& delta, Ack& ack) {
  std::vector<FamilyTable::Change> changes;
  for (const dataplane::EntryPointer& entry : delta.upserted) {
    if (entry->key.family == table.family()) changes.push_back({&entry->key, entry});
  }
  for (const EntryKey& key : delta.removed) {
    if (key.family == table.family()) changes.push_back({&key, nullptr});
  }
  const uint64_t before = table.operations();
  std::vector<dataplane::Refusal> refused;
  RETURN_IF_ERROR(table.apply(changes, refused));
  if (delta.complete) {
    boost::unordered_flat_set<EntryKey, EntryKeyHash> wanted;
    for (const dataplane::EntryPointer& entry : delta.upserted) {
      if (entry->key.family == table.family()) wanted.insert(entry->key);
    }
    RETURN_IF_ERROR(table.finish_complete(wanted, refused));
  }
  ack.operations += table.operations() - before;
  ack.refused.insert(ack.refused.end(), refused.begin(), refused.end());
  return {};
}

Result<Ack> IptablesBackend::apply(const Delta& delta) {
  if (delta.node) rules_ = delta.node;
  // What others did before this delta is remembered: afterwards only our own runs are behind us.
  // One family's run counts as a change in the other one's eyes.
  disturbed_ = disturbed();
  Ack ack;
  ack.generation = delta.generation;
  using Work = FamilyTable::Work;
  for (auto& table : tables_) table->begin(delta.complete ? Work::kFullSync : Work::kPartialSync);
  bool localhost_due = false;
  for (auto& table : tables_) {
    if (delta.node) {
      localhost_due |= claim_localhost(*table, *rules_);
      RETURN_IF_ERROR(apply_rules(*table, delta, ack));
    }
    RETURN_IF_ERROR(apply_to(*table, delta, ack));
  }
  if (localhost_due) route_localhost();
  for (auto& table : tables_) table->note_stamps();
  if (delta.complete && !complete_) {
    complete_ = true;
    // The other variant's guard of 127.0.0.0/8 goes with the setting, or when there is one of ours.
    const bool guarded = node_ports_on_loopback(Family::kIPv4, *rules_, options_.fixed);
    for (const auto& other : parts_.others) {
      for (const Family family : {Family::kIPv4, Family::kIPv6}) {
        const Status removed =
            remove_rules(*other, family, kOwner, guarded ? "" : parts_.route_localnet);
        if (!removed) LOG_WARNING("rules of an earlier run stay: {}", removed.message());
      }
    }
  }
  return ack;
}

bool IptablesBackend::disturbed() {
  if (parts_.tool->variant() == Variant::kLegacy &&
      steady_clock::now() - last_audit_ > kBlindAudit) {
    return true;
  }
  return disturbed_ || std::any_of(tables_.begin(), tables_.end(),
                                   [](const auto& table) { return table->disturbed(); });
}

Result<AuditReport> IptablesBackend::audit() {
  AuditReport report;
  Status readable;
  for (auto& table : tables_) {
    table->begin(FamilyTable::Work::kAudit);
    const Status done = table->audit(report);
    if (done.code() == StatusCode::kUnsupported) {
      readable = done;
    } else {
      RETURN_IF_ERROR(done);
    }
  }
  for (auto& table : tables_) table->note_stamps();
  disturbed_ = !readable;
  last_audit_ = steady_clock::now();
  const std::string before = std::exchange(unreadable_, readable ? "" : readable.message());
  if (!readable && unreadable_ != before) return readable;  // said once
  if (readable && !before.empty()) LOG_INFO("iptables: the tables can be read again");
  return report;
}

void IptablesBackend::count_packets() {
  const steady_clock::time_point now = steady_clock::now();
  if (!complete_ ||
      (counted_ != steady_clock::time_point() && now - counted_ < options_.counter_age)) {
    return;
  }
  counted_ = now;
  const auto read = [this](PacketCounter& counter, const FamilyTable& table, Table from,
                           std::string_view chain, std::string_view part) {
    const Result<std::string> listing =
        parts_.tool->list_chain(table.family(), to_string(from), chain);
    if (listing) counter.read(table.family(), packets_by_rule(*listing, part));
  };
  for (const auto& table : tables_) {
    if (!options_.fixed.tcp_be_liberal) {
      read(invalid_packets_, *table, Table::kFilter, kInvalid, "-j DROP");
    }
    if (node_ports_on_loopback(table->family(), *rules_, options_.fixed)) {
      read(localhost_packets_, *table, Table::kNat, kPostrouting, kLocalhostComment);
    }
  }
}

std::vector<dataplane::Counter> IptablesBackend::counters() {
  count_packets();
  double runs = 0;
  double endpoints = 0;
  for (const auto& table : tables_) {
    runs += static_cast<double>(table->runs());
    endpoints += static_cast<double>(table->endpoint_count());
  }
  std::vector<dataplane::Counter> counters = {
      {"iptables_restore_runs_total", "Runs of iptables-restore.", runs, true},
      {"iptables_endpoints", "Endpoints that the rules lead to.", endpoints, false},
      {"iptables_invalid_dropped_packets_total",
       "Answers from ports of services dropped because connection tracking does not know them.",
       static_cast<double>(invalid_packets_.total), true},
      {"kubeproxy_iptables_ct_state_invalid_dropped_packets_total", "",
       static_cast<double>(invalid_packets_.total), true},
      {"kubeproxy_iptables_localhost_nodeports_accepted_packets_total", "",
       static_cast<double>(localhost_packets_.total), true},
  };
  const std::string sync = "kubeproxy_sync_proxy_rules_iptables_";
  for (const auto& table : tables_) {
    const std::string family(to_string(table->family()));
    counters.push_back({sync + "restore_failures_total",
                        "",
                        static_cast<double>(table->failures()),
                        true,
                        {family}});
    counters.push_back({sync + "partial_restore_failures_total",
                        "",
                        static_cast<double>(table->partial_failures()),
                        true,
                        {family}});
    for (const Table each : kTables) {
      const std::string name(to_string(each));
      counters.push_back(
          {sync + "total", "", static_cast<double>(table->rules(each)), false, {family, name}});
      counters.push_back({sync + "last",
                          "",
                          static_cast<double>(table->last_written(each)),
                          false,
                          {family, name}});
    }
  }
  return counters;
}

Status IptablesBackend::remove_all() {
  std::vector<Tool*> tools = {parts_.tool.get()};
  for (const auto& other : parts_.others) tools.push_back(other.get());
  Status first_problem;
  for (Tool* tool : tools) {
    for (const Family family : {Family::kIPv4, Family::kIPv6}) {
      const Status removed = remove_rules(*tool, family, kOwner, parts_.route_localnet);
      if (first_problem) first_problem = removed;
    }
  }
  tables_.clear();
  return first_problem;
}

}  // namespace

Status probe() {
  const std::unique_ptr<ProcessRunner> runner = create_process_runner();
  Variant variant{};
  ASSIGN_OR_RETURN(variant, detect_variant(*runner));
  const std::unique_ptr<Tool> tool = create_tool(create_process_runner(), variant);
  return tool->stamp(Family::kIPv4, "nat").status();
}

Result<std::unique_ptr<dataplane::Backend>> create_backend(TableOptions options) {
  const std::unique_ptr<ProcessRunner> runner = create_process_runner();
  Variant chosen{};
  ASSIGN_OR_RETURN(chosen, detect_variant(*runner));
  BackendParts parts;
  for (const Variant variant : installed_variants(*runner)) {
    std::unique_ptr<Tool> tool = create_tool(create_process_runner(), variant);
    if (variant == chosen) {
      parts.tool = std::move(tool);
    } else {
      parts.others.push_back(std::move(tool));
    }
  }
  return create_backend(std::move(parts), options);
}

std::unique_ptr<dataplane::Backend> create_backend(BackendParts parts, TableOptions options) {
  return std::make_unique<IptablesBackend>(std::move(parts), options);
}

}  // namespace fairlead::iptables
