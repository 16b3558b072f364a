// Whatever a tool prints: reading it neither crashes nor reads beyond what came, and what is read
// as a rule compares equal to itself.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "iptables/save_text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fairlead::iptables;  // NOLINT: the whole subject
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto table = parse_save(text, "nat")) {
    for (const auto& [name, rules] : *table) {
      if (name.empty() || !same_rules(rules, rules)) std::abort();
      for (const auto& rule : rules) (void)target_of(rule);
    }
  }
  (void)canonical(text);
  (void)target_of(text);
  (void)packets_by_rule(text, "comment");
  return 0;
}
