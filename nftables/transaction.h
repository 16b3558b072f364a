// One nf_tables transaction in the making: elements to delete and to add, chains to create. Knows
// the order that the kernel needs: what goes, then chains and sets, then what comes.
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/address.h"
#include "nftables/layout.h"
#include "nftables/ruleset.h"
#include "nftables/wire.h"

namespace fairlead::nftables {

class Transaction {
 public:
  explicit Transaction(dataplane::Family family) : family_(family) {}

  void remove(const Element& element) { removed_.push_back(element); }
  void add(const Element& element) { added_.push_back(element); }
  // Makes `chain` exactly this: it is created if absent, emptied, and its rules written.
  // Expressions only.
  void write_chain(const ChainSpec& chain) { chains_.push_back(chain); }
  void create_source_range_set(uint8_t prefix_length) { range_sets_.insert(prefix_length); }
  void set_verdict(SetId map, uint32_t number, const std::string& chain) {
    verdicts_.push_back({map, number, chain});
  }
  void remove_verdict(SetId map, uint32_t number) {
    removed_verdicts_.push_back({map, number, {}});
  }

  bool empty() const {
    return removed_.empty() && added_.empty() && chains_.empty() && range_sets_.empty() &&
           verdicts_.empty() && removed_verdicts_.empty();
  }
  size_t operations() const { return removed_.size() + added_.size(); }

  // The whole batch as bytes. Elements are sorted by set on the way.
  MessageWriter build();

 private:
  struct Verdict {
    SetId map;
    uint32_t number;
    std::string chain;
  };

  void write_elements(MessageWriter& out, std::vector<Element>& elements, bool adding) const;
  void write_verdict(MessageWriter& out, const Verdict& verdict, bool adding) const;
  void write_chains(MessageWriter& out) const;
  void write_range_sets(MessageWriter& out) const;

  dataplane::Family family_;
  std::vector<Element> removed_;
  std::vector<Element> added_;
  std::vector<ChainSpec> chains_;
  std::set<uint8_t> range_sets_;
  std::vector<Verdict> verdicts_;
  std::vector<Verdict> removed_verdicts_;
};

}  // namespace fairlead::nftables
