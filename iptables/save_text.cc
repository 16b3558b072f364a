#include "iptables/save_text.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace fairlead::iptables {
namespace {

// Takes the next line off `rest`; nullopt at its end.
std::optional<std::string_view> next_line(std::string_view& rest) {
  if (rest.empty()) return std::nullopt;
  const size_t end = std::min(rest.find('\n'), rest.size());
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return line;
}

// Takes the next word off `rest`; a word in quotes counts as one, with its quotes.
std::string_view next_word(std::string_view& rest) {
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  size_t end = 0;
  bool quoted = false;
  for (; end < rest.size() && (quoted || rest[end] != ' '); ++end) {
    if (rest[end] == '\\' && end + 1 < rest.size()) {
      ++end;
    } else if (rest[end] == '"') {
      quoted = !quoted;
    }
  }
  const std::string_view word = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return word;
}

Status malformed(size_t line, std::string_view what) {
  return Status::error(StatusCode::kInvalid, "read", "output of iptables-save",
                       "line " + std::to_string(line) + ": " + std::string(what));
}

}  // namespace

Result<SavedTable> parse_save(std::string_view text, std::string_view table) {
  SavedTable chains;
  bool inside = false;  // any table
  bool wanted = false;  // this one
  size_t number = 0;
  std::vector<std::string>* last_rules = nullptr;
  std::string last_chain;
  while (const std::optional<std::string_view> line = next_line(text)) {
    ++number;
    if (line->empty() || line->front() == '#') continue;
    std::string_view rest = *line;
    if (rest.front() == '*') {
      if (inside) return malformed(number, "a table inside of a table");
      inside = true;
      wanted = rest.substr(1) == table;
    } else if (rest == "COMMIT") {
      if (!inside) return malformed(number, "COMMIT without a table");
      inside = false;
    } else if (!inside) {
      return malformed(number, "text outside of a table");
    } else if (rest.front() == ':') {
      rest.remove_prefix(1);
      const std::string_view name = next_word(rest);
      if (name.empty()) return malformed(number, "a chain without a name");
      if (wanted) chains[std::string(name)];
      last_rules = nullptr;
    } else {
      if (rest.front() == '[') next_word(rest);  // counters
      if (next_word(rest) != "-A") return malformed(number, "neither a chain nor a rule");
      const std::string_view name = next_word(rest);
      if (name.empty()) return malformed(number, "a rule without a chain");
      if (!wanted) continue;
      if (last_rules == nullptr || name != last_chain) {
        const auto found = chains.find(std::string(name));
        if (found == chains.end()) return malformed(number, "a rule in an undeclared chain");
        last_rules = &found->second;
        last_chain = name;
      }
      last_rules->emplace_back(rest);
    }
  }
  if (inside) return malformed(number, "the text ends before COMMIT");
  return chains;
}

std::string canonical(std::string_view rule) {
  // An option with what belongs to it: "! -s 10.0.0.0/8", "--comment \"a b\"".
  std::vector<std::string> options;
  bool negated = false;
  while (!rule.empty()) {
    const std::string_view word = next_word(rule);
    if (word.empty()) continue;
    if (word == "!") {
      negated = true;
    } else if (word.front() == '-' || options.empty()) {
      options.push_back((negated ? "! " : "") + std::string(word));
      negated = false;
    } else {
      options.back() += (negated ? " ! " : " ") + std::string(word);
      negated = false;
    }
  }
  // "-m tcp" only announces options.
  std::erase_if(options, [](const std::string& option) { return option.starts_with("-m "); });
  std::sort(options.begin(), options.end());
  std::string text;
  for (const std::string& option : options) text += option + "\n";
  return text;
}

bool same_rule(std::string_view a, std::string_view b) {
  return a == b || canonical(a) == canonical(b);
}

bool same_rules(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_rule);
}

std::string_view target_of(std::string_view rule) {
  while (!rule.empty()) {
    const std::string_view word = next_word(rule);
    if (word == "-j" || word == "-g") return next_word(rule);
  }
  return {};
}

std::map<std::string, uint64_t> packets_by_rule(std::string_view listing, std::string_view part) {
  std::map<std::string, uint64_t> packets;
  while (const std::optional<std::string_view> line = next_line(listing)) {
    if (line->find(part) == std::string_view::npos) continue;
    std::string rule;
    std::optional<uint64_t> count;
    std::string_view rest = *line;
    while (!rest.empty()) {
      const std::string_view word = next_word(rest);
      if (word != "-c") {
        rule += (rule.empty() ? "" : " ") + std::string(word);
        continue;
      }
      const std::string_view number = next_word(rest);
      next_word(rest);  // bytes
      uint64_t value = 0;
      const auto parsed = std::from_chars(number.data(), number.data() + number.size(), value);
      if (parsed.ec == std::errc()) count = value;
    }
    if (count) packets[rule] += *count;
  }
  return packets;
}

}  // namespace fairlead::iptables
