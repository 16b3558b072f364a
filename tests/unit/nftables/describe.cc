#include "describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

namespace fairlead::nftables {

using dataplane::Family;

std::vector<std::string> describe_elements(KernelState& kernel, Family family) {
  using KeyLess = bool (*)(const Element&, const Element&);
  std::set<Element, KeyLess> all(key_less);
  std::vector<SetNumber> sets = element_sets();
  for (const uint8_t length : {24, 32, 64, 128}) sets.push_back(source_range_set(length));
  const std::vector<std::string> existing = *kernel.sets();
  for (const SetNumber set : sets) {
    const std::string name = describe_set(set, family).name;
    if (std::find(existing.begin(), existing.end(), name) == existing.end()) continue;
    const std::vector<Element> elements = *kernel.elements(set);
    all.insert(elements.begin(), elements.end());
  }
  const std::map<uint32_t, std::string> classes = *kernel.verdicts(SetId::kClasses);
  const auto find = [&](SetId set, uint32_t first, uint32_t second) {
    return all.find(ElementBuilder(set).number(first).number(second).build());
  };
  const auto hex = [](ByteView bytes) { return fmt::format("{:02x}", fmt::join(bytes, "")); };
  const auto describe_set_of = [&](uint32_t set) {
    const auto pick = all.find(ElementBuilder(SetId::kSetClass).number(set).build());
    if (pick == all.end()) return std::string("no such set");
    std::vector<std::string> endpoints;
    for (uint32_t slot = 0;; ++slot) {
      const auto endpoint = find(SetId::kEndpoints, set, slot);
      if (endpoint == all.end()) break;
      std::string text = hex(endpoint->data_bytes());
      if (const auto token = find(SetId::kStickySlots, set, slot); token != all.end()) {
        const auto same = find(SetId::kStickyEndpoints, set, read_number(token->data_bytes()));
        text += " sticky to " + (same == all.end() ? "nobody" : hex(same->data_bytes()));
      }
      endpoints.push_back(std::move(text));
    }
    std::sort(endpoints.begin(), endpoints.end());
    return fmt::format("{}: {}", classes.at(read_number(pick->data_bytes())),
                       fmt::join(endpoints, ", "));
  };
  std::vector<std::string> lines;
  std::map<SetNumber, int> inner;
  for (const Element& element : all) {
    const std::string name = describe_set(element.set, family).name;
    switch (static_cast<SetId>(element.set)) {
      case SetId::kSetClass:
      case SetId::kEndpoints:
      case SetId::kStickySlots:
      case SetId::kStickyEndpoints:
        ++inner[element.set];
        break;
      case SetId::kServiceSet:
      case SetId::kLocalSet:
        lines.push_back(fmt::format("{} {} -> {}", name, hex(element.key_bytes()),
                                    describe_set_of(read_number(element.data_bytes()))));
        break;
      default:
        lines.push_back(
            fmt::format("{} {} {}", name, hex(element.key_bytes()), hex(element.data_bytes())));
    }
  }
  for (const auto& [set, count] : inner) {
    lines.push_back(fmt::format("{}: {} elements", describe_set(set, family).name, count));
  }
  return lines;
}

}  // namespace fairlead::nftables
