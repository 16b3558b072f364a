// The rules of one family: what is installed, and how a delta gets there.
//
// Every entry has a Record of what was rendered for it. A delta is rendered entry by entry and
// compared with the records; only the difference is written, by iptables-restore in as few runs as
// the tool takes well. When the tool refuses a run, it is halved until the guilty entry stands
// alone; that one is reported, the others go in.
//
// At start the tables may hold an earlier run's rules, or kube-proxy's. They are read once and stay
// in effect; entries of the first complete delta take over what they find as they want it, and what
// nobody takes over goes at the end.
//
// Threads: one owner.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "dataplane/backend.h"
#include "iptables/layout.h"
#include "iptables/render.h"
#include "iptables/restore_input.h"
#include "iptables/save_text.h"
#include "iptables/tool.h"

namespace fairlead::iptables {

struct TableOptions {
  FixedOptions fixed;
  // Endpoints in a family from which on comments are left out, as kube-proxy does.
  size_t comment_limit = 1000;
  // The same for folding (see Style), with the legacy tool alone: it replaces the whole table for
  // every change, so that a change costs what the table is large.
  size_t fold_limit = 10000;
  // Chains in one run of the nft tool, whose time grows with their square.
  size_t nft_chains_per_run = 500;
  // Rules to be deleted from one chain, beyond which it is rewritten instead.
  size_t deletion_limit = 50;
  // Counters of rules are read by running the tool, not more often than this.
  std::chrono::seconds counter_age{30};
};

class FamilyTable {
 public:
  // Precondition: `tool` outlives it.
  FamilyTable(dataplane::Family family, Tool& tool, TableOptions options);

  // What the runs from here on belong to; by which they are counted.
  enum class Work : uint8_t { kFullSync, kPartialSync, kAudit };
  void begin(Work work);

  // IPv4: the caller is going to set route_localnet. The next start() or apply() puts the rule that
  // says so beside the guard of 127.0.0.0/8; one of an earlier run is found by start().
  void claim_localnet();

  // Installs the fixed part, or puts it right, and reads the rules of an earlier run.
  Status start(std::shared_ptr<const dataplane::NodeRules> rules);
  // The same for changed node rules: only what differs is rewritten. Appends the entries that the
  // tool refuses under these; they stay as they were.
  Status set_node_rules(std::shared_ptr<const dataplane::NodeRules> rules,
                        std::vector<dataplane::Refusal>& refused);

  struct Change {
    const dataplane::EntryKey* key = nullptr;
    dataplane::EntryPointer entry;  // null: remove
  };
  // Applies all changes; appends what the tool refused. A Status means that nothing can be applied
  // now; what went in before it is recorded.
  Status apply(const std::vector<Change>& changes, std::vector<dataplane::Refusal>& refused);
  // Ends the first complete delta: removes what an earlier run left and no entry took over, and
  // entries not in `keep`.
  Status finish_complete(
      const boost::unordered_flat_set<dataplane::EntryKey, dataplane::EntryKeyHash>& keep,
      std::vector<dataplane::Refusal>& refused);

  Status audit(dataplane::AuditReport& report);
  // Somebody changed a table since our last run.
  bool disturbed() const;
  // From here on: for when the other family's runs are over, which the nft variant counts too.
  void note_stamps();

  dataplane::Family family() const { return family_; }
  size_t endpoint_count() const { return endpoints_; }
  uint64_t operations() const { return operations_; }  // rules and chains written so far
  uint64_t runs() const { return runs_; }              // of iptables-restore
  uint64_t failures() const { return failures_; }      // of these runs
  uint64_t partial_failures() const { return partial_failures_; }  // of them in partial syncs
  size_t rules(Table table) const;  // ours, in the kernel; without those not taken over yet
  uint64_t last_written(Table table) const { return written_[static_cast<size_t>(table)]; }

