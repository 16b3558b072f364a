// The audit of a family's tables: is what is installed what was acknowledged? And its repair, chain
// by chain.
#include <algorithm>
#include <utility>

#include "iptables/family_table.h"

namespace fairlead::iptables {

using dataplane::AuditReport;

Status FamilyTable::entries_shared(SharedRules& wanted) const {
  for (const FixedChain& chain : fixed_) {
    if (chain.tail) wanted[{chain.table, chain.name}];
  }
  for (const auto& [key, record] : records_) {
    Rendered rendered;
    ASSIGN_OR_RETURN(rendered, render(record));
    for (SharedRule& rule : rendered.shared) {
      wanted[{rule.table, rule.chain}].push_back(std::move(rule.rule));
    }
  }
  for (const auto& [rule, uses] : common_) {
    wanted[{rule.table, rule.chain}].push_back(rule.rule);
  }
  return {};
}

Status FamilyTable::expected_shared(SharedRules& wanted) const {
  RETURN_IF_ERROR(entries_shared(wanted));
  // Until the first delta is complete, an earlier run's rules are in effect.
  for (const auto& [chain, rules] : adopted_shared_) {
    for (const auto& [text, rule] : rules) wanted[chain].push_back(rule);
  }
  return {};
}

Result<SavedTable> FamilyTable::expected_own() const {
  SavedTable wanted = adopted_chains_;
  for (const auto& [key, record] : records_) {
    Rendered rendered;
    ASSIGN_OR_RETURN(rendered, render(record));
    for (OwnChain& chain : rendered.chains) wanted[chain.name] = std::move(chain.rules);
  }
  return wanted;
}

Status FamilyTable::audit(AuditReport& report) {
  Tables installed;
  ASSIGN_OR_RETURN(installed, read());
  uncertain_ = false;
  forget_gone_jumps(installed);

  // Chains before what names them.
  RestoreInput first;
  plan_fixed(installed, first, report);
  RETURN_IF_ERROR(run(first));
  RETURN_IF_ERROR(repair_own(installed[Table::kNat], report));

  SharedRules wanted;
  RETURN_IF_ERROR(expected_shared(wanted));
  RestoreInput last;
  for (auto& [chain, rules] : wanted) {
    report.checked += rules.size();
    const std::vector<std::string> end = tail(chain);
    const auto found = installed[chain.first].find(std::string(chain.second));
    if (found != installed[chain.first].end()) {
      // Services' rules stand in any order, before the tail.
      std::vector<std::string> have;
      for (const std::string& rule : found->second) have.push_back(canonical(rule));
      std::vector<std::string> want;
      for (const std::string& rule : rules) want.push_back(canonical(rule));
      std::sort(want.begin(), want.end());
      const size_t split = have.size() - std::min(have.size(), end.size());
      std::sort(have.begin(), have.begin() + static_cast<std::ptrdiff_t>(split));
      for (const std::string& rule : end) want.push_back(canonical(rule));
      if (have == want) continue;
    } else if (rules.empty()) {
      continue;  // plan_fixed() has made it
    }
    rules.insert(rules.end(), end.begin(), end.end());
    last.rewrite(chain.first, chain.second, rules);
    ++report.repaired;
  }
  plan_jumps(installed, last, report);
  for (const auto& [name, rules] : installed[Table::kNat]) {
    if (!is_service_chain(name) || adopted_chains_.contains(name)) continue;
    if (stray_.contains(name)) last.remove_chain(Table::kNat, name);
  }
  stray_.clear();
  RETURN_IF_ERROR(run(last));
  note_stamps();
  return {};
}

// Writes what is missing or wrong of the entries' own chains and notes those that nobody has.
Status FamilyTable::repair_own(const SavedTable& installed, AuditReport& report) {
  SavedTable wanted;
  ASSIGN_OR_RETURN(wanted, expected_own());
  report.checked += wanted.size();
  const size_t per_run = tool_.variant() == Variant::kNft ? options_.nft_chains_per_run : SIZE_MAX;
  // A chain may name one that is not there yet: all are made before any is filled.
  std::vector<const SavedTable::value_type*> wrong;
  RestoreInput input;
  const auto run_when_large = [&](bool now) -> Status {
    if (!now && input.chains() < per_run) return {};
    const RestoreInput part = std::exchange(input, {});
    return run(part);
  };
  for (const auto& chain : wanted) {
    const auto found = installed.find(chain.first);
    if (found != installed.end() && same_rules(found->second, chain.second)) continue;
    wrong.push_back(&chain);
    ++report.repaired;
    if (found != installed.end()) continue;
    input.declare(Table::kNat, chain.first);
    RETURN_IF_ERROR(run_when_large(false));
  }
  if (wrong.size() > per_run) RETURN_IF_ERROR(run_when_large(true));
  input = RestoreInput();
  for (const auto* chain : wrong) {
    input.rewrite(Table::kNat, chain->first, chain->second);
    RETURN_IF_ERROR(run_when_large(false));
  }
  RETURN_IF_ERROR(run_when_large(true));
  for (const auto& [name, rules] : installed) {
    if (!is_service_chain(name) || wanted.contains(name) || foreign_targets_.contains(name)) {
      continue;
    }
    stray_.insert(name);
    ++report.repaired;
  }
  return {};
}

}  // namespace fairlead::iptables
