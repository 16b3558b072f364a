#include "nftables/family_table.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <tuple>

#include "base/log.h"
#include "nftables/ruleset.h"

namespace fairlead::nftables {

using dataplane::Address;
using dataplane::EntryKey;
using dataplane::ForwardingEntry;
using dataplane::Frontend;
using dataplane::Refusal;
using dataplane::SourceClass;

namespace {

// Classes that exist from the start. Creating one later makes the kernel walk the maps that its
// rules read, 30 ms at 200,000 elements; while the maps are empty it costs nothing.
constexpr uint32_t kReadyPicks = 192;
constexpr uint32_t kReadyLocalPicks = 48;
constexpr uint32_t kReadyStickyPicks = 32;
constexpr uint32_t kDefaultAffinitySeconds = 10800;  // the API's default

std::vector<PickClass> ready_classes() {
  std::vector<PickClass> classes;
  for (uint32_t n = 1; n <= kReadyPicks; ++n) classes.push_back({false, n, 0});
  for (uint32_t n = 1; n <= kReadyLocalPicks; ++n) classes.push_back({true, n, 0});
  for (uint32_t n = 1; n <= kReadyStickyPicks; ++n) {
    classes.push_back({false, n, kDefaultAffinitySeconds});
  }
  return classes;
}

}  // namespace

struct FamilyTable::Plan {
  explicit Plan(dataplane::Family family) : transaction(family) {}

