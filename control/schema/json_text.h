// JSON and YAML text to documents, and documents to JSON text.
//
// Reading is untyped and keeps everything: duplicate keys stay where they were written, for
// conform() to report. Limits hold before memory is spent: bytes of input and depth of nesting.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "control/schema/value.h"

namespace fairlead::schema {

struct TextLimits {
  size_t bytes = size_t{3} << 20;  // kube-apiserver's limit of a request body
  size_t depth = 256;
};

// The root must be an object or an array.
Result<Document> parse_json(std::string_view text, const TextLimits& limits = {});
// JSON where the text is JSON, else YAML as kubectl reads it (YAML 1.1 scalars, one document).
Result<Document> parse_yaml(std::string_view text, const TextLimits& limits = {});

// Compact; escapes what JSON demands and nothing else.
std::string to_json(const Value& value);
void append_json(const Value& value, std::string* out);
void append_json_string(std::string_view text, std::string* out);

bool is_utf8(std::string_view text);

}  // namespace fairlead::schema
