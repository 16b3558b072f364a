// The fixed part, what an earlier run or another proxy left, and how it goes.
#include <algorithm>
#include <utility>

#include "iptables/family_table.h"

namespace fairlead::iptables {

using dataplane::AuditReport;
using dataplane::NodeRules;

namespace {

bool has_rule(const SavedTable& table, std::string_view chain, const std::string& rule) {
  const auto found = table.find(std::string(chain));
  return found != table.end() &&
         std::any_of(found->second.begin(), found->second.end(),
                     [&](const std::string& each) { return same_rule(each, rule); });
}

// The rules before `tail`, when the chain ends with it; otherwise all of them.
std::vector<std::string> before_tail(std::vector<std::string> rules,
                                     const std::vector<std::string>& tail) {
  if (rules.size() >= tail.size() &&
      std::equal(tail.rbegin(), tail.rend(), rules.rbegin(), same_rule)) {
    rules.resize(rules.size() - tail.size());
  }
  return rules;
}

}  // namespace

Result<FamilyTable::Tables> FamilyTable::read() const {
  Tables result;
  std::string text;
  ASSIGN_OR_RETURN(text, tool_.save(family_, ""));
  for (const Table table : kTables) {
    ASSIGN_OR_RETURN(result[table], parse_save(text, to_string(table)));
  }
  return result;
}

void FamilyTable::claim_localnet() {
  if (localnet_is_ours_) return;
  localnet_is_ours_ = true;
  uncertain_ = rules_ != nullptr;  // after start() an audit writes the rule
}

Status FamilyTable::start(RulesPointer rules) {
  rules_ = std::move(rules);
  fixed_ = fixed_chains(family_, *rules_, options_.fixed);
  Tables installed;
  ASSIGN_OR_RETURN(installed, read());
  RestoreInput input;
  AuditReport ignored;
  plan_fixed(installed, input, ignored);
  plan_jumps(installed, input, ignored);
  RETURN_IF_ERROR(run(input));
  note_stamps();
  adopt(std::move(installed));
  return {};
}

// Chains without services' rules are written as they should be; in the others, services' rules stay
// and the tail is put behind them.
void FamilyTable::plan_fixed(const Tables& installed, RestoreInput& input, AuditReport& report) {
  for (const FixedChain& chain : fixed_) {
    ++report.checked;
    const auto found = installed[chain.table].find(std::string(chain.name));
    if (found == installed[chain.table].end()) {
      input.rewrite(chain.table, chain.name, chain.rules);
      ++report.repaired;
    } else if (!chain.tail) {
      if (same_rules(found->second, chain.rules)) continue;
      input.rewrite(chain.table, chain.name, chain.rules);
      ++report.repaired;
    } else if (!chain.rules.empty() &&
               before_tail(found->second, chain.rules).size() == found->second.size()) {
      for (const std::string& rule : chain.rules) input.append(chain.table, chain.name, rule);
      ++report.repaired;
    }
  }
}

void FamilyTable::plan_jumps(const Tables& installed, RestoreInput& input, AuditReport& report) {
  const std::vector<Jump> wanted = jumps(family_, *rules_, options_.fixed);
  const bool martians = std::any_of(wanted.begin(), wanted.end(), [](const Jump& jump) {
    return target_of(jump.rule) == kFirewall;
  });
  if (martians) {
    const SavedTable& filter = installed[Table::kFilter];
    if (!filter.contains(std::string(kFirewall))) input.declare(Table::kFilter, kFirewall);
    localnet_is_ours_ |= has_rule(filter, kFirewall, localnet_rule());
    std::vector<std::string> guard = {martian_rule()};
    if (localnet_is_ours_) guard.push_back(localnet_rule());
    for (const std::string& rule : guard) {
      if (has_rule(filter, kFirewall, rule)) continue;
      input.append(Table::kFilter, kFirewall, rule);
      ++report.repaired;
    }
  }
  // Each goes to the top, so that the first one comes last.
  for (auto jump = wanted.rbegin(); jump != wanted.rend(); ++jump) {
    ++report.checked;
    if (has_rule(installed[jump->table], jump->from, jump->rule)) continue;
    input.insert(jump->table, jump->from, jump->rule);
    ++report.repaired;
  }
}

void FamilyTable::adopt(Tables installed) {
  const std::vector<Jump> wanted = jumps(family_, *rules_, options_.fixed);
  for (const Table table : kTables) {
    for (auto& [name, rules] : installed[table]) {
      const auto fixed = std::find_if(fixed_.begin(), fixed_.end(), [&, &n = name](const auto& f) {
        return f.table == table && f.name == n;
      });
      if (fixed != fixed_.end()) {
        if (!fixed->tail) continue;
        auto& adopted = adopted_shared_[{table, fixed->name}];
        for (std::string& rule : before_tail(std::move(rules), fixed->rules)) {
          std::string text = canonical(rule);
          adopted.emplace(std::move(text), std::move(rule));
        }
      } else if (table == Table::kNat && is_service_chain(name)) {
        adopted_chains_.emplace(name, std::move(rules));
      } else if (is_proxy_chain(table, name)) {
        adopted_others_.emplace_back(table, name);
      } else {
        for (std::string& rule : rules) {
          const std::string target(target_of(rule));
          if (!is_proxy_chain(table, target)) continue;
          const bool ours =
              std::any_of(wanted.begin(), wanted.end(), [&, &n = name](const Jump& j) {
                return j.table == table && j.from == n && same_rule(j.rule, rule);
              });
          if (!ours && is_proxy_jump(table, name, rule)) {
            adopted_jumps_.push_back({table, name, std::move(rule)});
          } else if (!ours) {
            foreign_targets_.insert(target);
          }
        }
      }
    }
  }
}

// What a failed run or somebody else has removed cannot be removed again: the tool would refuse.
void FamilyTable::forget_gone_jumps(const Tables& installed) {
  std::map<std::pair<Table, std::string>, std::vector<std::string>>
      left;  // a rule may be there twice
  std::erase_if(adopted_jumps_, [&](const OldJump& jump) {
    const auto [chain, first] = left.try_emplace({jump.table, jump.chain});
    std::vector<std::string>& rules = chain->second;
    const auto found = installed[jump.table].find(jump.chain);
    if (first && found != installed[jump.table].end()) rules = found->second;
    const auto rule = std::find_if(rules.begin(), rules.end(), [&jump](const std::string& each) {
      return same_rule(each, jump.rule);
    });
    if (rule == rules.end()) return true;
    rules.erase(rule);
    return false;
  });
}

std::vector<std::string> FamilyTable::tail(ChainId chain) const {
  for (const FixedChain& fixed : fixed_) {
    if (fixed.tail && fixed.table == chain.first && fixed.name == chain.second) return fixed.rules;
  }
  return {};
}

Status FamilyTable::set_node_rules(RulesPointer rules, std::vector<dataplane::Refusal>& refused) {
  if (!(*rules == *rules_)) {
    std::vector<FixedChain> before =
        std::exchange(fixed_, fixed_chains(family_, *rules, options_.fixed));
    RestoreInput input;
    for (size_t i = 0; i < fixed_.size(); ++i) {  // the same chains in the same order
      const FixedChain& chain = fixed_[i];
      if (before[i].rules == chain.rules) continue;
      if (!chain.tail) {
        input.rewrite(chain.table, chain.name, chain.rules);
        continue;
      }
      for (const std::string& rule : before[i].rules) input.remove(chain.table, chain.name, rule);
      for (const std::string& rule : chain.rules) input.append(chain.table, chain.name, rule);
    }
    if (const Status status = run(input); !status) {
      fixed_ = std::move(before);
      return status;
    }
    const bool opened = node_ports_on_loopback(family_, *rules, options_.fixed) &&
                        !node_ports_on_loopback(family_, *rules_, options_.fixed);
    rules_ = std::move(rules);
    if (opened) uncertain_ = true;  // the audit puts the guard of 127.0.0.0/8 in its place
  }
  // Entries that were rendered by other rules: most read the same under these.
  std::vector<Change> changes;
  for (auto& [key, record] : records_) {
    if (record.rules == rules_) continue;
    Record now = record;
    now.rules = rules_;
    const Result<Rendered> old_text = render(record);
    const Result<Rendered> new_text = render(now);
    if (old_text.ok() && new_text.ok() && old_text->shared == new_text->shared &&
        old_text->chains == new_text->chains) {
      record.rules = rules_;
    } else {
      changes.push_back({&key, record.entry});
    }
  }
  std::vector<std::pair<dataplane::EntryKey, dataplane::EntryPointer>>
      stable;  // apply() moves records
  stable.reserve(changes.size());
  for (const Change& change : changes) stable.push_back({*change.key, change.entry});
  changes.clear();
  for (const auto& each : stable) changes.push_back({&each.first, each.second});
  return apply(changes, refused);
}

Status FamilyTable::finish_complete(
    const boost::unordered_flat_set<dataplane::EntryKey, dataplane::EntryKeyHash>& keep,
    std::vector<dataplane::Refusal>& refused) {
  std::vector<dataplane::EntryKey> gone;
  for (const auto& [key, record] : records_) {
    if (!keep.contains(key)) gone.push_back(key);
  }
  std::vector<Change> changes;
  for (const dataplane::EntryKey& key : gone) changes.push_back({&key, nullptr});
  RETURN_IF_ERROR(apply(changes, refused));
  return remove_adopted();
}

Status FamilyTable::remove_adopted() {
  // First what names chains, then the chains.
  RestoreInput input;
  for (const auto& jump : adopted_jumps_) input.remove(jump.table, jump.chain, jump.rule);
  SharedRules wanted;
  for (auto& [chain, rules] : adopted_shared_) {
    if (rules.size() > options_.deletion_limit) {
      if (wanted.empty()) RETURN_IF_ERROR(entries_shared(wanted));
      std::vector<std::string> all = wanted[chain];
      for (std::string& rule : tail(chain)) all.push_back(std::move(rule));
      input.rewrite(chain.first, chain.second, all);
    } else {
      for (const auto& [text, rule] : rules) input.remove(chain.first, chain.second, rule);
    }
  }
  RETURN_IF_ERROR(run(input));
  adopted_jumps_.clear();
  adopted_shared_.clear();

  // Chains may name each other: they are emptied in the first runs and removed in the last ones.
  std::vector<std::pair<Table, std::string>> chains = adopted_others_;
  for (const auto& [name, rules] : adopted_chains_) chains.emplace_back(Table::kNat, name);
  std::erase_if(chains,
                [this](const auto& chain) { return foreign_targets_.contains(chain.second); });
  const size_t per_run = tool_.variant() == Variant::kNft ? options_.nft_chains_per_run : SIZE_MAX;
  const bool at_once = chains.size() <= per_run;
  for (const bool remove : {false, true}) {
    if (at_once && !remove) continue;
    RestoreInput part;
    for (const auto& [table, name] : chains) {
      if (remove) {
        part.remove_chain(table, name);
      } else {
        part.declare(table, name);
      }
      if (part.chains() < per_run) continue;
      RETURN_IF_ERROR(run(part));
      part = RestoreInput();
    }
    RETURN_IF_ERROR(run(part));
  }
  adopted_others_.clear();
  adopted_chains_.clear();
  return {};
}

}  // namespace fairlead::iptables
