// Reading what iptables-save prints.
//
// Threads: pure functions.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::iptables {

// One table: its chains with their rules in order, a rule being what follows "-A CHAIN ".
using SavedTable = boost::unordered_flat_map<std::string, std::vector<std::string>>;

// The tables of `text` named `table`, which is "nat" without the asterisk; no such table is an
// empty one. kInvalid for text that iptables-save does not write, cut-off text included: rules must
// not be taken for missing because a pipe broke.
Result<SavedTable> parse_save(std::string_view text, std::string_view table);

// The same for two rules that differ in the order or repetition of their matches only: releases of
// iptables print them differently.
std::string canonical(std::string_view rule);
bool same_rule(std::string_view a, std::string_view b);
bool same_rules(const std::vector<std::string>& a, const std::vector<std::string>& b);

// What a rule jumps or goes to; empty when nothing.
std::string_view target_of(std::string_view rule);

// Packets of each rule that has `part` in it, in what `iptables -v -S` prints. Rules are as there,
// without their counters.
std::map<std::string, uint64_t> packets_by_rule(std::string_view listing, std::string_view part);

}  // namespace fairlead::iptables