 private:
  using RulesPointer = std::shared_ptr<const dataplane::NodeRules>;
  // An entry as it is installed: rendering it again gives the same text.
  struct Record {
    dataplane::EntryPointer entry;
    RulesPointer rules;
    Style style;
  };
  struct RuleHash {
    size_t operator()(const SharedRule& rule) const {
      return std::hash<std::string_view>()(rule.rule);
    }
  };
  // How many entries want each of the rules that they may have in common.
  using CommonRules = boost::unordered_flat_map<SharedRule, int64_t, RuleHash>;
  using ChainId = std::pair<Table, std::string_view>;
  using RuleCounts = std::array<int64_t, 3>;  // by Table

  struct Tables {
    std::array<SavedTable, 3> tables;  // by Table
    SavedTable& operator[](Table table) { return tables[static_cast<size_t>(table)]; }
    const SavedTable& operator[](Table table) const { return tables[static_cast<size_t>(table)]; }
  };
  // Everything that one run is going to change.
  struct Plan;

  Result<Tables> read() const;
  Status run(const RestoreInput& input);
  Result<Rendered> render(const Record& record) const;
  Style style() const;

  // apply
  Status apply_range(const Change* begin, const Change* end,
                     std::vector<dataplane::Refusal>& refused);
  Status plan_change(const Change& change, Plan& plan) const;
  void plan_chains(const Rendered& before, const Rendered& after, Plan& plan) const;
  void plan_shared(const Rendered& before, const Rendered& after, Plan& plan) const;
  void plan_common(Plan& plan) const;
  Status plan_rewrites(Plan& plan) const;
  Status commit(Plan& plan, bool rewrite);
  void keep(Plan& plan);

  // fixed part, adoption, audit
  void plan_fixed(const Tables& installed, RestoreInput& input, dataplane::AuditReport& report);
  void plan_jumps(const Tables& installed, RestoreInput& input, dataplane::AuditReport& report);
  void adopt(Tables installed);
  void forget_gone_jumps(const Tables& installed);
  Status remove_adopted();
  std::vector<std::string> tail(ChainId chain) const;
  // What each shared chain must hold before its tail: the entries' rules, and those of an earlier
  // run that are in effect still.
  using SharedRules = std::map<ChainId, std::vector<std::string>>;
  Status entries_shared(SharedRules& wanted) const;
  Status expected_shared(SharedRules& wanted) const;
  Result<SavedTable> expected_own() const;
  Status repair_own(const SavedTable& installed, dataplane::AuditReport& report);

  const dataplane::Family family_;
  Tool& tool_;
  const TableOptions options_;
  RulesPointer rules_;
  std::vector<FixedChain> fixed_;

  boost::unordered_flat_map<dataplane::EntryKey, Record, dataplane::EntryKeyHash> records_;
  CommonRules common_;
  size_t endpoints_ = 0;
  Style pending_style_;  // of the delta that is being applied
  // An earlier run's, that no entry has taken over yet.
  SavedTable adopted_chains_;
  std::map<ChainId, boost::unordered_flat_map<std::string, std::string>> adopted_shared_;
  struct OldJump {
    Table table = Table::kNat;
    std::string chain;
    std::string rule;
  };
  std::vector<OldJump> adopted_jumps_;
  std::vector<std::pair<Table, std::string>> adopted_others_;  // chains that this mode does not use
  boost::unordered_flat_set<std::string> foreign_targets_;     // chains that others' rules name

  boost::unordered_flat_set<std::string> stray_;  // found by the audit that runs now

  std::array<uint64_t, 3> stamps_{};  // by Table
  bool localnet_is_ours_ = false;     // Fairlead has set route_localnet: this run or an earlier one
  bool uncertain_ = false;            // a run failed: how far it came is not known
  uint64_t operations_ = 0;
  uint64_t runs_ = 0;
  Work work_ = Work::kFullSync;
  uint64_t failures_ = 0;
  uint64_t partial_failures_ = 0;
  std::array<uint64_t, 3> written_{};  // rules, in this sync; by Table
  RuleCounts entry_rules_{};           // of all records; by Table
};

}  // namespace fairlead::iptables
