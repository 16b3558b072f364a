#include "control/schema/json_text.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <span>
#include <vector>

#include "control/api/yaml.h"

namespace fairlead::schema {

namespace {

namespace ondemand = simdjson::ondemand;

Status malformed(std::string_view format, std::string_view reason) {
  return Status::error(StatusCode::kInvalid, std::string("parse ").append(format), "body", reason);
}

std::string_view trimmed(std::string_view token) {
  while (!token.empty() && std::memchr(" \t\r\n", token.back(), 4)) token.remove_suffix(1);
  return token;
}

size_t digits(std::string_view text, size_t at) {
  const size_t start = at;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
  return at - start;
}

// RFC 8259's number; what simdjson accepts is narrower (range), what a raw token is wider.
bool is_number(std::string_view text) {
  size_t at = text.starts_with('-') ? 1 : 0;
  const size_t whole = digits(text, at);
  if (whole == 0 || (whole > 1 && text[at] == '0')) return false;
  at += whole;
  if (at < text.size() && text[at] == '.') {
    const size_t fraction = digits(text, ++at);
    if (fraction == 0) return false;
    at += fraction;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    const size_t exponent = digits(text, at);
    if (exponent == 0) return false;
    at += exponent;
  }
  return at == text.size();
}

class Reader {
 public:
  Reader(Document& document, const TextLimits& limits) : out_(document), limits_(limits) {}

  Status read(std::string_view text) {
    // The strings of the document are views into this copy.
    char* padded =
        static_cast<char*>(out_.arena.allocate(text.size() + simdjson::SIMDJSON_PADDING));
    if (!text.empty()) std::memcpy(padded, text.data(), text.size());
    std::memset(padded + text.size(), ' ', simdjson::SIMDJSON_PADDING);
    ondemand::parser parser;
    // On-demand counts its own way; the limit that is meant is checked below.
    if (parser.allocate(std::max<size_t>(text.size(), 64), limits_.depth + 8)) {
      return malformed("JSON", "out of memory");
    }
    ondemand::document document;
    auto error = parser
                     .iterate(simdjson::padded_string_view(
                         padded, text.size(), text.size() + simdjson::SIMDJSON_PADDING))
                     .get(document);
    ondemand::value root;
    if (!error) error = document.get_value().get(root);
    if (!error) error = value(root, 1, &out_.root);
    if (!error && document.current_location().error() != simdjson::OUT_OF_BOUNDS) {
      error = simdjson::TRAILING_CONTENT;
    }
    if (error == simdjson::DEPTH_ERROR) {
      return malformed("JSON", fmt::format("nested deeper than {}", limits_.depth));
    }
    if (error == simdjson::MEMALLOC) return malformed("JSON", "too large in memory");
    if (error) return malformed("JSON", simdjson::error_message(error));
    return {};
  }

 private:
  simdjson::error_code value(ondemand::value from, size_t depth, Value* out) {
    ondemand::json_type type;
    if (const auto error = from.type().get(type)) return error;
    switch (type) {
      case ondemand::json_type::object:
        return object(from, depth, out);
      case ondemand::json_type::array:
        return array(from, depth, out);
      case ondemand::json_type::string: {
        std::string_view text;
        const auto error = string(from, &text);
        *out = Value::string(text);
        return error;
      }
      case ondemand::json_type::number:
        return number(trimmed(from.raw_json_token()), out);
      case ondemand::json_type::boolean: {
        bool yes = false;
        const auto error = from.get_bool().get(yes);
        *out = Value::boolean(yes);
        return error;
      }
      case ondemand::json_type::null:
        *out = Value();
        return trimmed(from.raw_json_token()) == "null" ? simdjson::SUCCESS
                                                        : simdjson::N_ATOM_ERROR;
    }
    return simdjson::TAPE_ERROR;
  }

  simdjson::error_code object(ondemand::value from, size_t depth, Value* out) {
    if (depth > limits_.depth) return simdjson::DEPTH_ERROR;
    if (out_.arena.full()) return simdjson::MEMALLOC;
    ondemand::object fields;
    if (const auto error = from.get_object().get(fields)) return error;
    const size_t first = members_.size();
    for (auto item : fields) {
      ondemand::field field;
      if (const auto error = std::move(item).get(field)) return error;
      std::string_view key;
      if (const auto error = key_of(field, &key)) return error;
      Value child;
      if (const auto error = value(field.value(), depth + 1, &child)) return error;
      members_.push_back({key, child});
    }
    *out = Value::object_of(out_.arena, std::span(members_).subspan(first));
    members_.resize(first);
    return simdjson::SUCCESS;
  }

  simdjson::error_code array(ondemand::value from, size_t depth, Value* out) {
    if (depth > limits_.depth) return simdjson::DEPTH_ERROR;
    if (out_.arena.full()) return simdjson::MEMALLOC;
    ondemand::array elements;
    if (const auto error = from.get_array().get(elements)) return error;
    const size_t first = items_.size();
    for (auto item : elements) {
      ondemand::value element;
      if (const auto error = std::move(item).get(element)) return error;
      Value child;
      if (const auto error = value(element, depth + 1, &child)) return error;
      items_.push_back(child);
    }
    *out = Value::array_of(out_.arena, std::span(items_).subspan(first));
    items_.resize(first);
    return simdjson::SUCCESS;
  }

