// The audit of a family's table: is what is installed what was acknowledged? And its repair, object
// by object.
#include <algorithm>
#include <map>
#include <span>
#include <utility>

#include "nftables/family_table.h"
#include "nftables/ruleset.h"

namespace fairlead::nftables {

Status FamilyTable::run_repair(Transaction& repair, dataplane::AuditReport& report) {
  std::vector<Refused> refused;
  ASSIGN_OR_RETURN(refused, transact(repair));
  if (!refused.empty()) {
    return Status::from_errno(
        refused[0].error, "repair",
        "table fairlead" +
            (refused[0].reason.empty() ? std::string() : " (" + refused[0].reason + ")"));
  }
  report.repaired += repair.operations();
  operations_ += repair.operations();
  return {};
}

Status FamilyTable::audit(dataplane::AuditReport& report) {
  RETURN_IF_ERROR(install_static(&report));
  const std::vector<Element> expected = expected_elements();
  std::vector<SetNumber> sets = element_sets();
  for (const uint8_t length : range_lengths_) sets.push_back(source_range_set(length));
  for (const SetNumber set : sets) {
    const auto [begin, end] =
        std::equal_range(expected.begin(), expected.end(), Element{.set = set},
                         [](const Element& a, const Element& b) { return a.set < b.set; });
    RETURN_IF_ERROR(audit_elements(set, {begin, end}, report));
  }
  return {};
}

Status FamilyTable::audit_verdicts(dataplane::AuditReport& report) {
  std::map<std::pair<SetId, uint32_t>, std::string> wanted;
  for (const Policy policy : kPolicies) {
    wanted[{SetId::kPolicies, static_cast<uint32_t>(policy)}] = chain_name(policy);
  }
  for (const CheckClass& check : all_check_classes()) {
    wanted[{SetId::kCheckClasses, check.number()}] = check.chain_name();
  }
  for (const auto& [pick, number] : classes_) {
    wanted[{SetId::kClasses, number}] = pick.chain_name();
  }
  Transaction repair(family_);
  uint64_t repaired = 0;
  for (const SetId map : {SetId::kPolicies, SetId::kCheckClasses, SetId::kClasses}) {
    std::map<uint32_t, std::string> installed;
    ASSIGN_OR_RETURN(installed, kernel_.verdicts(map));
    for (const auto& [number, chain] : installed) {
      const auto found = wanted.find({map, number});
      if (found != wanted.end() && found->second == chain) continue;
      repair.remove_verdict(map, number);
      ++repaired;
    }
    for (const auto& [key, chain] : wanted) {
      if (key.first != map) continue;
      const auto found = installed.find(key.second);
      if (found != installed.end() && found->second == chain) continue;
      repair.set_verdict(map, key.second, chain);
      ++repaired;
    }
  }
  report.checked += wanted.size();
  report.repaired += repaired;
  return repair.empty() ? Status() : run_repair(repair, report);
}

std::vector<Element> FamilyTable::expected_elements() const {
  std::vector<Element> expected(adopted_.begin(), adopted_.end());
  expected.reserve(element_count_);
  for (const auto& [address, count] : cluster_ips_) {
    expected.push_back(cluster_ip_element(address));
  }
  for (const auto& [address, count] : hairpins_) expected.push_back(hairpin_element(address));
  const auto number = [this](const PickClass& pick) { return classes_.at(pick); };
  for (const auto& [key, record] : records_) {
    const std::vector<Element> elements = elements_of(record, number);
    expected.insert(expected.end(), elements.begin(), elements.end());
  }
  std::sort(expected.begin(), expected.end(), key_less);
  return expected;
}

// `expected` are the wanted elements of `set`, sorted.
Status FamilyTable::audit_elements(SetNumber set, std::span<const Element> expected,
                                   dataplane::AuditReport& report) {
  std::vector<Element> installed;
  ASSIGN_OR_RETURN(installed, kernel_.elements(set));
  std::sort(installed.begin(), installed.end(), key_less);
  report.checked += expected.size();

  Transaction repair(family_);
  const auto flush_when_large = [&]() -> Status {
    if (repair.operations() < options_.elements_per_transaction) return {};
    RETURN_IF_ERROR(run_repair(repair, report));
    repair = Transaction(family_);
    return {};
  };
  auto found = installed.begin();
  for (const Element& element : expected) {
    for (; found != installed.end() && key_less(*found, element); ++found) repair.remove(*found);
    const bool there = found != installed.end() && same_key(*found, element);
    if (!there) {
      repair.add(element);
    } else if (*found++ != element) {
      repair.remove(element);
      repair.add(element);
    }
    RETURN_IF_ERROR(flush_when_large());
  }
  for (; found != installed.end(); ++found) {
    repair.remove(*found);
    RETURN_IF_ERROR(flush_when_large());
  }
  return repair.empty() ? Status() : run_repair(repair, report);
}

}  // namespace fairlead::nftables
