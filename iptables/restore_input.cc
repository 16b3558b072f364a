#include "iptables/restore_input.h"

#include <fmt/format.h>

#include <iterator>

namespace fairlead::iptables {

RestoreInput::Part& RestoreInput::come(Table table) {
  switch (table) {
    case Table::kNat:
      return nat_;
    case Table::kFilter:
      return filter_first_;
    case Table::kMangle:
      break;
  }
  return mangle_;
}

void RestoreInput::declare(Table table, std::string_view chain) {
  fmt::format_to(std::back_inserter(come(table).declared), ":{} - [0:0]\n", chain);
  ++operations_;
  ++chains_;
}

void RestoreInput::append(Table table, std::string_view chain, std::string_view rule) {
  fmt::format_to(std::back_inserter(come(table).rules), "-A {} {}\n", chain, rule);
  ++operations_;
}

void RestoreInput::insert(Table table, std::string_view chain, std::string_view rule) {
  fmt::format_to(std::back_inserter(come(table).rules), "-I {} {}\n", chain, rule);
  ++operations_;
}

void RestoreInput::remove(Table table, std::string_view chain, std::string_view rule) {
  Part& part = table == Table::kFilter ? filter_last_ : come(table);
  fmt::format_to(std::back_inserter(part.rules), "-D {} {}\n", chain, rule);
  ++operations_;
  ++removals_;
}

void RestoreInput::remove_chain(Table table, std::string_view chain) {
  Part& part = table == Table::kFilter ? filter_last_ : come(table);
  fmt::format_to(std::back_inserter(part.declared), ":{} - [0:0]\n", chain);
  fmt::format_to(std::back_inserter(part.gone), "-X {}\n", chain);
  ++operations_;
  ++chains_;
}

void RestoreInput::rewrite(Table table, std::string_view chain,
                           const std::vector<std::string>& rules) {
  declare(table, chain);
  for (const std::string& rule : rules) append(table, chain, rule);
}

void RestoreInput::write(std::string& text, Table table, const Part& part) {
  if (part.empty()) return;
  fmt::format_to(std::back_inserter(text), "*{}\n{}{}{}COMMIT\n", to_string(table), part.declared,
                 part.rules, part.gone);
}

std::string RestoreInput::text() const {
  std::string text;
  write(text, Table::kMangle, mangle_);
  write(text, Table::kFilter, filter_first_);
  write(text, Table::kNat, nat_);
  write(text, Table::kFilter, filter_last_);
  return text;
}

}  // namespace fairlead::iptables