  simdjson::error_code string(ondemand::value from, std::string_view* out) {
    const std::string_view token = trimmed(from.raw_json_token());
    const bool plain =
        token.size() >= 2 && token.back() == '"' && !std::memchr(token.data(), '\\', token.size());
    if (plain) {
      *out = token.substr(1, token.size() - 2);
      return simdjson::SUCCESS;
    }
    std::string_view unescaped;
    if (const auto error = from.get_string().get(unescaped)) return error;
    *out = out_.arena.copy(unescaped);
    return simdjson::SUCCESS;
  }

  simdjson::error_code key_of(ondemand::field& field, std::string_view* out) {
    const char* begin = field.key().raw();
    const char* end = begin;
    while (*end != '"' && *end != '\\') ++end;
    if (*end == '"') {
      *out = std::string_view(begin, static_cast<size_t>(end - begin));
      return simdjson::SUCCESS;
    }
    std::string_view unescaped;
    if (const auto error = field.unescaped_key().get(unescaped)) return error;
    *out = out_.arena.copy(unescaped);
    return simdjson::SUCCESS;
  }

  simdjson::error_code number(std::string_view token, Value* out) {
    int64_t whole = 0;
    const char* last = token.data() + token.size();
    if (!is_number(token)) return simdjson::NUMBER_ERROR;
    const auto [end, error] = std::from_chars(token.data(), last, whole);
    const bool exact = error == std::errc() && end == last && token != "-0";
    *out = exact ? Value::integer(whole) : Value::number(token);
    return simdjson::SUCCESS;
  }

  Document& out_;
  const TextLimits& limits_;
  // What has been read of the objects and arrays that have not ended yet.
  std::vector<Member> members_;
  std::vector<Value> items_;
};

Status too_large(std::string_view format, size_t bytes, size_t limit) {
  return Status::error(StatusCode::kExhausted, std::string("parse ").append(format), "body",
                       fmt::format("{} bytes are more than {}", bytes, limit));
}

}  // namespace

Result<Document> parse_json(std::string_view text, const TextLimits& limits) {
  if (text.size() > limits.bytes) return too_large("JSON", text.size(), limits.bytes);
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return malformed("JSON", "the body is empty");
  if (text[first] != '{' && text[first] != '[') {
    return malformed("JSON", "neither an object nor an array");
  }
  // Measured: what objects of the API become in memory beside their text, and room for a change.
  constexpr size_t kGrowth = 3;
  constexpr size_t kRoom = 512;
  Document document(text.size() * kGrowth + kRoom);
  RETURN_IF_ERROR(Reader(document, limits).read(text));
  return document;
}

Result<Document> parse_yaml(std::string_view text, const TextLimits& limits) {
  if (text.size() > limits.bytes) return too_large("YAML", text.size(), limits.bytes);
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '{') {
    Result<Document> json = parse_json(text, limits);
    if (json.ok()) return json;
  }
  std::string json;
  ASSIGN_OR_RETURN(json, api::yaml_to_json(text, "body", api::DuplicateKeys::kKeep));
  // Aliases may have made it larger; the converter has a bound of its own for that.
  return parse_json(json, {std::max(limits.bytes, json.size()), limits.depth});
}

bool is_utf8(std::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

void append_json_string(std::string_view text, std::string* out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out->push_back('"');
  size_t start = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out->append(text.substr(start, i - start));
    start = i + 1;
    out->push_back('\\');
    switch (c) {
      case '\n':
        out->push_back('n');
        break;
      case '\t':
        out->push_back('t');
        break;
      case '\r':
        out->push_back('r');
        break;
      case '"':
      case '\\':
        out->push_back(static_cast<char>(c));
        break;
      default:
        out->append("u00").append(1, kHex[c >> 4]).append(1, kHex[c & 15]);
    }
  }
  out->append(text.substr(start));
  out->push_back('"');
}

void append_json(const Value& value, std::string* out) {
  switch (value.tag()) {
    case Value::Tag::kNull:
      out->append("null");
      return;
    case Value::Tag::kBool:
      out->append(value.as_bool() ? "true" : "false");
      return;
    case Value::Tag::kInt: {
      char digits_of[24];
      const auto [end, error] =
          std::to_chars(digits_of, digits_of + sizeof digits_of, value.as_int());
      out->append(digits_of, end);
      return;
    }
    case Value::Tag::kNumber:
      out->append(value.number_text());
      return;
    case Value::Tag::kString:
      append_json_string(value.as_string(), out);
      return;
    case Value::Tag::kArray: {
      char before = '[';
      for (const Value& item : value.items()) {
        out->push_back(before);
        append_json(item, out);
        before = ',';
      }
      out->append(value.empty() ? "[]" : "]");
      return;
    }
    case Value::Tag::kObject: {
      char before = '{';
      for (const Member& member : value.members()) {
        out->push_back(before);
        append_json_string(member.key, out);
        out->push_back(':');
        append_json(member.value, out);
        before = ',';
      }
      out->append(value.empty() ? "{}" : "}");
      return;
    }
  }
}

std::string to_json(const Value& value) {
  std::string text;
  append_json(value, &text);
  return text;
}

}  // namespace fairlead::schema
