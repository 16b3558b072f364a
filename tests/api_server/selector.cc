#include "tests/api_server/selector.h"

#include <algorithm>

namespace fairlead::api_server {
namespace {

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

Status bad(std::string_view text, std::string_view reason) {
  return Status::error(StatusCode::kInvalid, "parse selector", text, reason);
}

}  // namespace

Result<Selector::Term> Selector::parse_term(std::string_view text) {
  Term term;
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) {
    const bool absent = text.starts_with('!');
    term.key = trim(text.substr(absent ? 1 : 0));
    term.op = absent ? Operator::kAbsent : Operator::kExists;
  } else {
    const bool differs = equals > 0 && text[equals - 1] == '!';
    const bool doubled = text.substr(equals + 1).starts_with('=');
    term.key = trim(text.substr(0, differs ? equals - 1 : equals));
    term.op = differs ? Operator::kDiffers : Operator::kEquals;
    term.value = trim(text.substr(equals + (doubled ? 2 : 1)));
  }
  if (term.key.empty() || term.key.find_first_of(" !=()<>") != std::string::npos ||
      term.value.find_first_of(" !=()<>") != std::string::npos) {
    return bad(text, "not supported here");
  }
  return term;
}

Result<Selector> Selector::parse(std::string_view labels, std::string_view fields) {
  Selector selector;
  for (auto [text, terms] : {std::pair{labels, &selector.labels_}, {fields, &selector.fields_}}) {
    while (!text.empty()) {
      const size_t comma = text.find(',');
      Term term;
      ASSIGN_OR_RETURN(term, parse_term(trim(text.substr(0, comma))));
      terms->push_back(std::move(term));
      text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    }
  }
  for (const Term& term : selector.fields_) {
    const bool known = term.key == "metadata.name" || term.key == "metadata.namespace";
    if (!known || term.op == Operator::kExists || term.op == Operator::kAbsent) {
      return bad(fields, "field label not supported: " + term.key);
    }
  }
  return selector;
}

bool Selector::matches(const StoredObject& object) const {
  const auto label_matches = [&object](const Term& term) {
    const auto found = std::find_if(object.labels.begin(), object.labels.end(),
                                    [&term](const auto& label) { return label.first == term.key; });
    const bool exists = found != object.labels.end();
    switch (term.op) {
      case Operator::kEquals:
        return exists && found->second == term.value;
      case Operator::kDiffers:
        return !exists || found->second != term.value;
      case Operator::kExists:
        return exists;
      case Operator::kAbsent:
        return !exists;
    }
    return false;
  };
  const auto field_matches = [&object](const Term& term) {
    const std::string& value = term.key == "metadata.name" ? object.name : object.name_space;
    return (value == term.value) == (term.op == Operator::kEquals);
  };
  return std::all_of(labels_.begin(), labels_.end(), label_matches) &&
         std::all_of(fields_.begin(), fields_.end(), field_matches);
}

}  // namespace fairlead::api_server