  Transaction transaction;
  std::vector<std::pair<EntryKey, Record>> records;  // an entry of null: remove the record
  std::vector<Element> claimed;                      // of adopted_, once committed
  boost::unordered_flat_set<uint32_t> taken_sets;    // sets of an earlier run that found an entry
  std::vector<PickClass> new_classes;
  std::vector<uint8_t> new_lengths;
  std::vector<uint32_t> new_sets;
  std::vector<uint32_t> freed_sets;
  // Shared elements as they were before the plan, by address.
  std::map<Address, uint32_t> cluster_ips_before;
  std::map<Address, uint32_t> hairpins_before;
  int64_t growth = 0;
};

FamilyTable::FamilyTable(dataplane::Family family, NetlinkTransport& transport, TextClient& text,
                         FamilyOptions options)
    : family_(family),
      transport_(transport),
      text_(text),
      options_(options),
      kernel_(transport, family) {}

Status FamilyTable::start(const dataplane::NodeRules& rules) {
  rules_ = rules;
  bool exists = false;
  ASSIGN_OR_RETURN(exists, kernel_.table_exists());
  if (exists) {
    std::vector<std::string> sets;
    ASSIGN_OR_RETURN(sets, kernel_.sets());
    if (std::find(sets.begin(), sets.end(), kLayoutVersion) == sets.end()) {
      RETURN_IF_ERROR(remove());
      exists = false;
    } else {
      RETURN_IF_ERROR(adopt());
    }
  }
  if (!exists) {
    for (const PickClass& pick : ready_classes()) classes_[pick] = next_class_++;
  }
  return install_static(nullptr);
}

Status FamilyTable::set_node_rules(const dataplane::NodeRules& rules) {
  rules_ = rules;
  return install_static(nullptr);
}

std::vector<ChainSpec> FamilyTable::wanted_chains() const {
  std::vector<ChainSpec> chains = static_chains(family_, rules_, range_lengths_);
  for (const auto& [pick, number] : classes_) chains.push_back(pick_chain(pick));
  return chains;
}

// Creates what is missing and rewrites the chains whose rules are not as this version writes them.
// Every step is one transaction, and the chains in use are replaced whole, so packets always meet
// one or the other.
Status FamilyTable::install_static(dataplane::AuditReport* report) {
  const std::vector<ChainSpec> wanted = wanted_chains();
  std::map<std::string, std::vector<std::string>> installed;
  bool exists = false;
  ASSIGN_OR_RETURN(exists, kernel_.table_exists());
  if (exists) {
    ASSIGN_OR_RETURN(installed, kernel_.chains());
  }
  std::vector<ChainSpec> wrong;
  for (const ChainSpec& chain : wanted) {
    const auto found = installed.find(chain.name);
    if (found == installed.end() || found->second != fingerprints(chain, family_)) {
      wrong.push_back(chain);
    }
  }
  if (report != nullptr) {
    report->checked += wanted.size();
    report->repaired += wrong.size();
  }
  std::vector<ChainSpec> declared;
  for (const ChainSpec& chain : wanted) {
    if (!installed.contains(chain.name)) declared.push_back(chain);
  }
  RETURN_IF_ERROR(run_text(declare_command(family_, declared, options_.affinity_limit) +
                           text_rules_command(family_, wrong) +
                           node_sets_command(family_, rules_)));
  Transaction programs(family_);
  for (const uint8_t length : range_lengths_) programs.create_source_range_set(length);
  for (const ChainSpec& chain : wrong) {
    if (!chain.is_text()) programs.write_chain(chain);
  }
  dataplane::AuditReport ignored;
  if (!programs.empty()) RETURN_IF_ERROR(run_repair(programs, ignored));
  return audit_verdicts(report != nullptr ? *report : ignored);
}

Status FamilyTable::remove() {
  // The checks go first, by themselves. When a table goes, its maps are empty a moment before its
  // chains are out of the way: a packet between the two would find a cluster IP without this port,
  // and be refused although another mode serves it.
  std::string checks;
  for (const char* chain : {"filter-prerouting", "filter-output"}) {
    checks += "flush chain " + std::string(nft_family(family_)) + " " + std::string(kTable) + " " +
              chain + "\n";
  }
  // Damaged tables have no such chains, and are removed all the same.
  if (const Status flushed = run_text(checks); !flushed) {
    LOG_V(1, "{}", flushed.message());
  }
  RETURN_IF_ERROR(run_text("add table " + std::string(nft_family(family_)) + " " +
                           std::string(kTable) + "\ndelete table " +
                           std::string(nft_family(family_)) + " " + std::string(kTable)));
  records_.clear();
  classes_.clear();
  range_lengths_.clear();
  cluster_ips_.clear();
  hairpins_.clear();
  adopted_.clear();
  element_count_ = 0;
  return {};
}

uint32_t FamilyTable::new_set_number() {
  if (free_sets_.empty()) return next_set_++;
  const uint32_t number = free_sets_.back();
  free_sets_.pop_back();
  return number;
}

uint32_t FamilyTable::class_number(const PickClass& pick, Plan* plan) {
  const auto [position, inserted] = classes_.try_emplace(pick, next_class_);
  if (inserted) {
    ++next_class_;
    plan->new_classes.push_back(pick);
    plan->transaction.write_chain(pick_chain(pick));
    plan->transaction.set_verdict(SetId::kClasses, position->second, pick.chain_name());
  }
  return position->second;
}

void FamilyTable::plan_sets(const ForwardingEntry& entry, const Record* before, Record& after,
                            Plan& plan) {
  const NeededSets needed = needed_sets(entry);
  const auto token = [this] { return next_token_++; };
  const auto plan_one = [&](bool is_needed, const std::optional<InstalledSet>* old_set,
                            const dataplane::EndpointChoice& choice, bool split,
                            std::optional<InstalledSet>& new_set) {
    const bool had = old_set != nullptr && old_set->has_value();
    if (!is_needed) {
      if (had) plan.freed_sets.push_back((*old_set)->number);
      return;
    }
    InstalledSet base;
    if (had) {
      base = **old_set;
    } else if (!adopted_.empty()) {
      base = adopted_set(entry, split ? SetId::kLocalSet : SetId::kServiceSet,
                         &choice == &entry.cluster, plan.taken_sets);
      if (base.number != 0) plan.taken_sets.insert(base.number);
    }
    if (base.number == 0) {
      base.number = new_set_number();
      plan.new_sets.push_back(base.number);
    }
    const PickClass pick{split, static_cast<uint32_t>(choice.targets.size()),
                         entry.affinity_seconds};
    new_set = arrange(base, choice, pick, token);
  };
  plan_one(needed.cluster, before ? &before->cluster : nullptr, entry.cluster, false,
           after.cluster);
  plan_one(needed.local, before ? &before->local : nullptr, entry.local, false, after.local);
  plan_one(needed.split_local, before ? &before->split_local : nullptr, entry.local, true,
           after.split_local);
}

// Adds to the plan what turns `before` into `after`. Elements of an earlier run that match are left
// alone.
void FamilyTable::plan_difference(std::vector<Element>& before, std::vector<Element>& after,
                                  Plan& plan) {
  std::sort(before.begin(), before.end(), key_less);
  std::sort(after.begin(), after.end(), key_less);
  auto old_element = before.begin();
  for (const Element& element : after) {
    while (old_element != before.end() && key_less(*old_element, element)) {
      plan.transaction.remove(*old_element++);
      --plan.growth;
    }
    if (old_element != before.end() && same_key(*old_element, element)) {
      if (*old_element != element) {
        plan.transaction.remove(*old_element);
        plan.transaction.add(element);
      }
      ++old_element;
      continue;
    }
    const auto left_behind = adopted_.find(element);
    if (left_behind != adopted_.end()) {
      plan.claimed.push_back(element);
      if (*left_behind == element) continue;
      plan.transaction.remove(*left_behind);
      plan.transaction.add(element);
      continue;
    }
    plan.transaction.add(element);
    ++plan.growth;
  }
  for (; old_element != before.end(); ++old_element) {
    plan.transaction.remove(*old_element);
    --plan.growth;
  }
}

// Counts references only; the elements follow from the net change, in commit().
void FamilyTable::plan_shared(AddressCounts& counts, const std::vector<Address>& before,
                              const std::vector<Address>& after, bool cluster_ip, Plan& plan) {
  auto& saved = cluster_ip ? plan.cluster_ips_before : plan.hairpins_before;
  const auto remember = [&](const Address& address) {
    const auto found = counts.find(address);
    saved.try_emplace(address, found == counts.end() ? 0 : found->second);
  };
  for (const Address& address : after) {
    remember(address);
    ++counts[address];
  }
  for (const Address& address : before) {
    remember(address);
    const auto found = counts.find(address);
    if (--found->second == 0) counts.erase(found);
  }
}

void FamilyTable::plan_change(const Change& change, Plan& plan) {
  const auto known = records_.find(*change.key);
  const Record* before = known == records_.end() ? nullptr : &known->second;
  const auto number = [&](const PickClass& pick) { return class_number(pick, &plan); };
  std::vector<Element> before_elements;
  std::vector<Element> after_elements;
  if (before != nullptr) before_elements = elements_of(*before, number);

  Record after;
  if (change.entry) {
    after.entry = change.entry;
    plan_sets(*change.entry, before, after, plan);
    for (const dataplane::Prefix& range : change.entry->source_ranges) {
      if (range_lengths_.insert(range.length()).second) plan.new_lengths.push_back(range.length());
    }
    after_elements = elements_of(after, number);
  } else if (before != nullptr) {
    for (const auto* set : {&before->cluster, &before->local, &before->split_local}) {
      if (*set) plan.freed_sets.push_back((*set)->number);
    }
  }
  plan_difference(before_elements, after_elements, plan);

  const auto addresses = [](const dataplane::EntryPointer& entry, auto of) {
    return entry ? of(*entry) : std::vector<Address>();
  };
  const dataplane::EntryPointer old_entry = before ? before->entry : nullptr;
  plan_shared(cluster_ips_, addresses(old_entry, cluster_ips_of),
              addresses(change.entry, cluster_ips_of), true, plan);
  plan_shared(hairpins_, addresses(old_entry, hairpin_addresses_of),
              addresses(change.entry, hairpin_addresses_of), false, plan);
  plan.records.emplace_back(*change.key, std::move(after));
}

void FamilyTable::take_back(Plan& plan) {
  const auto restore = [](AddressCounts& counts, const std::map<Address, uint32_t>& before) {
    for (const auto& [address, count] : before) {
      if (count == 0) {
        counts.erase(address);
      } else {
        counts[address] = count;
      }
    }
  };
  restore(cluster_ips_, plan.cluster_ips_before);
  restore(hairpins_, plan.hairpins_before);
  for (const PickClass& pick : plan.new_classes) classes_.erase(pick);
  for (const uint8_t length : plan.new_lengths) range_lengths_.erase(length);
  free_sets_.insert(free_sets_.end(), plan.new_sets.begin(), plan.new_sets.end());
}

void FamilyTable::keep(Plan& plan) {
  for (auto& [key, record] : plan.records) {
    if (record.entry) {
      records_.insert_or_assign(std::move(key), std::move(record));
    } else {
      records_.erase(key);
    }
  }
  for (const Element& element : plan.claimed) adopted_.erase(element);
  free_sets_.insert(free_sets_.end(), plan.freed_sets.begin(), plan.freed_sets.end());
  element_count_ = static_cast<size_t>(static_cast<int64_t>(element_count_) + plan.growth);
  operations_ += plan.transaction.operations();
}

// The kernel does not count a commit that changed nothing, and which those are depends on its
// version: it is asked. Precondition: everything was accepted.
Status FamilyTable::count_commit(uint32_t generation_before) {
  uint32_t generation = 0;
  ASSIGN_OR_RETURN(generation, kernel_.generation());
  if (generation != generation_before) ++commits_;
  return {};
}

Status FamilyTable::run_text(const std::string& commands) {
  uint32_t generation = 0;
  ASSIGN_OR_RETURN(generation, kernel_.generation());
  RETURN_IF_ERROR(text_.run(commands));
  return count_commit(generation);
}

Result<std::vector<Refused>> FamilyTable::transact(Transaction& transaction) {
  uint32_t generation = 0;
  ASSIGN_OR_RETURN(generation, kernel_.generation());
  std::vector<Refused> refused;
  const MessageWriter batch = transaction.build();
  ASSIGN_OR_RETURN(refused, transport_.transact(batch.bytes()));
  if (refused.empty()) RETURN_IF_ERROR(count_commit(generation));
  return refused;
}

Result<bool> FamilyTable::commit(Plan& plan) {
  if (!plan.new_lengths.empty()) {
    for (const uint8_t length : plan.new_lengths) plan.transaction.create_source_range_set(length);
    plan.transaction.write_chain(source_ranges_chain(range_lengths_));
  }
  const auto settle_shared = [&](const AddressCounts& counts,
                                 const std::map<Address, uint32_t>& before, auto element_of) {
    for (const auto& [address, count] : before) {
      const bool now = counts.contains(address);
      if (now == (count != 0)) continue;
      const Element element = element_of(address);
      if (!now) {
        plan.transaction.remove(element);
        --plan.growth;
      } else if (adopted_.contains(element)) {
        plan.claimed.push_back(element);
      } else {
        plan.transaction.add(element);
        ++plan.growth;
      }
    }
  };
  settle_shared(cluster_ips_, plan.cluster_ips_before, cluster_ip_element);
  settle_shared(hairpins_, plan.hairpins_before, hairpin_element);

  if (static_cast<int64_t>(element_count_) + plan.growth >
      static_cast<int64_t>(options_.element_limit)) {
    last_refusal_ = Status::error(
        StatusCode::kExhausted, "apply", "table fairlead",
        "the limit of " + std::to_string(options_.element_limit) + " elements is reached");
    return false;
  }
  if (plan.transaction.empty()) return true;
  std::vector<Refused> refused;
  ASSIGN_OR_RETURN(refused, transact(plan.transaction));
  if (refused.empty()) return true;
  last_refusal_ = Status::from_errno(
      refused[0].error, "commit elements to",
      "table fairlead" +
          (refused[0].reason.empty() ? std::string() : " (" + refused[0].reason + ")"));
  return false;
}

Status FamilyTable::commit_range(const Change* begin, const Change* end,
                                 std::vector<Refusal>& refused) {
  if (begin == end) return {};
  Plan plan(family_);
  for (const Change* change = begin; change != end; ++change) plan_change(*change, plan);
  Result<bool> committed = commit(plan);
  if (!committed) {
    take_back(plan);
    return committed.status();
  }
  if (*committed) {
    keep(plan);
    return {};
  }
  take_back(plan);
  if (end - begin == 1) {
    refused.push_back({*begin->key, last_refusal_});
    return {};
  }
  const Change* const middle = begin + (end - begin) / 2;
  RETURN_IF_ERROR(commit_range(begin, middle, refused));
  return commit_range(middle, end, refused);
}

Status FamilyTable::apply(const std::vector<Change>& changes, std::vector<Refusal>& refused) {
  std::vector<Change> acceptable;
  acceptable.reserve(changes.size());
  for (const Change& change : changes) {
    Status bad;
    if (change.entry) {
      for (const Frontend& frontend : change.entry->frontends) {
        const Result<Policy> policy = policy_of(frontend);
        if (!policy) bad = policy.status();
      }
    }
    if (bad) {
      acceptable.push_back(change);
    } else {
      refused.push_back({*change.key, bad});
    }
  }
  // What goes comes first: an address may pass from one entry to another.
  std::stable_partition(acceptable.begin(), acceptable.end(),
                        [](const Change& change) { return change.entry == nullptr; });
  std::vector<Refusal> first_round;
  const Change* begin = acceptable.data();
  const Change* const last = begin + acceptable.size();
  while (begin != last) {
    size_t weight = 0;
    const Change* end = begin;
    while (end != last && weight < options_.elements_per_transaction) {
      if (end->entry) {
        weight += end->entry->cluster.targets.size() + end->entry->local.targets.size() +
                  3 * end->entry->frontends.size();
      }
      weight += 4;
      ++end;
    }
    RETURN_IF_ERROR(commit_range(begin, end, first_round));
    begin = end;
  }
  if (first_round.empty()) return {};
  // An entry may have been refused for an address that another one gave up later in this delta.
  boost::unordered_flat_map<EntryKey, const Change*, dataplane::EntryKeyHash> change_of;
  for (const Change& change : acceptable) change_of[*change.key] = &change;
  for (const Refusal& refusal : first_round) {
    const Change* const change = change_of.at(refusal.key);
    RETURN_IF_ERROR(commit_range(change, change + 1, refused));
  }
  return {};
}

Status FamilyTable::finish_complete(
    const boost::unordered_flat_set<EntryKey, dataplane::EntryKeyHash>& keep_keys,
    std::vector<Refusal>& refused) {
  std::vector<EntryKey> gone;
  for (const auto& [key, record] : records_) {
    if (!keep_keys.contains(key)) gone.push_back(key);
  }
  std::vector<Change> changes;
  for (const EntryKey& key : gone) changes.push_back({&key, nullptr});
  RETURN_IF_ERROR(apply(changes, refused));

  std::vector<Element> left(adopted_.begin(), adopted_.end());
  // Frontends first: no packet may find a set that is being taken apart.
  std::sort(left.begin(), left.end(), key_less);
  size_t done = 0;
  while (done < left.size()) {
    Plan plan(family_);
    for (size_t n = 0; n < options_.elements_per_transaction && done < left.size(); ++n, ++done) {
      plan.transaction.remove(left[done]);
      plan.claimed.push_back(left[done]);
      --plan.growth;
    }
    Result<bool> committed = commit(plan);
    if (!committed) return committed.status();
    if (!*committed) return last_refusal_;
    keep(plan);
  }
  adopted_ = ElementSet();  // an emptied set keeps its buckets, 64 bytes an element
  return {};
}

}  // namespace fairlead::nftables
