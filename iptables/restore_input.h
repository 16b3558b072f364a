// What iptables-restore reads, put together piece by piece.
//
// Tables go in one after the other, filter before nat: an address that loses its endpoints is
// refused before it is no longer translated, and one that is translated does not match in filter.
//
// Threads: values.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "iptables/layout.h"

namespace fairlead::iptables {

class RestoreInput {
 public:
  // Creates the chain, or empties it.
  void declare(Table table, std::string_view chain);
  void append(Table table, std::string_view chain, std::string_view rule);
  void insert(Table table, std::string_view chain, std::string_view rule);  // at the top
  void remove(Table table, std::string_view chain, std::string_view rule);
  void remove_chain(Table table, std::string_view chain);  // its rules go, references must be gone
  void rewrite(Table table, std::string_view chain, const std::vector<std::string>& rules);

  bool empty() const { return operations_ == 0; }
  uint64_t operations() const { return operations_; }  // rules and chains written or removed
  size_t chains() const { return chains_; }            // that were declared
  size_t removals() const { return removals_; }        // of single rules
  uint64_t rules(Table table) const { return parts_[static_cast<size_t>(table)].added; }  // written
  std::string text() const;

 private:
  // In this order inside a table: a chain is declared before a rule names it, and removed after.
  struct Part {
    std::string declared;
    std::string rules;
    std::string gone;
    uint64_t added = 0;
    bool empty() const { return declared.empty() && rules.empty() && gone.empty(); }
  };
  Part& part(Table table) { return parts_[static_cast<size_t>(table)]; }

  std::array<Part, 3> parts_;  // by Table
  uint64_t operations_ = 0;
  size_t chains_ = 0;
  size_t removals_ = 0;
};

}  // namespace fairlead::iptables
