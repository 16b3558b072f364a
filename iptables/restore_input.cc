#include "iptables/restore_input.h"

#include <fmt/format.h>

#include <iterator>

namespace fairlead::iptables {

void RestoreInput::declare(Table table, std::string_view chain) {
  fmt::format_to(std::back_inserter(part(table).declared), ":{} - [0:0]\n", chain);
  ++operations_;
  ++chains_;
}

void RestoreInput::append(Table table, std::string_view chain, std::string_view rule) {
  fmt::format_to(std::back_inserter(part(table).rules), "-A {} {}\n", chain, rule);
  ++part(table).added;
  ++operations_;
}

void RestoreInput::insert(Table table, std::string_view chain, std::string_view rule) {
  fmt::format_to(std::back_inserter(part(table).rules), "-I {} {}\n", chain, rule);
  ++part(table).added;
  ++operations_;
}

void RestoreInput::remove(Table table, std::string_view chain, std::string_view rule) {
  fmt::format_to(std::back_inserter(part(table).rules), "-D {} {}\n", chain, rule);
  ++operations_;
  ++removals_;
}

void RestoreInput::remove_chain(Table table, std::string_view chain) {
  fmt::format_to(std::back_inserter(part(table).declared), ":{} - [0:0]\n", chain);
  fmt::format_to(std::back_inserter(part(table).gone), "-X {}\n", chain);
  ++operations_;
  ++chains_;
}

void RestoreInput::rewrite(Table table, std::string_view chain,
                           const std::vector<std::string>& rules) {
  declare(table, chain);
  for (const std::string& rule : rules) append(table, chain, rule);
}

std::string RestoreInput::text() const {
  std::string text;
  for (const Table table : {Table::kMangle, Table::kFilter, Table::kNat}) {
    const Part& part = parts_[static_cast<size_t>(table)];
    if (part.empty()) continue;
    fmt::format_to(std::back_inserter(text), "*{}\n{}{}{}COMMIT\n", to_string(table), part.declared,
                   part.rules, part.gone);
  }
  return text;
}

}  // namespace fairlead::iptables
