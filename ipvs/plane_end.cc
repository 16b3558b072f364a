// The end of the mode: another one serves, or nothing of it is to stay.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "iptables/layout.h"
#include "ipvs/plane.h"

namespace fairlead::ipvs {

using dataplane::Address;

Result<bool> Plane::owned() {
  return sets_.ours();
}

Status Plane::remove_rules(iptables::Tool& tool, Guard guard) const {
  std::string mangle;
  ASSIGN_OR_RETURN(mangle, tool.save(family_, "mangle"));
  const bool rules_owned = has_chain(mangle, iptables::kIpvsOwner);
  std::vector<TableRules> tables = wanted_rules(family_, rules_);
  std::reverse(tables.begin(), tables.end());
  for (const TableRules& table : tables) {
    std::string saved;
    ASSIGN_OR_RETURN(saved, tool.save(family_, table.table));
    const std::string removal = removal_text(table, saved, rules_owned, guard);
    if (!removal.empty()) RETURN_IF_ERROR(tool.restore(family_, removal));
  }
  return {};
}

Status Plane::remove() {
  RETURN_IF_ERROR(load());
  // First of all: without the rules they would lead to the node's own processes.
  std::vector<std::pair<Address, Status>> addresses;
  RETURN_IF_ERROR(addresses_.push(addresses_.take_touched(), addresses));
  if (!addresses.empty()) return addresses[0].second;
  RETURN_IF_ERROR(remove_rules(seams_.iptables, Guard::kRemove));
  RETURN_IF_ERROR(servers_.push_removed(take_leftovers({})));
  return sets_.destroy();
}

Result<bool> Plane::has_connections() {
  RETURN_IF_ERROR(load());
  return servers_.has_connections();
}

// Wants what the servers that are left need: their addresses, and the elements by which they are
// known as ours.
void Plane::want_what_serves() {
  std::vector<std::pair<SetId, SetElement>> records;
  AddressSet addresses;
  for (const SetElement& element : sets_.present_elements(SetId::kMarks)) {
    if (!servers_.contains(ServerKey::marked(family_, element.mark))) continue;
    records.emplace_back(SetId::kMarks, element);
    addresses.insert(element.address);
  }
  for (const ServerKey& key : servers_.keys()) {
    if (key.mark != 0) continue;
    addresses.insert(key.address.address);
    const SetElement element = SetElement::at(key.address.address, key.address.port, key.protocol);
    const std::vector<SetId> sets = sets_with(element);
    for (const SetId set : sets) records.emplace_back(set, element);
    if (sets.empty()) records.emplace_back(SetId::kNodePortServers, element);
  }
  for (const Address& address : addresses) {
    if (!addresses_.on_device(address)) continue;
    addresses_.want(address);
    records.emplace_back(SetId::kAddresses, SetElement::at(address));
  }
  for (const auto& [set, element] : records) sets_.want(set, element);
}

// Also when somebody has taken it away meanwhile.
Status Plane::guard(Retired& retired) {
  std::string text;
  std::vector<uint64_t> stamps;
  const std::vector<TableRules> tables = guard_rules(family_);
  for (size_t i = 0; i < tables.size(); ++i) {
    uint64_t stamp = 0;
    ASSIGN_OR_RETURN(stamp, seams_.iptables.stamp(family_, tables[i].table));
    stamps.push_back(stamp);
    if (i < retired.stamps.size() && retired.stamps[i] == stamp) continue;
    std::string saved;
    ASSIGN_OR_RETURN(saved, seams_.iptables.save(family_, tables[i].table));
    text += guard_text(tables[i], saved);
  }
  if (!text.empty()) RETURN_IF_ERROR(seams_.iptables.restore(family_, text));
  retired.stamps = std::move(stamps);  // a look more after our own writing
  return {};
}

Result<bool> Plane::retire(Retired& retired) {
  RETURN_IF_ERROR(sets_.create());
  RETURN_IF_ERROR(load());
  take_leftovers({});  // what is somebody else's stays that
  RETURN_IF_ERROR(servers_.retire());
  if (servers_.size() == 0) return false;
  // The guard comes before the chains go that keep addresses from the node's own processes.
  RETURN_IF_ERROR(guard(retired));
  if (!retired.rules_gone) {
    RETURN_IF_ERROR(remove_rules(seams_.iptables, Guard::kKeep));
    retired.rules_gone = true;
  }
  want_what_serves();
  std::vector<ElementFailure> elements;
  RETURN_IF_ERROR(sets_.push_added(elements));
  std::vector<std::pair<Address, Status>> addresses;
  RETURN_IF_ERROR(addresses_.push(addresses_.take_touched(), addresses));
  RETURN_IF_ERROR(sets_.push_removed_but(SetId::kNoLocal));
  RETURN_IF_ERROR(sets_.push_removed(SetId::kNoLocal));
  if (!elements.empty()) return elements[0].status;
  if (!addresses.empty()) return addresses[0].second;
  return true;
}

}  // namespace fairlead::ipvs
