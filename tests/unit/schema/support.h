// What the schema tests share: text to documents of a type.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "control/schema/conform.h"
#include "control/schema/json_text.h"
#include "control/schema/types.h"

namespace fairlead::schema {

// YAML flow syntax spares the quotes.
inline Document parsed(std::string_view text) {
  Result<Document> document = parse_yaml(text);
  EXPECT_TRUE(document.ok()) << text << ": " << document.status().message();
  return document.ok() ? std::move(document).value() : Document();
}

inline Document object_of(std::string_view type, std::string_view text,
                          Conform mode = Conform::kObject) {
  Document document = parsed(text);
  std::vector<std::string> complaints;
  const Status status = conform(document, *find_type(type)->shape, mode, &complaints);
  EXPECT_TRUE(status.ok()) << text << ": " << status.message();
  EXPECT_TRUE(complaints.empty()) << text << ": " << strict_error(complaints);
  return document;
}

struct Case {
  std::string_view type;
  std::string_view text;
  std::string_view expected;
};

// The canonical JSON of YAML: keys sorted.
inline std::string json_of(std::string_view text) {
  Document document = parsed(text);
  sort_deep(document.root);
  return to_json(document.root);
}

// Both texts around where they part; empty when they are the same.
inline std::string first_difference(std::string_view a, std::string_view b) {
  if (a == b) return {};
  size_t at = 0;
  while (at < a.size() && at < b.size() && a[at] == b[at]) ++at;
  const size_t from = at < 60 ? 0 : at - 60;
  return fmt::format("{} / {}", a.substr(from, 120), b.substr(from, 120));
}

}  // namespace fairlead::schema
