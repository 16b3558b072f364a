// What an earlier run left in the table, and how entries take it over.
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "nftables/family_table.h"

namespace fairlead::nftables {

using dataplane::Address;
using dataplane::ForwardingEntry;
using dataplane::Frontend;
using dataplane::FrontendKind;
using dataplane::SourceClass;

// Reads what an earlier run left. Its class numbers are taken over at once, everything else when an
// entry asks for it.
Status FamilyTable::adopt() {
  std::map<uint32_t, std::string> verdicts;
  ASSIGN_OR_RETURN(verdicts, kernel_.verdicts(SetId::kClasses));
  for (const auto& [number, chain] : verdicts) {
    next_class_ = std::max(next_class_, number + 1);
    if (const std::optional<PickClass> pick = PickClass::parse(chain)) classes_[*pick] = number;
  }
  std::vector<std::string> names;
  ASSIGN_OR_RETURN(names, kernel_.sets());
  std::vector<SetNumber> sets = element_sets();
  for (unsigned bits = 0; bits <= (family_ == dataplane::Family::kIPv4 ? 32U : 128U); ++bits) {
    const auto length = static_cast<uint8_t>(bits);
    const std::string name = describe_set(source_range_set(length), family_).name;
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      range_lengths_.insert(length);
      sets.push_back(source_range_set(length));
    }
  }
  for (const SetNumber set : sets) {
    // A set that somebody deleted is created again by install_static().
    if (std::find(names.begin(), names.end(), describe_set(set, family_).name) == names.end()) {
      continue;
    }
    std::vector<Element> elements;
    ASSIGN_OR_RETURN(elements, kernel_.elements(set));
    for (const Element& element : elements) {
      adopted_.insert(element);
      if (set == number_of(SetId::kSetClass)) {
        next_set_ = std::max(next_set_, read_number(element.key_bytes()) + 1);
      } else if (set == number_of(SetId::kStickySlots)) {
        next_token_ = std::max(next_token_, read_number(element.data_bytes()) + 1);
      }
    }
  }
  element_count_ = adopted_.size();
  return {};
}

// The set that an earlier run installed for one of the entry's frontends, with its slots; number 0
// when there is none, or none that is not in `taken`: the entry's frontends may have been several
// entries' then, and those of an entry of then may be several entries' now.
InstalledSet FamilyTable::adopted_set(const ForwardingEntry& entry, SetId map, bool cluster,
                                      const boost::unordered_flat_set<uint32_t>& taken) {
  InstalledSet set;
  for (const Frontend& frontend : entry.frontends) {
    const bool uses_cluster =
        frontend.route(SourceClass::kPod).choice == dataplane::Choice::kCluster;
    if (map == SetId::kServiceSet && uses_cluster != cluster) continue;
    const auto found =
        adopted_.find(ElementBuilder(map).frontend(frontend, entry.key.protocol).build());
    if (found == adopted_.end()) {
      // A service of another cluster IP was another service. Its other addresses may be here now,
      // its endpoints and the clients that they are remembered for are still its own.
      if (map == SetId::kServiceSet && frontend.kind == FrontendKind::kClusterIp) break;
      continue;
    }
    const uint32_t number = read_number(found->data_bytes());
    // Taken by this transaction, or by an earlier one: its class element went with it.
    if (taken.contains(number) ||
        !adopted_.contains(ElementBuilder(SetId::kSetClass).number(number).build())) {
      continue;
    }
    set.number = number;
    break;
  }
  for (uint32_t slot = 0; set.number != 0; ++slot) {
    const auto endpoint =
        adopted_.find(ElementBuilder(SetId::kEndpoints).number(set.number).number(slot).build());
    if (endpoint == adopted_.end()) break;
    const ByteView data = endpoint->data_bytes();
    const size_t width = data.size() - 4;
    std::array<uint8_t, 16> bytes{};
    std::copy_n(data.begin(), std::min<size_t>(width, 16), bytes.begin());
    const Address address = width == 16
                                ? Address::v6(bytes)
                                : Address::v4(static_cast<uint32_t>(bytes[0]) << 24 |
                                              static_cast<uint32_t>(bytes[1]) << 16 |
                                              static_cast<uint32_t>(bytes[2]) << 8 | bytes[3]);
    set.slots.push_back({address, static_cast<uint16_t>(data[width] << 8 | data[width + 1])});
    const auto token =
        adopted_.find(ElementBuilder(SetId::kStickySlots).number(set.number).number(slot).build());
    if (token != adopted_.end()) set.tokens.push_back(read_number(token->data_bytes()));
  }
  if (set.tokens.size() != set.slots.size()) set.tokens.clear();
  return set;
}

}  // namespace fairlead::nftables
