#include "proxy/problem_ledger.h"

#include <fmt/format.h>

namespace fairlead::proxy {
namespace {

// An object can have as many problems as a slice has endpoints; a sentence needs only the first
// few.
constexpr size_t kMaxTold = 5;

}  // namespace

std::string ProblemLedger::update(std::string_view kind, const dataplane::ObjectName& name,
                                  const std::vector<api::Problem>& problems) {
  if (problems.empty()) {
    remove(kind, name);
    return {};
  }
  std::string sentence = fmt::format("{} {}: ", kind, name.to_string());
  for (size_t i = 0; i < problems.size() && i < kMaxTold; ++i) {
    if (i > 0) sentence += "; ";
    sentence += problems[i].field + ": " + problems[i].reason;
  }
  if (problems.size() > kMaxTold) {
    sentence += fmt::format("; and {} more", problems.size() - kMaxTold);
  }
  const auto [position, inserted] = told_.try_emplace({std::string(kind), name}, sentence);
  if (inserted) {
    ++counts_[std::string(kind)];
  } else if (position->second == sentence) {
    return {};
  } else {
    position->second = sentence;
  }
  return sentence;
}

void ProblemLedger::remove(std::string_view kind, const dataplane::ObjectName& name) {
  if (told_.empty()) return;  // as good as always
  if (told_.erase({std::string(kind), name}) != 0) --counts_[std::string(kind)];
}

size_t ProblemLedger::count(std::string_view kind) const {
  const auto found = counts_.find(kind);
  return found == counts_.end() ? 0 : found->second;
}

}  // namespace fairlead::proxy
