// Label and field selectors, as far as clients of this server use them.
//
// Labels: "a=b", "a==b", "a!=b", "a", "!a", joined by commas. Fields: metadata.name and
// metadata.namespace with "=" or "!=". Anything else is an error by name, never ignored.
//
// Threads: immutable once parsed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tests/api_server/object.h"

namespace fairlead::api_server {

class Selector {
 public:
  static Result<Selector> parse(std::string_view labels, std::string_view fields);

  bool matches(const StoredObject& object) const;
  bool empty() const { return labels_.empty() && fields_.empty(); }

 private:
  enum class Operator { kEquals, kDiffers, kExists, kAbsent };
  struct Term {
    std::string key;
    Operator op = Operator::kEquals;
    std::string value;
  };

  static Result<Term> parse_term(std::string_view text);

  std::vector<Term> labels_;
  std::vector<Term> fields_;
};

}  // namespace fairlead::api_server
