#include "iptables/family_table.h"

#include <algorithm>
#include <optional>
#include <set>

namespace fairlead::iptables {

using dataplane::EntryKey;
using dataplane::ForwardingEntry;

struct FamilyTable::Plan {
  RestoreInput input;             // chains of the entries' own
  std::vector<SharedRule> added;  // each goes to the top of its chain, in this order
  std::vector<SharedRule> removed;
  std::vector<std::pair<EntryKey, std::optional<Record>>> records;  // nullopt: gone
  std::vector<std::string> taken_chains;
  std::vector<std::pair<ChainId, std::string>> taken_shared;  // by canonical text
  CommonRules common;                                         // by how much the counts change
  int64_t endpoints = 0;
  RuleCounts rules{};  // by how much the records' rules become more
};

namespace {

size_t endpoints_of(const ForwardingEntry& entry) {
  return std::max(entry.cluster.targets.size(), entry.local.targets.size());
}

}  // namespace

FamilyTable::FamilyTable(dataplane::Family family, Tool& tool, TableOptions options)
    : family_(family), tool_(tool), options_(options) {}

Result<Rendered> FamilyTable::render(const Record& record) const {
  return iptables::render(*record.entry, *record.rules, options_.fixed, record.style);
}

Style FamilyTable::style() const {
  return {endpoints_ <= options_.comment_limit,
          tool_.variant() == Variant::kLegacy && endpoints_ > options_.fold_limit};
}

Status FamilyTable::run(const RestoreInput& input) {
  if (input.empty()) return {};
  ++runs_;
  if (const Status status = tool_.restore(family_, input.text()); !status) {
    uncertain_ = true;
    ++failures_;
    if (work_ == Work::kPartialSync) ++partial_failures_;
    return status;
  }
  operations_ += input.operations();
  if (work_ != Work::kAudit) {
    for (const Table table : kTables) written_[static_cast<size_t>(table)] += input.rules(table);
  }
  note_stamps();
  return {};
}

void FamilyTable::begin(Work work) {
  work_ = work;
  if (work != Work::kAudit) written_.fill(0);
}

size_t FamilyTable::rules(Table table) const {
  auto count = static_cast<size_t>(entry_rules_[static_cast<size_t>(table)]);
  for (const auto& [rule, uses] : common_) count += rule.table == table ? 1 : 0;
  if (rules_ == nullptr) return count;
  for (const FixedChain& chain : fixed_) {
    if (chain.table == table) count += chain.rules.size();
  }
  for (const Jump& jump : jumps(family_, *rules_, options_.fixed)) {
    if (jump.table == table) ++count;
  }
  // Those in the kubelet's chain.
  if (table == Table::kFilter && node_ports_on_loopback(family_, *rules_, options_.fixed)) {
    count += localnet_is_ours_ ? 2 : 1;
  }
  return count;
}

void FamilyTable::note_stamps() {
  for (const Table table : kTables) {
    const Result<uint64_t> stamp = tool_.stamp(family_, to_string(table));
    if (stamp) stamps_[static_cast<size_t>(table)] = *stamp;
  }
}

bool FamilyTable::disturbed() const {
  if (uncertain_) return true;
  return std::any_of(stamps_.begin(), stamps_.end(), [&](const uint64_t& known) {
    const auto table = static_cast<Table>(&known - stamps_.data());
    const Result<uint64_t> now = tool_.stamp(family_, to_string(table));
    return now.ok() && *now != known;
  });
}

Status FamilyTable::apply(const std::vector<Change>& changes,
                          std::vector<dataplane::Refusal>& refused) {
  if (uncertain_) {
    dataplane::AuditReport report;
    RETURN_IF_ERROR(audit(report));
  }
  // The style follows what will be, so that a first delta is written once.
  int64_t growth = 0;
  for (const Change& change : changes) {
    const auto known = records_.find(*change.key);
    if (known != records_.end()) growth -= static_cast<int64_t>(endpoints_of(*known->second.entry));
    if (change.entry) growth += static_cast<int64_t>(endpoints_of(*change.entry));
  }
  const size_t before = endpoints_;
  endpoints_ = static_cast<size_t>(static_cast<int64_t>(endpoints_) + growth);
  const Style wanted = style();
  endpoints_ = before;
  pending_style_ = wanted;
  return apply_range(changes.data(), changes.data() + changes.size(), refused);
}

Status FamilyTable::apply_range(const Change* begin, const Change* end,
                                std::vector<dataplane::Refusal>& refused) {
  const size_t chains_per_run =
      tool_.variant() == Variant::kNft ? options_.nft_chains_per_run : SIZE_MAX;
  while (begin != end) {
    Plan plan;
    const Change* stop = begin;
    while (stop != end && (stop == begin || plan.input.chains() < chains_per_run)) {
      const Change& change = *stop++;
      if (const Status planned = plan_change(change, plan); !planned) {
        refused.push_back({*change.key, planned});
      }
    }
    Status status = commit(plan, false);
    if (status.code() == StatusCode::kInvalid) {
      // Perhaps somebody changed our rules, or one of these entries is what the tool cannot take.
      dataplane::AuditReport report;
      RETURN_IF_ERROR(audit(report));
      Plan again;
      for (const Change* change = begin; change != stop; ++change) {
        if (!plan_change(*change, again)) continue;  // refused above
      }
      status = commit(again, true);
      if (status.code() == StatusCode::kInvalid && stop - begin > 1) {
        RETURN_IF_ERROR(audit(report));
        const Change* const middle = begin + (stop - begin) / 2;
        RETURN_IF_ERROR(apply_range(begin, middle, refused));
        RETURN_IF_ERROR(apply_range(middle, stop, refused));
        status = {};
      } else if (status.code() == StatusCode::kInvalid) {
        refused.push_back({*begin->key, status});
        RETURN_IF_ERROR(audit(report));
        status = {};
      }
    }
    RETURN_IF_ERROR(status);
    begin = stop;
  }
  return {};
}

Status FamilyTable::plan_change(const Change& change, Plan& plan) const {
  const auto known = records_.find(*change.key);
  Rendered before;
  if (known != records_.end()) {
    ASSIGN_OR_RETURN(before, render(known->second));
  }
  Rendered after;
  std::optional<Record> record;
  if (change.entry) {
    record = Record{change.entry, rules_, pending_style_};
    ASSIGN_OR_RETURN(after, render(*record));
  }
  const auto count = [&plan](const Rendered& rendered, int64_t sign) {
    for (const SharedRule& rule : rendered.shared)
      plan.rules[static_cast<size_t>(rule.table)] += sign;
    for (const OwnChain& chain : rendered.chains) {
      plan.rules[static_cast<size_t>(Table::kNat)] +=
          sign * static_cast<int64_t>(chain.rules.size());
    }
  };
  count(before, -1);
  count(after, 1);
  plan_chains(before, after, plan);
  plan_shared(before, after, plan);
  if (known != records_.end()) {
    for (SharedRule& rule : common_rules(*known->second.entry, options_.fixed)) {
      --plan.common[std::move(rule)];
    }
    plan.endpoints -= static_cast<int64_t>(endpoints_of(*known->second.entry));
  }
  if (record) {
    for (SharedRule& rule : common_rules(*record->entry, options_.fixed)) {
      ++plan.common[std::move(rule)];
    }
    plan.endpoints += static_cast<int64_t>(endpoints_of(*record->entry));
  }
  plan.records.emplace_back(*change.key, std::move(record));
  return {};
}

void FamilyTable::plan_chains(const Rendered& before, const Rendered& after, Plan& plan) const {
  // Both are sorted by name.
  auto old = before.chains.begin();
  for (const OwnChain& chain : after.chains) {
    for (; old != before.chains.end() && old->name < chain.name; ++old) {
      plan.input.remove_chain(Table::kNat, old->name);
    }
    const bool known = old != before.chains.end() && old->name == chain.name;
    if (known && *old++ == chain) continue;
    if (!known) {
      const auto adopted = adopted_chains_.find(chain.name);
      if (adopted != adopted_chains_.end()) {
        plan.taken_chains.push_back(chain.name);
        if (same_rules(adopted->second, chain.rules)) continue;
      }
    }
    plan.input.rewrite(Table::kNat, chain.name, chain.rules);
  }
  for (; old != before.chains.end(); ++old) plan.input.remove_chain(Table::kNat, old->name);
}

void FamilyTable::plan_shared(const Rendered& before, const Rendered& after, Plan& plan) const {
  for (const SharedRule& rule : before.shared) {
    if (std::find(after.shared.begin(), after.shared.end(), rule) != after.shared.end()) continue;
    plan.removed.push_back(rule);
  }
  // Each is inserted at the top, so the last one comes first.
  for (auto rule = after.shared.rbegin(); rule != after.shared.rend(); ++rule) {
    if (std::find(before.shared.begin(), before.shared.end(), *rule) != before.shared.end()) {
      continue;
    }
    const auto adopted = adopted_shared_.find({rule->table, rule->chain});
    if (adopted != adopted_shared_.end() && !adopted->second.empty()) {
      std::string text = canonical(rule->rule);
      if (adopted->second.contains(text)) {
        plan.taken_shared.emplace_back(adopted->first, std::move(text));
        continue;
      }
    }
    plan.added.push_back(*rule);
  }
}

void FamilyTable::plan_common(Plan& plan) const {
  for (const auto& [rule, change] : plan.common) {
    const auto known = common_.find(rule);
    const int64_t before = known == common_.end() ? 0 : known->second;
    const bool was = before > 0;
    const bool is = before + change > 0;
    if (was == is) continue;
    if (!is) {
      plan.removed.push_back(rule);
      continue;
    }
    const auto adopted = adopted_shared_.find({rule.table, rule.chain});
    if (adopted != adopted_shared_.end()) {
      std::string text = canonical(rule.rule);
      if (adopted->second.contains(text)) {
        plan.taken_shared.emplace_back(adopted->first, std::move(text));
        continue;
      }
    }
    plan.added.push_back(rule);
  }
}

Status FamilyTable::commit(Plan& plan, bool rewrite) {
  plan_common(plan);
  if (rewrite || plan.removed.size() > options_.deletion_limit) {
    RETURN_IF_ERROR(plan_rewrites(plan));
  } else {
    for (const SharedRule& rule : plan.removed) {
      plan.input.remove(rule.table, rule.chain, rule.rule);
    }
    for (const SharedRule& rule : plan.added) {
      plan.input.insert(rule.table, rule.chain, rule.rule);
    }
  }
  RETURN_IF_ERROR(run(plan.input));
  keep(plan);
  return {};
}

// Writes the shared chains that the plan touches anew, with all that belongs into them: to delete a
// rule, the tool goes through its chain from the top.
Status FamilyTable::plan_rewrites(Plan& plan) const {
  SharedRules wanted;
  RETURN_IF_ERROR(expected_shared(wanted));
  std::map<ChainId, std::set<std::string_view>> gone;
  for (const SharedRule& rule : plan.removed) gone[{rule.table, rule.chain}].insert(rule.rule);
  std::map<ChainId, std::vector<std::string>> come;
  for (const SharedRule& rule : plan.added) come[{rule.table, rule.chain}].push_back(rule.rule);
  for (auto& [chain, rules] : wanted) {
    if (!gone.contains(chain) && !come.contains(chain)) continue;
    std::vector<std::string> all(come[chain].rbegin(), come[chain].rend());
    for (std::string& rule : rules) {
      if (!gone[chain].contains(rule)) all.push_back(std::move(rule));
    }
    for (std::string& rule : tail(chain)) all.push_back(std::move(rule));
    plan.input.rewrite(chain.first, chain.second, all);
  }
  return {};
}

void FamilyTable::keep(Plan& plan) {
  for (auto& [key, record] : plan.records) {
    if (record) {
      records_.insert_or_assign(key, std::move(*record));
    } else {
      records_.erase(key);
    }
  }
  for (const std::string& name : plan.taken_chains) adopted_chains_.erase(name);
  for (const auto& [chain, text] : plan.taken_shared) adopted_shared_[chain].erase(text);
  for (const auto& [rule, change] : plan.common) {
    int64_t& count = common_[rule];
    count += change;
    if (count <= 0) common_.erase(rule);
  }
  endpoints_ = static_cast<size_t>(static_cast<int64_t>(endpoints_) + plan.endpoints);
  for (size_t i = 0; i < entry_rules_.size(); ++i) entry_rules_[i] += plan.rules[i];
}

}  // namespace fairlead::iptables
