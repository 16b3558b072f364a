// How the scenes check what they are about to print.
//
// Threads: pure functions.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tests/harness/probe.h"

namespace fairlead::demo {

// An error that says what was expected and what was found, unless it `holds`.
Status expect(bool holds, std::string_view what, std::string_view found);
// Every answer came from one of `pods`.
Status expect_all_from(const std::vector<harness::Answer>& answers,
                       const std::set<std::string>& pods, std::string_view what);
std::function<bool(const harness::Answer&)> answered_by(std::string_view pod);
std::string joined(const std::set<std::string>& names);  // "a1, b2"

}  // namespace fairlead::demo
