#include "control/schema/selector.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "control/schema/names.h"

namespace fairlead::schema {

namespace {

using Op = Requirement::Op;

std::string_view strip(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

Status unable(std::string_view text, std::string_view reason) {
  return Status::error(StatusCode::kInvalid, "parse", "selector",
                       fmt::format("unable to parse requirement: {}: {}", text, reason));
}

// Splits at commas outside of parentheses.
std::vector<std::string_view> split_terms(std::string_view text) {
  std::vector<std::string_view> terms;
  size_t start = 0;
  bool inside = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '(') inside = true;
    if (text[i] == ')') inside = false;
    if (text[i] != ',' || inside) continue;
    terms.push_back(text.substr(start, i - start));
    start = i + 1;
  }
  terms.push_back(text.substr(start));
  return terms;
}

Status check(const Requirement& term, std::string_view text) {
  if (const std::string wrong = check_qualified_name(term.key); !wrong.empty()) {
    return unable(text, fmt::format("key: Invalid value: \"{}\": {}", term.key, wrong));
  }
  for (const std::string& value : term.values) {
    if (const std::string wrong = check_label_value(value); !wrong.empty()) {
      return unable(
          text, fmt::format("values[0][{}]: Invalid value: \"{}\": {}", term.key, value, wrong));
    }
  }
  return {};
}

bool to_number(std::string_view text, int64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

Result<Requirement> parse_set(std::string_view text) {
  // "key in (a, b)" or "key notin (a, b)"
  const size_t open = text.find('(');
  const std::vector<std::string_view> head = words(text.substr(0, open));
  if (head.size() != 2 || (head[1] != "in" && head[1] != "notin") || !text.ends_with(')')) {
    return unable(text, "found '(', expected: in, notin");
  }
  Requirement term;
  term.key = head[0];
  term.op = head[1] == "in" ? Op::kIn : Op::kNotIn;
  std::string_view list = text.substr(open + 1, text.size() - open - 2);
  while (true) {
    const size_t comma = std::min(list.find(','), list.size());
    term.values.emplace_back(strip(list.substr(0, comma)));
    if (comma == list.size()) break;
    list.remove_prefix(comma + 1);
  }
  std::sort(term.values.begin(), term.values.end());
  return term;
}

Result<Requirement> parse_term(std::string_view text) {
  text = strip(text);
  if (text.find('(') != std::string_view::npos) return parse_set(text);
  Requirement term;
  const size_t at = text.find_first_of("=!<>");
  if (at == std::string_view::npos) {
    term.key = text;
    return term;
  }
  if (at == 0 && text[0] == '!') {
    term.key = strip(text.substr(1));
    term.op = Op::kAbsent;
    return term;
  }
  term.key = strip(text.substr(0, at));
  std::string_view value = text.substr(at + 1);
  if (text[at] == '!' && !value.starts_with('=')) {
    return unable(text, "found '!', expected: '='");
  }
  if ((text[at] == '!' || text[at] == '=') && value.starts_with('=')) value.remove_prefix(1);
  term.op = text[at] == '='   ? Op::kIn
            : text[at] == '!' ? Op::kNotIn
            : text[at] == '>' ? Op::kGreater
                              : Op::kLess;
  term.values.emplace_back(strip(value));
  int64_t number = 0;
  if ((term.op == Op::kGreater || term.op == Op::kLess) && !to_number(term.values[0], &number)) {
    return unable(text, "for 'Gt', 'Lt' operators, the value must be an integer");
  }
  return term;
}

bool holds_for(const Requirement& term, const Value& labels) {
  const Value* found = labels.find(term.key);
  const auto listed = [&] {
    return std::binary_search(term.values.begin(), term.values.end(), found->as_string());
  };
  switch (term.op) {
    case Op::kIn:
      return found && listed();
    case Op::kNotIn:
      return !found || !listed();
    case Op::kExists:
      return found != nullptr;
    case Op::kAbsent:
      return !found;
    case Op::kGreater:
    case Op::kLess: {
      int64_t have = 0;
      int64_t bound = 0;
      if (!found || !to_number(found->as_string(), &have) || !to_number(term.values[0], &bound)) {
        return false;
      }
      return term.op == Op::kGreater ? have > bound : have < bound;
    }
  }
  return false;
}

}  // namespace

Result<LabelSelector> LabelSelector::parse(std::string_view text) {
  LabelSelector selector;
  if (strip(text).empty()) return selector;
  for (const std::string_view part : split_terms(text)) {
    Requirement term;
    ASSIGN_OR_RETURN(term, parse_term(part));
    RETURN_IF_ERROR(check(term, part));
    selector.requirements_.push_back(std::move(term));
  }
  return selector;
}

LabelSelector LabelSelector::from_map(const Value& labels) {
  LabelSelector selector;
  for (const Member& label : labels.members()) {
    selector.requirements_.push_back(
        {std::string(label.key), Op::kIn, {std::string(label.value.as_string())}});
  }
  return selector;
}

Result<LabelSelector> LabelSelector::from_object(const Value& object) {
  if (object.is_null()) {
    LabelSelector none;
    none.nothing_ = true;
    return none;
  }
  LabelSelector selector = from_map(object.get("matchLabels"));
  for (const Value& expression : object.get("matchExpressions").items()) {
    Requirement term;
    term.key = expression.get("key").as_string();
    for (const Value& value : expression.get("values").items()) {
      term.values.emplace_back(value.as_string());
    }
    std::sort(term.values.begin(), term.values.end());
    const std::string_view op = expression.get("operator").as_string();
    if (op == "In") {
      term.op = Op::kIn;
    } else if (op == "NotIn") {
      term.op = Op::kNotIn;
    } else if (op == "Exists") {
      term.op = Op::kExists;
    } else if (op == "DoesNotExist") {
      term.op = Op::kAbsent;
    } else {
      return unable(term.key, fmt::format("\"{}\" is not a valid label selector operator", op));
    }
    selector.requirements_.push_back(std::move(term));
  }
  for (const Requirement& term : selector.requirements_) RETURN_IF_ERROR(check(term, term.key));
  return selector;
}

bool LabelSelector::matches(const Value& labels) const {
  return !nothing_ && std::all_of(requirements_.begin(), requirements_.end(),
                                  [&labels](const auto& term) { return holds_for(term, labels); });
}

std::string LabelSelector::to_string() const {
  std::vector<std::string> terms;
  for (const Requirement& term : requirements_) {
    switch (term.op) {
      case Op::kIn:
      case Op::kNotIn:
        if (term.values.size() == 1) {
          terms.push_back(
              fmt::format("{}{}{}", term.key, term.op == Op::kIn ? "=" : "!=", term.values[0]));
        } else {
          terms.push_back(fmt::format("{} {} ({})", term.key, term.op == Op::kIn ? "in" : "notin",
                                      fmt::join(term.values, ",")));
        }
        break;
      case Op::kExists:
        terms.push_back(term.key);
        break;
      case Op::kAbsent:
        terms.push_back("!" + term.key);
        break;
      case Op::kGreater:
      case Op::kLess:
        terms.push_back(
            fmt::format("{}{}{}", term.key, term.op == Op::kGreater ? ">" : "<", term.values[0]));
    }
  }
  std::sort(terms.begin(), terms.end());
  return fmt::format("{}", fmt::join(terms, ","));
}

Result<FieldSelector> FieldSelector::parse(std::string_view text, const Resource& resource) {
  FieldSelector selector;
  if (strip(text).empty()) return selector;
  for (std::string_view part : split_terms(text)) {
    part = strip(part);
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos) {
      return Status::error(
          StatusCode::kInvalid, "parse", "field selector",
          fmt::format("invalid selector: '{}'; can't understand '{}'", text, part));
    }
    Term term;
    term.equal = equals == 0 || part[equals - 1] != '!';
    term.path = strip(part.substr(0, equals - (term.equal ? 0 : 1)));
    const bool doubled = term.equal && part.substr(equals + 1).starts_with('=');
    term.value = strip(part.substr(equals + (doubled ? 2 : 1)));
    const std::vector<std::string_view> own = words(resource.fields);
    const bool known = term.path == "metadata.name" ||
                       (term.path == "metadata.namespace" && resource.namespaced) ||
                       std::find(own.begin(), own.end(), term.path) != own.end();
    if (!known) {
      return Status::error(StatusCode::kInvalid, "parse", "field selector",
                           fmt::format("field label not supported: {}", term.path));
    }
    selector.terms_.push_back(std::move(term));
  }
  return selector;
}

bool FieldSelector::matches(const Value& object) const {
  return std::all_of(terms_.begin(), terms_.end(), [&object](const Term& term) {
    const Value& found = object.at(term.path == "source" ? "source.component" : term.path);
    std::string text(found.as_string());
    if (found.is_int()) text = std::to_string(found.as_int());
    if (found.is_bool()) text = found.as_bool() ? "true" : "false";
    if (found.is_null() && term.path.ends_with(".unschedulable")) text = "false";
    if (found.is_null() && term.path.ends_with(".hostNetwork")) text = "false";
    if (found.is_null() && (term.path.ends_with("replicas") || term.path.ends_with("successful"))) {
      text = "0";
    }
    // Jobs call the field by an older name, pods may have more addresses than one.
    if (term.path == "status.successful") {
      text = std::to_string(object.at("status.succeeded").as_int());
    }
    if (term.path == "status.podIPs") {
      text = std::string(found.empty() ? "" : found.items()[0].get("ip").as_string());
    }
    return (text == term.value) == term.equal;
  });
}

std::string_view FieldSelector::name() const {
  for (const Term& term : terms_) {
    if (term.equal && term.path == "metadata.name") return term.value;
  }
  return {};
}

}  // namespace fairlead::schema
